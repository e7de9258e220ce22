"""How many readers does a study need? By simulating it many times, with the test that will analyse it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from chiqpm.conformal import clopper_pearson
from chiqpm.errors import ChiqpmError
from chiqpm.study.design import ARMS
from chiqpm.study.permutation import holm, sign_flip_test
from chiqpm.study.simulation import ReaderModel

_CONTRASTS = (("flat", "none"), ("hierarchical", "none"), ("hierarchical", "flat"))


@dataclass(frozen=True)
class PowerRow:
    """Power for one number of readers and one effect.

    Attributes:
        readers: number of simulated readers.
        effect: difference of the accuracies of a typical reader, hierarchical minus flat.
        power: share of the simulated studies in which the primary contrast is found.
        low: lower end of the exact 95% interval of that share.
        high: its upper end.
        studies: number of simulated studies.
    """

    readers: int
    effect: float
    power: float
    low: float
    high: float
    studies: int


def power(
    readers: Sequence[int],
    effects: Sequence[float],
    *,
    trials: int = 18,
    model: ReaderModel | None = None,
    level: float = 0.05,
    studies: int = 1000,
    resamples: int = 499,
    seed: int = 0,
) -> list[PowerRow]:
    """Simulate studies and count in how many hierarchical and flat help are found to differ in accuracy.

    Each study is analysed as `analyse` does: sign-flip tests on the readers' accuracies, corrected over the three
    pairs of arms. An effect of 0 gives the rate of false findings, which must not exceed the level.

    Args:
        readers: numbers of readers, each >= 2.
        effects: hierarchical minus flat accuracy of a typical reader; flat stays as the model has it.
        trials: images that a reader sees, all arms together; a multiple of 3.
        model: the readers; None takes the defaults.
        level: of the corrected p-value, in (0, 1).
        studies: simulated for each row.
        resamples: drawn permutations in each test.
        seed: of all draws.

    Raises:
        ChiqpmError: a number out of range.
    """
    model = model or ReaderModel()
    if trials < 3 or trials % len(ARMS):
        raise ChiqpmError(f"trials must be a multiple of {len(ARMS)}, 3 or more; received {trials}")
    if any(count < 2 for count in readers) or studies < 1 or not 0 < level < 1:
        raise ChiqpmError("power needs 2 or more readers, 1 or more studies and a level in (0, 1)")
    rows = []
    for effect in effects:
        wanted = model.accuracy["flat"] + effect
        if not 0 < wanted < 1:
            raise ChiqpmError(f"an effect of {effect:+g} makes the accuracy {wanted:g}; it must stay in (0, 1)")
        changed = replace(model, accuracy={**model.accuracy, "hierarchical": wanted})
        for count in readers:
            generator = np.random.default_rng([seed, count, round(1e6 * (1 + effect))])
            found = sum(
                _found(_accuracies(changed, count, trials // len(ARMS), generator), level, resamples, number)
                for number in range(studies)
            )
            rate = clopper_pearson(found, studies)
            rows.append(PowerRow(count, effect, rate.value, rate.low, rate.high, studies))
    return rows


def _found(values: dict[str, NDArray[np.float64]], level: float, resamples: int, seed: int) -> bool:
    p_values = [
        sign_flip_test(values[first] - values[second], resamples=resamples, seed=seed, exact_up_to=resamples)
        for first, second in _CONTRASTS
    ]
    return holm(p_values)[-1] <= level


def _accuracies(
    model: ReaderModel, readers: int, per_arm: int, generator: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Every reader's share of right answers in each arm of one simulated study, counterbalanced by rotation."""
    ability_R = generator.normal(0, model.reader_sd, readers)
    item_GT = generator.normal(0, model.item_sd, (len(ARMS), per_arm))
    found = {}
    for place, arm in enumerate(ARMS):
        slope_R = generator.normal(0, model.slope_sd, readers)
        group_R = (place + np.arange(readers) // 6) % len(ARMS)
        chance_RT = expit(logit(model.accuracy[arm]) + (ability_R + slope_R)[:, None] - item_GT[group_R])
        found[arm] = (generator.random((readers, per_arm)) < chance_RT).mean(axis=1)
    return found
