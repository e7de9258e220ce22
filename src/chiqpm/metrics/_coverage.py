"""Coverage of prediction sets: how often the truth is inside, and how large the sets are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chiqpm.conformal.intervals import clopper_pearson
from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, flags, integers, on_host


@dataclass(frozen=True, kw_only=True)
class GroupCoverage:
    """Coverage among the samples of one group."""

    group: int | str
    """The group: a set size, a class, or what the caller named it."""
    samples: int
    """Number of samples in the group, at least 1."""
    coverage: float
    """Share of them whose set holds the true class."""
    interval: tuple[float, float]
    """Clopper-Pearson interval of the coverage."""


@dataclass(frozen=True, kw_only=True)
class CoverageReport:
    """How often prediction sets hold the true class, and what they cost in size."""

    samples: int
    """Number of samples."""
    coverage: float
    """Share of samples whose set holds the true class."""
    interval: tuple[float, float]
    """Clopper-Pearson interval of the coverage, given this calibration."""
    mean_size: float
    """Mean number of classes in a set."""
    empty_rate: float
    """Share of samples whose set holds no class."""
    by_size: tuple[GroupCoverage, ...]
    """Coverage among the sets of each size that occurs, smallest first."""


def coverage(sets: ArrayOrTensor, labels: ArrayOrTensor, *, confidence: float = 0.95) -> CoverageReport:
    """Measure coverage, size and emptiness of prediction sets.

    Args:
        sets: Prediction sets (B, C), true where the class belongs to the set.
        labels: True classes (B,), integers.
        confidence: Level of the intervals, in (0, 1).

    Returns:
        Coverage with its interval, mean size, rate of empty sets, and coverage for each set size.

    Raises:
        ChiqpmError: On shapes that don't fit together, labels out of range or a confidence outside (0, 1).
        TypeError: If the labels aren't integers.

    Example:
        >>> report = coverage(np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]), np.array([0, 1, 1, 2]))
        >>> report.coverage, report.mean_size, report.empty_rate
        (0.5, 1.0, 0.25)
        >>> [(row.group, row.samples, row.coverage) for row in report.by_size]
        [(0, 1, 0.0), (1, 2, 0.5), (2, 1, 1.0)]
    """
    covered_B, size_B = _covered(sets, labels)
    return CoverageReport(
        samples=len(size_B),
        coverage=float(covered_B.mean()),
        interval=_interval(int(covered_B.sum()), len(size_B), confidence),
        mean_size=float(size_B.mean()),
        empty_rate=float((size_B == 0).mean()),
        by_size=_by_group(covered_B, size_B, confidence),
    )


def coverage_by_group(
    sets: ArrayOrTensor, labels: ArrayOrTensor, groups: ArrayOrTensor, *, confidence: float = 0.95
) -> tuple[GroupCoverage, ...]:
    """Coverage within each group; with the labels as groups this is class-conditional coverage.

    Args:
        sets: Prediction sets (B, C), true where the class belongs to the set.
        labels: True classes (B,), integers.
        groups: Group of each sample (B,), integers or text.
        confidence: Level of the intervals, in (0, 1); it holds for each group by itself, not for all
            together.

    Returns:
        One row for each group that occurs, in ascending order.

    Raises:
        ChiqpmError: On shapes that don't fit together, labels out of range or a confidence outside (0, 1).
        TypeError: If the labels aren't integers.
    """
    covered_B, size_B = _covered(sets, labels)
    groups_B = on_host(groups)
    if groups_B.shape != size_B.shape:
        raise ChiqpmError(f"groups has shape {groups_B.shape}; one group for each of the {len(size_B)} sets is needed.")
    return _by_group(covered_B, groups_B, confidence)


def _covered(sets: ArrayOrTensor, labels: ArrayOrTensor) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Whether each set holds the true class (B,), and its size (B,)."""
    sets_BC = flags(sets, "sets", "BC")
    samples, classes = sets_BC.shape
    labels_B = integers(labels, "labels", "B", limit=classes, B=samples)
    return sets_BC[np.arange(samples), labels_B], sets_BC.sum(axis=1)


def _by_group(
    covered_B: npt.NDArray[np.bool_], groups_B: npt.NDArray[Any], confidence: float
) -> tuple[GroupCoverage, ...]:
    names, index_B = np.unique(groups_B, return_inverse=True)
    count_G = np.bincount(index_B)
    covered_G = np.bincount(index_B, weights=covered_B).astype(np.int64)
    return tuple(
        GroupCoverage(
            group=name.item(),
            samples=int(count),
            coverage=float(covered / count),
            interval=_interval(int(covered), int(count), confidence),
        )
        for name, count, covered in zip(names, count_G, covered_G, strict=True)
    )


def _interval(hits: int, trials: int, confidence: float) -> tuple[float, float]:
    rate = clopper_pearson(hits, trials, confidence)
    return rate.low, rate.high
