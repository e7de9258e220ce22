"""A Gaussian mixture for every feature at once: its silent and its active state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, floats

_VARIANCE_FLOOR = 1e-6
_RANDOM_STARTS = 3
_GROUPS = 4096
_VALUES_AT_ONCE = 2**22
_ITERATIONS = 300
_TOLERANCE = 1e-5

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixtures:
    """Two normal components for each of K features, the one with the smaller mean first."""

    weight_K2: Array
    """Shares of the components; they sum to 1."""
    mean_K2: Array
    """Means, ascending."""
    variance_K2: Array
    """Variances, at least 1e-6."""


def fit_mixtures(features: ArrayOrTensor, seed: int) -> Mixtures:
    """Fit a mixture of two normal distributions to each feature by expectation maximisation.

    Each feature starts from several splits of its values in two: the best one in the sense of least squares,
    the smallest value against the rest, and a few at random; the most likely result is kept. More than 4096
    values are gathered into as many groups of neighbours, evenly by rank and by value; a group shares its
    membership while its sums stay exact. A variance is the weighted one plus 1e-6, so features are expected
    on the scale of the standardised model head (a deviation of about 1). A constant feature gets two
    components with equal means and variances.

    Args:
        features: Features (N, K), N at least 2.
        seed: Seed of the random starts.

    Returns:
        The mixtures of all features.

    Raises:
        ChiqpmError: On a wrong shape, a single sample or values that aren't finite.
    """
    features_NK = floats(features, "features", "NK")
    if len(features_NK) < 2:
        raise ChiqpmError("features holds one sample; a mixture of two components needs at least two.")
    generator = np.random.default_rng(seed)
    samples, kept = features_NK.shape
    columns = max(1, _VALUES_AT_ONCE // samples)
    blocks = [_fit_block(features_NK[:, start : start + columns], generator) for start in range(0, kept, columns)]
    weight_K2, mean_K2, variance_K2 = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return Mixtures(weight_K2=weight_K2, mean_K2=mean_K2, variance_K2=variance_K2)


class _Components(NamedTuple):
    """Parameters of the two components for each of K features and I starts, each (K, I, 2)."""

    weight: Array
    mean: Array
    variance: Array

    def of(self, features: npt.NDArray[np.intp]) -> _Components:
        return _Components(*(part[features] for part in self))


def _fit_block(features_NK: Array, generator: np.random.Generator) -> tuple[Array, Array, Array]:
    # Centred values keep the sums of squares free of cancellation.
    centre_K = features_NK.mean(axis=0)
    sums = _Sums(np.sort(features_NK.T - centre_K[:, None], axis=1))
    fitted = sums.maximise(sums.starts(generator))
    best_K = sums.log_likelihood(fitted).argmax(axis=1)
    weight, mean, variance = (part[np.arange(len(best_K)), best_K] for part in fitted)
    order = mean.argsort(axis=1, kind="stable")
    weight, mean, variance = (np.take_along_axis(part, order, axis=1) for part in (weight, mean, variance))
    return weight, mean + centre_K[:, None], variance


def _group_starts(values_KN: Array) -> npt.NDArray[np.intp]:
    """First index (K, G) of each group of sorted values; a group may be empty."""
    kept, samples = values_KN.shape
    if samples <= _GROUPS:
        return np.broadcast_to(np.arange(samples), (kept, samples))
    half = _GROUPS // 2
    by_rank = np.arange(half) * samples // half
    # Even steps in value keep a few active images apart from the many silent ones.
    by_value = [np.searchsorted(values, np.linspace(values[0], values[-1], half)) for values in values_KN]
    return np.sort(np.stack([np.concatenate([by_rank, starts]) for starts in by_value]), axis=1)


class _Sums:
    """Sorted values as groups of neighbours: all that expectation maximisation needs are sums of powers."""

    def __init__(self, values_KN: Array) -> None:
        samples = values_KN.shape[1]
        self.first_KG = _group_starts(values_KN)
        count_KG = np.diff(self.first_KG, axis=1, append=samples).astype(np.float64)
        sum_KG, square_KG = (
            np.stack([np.add.reduceat(row, first) for row, first in zip(power_KN, self.first_KG, strict=True)])
            for power_KN in (values_KN, values_KN**2)
        )
        # `reduceat` gives an empty group the value at its start.
        self.sums_KG3 = np.stack([count_KG, sum_KG, square_KG], axis=2) * (count_KG > 0)[..., None]
        value_KG = self.sums_KG3[..., 1] / np.maximum(count_KG, 1)
        self.powers_K3G = np.stack([np.ones_like(value_KG), value_KG, value_KG**2], axis=1)
        self.total_K13 = self.sums_KG3.sum(axis=1)[:, None]
        self.deviation_K11 = np.sqrt(values_KN.var(axis=1) + _VARIANCE_FLOOR)[:, None, None]
        self.lowest_K = (values_KN == values_KN[:, :1]).sum(axis=1)
        self.samples = samples

    def starts(self, generator: np.random.Generator) -> _Components:
        """Components of the lower and the upper part of several splits of the values."""
        kept, groups = self.first_KG.shape
        lower_KG3 = self.sums_KG3.cumsum(axis=1)[:, :-1]
        lower_count, lower_sum, _ = np.moveaxis(lower_KG3, 2, 0)
        count, total, _ = np.moveaxis(self.total_K13, 2, 0)
        pairs = np.maximum(lower_count * (count - lower_count), 1)
        least_squares_K = ((lower_sum - lower_count / count * total) ** 2 / pairs).argmax(axis=1)
        # A start on a few values only would end as a spike on them.
        smallest_K = np.clip(self.lowest_K, self.samples // 20, self.samples)
        tenth = self.samples // 10
        random_KR = generator.integers(tenth, self.samples - tenth, (kept, _RANDOM_STARTS))
        below_KI = np.concatenate([smallest_K[:, None], random_KR], axis=1)
        split_KI = np.stack([np.searchsorted(*row) for row in zip(self.first_KG, below_KI, strict=True)]) - 1
        split_KI = np.concatenate([least_squares_K[:, None], split_KI.clip(0, groups - 2)], axis=1)
        return self._components(lower_KG3[np.arange(kept)[:, None], split_KI], self.total_K13)

    def maximise(self, start: _Components) -> _Components:
        """Iterate until no parameter of a feature moves any more."""
        result = _Components(*(part.copy() for part in start))
        moving = np.arange(len(self.first_KG))
        for _ in range(_ITERATIONS):
            old = result.of(moving)
            log_odds = self._log_density(old, 0, moving) - self._log_density(old, 1, moving)
            lower = 1 / (1 + np.exp(np.clip(-log_odds, -700, 700)))
            new = self._components(lower @ self.sums_KG3[moving], self.total_K13[moving])
            for whole, part in zip(result, new, strict=True):
                whole[moving] = part
            change = np.maximum(
                np.abs(new.mean - old.mean) / self.deviation_K11[moving],
                np.abs(np.log(new.variance / old.variance)),
            )
            still = np.maximum(change, np.abs(new.weight - old.weight)).max(axis=(1, 2)) > _TOLERANCE
            moving = moving[still]
            if not len(moving):
                break
        return result

    def log_likelihood(self, components: _Components) -> Array:
        """Mean log-likelihood of a value, (K, I)."""
        every = np.arange(len(self.first_KG))
        both = np.logaddexp(*(self._log_density(components, side, every) for side in (0, 1)))
        likelihood: Array = (both @ self.sums_KG3[..., :1])[..., 0] / self.samples
        return likelihood

    def _log_density(self, components: _Components, side: int, features: npt.NDArray[np.intp]) -> Array:
        """Log of weight times density, without its constant, (K, I, G)."""
        weight, mean, variance = (part[..., side] for part in components)
        constant = np.log(weight) - 0.5 * np.log(variance) - 0.5 * mean**2 / variance
        coefficients = np.stack([constant, mean / variance, -0.5 / variance], axis=2)
        density: Array = coefficients @ self.powers_K3G[features]
        return density

    @staticmethod
    def _components(lower_KI3: Array, total_K13: Array) -> _Components:
        sums = np.stack([lower_KI3, total_K13 - lower_KI3], axis=2)
        count = np.maximum(sums[..., 0], 1e-12)
        mean = sums[..., 1] / count
        variance = np.maximum(sums[..., 2] / count - mean**2, 0.0) + _VARIANCE_FLOOR
        return _Components(count / total_K13[..., :1], mean, variance)
