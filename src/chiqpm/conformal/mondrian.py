"""Conditional coverage: one threshold for each class, cluster of classes, group of images, or level of the tree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.conformal import storage
from chiqpm.conformal.arrays import Array, as_kind, as_numpy, blocks, check_codes, empty_like_kind
from chiqpm.conformal.hierarchy import tree
from chiqpm.conformal.quantile import check_coverage, conformal_rank, warn_too_small
from chiqpm.conformal.scores import HierarchicalScore, Score
from chiqpm.conformal.scoring import (
    check_scored,
    not_calibrated,
    require_one_variant,
    score_classes,
    score_labels,
)
from chiqpm.conformal.uniform import Generator
from chiqpm.errors import ChiqpmError

By = Literal["class", "group", "level"]


class MondrianPredictor:
    """Split conformal prediction that keeps its promise within each class, group of images or level of the tree.

    `by="class"`: a class enters a set when its score is within the threshold of its own calibration images;
    among the images of any one class, the truth is in the set with at least the requested probability.
    `by="group"`: the threshold is that of the image's group, which must be known when predicting (a camera, a
    site); the promise then holds within each group.
    `by="level"`: the threshold is that of the level k_c at which the class leaves the prediction's path, see
    `HierarchicalScore`; the promise then holds among the images whose true class shares k features with the
    prediction, for each k: for slight errors as for gross ones. (Vovk, Gammerman and Shafer, 2005, Mondrian
    conformal prediction.)

    Cells (classes, groups or levels) with fewer calibration images than `min_count` share one threshold, and the
    promise holds for them together. For this to be exact, small cells are told from large ones as if the test image
    were one of the calibration images, with the class in question: its own cell is then small with fewer than
    `min_count` others, any other cell with at most `min_count`. The scores of all cells with at most `min_count`
    images give the shared threshold.

    Classes can share thresholds by choice as well: with `cells_C` from `cluster_classes`, made from other
    images, this is clustered conformal prediction (Ding, Angelopoulos, Bates, Jordan and Tibshirani, 2023).
    """

    def __init__(
        self, score: Score, by: By, *, min_count: int = 20, cells_C: Sequence[int] | Array | None = None
    ) -> None:
        """Wrap a score.

        Args:
            score: any score, a hierarchical one for `by="level"`; a level-limited one needs a given level.
            by: `class`, `group` or `level`.
            min_count: calibration images below which cells are pooled; 1 pools none that has any.
            cells_C: for `by="class"`: the cell of each class, integers >= 0; None makes each class a cell of
                its own.

        Raises:
            TypeError: cells aren't integers.
            ChiqpmError: an option isn't allowed, or the score chooses a level for each coverage.
        """
        if by not in get_args(By):
            raise ChiqpmError(f"by must be one of {', '.join(get_args(By))}; got {by!r}.")
        if by == "level" and not isinstance(score, HierarchicalScore):
            raise ChiqpmError(f"by='level' needs the tree of a HierarchicalScore; got {score!r}.")
        if min_count < 1:
            raise ChiqpmError(f"min_count must be 1 or more; got {min_count}.")
        if cells_C is not None and by != "class":
            raise ChiqpmError("cells_C maps classes to cells; it needs by='class'.")
        self.score, self.by, self.min_count = require_one_variant(score), by, int(min_count)
        self._cells_C: NDArray[np.int64] | None = None
        if cells_C is not None:
            cells = as_numpy(cells_C)
            self._cells_C = check_codes(cells, len(cells), 1 << 31, name="cells_C", what="cell").numpy()
        self._num_classes: int | None = None
        self._names: list[str] = []
        self._pooled: list[str] = []
        self._sorted: list[NDArray[np.float64]] = []

    def calibrate(
        self,
        logits_MC: Array,
        labels_M: Array,
        features_MK: Array | None = None,
        *,
        groups_M: Sequence[Any] | Array | None = None,
        generator: Generator | None = None,
    ) -> MondrianPredictor:
        """Keep the scores of the true classes, cell by cell; arguments as `ConformalPredictor.calibrate`.

        Args:
            logits_MC: logits of the calibration images.
            labels_M: their true classes, 0 .. C - 1.
            features_MK: their features, for a score that reads them.
            groups_M: for `by="group"`: the group of each image, any values.
            generator: source of the draws, for a randomised score.

        Returns:
            The predictor itself.

        Raises:
            TypeError: as `ConformalPredictor.calibrate`.
            ChiqpmError: as `ConformalPredictor.calibrate`; also where groups are missing, needless or of
                another length.
        """
        scores_VM, labels, num_classes = score_labels(self.score, logits_MC, labels_M, features_MK, generator)
        names_M = self._names_of(logits_MC, labels, features_MK, groups_M, num_classes)
        found, codes_M, counts = np.unique(names_M, return_inverse=True, return_counts=True)
        large = counts >= self.min_count
        self._names, self._pooled = found[large].tolist(), found[~large].tolist()
        order = np.argsort(scores_VM[0], kind="stable")
        values_M, codes_M = scores_VM[0][order], codes_M[order]
        self._sorted = [values_M[codes_M == code] for code in np.flatnonzero(large)]
        self._sorted.append(values_M[counts[codes_M] <= self.min_count])
        self._num_classes = num_classes
        return self

    @property
    def pooled(self) -> tuple[str, ...]:
        """Cells of the calibration images that were too small for a threshold of their own."""
        return tuple(self._pooled)

    def thresholds(self, coverage: float) -> dict[str, float]:
        """Return the largest admitted score of each cell; that of the pooled cells, if any, is called `pooled`.

        Warns:
            SmallCalibrationWarning: a cell has too few images for the coverage; its threshold is infinite.

        Raises:
            TypeError: coverage is no number.
            ChiqpmError: coverage outside (0, 1), or not calibrated.
        """
        names = [*self._names, "pooled"] if self._pooled else self._names
        return dict(zip(names, self._values(coverage), strict=False))

    def predict_set(
        self,
        logits_BC: Array,
        features_BK: Array | None = None,
        *,
        coverage: float,
        groups_B: Sequence[Any] | Array | None = None,
        generator: Generator | None = None,
    ) -> Array:
        """Return the prediction sets.

        Args:
            logits_BC: logits of the images.
            features_BK: their features, for a score that reads them.
            coverage: probability, in (0, 1), with which the truth is to be in the set, within each cell.
            groups_B: for `by="group"`: the group of each image, one of those calibrated.
            generator: source of the draws, for a randomised score.

        Returns:
            True where a class is in the set, (B, C), in the kind of array that `logits_BC` has. A class or
            level without any calibration image, whose cell can promise nothing, is in every set.

        Warns:
            SmallCalibrationWarning: a cell has too few calibration images for the coverage.

        Raises:
            TypeError: an array isn't numeric, or coverage is no number.
            ChiqpmError: as `ConformalPredictor.predict_set`; also for a group without calibration images.
        """
        limits = torch.from_numpy(self._values(coverage))
        logits, features = check_scored(self.score, logits_BC, features_BK, self._num_classes)
        cells = self._cells_of(logits.shape, groups_B)
        sets_BC = empty_like_kind(logits, tuple(logits.shape), torch.bool)
        for rows, scores in score_classes(self.score, logits, features, generator):
            if self.by == "level":
                levels_BC = levels_of(self.score, logits[rows], features[rows])  # type: ignore[arg-type, index]
                here = limits[cells[levels_BC]]
            else:
                here = limits[cells if self.by == "class" else cells[rows]]
            sets_BC[rows] = scores[0] <= here.to(scores[0])
        return as_kind(sets_BC, logits)

    def state(self) -> dict[str, Any]:
        """Return all that makes the predictor again: plain values, and NumPy arrays under `arrays`."""
        self._calibrated()
        state = storage.to_state(self.score, np.concatenate(self._sorted)[None], self._num_classes)
        state["arrays"]["cell_counts"] = np.array([len(part) for part in self._sorted])
        if self._cells_C is not None:
            state["arrays"]["cells_C"] = self._cells_C
        return {**state, "mondrian": [self.by, self.min_count, self._names, self._pooled]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> MondrianPredictor:
        """Make the predictor that `state` describes.

        Raises:
            ChiqpmError: something is missing, unknown or of another version; the message names it.
        """
        if not isinstance(state, dict) or "mondrian" not in state or "cell_counts" not in state.get("arrays", {}):
            raise ChiqpmError("this is no state of a MondrianPredictor; calibrate again with this version.")
        arrays = dict(state["arrays"])
        counts, cells_C = np.array(arrays.pop("cell_counts"), dtype=np.int64), arrays.pop("cells_C", None)
        values = np.array(arrays.get("calibration_scores_VM"), dtype=np.float64).reshape(-1)
        score, _, num_classes = storage.from_state({**state, "arrays": arrays})
        by, min_count, names, pooled = state["mondrian"]
        predictor = cls(score, by, min_count=min_count, cells_C=cells_C)
        if len(counts) != len(names) + 1 or counts.sum() != len(values):
            raise ChiqpmError("the cells of the saved MondrianPredictor don't fit its scores; calibrate again.")
        predictor._names, predictor._pooled, predictor._num_classes = list(names), list(pooled), num_classes
        predictor._sorted = [np.sort(part) for part in np.split(values, counts.cumsum()[:-1])]
        return predictor

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the calibrated predictor to an npz file without pickles."""
        storage.write(self.state(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MondrianPredictor:
        """Read a predictor that `save` wrote; nothing is unpickled.

        Raises:
            FileNotFoundError: no such file.
            ChiqpmError: the file isn't one, or is of another version.
        """
        return cls.from_state(storage.read(path))

    def _calibrated(self) -> None:
        if not self._sorted:
            raise not_calibrated()

    def _values(self, coverage: float) -> NDArray[np.float64]:
        """Threshold of each cell, then of the pooled ones, then of classes without calibration images."""
        coverage = check_coverage(coverage)
        self._calibrated()
        values = np.full(len(self._sorted) + 1, np.inf)
        for i, part in enumerate(self._sorted):
            rank = conformal_rank(len(part), coverage)
            if rank <= len(part):
                values[i] = part[rank - 1]
            elif i < len(self._names):
                warn_too_small(len(part), coverage, whom=f" of {self.by} {self._names[i]}")
            elif self._pooled:
                warn_too_small(len(part), coverage, whom=f" of {len(self._pooled)} pooled cells")
        return values

    def _names_of(
        self,
        logits_MC: Array,
        labels_M: NDArray[np.int64],
        features_MK: Array | None,
        groups_M: Sequence[Any] | Array | None,
        num_classes: int,
    ) -> NDArray[np.str_]:
        """Name of the cell of each calibration image's true class."""
        if self.by == "group":
            return self._group_names(groups_M, len(labels_M))
        self._refuse_groups(groups_M)
        if self.by == "level":
            logits, features = check_scored(self.score, logits_MC, features_MK, num_classes)
            parts = [
                levels_of(self.score, logits[rows], features[rows])[np.arange(len(labels_M[rows])), labels_M[rows]]  # type: ignore[arg-type, index]
                for rows in blocks(len(labels_M), num_classes)
            ]
            return np.concatenate(parts).astype(str)
        cells_C = np.arange(num_classes) if self._cells_C is None else self._cells_C
        if len(cells_C) != num_classes:
            raise ChiqpmError(f"cells_C must have one cell per class, {num_classes}; got {len(cells_C)}.")
        return cells_C[labels_M].astype(str)

    def _cells_of(self, shape: Sequence[int], groups_B: Sequence[Any] | Array | None) -> NDArray[np.int64]:
        """Index into the thresholds: (B, 1) for groups, (1, C) for classes, (n + 1) for levels."""
        index = {name: i for i, name in enumerate(self._names)}
        index.update(dict.fromkeys(self._pooled, len(self._names)))
        unseen = len(self._sorted)
        if self.by == "group":
            names_B = self._group_names(groups_B, shape[0])
            unknown = sorted(set(names_B.tolist()) - index.keys())
            if unknown:
                raise ChiqpmError(
                    f"group {unknown[0]!r} has no calibration images, so that nothing can be promised for it; "
                    f"known are {', '.join(sorted(index))}. Calibrate with images of every group."
                )
            return np.array([[index[name]] for name in names_B.tolist()], dtype=np.int64).reshape(-1, 1)
        self._refuse_groups(groups_B)
        if isinstance(self.score, HierarchicalScore) and self.by == "level":
            return np.array([index.get(str(k), unseen) for k in range(self.score.features_per_class + 1)])
        cells_C = np.arange(shape[1]) if self._cells_C is None else self._cells_C
        return np.array([[index.get(str(cell), unseen) for cell in cells_C]])

    def _group_names(self, groups: Sequence[Any] | Array | None, num_images: int) -> NDArray[np.str_]:
        if groups is None:
            raise ChiqpmError("by='group' needs the group of each image.")
        values = as_numpy(groups)
        if values.shape != (num_images,):
            raise ChiqpmError(f"groups must be one value per image, shape ({num_images},); got shape {values.shape}.")
        return values.astype(str)

    def _refuse_groups(self, groups: Sequence[Any] | Array | None) -> None:
        if groups is not None:
            raise ChiqpmError(f"groups are given, but the thresholds are by {self.by}; use by='group'.")


def levels_of(score: HierarchicalScore, logits_BC: Array, features_BK: Array) -> NDArray[np.int64]:
    """Return k_c, the number of leading features that each class shares with the prediction, (B, C)."""
    predicted_B = logits_BC.argmax(1)
    return as_numpy(tree(features_BK, score.weight_CK, predicted_B).shared_BC)
