"""What one pass over images shows of every feature: the ground on which features are explained.

Axis letters: B images of a batch, N images, C classes, K features, T top images, S sampled images, H×W grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError
from chiqpm.explain.inputs import finite_array

TOP_IMAGES = 48
SAMPLE = 16_384
_NEVER = np.iinfo(np.uint64).max
"""Key of a place in the sample that no image has taken."""


@dataclass(frozen=True, eq=False)
class Observations:
    """What was gathered; all arrays, so that it can be written as an npz file.

    Attributes:
        count_C: images of each class.
        sum_CK: sum of each feature's activations over the images of each class.
        square_CK: sum of their squares.
        active_K: images in which the feature is active (above 0).
        border_K: share of the activation whose peak lies on the border of the grid; 0 without any activation.
        top_KT: places (in the order of the pass) of the images with the largest activations, the largest first;
            -1 where the feature is active in fewer images.
        top_activation_KT: their activations; 0 where there is none.
        top_label_KT: their classes; -1 where there is none.
        top_maps_KTHW: the feature's maps in them.
        top_context_KTK: values of all maps at the cell where the feature peaks.
        sample_SK: activations in images drawn at random, each as likely as any other; all of them where they are few.
        sample_label_S: their classes.
    """

    count_C: NDArray[np.int64]
    sum_CK: NDArray[np.float64]
    square_CK: NDArray[np.float64]
    active_K: NDArray[np.int64]
    border_K: NDArray[np.float64]
    top_KT: NDArray[np.int64]
    top_activation_KT: NDArray[np.float32]
    top_label_KT: NDArray[np.int64]
    top_maps_KTHW: NDArray[np.float32]
    top_context_KTK: NDArray[np.float32]
    sample_SK: NDArray[np.float32]
    sample_label_S: NDArray[np.int64]

    @property
    def num_images(self) -> int:
        """Number of images that were seen."""
        return int(self.count_C.sum())

    @property
    def mean_CK(self) -> NDArray[np.float64]:  # noqa: N802 - axis letters
        """Mean activation of each feature in each class; 0 for a class without images."""
        mean_CK: NDArray[np.float64] = self.sum_CK / np.maximum(self.count_C, 1)[:, None]
        return mean_CK

    @property
    def variance_CK(self) -> NDArray[np.float64]:  # noqa: N802 - axis letters
        """Population variance of each feature within each class; 0 for a class without images."""
        mean_square_CK = self.square_CK / np.maximum(self.count_C, 1)[:, None]
        variance_CK: NDArray[np.float64] = np.maximum(mean_square_CK - self.mean_CK**2, 0.0)
        return variance_CK


class FeatureObserver:
    """Gathers `Observations` in one pass; its memory doesn't grow with the number of images.

    The same images in the same order give the same observations, whatever the batches; also where observers of parts
    of them are merged, sums to rounding.

    Args:
        num_classes: C.
        num_features: K.
        top: T, how many images with the largest activations are kept for each feature.
        sample: S, how many images are drawn at random.
        seed: of the drawing.
        first: place of its first image in the pass.

    Raises:
        ChiqpmError: a number below 1.

    >>> observer = FeatureObserver(2, 1, top=1)
    >>> observer.update(np.array([[0.5], [2.0]]), np.ones((2, 1, 3, 3)), np.array([0, 1]))
    >>> found = observer.observations()
    >>> found.top_KT.tolist(), found.mean_CK.tolist()
    ([[1]], [[0.5], [2.0]])
    """

    def __init__(
        self,
        num_classes: int,
        num_features: int,
        *,
        top: int = TOP_IMAGES,
        sample: int = SAMPLE,
        seed: int = 0,
        first: int = 0,
    ) -> None:
        if min(num_classes, num_features, top, sample) < 1:
            raise ChiqpmError(
                "classes, features, top images and sampled images must be at least 1 each, received "
                f"{num_classes}, {num_features}, {top} and {sample}"
            )
        self._count_C = np.zeros(num_classes, dtype=np.int64)
        self._sum_CK = np.zeros((num_classes, num_features))
        self._square_CK = np.zeros((num_classes, num_features))
        self._active_K = np.zeros(num_features, dtype=np.int64)
        self._border_K = np.zeros(num_features)
        self._positive_K = np.zeros(num_features)
        self._place_KT = np.full((num_features, top), -1, dtype=np.int64)
        self._activation_KT = np.zeros((num_features, top), dtype=np.float32)
        self._label_KT = np.full((num_features, top), -1, dtype=np.int64)
        self._context_KTK = np.zeros((num_features, top, num_features), dtype=np.float32)
        self._maps_KTHW: NDArray[np.float32] | None = None
        self._sample_SK = np.zeros((sample, num_features), dtype=np.float32)
        self._sample_label_S = np.full(sample, -1, dtype=np.int64)
        self._sample_place_S = np.full(sample, -1, dtype=np.int64)
        self._sample_key_S = np.full(sample, _NEVER)
        self._next = first
        self._seed = seed

    def update(self, features_BK: Any, maps_BKHW: Any, labels_B: Any) -> None:
        """Take in the next images.

        Args:
            features_BK: activations, as the last layer sees them.
            maps_BKHW: the maps of the same features.
            labels_B: classes of the images.

        Raises:
            ChiqpmError: shapes that don't fit, values that aren't finite, or unknown classes.
        """
        num_classes, num_features = self._sum_CK.shape
        labels = finite_array(labels_B, "the labels", ("B",)).astype(np.int64)
        size = len(labels)
        features = finite_array(features_BK, "the features", (size, num_features)).astype(np.float32)
        maps = finite_array(maps_BKHW, "the maps", (size, num_features, "H", "W"))
        if size == 0:
            return
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ChiqpmError(
                f"labels must lie in 0..{num_classes - 1}, received {int(labels.min())}..{int(labels.max())}"
            )
        self._moments(features.astype(np.float64), labels)
        height, width = maps.shape[2:]
        cell_BK = maps.reshape(size, num_features, -1).argmax(axis=2)
        row_BK, column_BK = np.divmod(cell_BK, width)
        on_border_BK = (row_BK % (height - 1 or 1) == 0) | (column_BK % (width - 1 or 1) == 0)
        positive_BK = np.maximum(features, 0.0)
        self._positive_K += positive_BK.sum(axis=0, dtype=np.float64)
        self._border_K += (positive_BK * on_border_BK).sum(axis=0, dtype=np.float64)
        self._keep_top(features, maps, labels, cell_BK)
        self._keep_sample(features, labels)
        self._next += size

    def merge(self, other: FeatureObserver) -> None:
        """Take in what another has observed of other images of the same pass.

        Raises:
            ChiqpmError: the other has other sizes, another seed or another grid.
        """
        own, theirs = ((*o._place_KT.shape, len(o._sample_SK), len(o._count_C), o._seed) for o in (self, other))
        if own != theirs:
            raise ChiqpmError(f"can't merge observations of (K, T, S, C, seed) {own} with {theirs}")
        if other._maps_KTHW is None:
            return
        maps_KTHW = self._maps_of(other._maps_KTHW.shape[2:])
        for name in ("count_C", "sum_CK", "square_CK", "active_K", "border_K", "positive_K"):
            getattr(self, f"_{name}")[...] += getattr(other, f"_{name}")
        both: list[tuple[NDArray[Any], NDArray[Any]]] = [
            (self._place_KT, other._place_KT),
            (self._activation_KT, other._activation_KT),
            (self._label_KT, other._label_KT),
            (self._context_KTK, other._context_KTK),
            (maps_KTHW, other._maps_KTHW),
        ]
        joined = [np.concatenate(pair, axis=1) for pair in both]
        order_KT = _largest_first(*joined[:2])[:, : own[1]]
        for (mine, _), values in zip(both, joined, strict=True):
            mine[...] = _ordered(values, order_KT)
        drawn: list[tuple[NDArray[Any], NDArray[Any]]] = [
            (self._sample_key_S, other._sample_key_S),
            (self._sample_place_S, other._sample_place_S),
            (self._sample_label_S, other._sample_label_S),
            (self._sample_SK, other._sample_SK),
        ]
        kept_S = np.argsort(np.concatenate(drawn[0]), kind="stable")[: own[2]]
        for pair in drawn:
            pair[0][...] = np.concatenate(pair)[kept_S]
        self._next = max(self._next, other._next)

    def observations(self) -> Observations:
        """Return what was gathered so far.

        Raises:
            ChiqpmError: no image was seen.
        """
        if self._maps_KTHW is None:
            raise ChiqpmError("no image was seen yet; call update with the model's outputs first")
        order_KT = _largest_first(self._place_KT, self._activation_KT)
        order_KT = order_KT[:, : max(1, int((self._place_KT >= 0).sum(axis=1).max()))]
        drawn_S = np.flatnonzero(self._sample_place_S >= 0)
        drawn_S = drawn_S[self._sample_place_S[drawn_S].argsort()]
        return Observations(
            count_C=self._count_C.copy(),
            sum_CK=self._sum_CK.copy(),
            square_CK=self._square_CK.copy(),
            active_K=self._active_K.copy(),
            border_K=self._border_K / np.maximum(self._positive_K, 1e-12),
            top_KT=_ordered(self._place_KT, order_KT),
            top_activation_KT=_ordered(self._activation_KT, order_KT),
            top_label_KT=_ordered(self._label_KT, order_KT),
            top_maps_KTHW=_ordered(self._maps_KTHW, order_KT),
            top_context_KTK=_ordered(self._context_KTK, order_KT),
            sample_SK=self._sample_SK[drawn_S],
            sample_label_S=self._sample_label_S[drawn_S],
        )

    def _moments(self, features_BK: NDArray[np.float64], labels_B: NDArray[np.int64]) -> None:
        np.add.at(self._count_C, labels_B, 1)
        np.add.at(self._sum_CK, labels_B, features_BK)
        np.add.at(self._square_CK, labels_B, features_BK**2)
        self._active_K += (features_BK > 0).sum(axis=0)

    def _keep_top(
        self,
        features_BK: NDArray[np.float32],
        maps_BKHW: NDArray[Any],
        labels_B: NDArray[np.int64],
        cell_BK: NDArray[np.int64],
    ) -> None:
        maps_KTHW = self._maps_of(maps_BKHW.shape[2:])
        flat_BKP = maps_BKHW.reshape(*maps_BKHW.shape[:2], -1)
        for b, k in np.argwhere(features_BK > self._activation_KT.min(axis=1)).tolist():
            lowest = self._activation_KT[k].min()
            if features_BK[b, k] <= lowest:
                continue
            # Of equal ones the latest goes.
            candidates = np.flatnonzero(self._activation_KT[k] == lowest)
            slot = int(candidates[self._place_KT[k][candidates].argmax()])
            self._place_KT[k, slot] = self._next + b
            self._activation_KT[k, slot] = features_BK[b, k]
            self._label_KT[k, slot] = labels_B[b]
            maps_KTHW[k, slot] = maps_BKHW[b, k]
            self._context_KTK[k, slot] = flat_BKP[b, :, cell_BK[b, k]]

    def _maps_of(self, grid: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the kept maps, made if need be, for maps of a grid."""
        if self._maps_KTHW is None:
            self._maps_KTHW = np.zeros((*self._place_KT.shape, *grid), dtype=np.float32)
        elif self._maps_KTHW.shape[2:] != grid:
            raise ChiqpmError(
                f"all maps of a pass must have the same grid, received {grid} after {self._maps_KTHW.shape[2:]}"
            )
        return self._maps_KTHW

    def _keep_sample(self, features_BK: NDArray[np.float32], labels_B: NDArray[np.int64]) -> None:
        """Give every image of the pass a random key, by its place alone, and keep the S images with the smallest."""
        # Each count of this counter-based generator yields four numbers.
        keys_B = np.random.Philox(key=self._seed, counter=self._next).random_raw(4 * len(labels_B))[::4]
        for b in np.flatnonzero(keys_B < self._sample_key_S.max()).tolist():
            slot = int(self._sample_key_S.argmax())
            if keys_B[b] < self._sample_key_S[slot]:
                self._sample_key_S[slot], self._sample_place_S[slot] = keys_B[b], self._next + b
                self._sample_SK[slot], self._sample_label_S[slot] = features_BK[b], labels_B[b]


def _largest_first(place_KT: NDArray[np.int64], activation_KT: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the order of each feature's images; equal activations come in the order of the pass."""
    return np.stack([np.lexsort((place, -a)) for place, a in zip(place_KT, activation_KT, strict=True)])


def _ordered(values_KT: NDArray[Any], order_KT: NDArray[np.int64]) -> NDArray[Any]:
    """Return the values (K, T, ...) of each feature's images in an order."""
    return np.take_along_axis(values_KT, order_KT.reshape(order_KT.shape + (1,) * (values_KT.ndim - 2)), axis=1)
