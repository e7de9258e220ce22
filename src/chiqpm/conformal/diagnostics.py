"""How well prediction sets keep their promise, and where they don't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from chiqpm.conformal.arrays import Array, as_matrix, as_numpy, check_labels
from chiqpm.conformal.intervals import Rate, clopper_pearson
from chiqpm.conformal.quantile import check_coverage
from chiqpm.errors import ChiqpmError

SIZE_BINS = ((0, 1), (2, 3), (4, 10), (11, 100), (101, 1000))
"""Set sizes, first and last, that SSCV pools (Angelopoulos et al., 2021)."""


@dataclass(frozen=True)
class Slice:
    """A part of the images and how often the truth is in their sets.

    Attributes:
        by: what the images are divided by, for instance `class`.
        value: which part, for instance `12`.
        coverage: share of the images whose set holds the truth.
        suspicious: whether so low a coverage would be improbable (below 5% over all slices together, by
            Bonferroni's inequality) if the target held in the slice.
    """

    by: str
    value: str
    coverage: Rate
    suspicious: bool


@dataclass(frozen=True)
class Diagnostics:
    """Coverage and size of prediction sets, as a whole and in parts.

    Attributes:
        target: requested coverage.
        coverage: share of the images whose set holds the truth.
        mean_size: mean number of classes in a set.
        median_size: median number of classes in a set.
        empty: share of empty sets.
        full: share of sets of all classes.
        size_histogram: number of images by size of their set.
        by: coverage in parts: by `class` (of the truth), by `size` of the set, by `difficulty` (rank of the
            truth by logit), by `level` (leading features that the truth shares with the prediction), and by
            the caller's groups.
        coverage_gap: CovGap, the mean over classes of |coverage - target| in percentage points (Ding et al.,
            2023).
        size_stratified_violation: SSCV, the largest |coverage - target| over `SIZE_BINS` (Angelopoulos et
            al., 2021).
        worst: the class, group or set size of at least `min_count` images with the lowest coverage; None if
            none is so large. Difficulty and level are left out: they say how wrong the prediction is, which
            nobody knows beforehand.
        min_count: images that a slice needs to count for `worst` and for the size-stratified violation.
    """

    target: float
    coverage: Rate
    mean_size: float
    median_size: float
    empty: Rate
    full: Rate
    size_histogram: dict[int, int]
    by: dict[str, dict[str, Rate]]
    coverage_gap: float
    size_stratified_violation: float
    worst: Slice | None
    min_count: int

    def sentence(self) -> str:
        """Say the result in plain words."""
        text = (
            f"The set holds the truth for {_percent(self.coverage)} of {self.coverage.trials:,} images "
            "(asked for: "
            f"{self.target:.1%}); it names {self.mean_size:.2f} of the classes on average (median "
            f"{self.median_size:g}), "
            f"none for {self.empty.hits:,} and all of them for {self.full.hits:,} images."
        )
        if self.worst is None:
            return text
        verdict = "which is more than chance explains" if self.worst.suspicious else "which may be chance"
        return (
            f"{text} It is right least often for {self.worst.by} {self.worst.value}: "
            f"{_percent(self.worst.coverage)} of "
            f"{self.worst.coverage.trials:,} images, {verdict}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values for JSON."""
        return asdict(self)


def diagnose(
    sets_BC: Array,
    labels_B: Array,
    *,
    coverage: float,
    logits_BC: Array | None = None,
    levels_B: Array | None = None,
    groups: Mapping[str, Sequence[Any] | Array] | None = None,
    size_bins: Sequence[tuple[int, int]] = SIZE_BINS,
    min_count: int = 20,
    confidence: float = 0.95,
) -> Diagnostics:
    """Measure coverage and size of prediction sets on labelled images that had no part in training or calibration.

    Args:
        sets_BC: True where a class is in the set.
        labels_B: true classes.
        coverage: requested coverage, in (0, 1).
        logits_BC: logits, for the coverage by difficulty.
        levels_B: k of the true class in each image's tree, for the coverage by level.
        groups: one value per image and name, for instance `{"camera": [...]}`; any values, in any order.
        size_bins: first and last size of the sets that are pooled for the size-stratified violation.
        min_count: images that a slice needs to be called the worst and to count in the size-stratified
            violation.
        confidence: of the intervals.

    Raises:
        TypeError: labels or levels aren't integers.
        ChiqpmError: shapes don't fit, there is no image, or a number is out of range.

    >>> result = diagnose(np.eye(3, dtype=bool)[[0, 1, 2, 2]], np.array([0, 1, 2, 0]), coverage=0.9)
    >>> result.coverage.value, result.mean_size, result.by["class"]["0"].value
    (0.75, 1.0, 0.5)
    """
    target = check_coverage(coverage)
    chosen_BC = as_numpy(as_matrix(sets_BC, "sets", "images, classes"))
    if chosen_BC.dtype != np.bool_:
        raise TypeError(f"sets must be booleans, True where a class is in the set; got dtype {chosen_BC.dtype}.")
    num_images, num_classes = chosen_BC.shape
    if num_images == 0:
        raise ChiqpmError("coverage needs at least one image; got none.")
    labels = check_labels(labels_B, num_images, num_classes).numpy()
    covered_B = chosen_BC[np.arange(num_images), labels]
    sizes_B = chosen_BC.sum(axis=1)
    codes: dict[str, NDArray[Any]] = {"class": labels, "size": sizes_B}
    if logits_BC is not None:
        logits = as_numpy(as_matrix(logits_BC, "logits", "images, classes"))
        if logits.shape != chosen_BC.shape:
            raise ChiqpmError(f"logits must have the shape of the sets, {chosen_BC.shape}; got {logits.shape}.")
        codes["difficulty"] = (logits >= logits[np.arange(num_images), labels][:, None]).sum(axis=1)
    if levels_B is not None:
        codes["level"] = _column(levels_B, "levels", num_images)
    for name, values in (groups or {}).items():
        if name in codes or name in {"difficulty", "level"}:
            raise ChiqpmError(f"a group can't be called {name!r}, which names a slice of its own; choose another name.")
        codes[name] = _column(values, f"group {name!r}", num_images)
    by = {name: _rates(values, covered_B, confidence) for name, values in codes.items()}
    by_class = [abs(rate.value - target) for rate in by["class"].values()]
    return Diagnostics(
        target=target,
        coverage=_rate(covered_B, confidence),
        mean_size=float(sizes_B.mean()),
        median_size=float(np.median(sizes_B)),
        empty=_rate(sizes_B == 0, confidence),
        full=_rate(sizes_B == num_classes, confidence),
        size_histogram={int(s): int(n) for s, n in zip(*np.unique(sizes_B, return_counts=True), strict=True)},
        by=by,
        coverage_gap=100 * float(np.mean(by_class)),
        size_stratified_violation=_size_violation(sizes_B, covered_B, target, size_bins, min_count),
        worst=_worst(by, target, min_count),
        min_count=min_count,
    )


def _column(values: Sequence[Any] | Array, name: str, num_images: int) -> NDArray[Any]:
    column = as_numpy(values)
    if column.shape != (num_images,):
        raise ChiqpmError(f"{name} must have one value per image, shape ({num_images},); got shape {column.shape}.")
    return column


def _rate(hits_B: NDArray[np.bool_], confidence: float) -> Rate:
    return clopper_pearson(int(hits_B.sum()), hits_B.size, confidence)


def _rates(values_B: NDArray[Any], covered_B: NDArray[np.bool_], confidence: float) -> dict[str, Rate]:
    found, codes_B = np.unique(values_B, return_inverse=True)
    trials = np.bincount(codes_B, minlength=found.size)
    hits = np.bincount(codes_B, weights=covered_B, minlength=found.size)
    return {
        str(value): clopper_pearson(int(hit), int(trial), confidence)
        for value, hit, trial in zip(found.tolist(), hits, trials, strict=True)
    }


def _size_violation(
    sizes_B: NDArray[Any],
    covered_B: NDArray[np.bool_],
    target: float,
    size_bins: Sequence[tuple[int, int]],
    min_count: int,
) -> float:
    inside = [(sizes_B >= first) & (sizes_B <= last) for first, last in size_bins]
    gaps = [abs(float(covered_B[bin_B].mean()) - target) for bin_B in inside if bin_B.sum() >= max(1, min_count)]
    return max(gaps, default=0.0)


def _worst(by: dict[str, dict[str, Rate]], target: float, min_count: int) -> Slice | None:
    slices = [
        (name, value, rate)
        for name, rates in by.items()
        if name not in {"difficulty", "level"}
        for value, rate in rates.items()
        if rate.trials >= max(1, min_count)
    ]
    if not slices:
        return None
    name, value, rate = min(slices, key=lambda s: (s[2].value, -s[2].trials))
    chance = float(stats.binom.cdf(rate.hits, rate.trials, target))
    return Slice(name, value, rate, chance * len(slices) < 0.05)


def _percent(rate: Rate) -> str:
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"
