"""Simulated readers: for testing the analysis and for planning a study, never a finding about people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, logit

from chiqpm.errors import ChiqpmError
from chiqpm.study.answers import CONFIDENCES, STATEMENTS, Answer
from chiqpm.study.design import ARMS
from chiqpm.study.key import StudyKey


@dataclass(frozen=True, kw_only=True)
class ReaderModel:
    """How simulated readers answer.

    The log-odds of a right answer are those of the arm's accuracy, plus a reader's and an image's normal deviation;
    a reader may also differ from others in how much each arm helps.

    Attributes:
        accuracy: arm -> probability that a typical reader is right about a typical image, in (0, 1).
        reader_sd: standard deviation of the readers' log-odds.
        item_sd: standard deviation of the images' log-odds.
        slope_sd: standard deviation, over readers and arms, of the log-odds that an arm gives.
        seconds: arm -> median time in seconds.
        seconds_sd: standard deviation of the logarithm of a time, within a reader.
        reader_seconds_sd: of the readers' mean logarithms.
        trust: arm -> mean rating from 1 to 7.
    """

    accuracy: Mapping[str, float] = field(
        default_factory=lambda: {"none": 0.6, "flat": 0.7, "hierarchical": 0.8},
    )
    reader_sd: float = 0.5
    item_sd: float = 0.7
    slope_sd: float = 0.25
    seconds: Mapping[str, float] = field(default_factory=lambda: {"none": 12.0, "flat": 10.0, "hierarchical": 14.0})
    seconds_sd: float = 0.5
    reader_seconds_sd: float = 0.3
    trust: Mapping[str, float] = field(default_factory=lambda: {"flat": 4.0, "hierarchical": 4.5})

    def __post_init__(self) -> None:
        if set(self.accuracy) != set(ARMS) or not all(0 < value < 1 for value in self.accuracy.values()):
            raise ChiqpmError(f"accuracy needs a value in (0, 1) for each of {', '.join(ARMS)}; got {self.accuracy}")
        if min(self.reader_sd, self.item_sd, self.slope_sd, self.seconds_sd, self.reader_seconds_sd) < 0:
            raise ChiqpmError("standard deviations must be 0 or more")


def simulate_answers(key: StudyKey, readers: int, *, model: ReaderModel | None = None, seed: int = 0) -> list[Answer]:
    """Let simulated readers answer a study; every row says that it is simulated.

    Args:
        key: the study.
        readers: how many, >= 1; beyond the number of plans these are used again.
        model: how they answer; None takes the defaults.
        seed: of all draws.

    Raises:
        ChiqpmError: no readers.
    """
    if readers < 1:
        raise ChiqpmError(f"readers must be 1 or more; received {readers}")
    model = model or ReaderModel()
    difficulty = dict(
        zip(key.items, np.random.default_rng([seed, 0]).normal(0, model.item_sd, len(key.items)), strict=True)
    )
    answers: list[Answer] = []
    for number in range(readers):
        generator = np.random.default_rng([seed, 1, number])
        plan, name = key.plans[number % len(key.plans)], f"simulated-{number + 1:03d}"
        ability, pace = generator.normal(0, model.reader_sd), generator.normal(0, model.reader_seconds_sd)
        for place, block in enumerate(plan.blocks, start=1):
            slope = generator.normal(0, model.slope_sd)
            for position, item_name in enumerate(block.trials, start=1):
                item = key.items[item_name]
                chance = float(expit(logit(model.accuracy[block.arm]) + ability + slope - difficulty[item_name]))
                wrong = [option for option in item.options if option != item.truth]
                right = generator.random() < chance or not wrong
                answer = item.truth if right else wrong[int(generator.integers(len(wrong)))]
                felt = np.clip(chance + generator.normal(0, 0.15), 0, 1) * 100
                seconds = float(np.exp(np.log(model.seconds[block.arm]) + pace + generator.normal(0, model.seconds_sd)))
                answers.append(
                    Answer(
                        study=key.study,
                        reader=name,
                        simulated=1,
                        kind="trial",
                        block=place,
                        position=position,
                        arm=block.arm,
                        item=item_name,
                        answer=str(answer),
                        confidence=min(CONFIDENCES, key=lambda level, felt=felt: abs(level - felt)),  # type: ignore[misc]
                        seconds=round(seconds, 3),
                        hidden_seconds=0.0,
                    )
                )
        for arm, mean in model.trust.items():
            for statement in STATEMENTS:
                rating = int(np.clip(np.rint(generator.normal(mean, 1.2)), 1, 7))
                answers.append(
                    Answer(
                        study=key.study,
                        reader=name,
                        simulated=1,
                        kind="rating",
                        arm=arm,
                        item=statement,
                        answer=str(rating),
                    )
                )
    return answers
