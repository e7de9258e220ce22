"""Split conformal prediction: calibrate once, then sets at any coverage."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.conformal import storage
from chiqpm.conformal.arrays import Array, as_kind, empty_like_kind
from chiqpm.conformal.quantile import check_coverage, conformal_rank, warn_too_small
from chiqpm.conformal.scores import Score
from chiqpm.conformal.scoring import (
    check_scored,
    empty_scores,
    not_calibrated,
    require_one_variant,
    score_classes,
    score_labels,
)
from chiqpm.conformal.uniform import Generator, uniforms
from chiqpm.errors import ChiqpmError


@dataclass(frozen=True)
class Threshold:
    """What decides about a class at one coverage.

    Attributes:
        coverage: requested coverage.
        value: the largest score that is admitted; infinite where every class is.
        rank: which of the calibration scores, in rising order and from 1, it is; above their number if there
            are too few.
        variant: which score of the family; the level L of a level-limited hierarchical score, else 0.
        next_variant: whether a class is admitted, too, by a finite score under the next variant, see
            `ConformalPredictor`.
    """

    coverage: float
    value: float
    rank: int
    variant: int
    next_variant: bool = False

    def admits(self, scores_V: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """Whether classes belong to the set, from their scores of any shape under each variant that is asked for."""
        inside = scores_V[self.variant] <= self.value
        return inside | scores_V[self.variant + 1].isfinite() if self.next_variant else inside

    @property
    def variants(self) -> set[int]:
        """The variants that `admits` reads."""
        return {self.variant, self.variant + 1} if self.next_variant else {self.variant}


def find_threshold(sorted_VM: NDArray[np.float64], coverage: float) -> Threshold:
    """Return what decides about a class, from the scores of the calibration images' true classes.

    Args:
        sorted_VM: scores under each variant, each in rising order.
        coverage: in (0, 1).

    Warns:
        SmallCalibrationWarning: too few calibration images; the message says how many are needed.

    Raises:
        TypeError: coverage is no number.
        ChiqpmError: coverage outside (0, 1).
    """
    coverage = check_coverage(coverage)
    num_images = sorted_VM.shape[1]
    rank = conformal_rank(num_images, coverage)
    if rank > num_images:
        warn_too_small(num_images, coverage)
        return Threshold(coverage, float("inf"), rank, 0)
    values_V = sorted_VM[:, rank - 1]
    finite = np.flatnonzero(np.isfinite(values_V))
    variant = int(finite[-1]) if finite.size else 0
    follower = sorted_VM[variant + 1 : variant + 2]
    one_short = int(np.isfinite(follower).sum()) == rank - 1 if follower.size else False
    return Threshold(coverage, float(values_V[variant]), rank, variant, one_short)


class ConformalPredictor:
    """Sets of classes that contain the truth with a requested probability.

    With m calibration images the threshold is the ceil((m + 1) · coverage)-th smallest score of their true
    classes, and a set holds every class whose score does not exceed it, ties included. If calibration and
    test images are exchangeable, then the truth is in the set with at least the requested probability, and,
    where scores don't tie, with at most 1 / (m + 1) more (Vovk et al., 2005; Papadopoulos et al., 2002). The
    probability is over the draw of the calibration images as well as of the test
    image: with one given calibration set, coverage over endless test images is beta distributed.

    Where a score is a family, the last variant with a finite threshold is taken. That choice would be made
    with the calibration images alone; to be exchangeable it must be made with the test image among them,
    assumed to have the class in question. The outcome is another one only if exactly one image is missing
    under the next variant and the class is finite there: it then is among the rank smallest, and so is in the
    set. With this, the theorem holds for families as it does for single scores.

    >>> labels = np.arange(40) % 2
    >>> logits = np.where(np.arange(2) == labels[:, None], np.linspace(-1.0, 3.0, 40)[:, None], 0.0)
    >>> from chiqpm.conformal import THR
    >>> predictor = ConformalPredictor(THR()).calibrate(logits, labels)
    >>> predictor.predict_set(np.array([[4.0, 0.0], [0.2, 0.0]]), coverage=0.9).tolist()
    [[True, False], [True, True]]
    """

    def __init__(self, score: Score) -> None:
        """Wrap a score, for instance `HierarchicalScore(weight_CK)` or `THR()`."""
        if not isinstance(score, Score):
            raise TypeError(f"score must be one of chiqpm.conformal's scores, for instance THR(); got {score!r}.")
        self.score = score
        self._sorted_VM: NDArray[np.float64] | None = None
        self._num_classes = score.num_classes

    @property
    def num_calibration(self) -> int:
        """Number of calibration images; 0 before `calibrate`."""
        return 0 if self._sorted_VM is None else self._sorted_VM.shape[1]

    def calibrate(
        self,
        logits_MC: Array,
        labels_M: Array,
        features_MK: Array | None = None,
        *,
        generator: Generator | None = None,
    ) -> ConformalPredictor:
        """Keep the scores of the true classes of images that had no part in training.

        A second call replaces the first.

        Args:
            logits_MC: logits of the calibration images.
            labels_M: their true classes, 0 .. C - 1.
            features_MK: their features, for a score that reads them.
            generator: source of the draws, for a randomised score.

        Returns:
            The predictor itself.

        Raises:
            TypeError: an array isn't numeric, labels aren't integers, or the generator is of another kind.
            ChiqpmError: shapes don't fit, labels lie outside the classes, there is no image, values aren't
                finite, or features or generator are missing.
        """
        scores_VM, _, num_classes = score_labels(self.score, logits_MC, labels_M, features_MK, generator)
        self._sorted_VM = np.sort(scores_VM, axis=1)
        self._num_classes = num_classes
        return self

    def threshold(self, coverage: float) -> Threshold:
        """Return what decides about a class at this coverage.

        Warns:
            SmallCalibrationWarning: too few calibration images; the message says how many are needed.

        Raises:
            TypeError: coverage is no number.
            ChiqpmError: coverage outside (0, 1), or not calibrated.
        """
        return find_threshold(self._calibrated(), coverage)

    def predict_set(
        self,
        logits_BC: Array,
        features_BK: Array | None = None,
        *,
        coverage: float,
        generator: Generator | None = None,
        smoothing: Generator | None = None,
    ) -> Array:
        """Return the prediction sets at one coverage.

        Args:
            logits_BC: logits of the images.
            features_BK: their features, for a score that reads them.
            coverage: probability, in (0, 1), with which the truth is to be in the set.
            generator: source of the draws, for a randomised score.
            smoothing: source of one more draw per image, which makes the coverage exact whatever ties there are: the
                set then holds the classes whose smoothed p-value is above 1 - coverage. It is part of the set without
                smoothing, and may be empty.

        Returns:
            True where a class is in the set, (B, C), in the kind of array that `logits_BC` has.

        Warns:
            SmallCalibrationWarning: too few calibration images for the coverage; without smoothing, every class is in
                every set.

        Raises:
            TypeError: an array isn't numeric, or coverage is no number.
            ChiqpmError: shapes don't fit, values aren't finite, coverage lies outside (0, 1), or the
                predictor isn't calibrated.
        """
        return self.predict_sets(
            logits_BC, features_BK, coverages=[coverage], generator=generator, smoothing=smoothing
        )[0]

    def predict_sets(
        self,
        logits_BC: Array,
        features_BK: Array | None = None,
        *,
        coverages: Sequence[float],
        generator: Generator | None = None,
        smoothing: Generator | None = None,
    ) -> list[Array]:
        """Return the prediction sets at several coverages, one array (B, C) each, in about the time of one.

        Arguments, warnings and errors are those of `predict_set`.
        """
        thresholds = [self.threshold(coverage) for coverage in coverages]
        if smoothing is not None:
            p_values_BC = self.p_values(logits_BC, features_BK, generator=generator, smoothing=smoothing)
            return [p_values_BC > 1 - threshold.coverage for threshold in thresholds]
        logits, features = check_scored(self.score, logits_BC, features_BK, self._num_classes)
        sets = [empty_like_kind(logits, tuple(logits.shape), torch.bool) for _ in thresholds]
        variants = set().union(*(threshold.variants for threshold in thresholds))
        for rows, scores in score_classes(self.score, logits, features, generator, tuple(variants)):
            for threshold, chosen_BC in zip(thresholds, sets, strict=True):
                chosen_BC[rows] = threshold.admits(scores)
        return [as_kind(chosen_BC, logits) for chosen_BC in sets]

    def scores(
        self,
        logits_BC: Array,
        features_BK: Array | None = None,
        *,
        variant: int = 0,
        generator: Generator | None = None,
    ) -> Array:
        """Return the nonconformity of every class, (B, C); needs no calibration.

        Args:
            logits_BC: logits of the images.
            features_BK: their features, for a score that reads them.
            variant: which score of the family, as in `Threshold.variant`.
            generator: source of the draws, for a randomised score.

        Raises:
            TypeError: an array isn't numeric.
            ChiqpmError: shapes don't fit, values aren't finite, or there is no such variant.
        """
        if not 0 <= variant < self.score.variants:
            raise ChiqpmError(f"variant must lie in 0..{self.score.variants - 1} for {self.score!r}; got {variant}.")
        logits, features = check_scored(self.score, logits_BC, features_BK, self._num_classes)
        scores_BC = empty_scores(logits)
        for rows, scores in score_classes(self.score, logits, features, generator, (variant,)):
            scores_BC[rows] = scores[variant]
        return as_kind(scores_BC, logits)

    def p_values(
        self,
        logits_BC: Array,
        features_BK: Array | None = None,
        *,
        generator: Generator | None = None,
        smoothing: Generator | None = None,
    ) -> Array:
        """Return the conformal p-value of every class: (1 + #{calibration scores >= s}) / (m + 1), in (0, 1].

        The p-value of the truth is at most u with probability at most u. `predict_set` at coverage 1 - a
        holds exactly the classes with a p-value above a.

        Args:
            logits_BC: logits of the images.
            features_BK: their features, for a score that reads them.
            generator: source of the draws, for a randomised score.
            smoothing: source of one draw u per image, for (#{calibration scores > s} + u · (1 + #{scores = s})) / (m +
                1) instead: exactly uniform for the truth, and 0 at the least.

        Returns:
            float64 (B, C), or float32 on devices without it, in the kind of array that `logits_BC` has.

        Raises:
            TypeError: an array isn't numeric.
            ChiqpmError: as `predict_set`; also where the score of a class depends on the coverage (no level
                given).
        """
        require_one_variant(self.score)
        sorted_VM = self._calibrated()
        logits, features = check_scored(self.score, logits_BC, features_BK, self._num_classes)
        device = logits.device if isinstance(logits, torch.Tensor) else torch.device("cpu")
        number = torch.float32 if device.type == "mps" else torch.float64
        sorted_M = torch.from_numpy(sorted_VM[0]).to(device, number)
        values_BC = empty_like_kind(logits, tuple(logits.shape), number)
        u_B = None if smoothing is None else uniforms(smoothing, logits.shape[0]).to(device, number)
        for rows, scores in score_classes(self.score, logits, features, generator):
            scores_BC = scores[0].to(number)
            count_BC = self.num_calibration + 1 - torch.searchsorted(sorted_M, scores_BC).to(number)
            if u_B is not None:
                larger_BC = self.num_calibration - torch.searchsorted(sorted_M, scores_BC, right=True).to(number)
                count_BC = larger_BC + u_B[rows, None] * (count_BC - larger_BC)
            values_BC[rows] = count_BC / (self.num_calibration + 1)
        return as_kind(values_BC, logits)

    def p_values_of(self, scores_BC: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the p-values that `p_values` gives without smoothing, from scores that `scores` gave.

        Args:
            scores_BC: nonconformity of the classes.

        Raises:
            ChiqpmError: not calibrated, or the score of a class depends on the coverage.
        """
        require_one_variant(self.score)
        below_BC = np.searchsorted(self._calibrated()[0], scores_BC.astype(np.float64))
        return np.asarray((self.num_calibration + 1 - below_BC) / (self.num_calibration + 1))

    def state(self) -> dict[str, Any]:
        """Return all that makes the predictor again: plain values, and NumPy arrays under `arrays`.

        Raises:
            ChiqpmError: not calibrated.
        """
        return storage.to_state(self.score, self._calibrated(), self._num_classes)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> ConformalPredictor:
        """Make the predictor that `state` describes; its sets are the same bit for bit.

        Raises:
            ChiqpmError: something is missing, unknown or of another version; the message names it.
        """
        score, sorted_VM, num_classes = storage.from_state(state)
        predictor = cls(score)
        predictor._sorted_VM, predictor._num_classes = sorted_VM, num_classes
        return predictor

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the calibrated predictor to an npz file without pickles, in place of one that is there."""
        storage.write(self.state(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ConformalPredictor:
        """Read a predictor that `save` wrote; nothing is unpickled.

        Raises:
            FileNotFoundError: no such file.
            ChiqpmError: the file isn't one, or is of another version.
        """
        return cls.from_state(storage.read(path))

    def _calibrated(self) -> NDArray[np.float64]:
        if self._sorted_VM is None:
            raise not_calibrated()
        return self._sorted_VM
