"""Intervals for observed coverage: around an estimate, and around the target."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from chiqpm.conformal.quantile import check_coverage, conformal_rank
from chiqpm.errors import ChiqpmError


@dataclass(frozen=True)
class Rate:
    """An observed share with its exact binomial interval (Clopper and Pearson, 1934).

    Attributes:
        hits: how many of the images count.
        trials: number of images.
        value: hits / trials; NaN without an image.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    hits: int
    trials: int
    value: float
    low: float
    high: float


def clopper_pearson(hits: int, trials: int, confidence: float = 0.95) -> Rate:
    """Return the share of hits with an interval that holds the true share at least with this confidence.

    Args:
        hits: 0 .. trials.
        trials: independent images, >= 0.
        confidence: in (0, 1).

    Raises:
        ChiqpmError: counts or confidence out of range.

    >>> rate = clopper_pearson(90, 100)
    >>> round(rate.low, 3), round(rate.high, 3)
    (0.824, 0.951)
    """
    if not 0 <= hits <= trials:
        raise ChiqpmError(f"hits must lie in 0..trials; got {hits} of {trials}.")
    if not 0 < confidence < 1:
        raise ChiqpmError(f"confidence must lie strictly between 0 and 1; got {confidence}.")
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, hits, trials - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return Rate(int(hits), int(trials), hits / trials if trials else math.nan, low, high)


def coverage_band(
    num_calibration: int, num_test: int, coverage: float, confidence: float = 0.95, *, splits: int = 1
) -> tuple[float, float]:
    """Where the observed coverage falls, if everything is right: of one calibration and test split, or their mean.

    For scores without ties the number of covered test images is beta-binomial: with r the rank of the
    threshold, the coverage of one calibration set is Beta(r, m + 1 - r) distributed (Vovk, 2012). With ties,
    or with sets that are never empty, it may lie above the band, but not below. Random splits of one and the same
    set of images are independent of each other, given the images, and obey the same law.

    Args:
        num_calibration: m, number of calibration images, >= 1.
        num_test: number of test images, >= 1.
        coverage: requested coverage, in (0, 1).
        confidence: probability of the band, in (0, 1); both tails are equal.
        splits: independent splits whose mean coverage is observed, >= 1.

    Returns:
        Smallest and largest observed coverage in the band; (1, 1) where the sets hold every class.

    Raises:
        ChiqpmError: a number out of range.

    >>> coverage_band(100, 100, 0.9)
    (0.81, 0.97)
    >>> low, high = coverage_band(100, 100, 0.9, splits=1000)
    >>> round(low, 4), round(high, 4)
    (0.8984, 0.9036)
    """
    coverage = check_coverage(coverage)
    if num_calibration < 1 or num_test < 1 or splits < 1 or not 0 < confidence < 1:
        raise ChiqpmError(
            "num_calibration, num_test and splits must be 1 or more and confidence in (0, 1); got "
            f"{num_calibration}, {num_test}, {splits} and {confidence}."
        )
    rank = conformal_rank(num_calibration, coverage)
    if rank > num_calibration:
        return 1.0, 1.0
    law = stats.betabinom(num_test, rank, num_calibration + 1 - rank)
    tail = (1 - confidence) / 2
    # The law of a sum of independent counts: the power of the characteristic function of one.
    total = splits * num_test
    mass = np.fft.irfft(np.fft.rfft(law.pmf(np.arange(num_test + 1)), total + 1) ** splits, total + 1)
    through = np.cumsum(mass)
    return float(np.searchsorted(through, tail)) / total, float(np.searchsorted(through, 1 - tail)) / total
