"""What the answers say: accuracy, time, confidence and trust by arm, compared within readers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from chiqpm.errors import ChiqpmError
from chiqpm.study.answers import Answer
from chiqpm.study.design import ARMS
from chiqpm.study.exclusions import Exclusions, Kept, exclude
from chiqpm.study.key import StudyKey
from chiqpm.study.permutation import holm, omnibus_test, sign_flip_test

OUTCOMES = {
    "accuracy": "share of right answers",
    "seconds": "geometric mean of the seconds for an image",
    "confidence": "mean confidence, from 0 to 1",
    "overconfidence": "confidence minus accuracy",
    "trust": "mean rating of the statements about the help, from 1 to 7",
}
"""Name -> meaning. Accuracy is the primary outcome."""
PRIMARY = ("accuracy", "hierarchical", "flat")
_RATIOS = frozenset({"seconds"})


@dataclass(frozen=True)
class Interval:
    """A mean over readers with its confidence interval (Student's t)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Contrast:
    """Two arms compared within readers.

    Attributes:
        outcome: one of `OUTCOMES`.
        first: an arm.
        second: another arm.
        difference: first minus second; for seconds, first over second.
        p_value: of the sign-flip permutation test, two-sided.
        adjusted: the p-value after Holm's correction over the contrasts of this outcome.
    """

    outcome: str
    first: str
    second: str
    difference: Interval
    p_value: float
    adjusted: float


@dataclass(frozen=True)
class Analysis:
    """The result of a study.

    Attributes:
        readers: readers that count.
        simulated: how many of them are simulated.
        readers_left_out: reader -> reason.
        answers_left_out: reason -> answers.
        rules: the exclusion rules in words.
        arms: outcome -> arm -> mean over readers.
        where: `model right` or `model wrong` -> arm -> accuracy.
        omnibus: outcome -> p-value of no difference between any of its arms.
        contrasts: all pairs of arms of all outcomes.
        preference: arm -> readers who would choose it.
        confidence: of the intervals.
    """

    readers: int
    simulated: int
    readers_left_out: dict[str, str]
    answers_left_out: dict[str, int]
    rules: list[str]
    arms: dict[str, dict[str, Interval]]
    where: dict[str, dict[str, Interval]]
    omnibus: dict[str, float]
    contrasts: list[Contrast]
    preference: dict[str, int]
    confidence: float

    def primary(self) -> Contrast:
        """Return the contrast that the study was made for: accuracy with hierarchical against flat help."""
        return next(found for found in self.contrasts if (found.outcome, found.first, found.second) == PRIMARY)

    def sentence(self) -> str:
        """Say the primary result in plain words."""
        found = self.primary()
        who = f"{self.simulated} SIMULATED readers (no people)" if self.simulated == self.readers else "readers"
        if 0 < self.simulated < self.readers:
            who = f"readers, {self.simulated} of them SIMULATED"
        count = "" if self.simulated == self.readers else f"{self.readers} "
        shown = found.adjusted < 1 - self.confidence
        which = "more" if found.difference.value > 0 else "less"
        result = (
            f"are {which} accurate with hierarchical explanations than with flat sets"
            if shown
            else "do not show a difference in accuracy between hierarchical explanations and flat sets"
        )
        return (
            f"{count}{who} {result}: {100 * found.difference.value:+.1f} percentage points "
            f"({self.confidence:.0%} interval {100 * found.difference.low:+.1f} to {100 * found.difference.high:+.1f}; "
            f"permutation test p = {found.p_value:.4f}, {found.adjusted:.4f} after Holm's correction)."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"sentence": self.sentence(), **asdict(self)}


def analyse(
    answers: Sequence[Answer],
    key: StudyKey,
    *,
    rules: Exclusions | None = None,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> Analysis:
    """Analyse the answers of a study.

    Every reader's answers become one value for each outcome and arm; arms are compared by these values, so that
    readers, not answers, are the units. Means have Student's t intervals over readers. P-values come from permutations
    within readers, exact up to 14 readers, and are corrected over the pairs of arms of an outcome (Holm).

    Args:
        answers: of all readers.
        key: the study's truths.
        rules: of exclusion; None takes the defaults.
        confidence: of the intervals, in (0, 1); 1 minus it is the level of the sentence.
        resamples: permutations that are drawn where there are too many to go through.
        seed: of the draws.

    Raises:
        ChiqpmError: answers to another study or about unknown images, or fewer than 2 readers that count.
    """
    if not 0 < confidence < 1:
        raise ChiqpmError(f"confidence must lie strictly between 0 and 1; received {confidence}")
    _check(answers, key)
    kept = exclude(answers, key.trials_per_arm, rules)
    readers = sorted(kept.trials)
    if len(readers) < 2:
        raise ChiqpmError(
            f"{len(readers)} of {len(readers) + len(kept.readers_left_out)} readers count; an analysis needs 2 or "
            f"more. Left out: {kept.readers_left_out}"
        )
    values = _values(kept, key, readers)
    values |= _trust(answers, readers)
    arms, omnibus, contrasts = {}, {}, []
    for outcome, by_arm in values.items():
        arms[outcome] = {arm: _interval(column, outcome, confidence) for arm, column in by_arm.items()}
        columns = np.stack(list(by_arm.values()), axis=1)
        omnibus[outcome] = omnibus_test(columns, resamples=resamples, seed=seed)
        contrasts += _contrasts(outcome, by_arm, confidence, resamples, seed)
    simulated = {answer.reader for answer in answers if answer.simulated}
    preference = Counter(a.answer for a in answers if a.kind == "preference" and a.reader in kept.trials)
    return Analysis(
        readers=len(readers),
        simulated=len(simulated & set(readers)),
        readers_left_out=kept.readers_left_out,
        answers_left_out=kept.answers_left_out,
        rules=(rules or Exclusions()).sentences(),
        arms=arms,
        where=_where(kept, key, readers, confidence),
        omnibus=omnibus,
        contrasts=contrasts,
        preference=dict(preference),
        confidence=confidence,
    )


def _check(answers: Sequence[Answer], key: StudyKey) -> None:
    for answer in answers:
        if answer.study != key.study:
            raise ChiqpmError(
                f"reader {answer.reader} answered study {answer.study!r}, the key belongs to study {key.study!r}"
            )
        if answer.kind not in ("trial", "practice"):
            continue
        if answer.item not in key.items:
            raise ChiqpmError(f"reader {answer.reader} answered about {answer.item!r}, which this study doesn't have")
        if int(answer.answer) not in key.items[answer.item].options:
            raise ChiqpmError(f"reader {answer.reader}, image {answer.item}: class {answer.answer} was no option")
    counts = Counter((a.reader, a.item) for a in answers if a.kind == "trial")
    twice = [place for place, count in counts.items() if count > 1]
    if twice:
        raise ChiqpmError(f"reader {twice[0][0]} answered twice about image {twice[0][1]}")


def _values(kept: Kept, key: StudyKey, readers: list[str]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Outcome -> arm -> one value for each reader; times as logarithms."""
    found: dict[str, dict[str, NDArray[np.float64]]] = {name: {} for name in OUTCOMES if name != "trust"}
    for arm in ARMS:
        rows = [[row for row in kept.trials[reader] if row.arm == arm] for reader in readers]
        right = [np.mean([int(row.answer) == key.items[row.item].truth for row in of]) for of in rows]
        sure = [np.mean([(row.confidence or 0) / 100 for row in of]) for of in rows]
        found["accuracy"][arm] = np.array(right)
        found["seconds"][arm] = np.array([np.mean([np.log(row.seconds or np.nan) for row in of]) for of in rows])
        found["confidence"][arm] = np.array(sure)
        found["overconfidence"][arm] = np.array(sure) - np.array(right)
    return found


def _trust(answers: Sequence[Answer], readers: list[str]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Ratings of readers who rated both kinds of help; nothing where there are fewer than 2 of them."""
    ratings: dict[tuple[str, str], list[int]] = defaultdict(list)
    for answer in answers:
        if answer.kind == "rating":
            ratings[answer.reader, answer.arm].append(int(answer.answer))
    helped = [arm for arm in ARMS if arm != "none"]
    rated = [reader for reader in readers if all(ratings[reader, arm] for arm in helped)]
    if len(rated) < 2:
        return {}
    return {"trust": {arm: np.array([np.mean(ratings[reader, arm]) for reader in rated]) for arm in helped}}


def _where(kept: Kept, key: StudyKey, readers: list[str], confidence: float) -> dict[str, dict[str, Interval]]:
    """Accuracy where the model is right and where it is wrong: does the help mislead?"""
    found: dict[str, dict[str, Interval]] = {}
    for name, wanted in (("model right", True), ("model wrong", False)):
        found[name] = {}
        for arm in ARMS:
            means = []
            for reader in readers:
                items = [(row, key.items[row.item]) for row in kept.trials[reader] if row.arm == arm]
                of = [int(row.answer) == item.truth for row, item in items if (item.predicted == item.truth) == wanted]
                means += [float(np.mean(of))] if of else []
            if len(means) >= 2:
                found[name][arm] = _interval(np.array(means), "accuracy", confidence)
    return found


def _contrasts(
    outcome: str, by_arm: Mapping[str, NDArray[np.float64]], confidence: float, resamples: int, seed: int
) -> list[Contrast]:
    pairs = [(second, first) for first, second in combinations(by_arm, 2)]
    differences = [by_arm[first] - by_arm[second] for first, second in pairs]
    p_values = [sign_flip_test(column, resamples=resamples, seed=seed) for column in differences]
    return [
        Contrast(outcome, first, second, _interval(column, outcome, confidence), p_value, adjusted)
        for (first, second), column, p_value, adjusted in zip(pairs, differences, p_values, holm(p_values), strict=True)
    ]


def _interval(column: NDArray[np.float64], outcome: str, confidence: float) -> Interval:
    mean, error = float(column.mean()), float(column.std(ddof=1) / np.sqrt(len(column)))
    reach = float(stats.t.ppf((1 + confidence) / 2, len(column) - 1)) * error
    ends = np.array([mean, mean - reach, mean + reach])
    if outcome in _RATIOS:
        ends = np.exp(ends)
    return Interval(*(float(end) for end in ends))
