"""The constants of the quadratic problem, from one streaming pass over the training images (arXiv 2511.20779).

Axis letters: B batch, F features, C classes, H×W grid. Everything is built from sums, so memory is O(F·C) whatever the
number of images, and parts counted by several processes merge into the same result.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError
from chiqpm.mean_shift import mean_shift
from chiqpm.pooling import check_share, flat_cells, pool_maps

logger = logging.getLogger(__name__)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """What the assignment and the head need to know of a dense model's features."""

    similarity_FC: Array
    """A: Pearson correlation of each feature with each class, divided by the largest absolute value; in [-1, 1]."""
    redundancy_FF: Array
    """R: cosine of the rows of A, upper triangle, negatives and diagonal 0, divided by the largest entry; in [0, 1]."""
    bias_F: Array
    """b: reward for features that are local and not on the image's border; |b| <= sqrt(10)/10."""
    mean_F: Array
    """Mean of the pooled features."""
    std_F: Array
    """Population standard deviation of the pooled features."""
    class_mean_FC: Array
    """Mean of the pooled features within each class."""
    class_variance_FC: Array
    """Population variance of the pooled features within each class."""


class FeatureStatistics:
    """Sums over images from which `Statistics` follow.

    Args:
        num_features: F.
        num_classes: C.
        pooling: "mean" for global average pooling, or the share of each map's largest cells that is averaged.

    Raises:
        ChiqpmError: a size is below 1 or the pooled share is outside (0, 1].

    >>> import torch
    >>> statistics = FeatureStatistics(num_features=3, num_classes=2)
    >>> statistics.update(torch.rand(8, 3, 4, 4), torch.tensor([0, 1] * 4))
    >>> statistics.compute().similarity_FC.shape
    (3, 2)
    """

    def __init__(self, num_features: int, num_classes: int, *, pooling: str | float = "mean") -> None:
        if num_features < 1 or num_classes < 1:
            raise ChiqpmError(f"need at least 1 feature and 1 class, received {num_features} and {num_classes}")
        if isinstance(pooling, str) and pooling != "mean":
            raise ChiqpmError(f"pooling must be 'mean' or a share of the cells in (0, 1], received {pooling!r}")
        self.share = 1.0 if isinstance(pooling, str) else float(pooling)
        check_share(self.share)
        self.num_features, self.num_classes = num_features, num_classes
        self.count_C = np.zeros(num_classes, dtype=np.int64)
        self.sum_CF = np.zeros((num_classes, num_features))
        self.square_CF = np.zeros((num_classes, num_features))
        self.locality_F = np.zeros(num_features)
        self.edge_F = np.zeros(num_features)
        self._on_gpu: _SumsOnGpu | None = None

    def update(self, maps_BFHW: torch.Tensor, labels_B: torch.Tensor) -> None:
        """Add a batch.

        Args:
            maps_BFHW: non-negative feature maps (B, F, H, W) of the dense model in evaluation mode.
            labels_B: classes (B,), integers in [0, C).

        Raises:
            ChiqpmError: wrong shapes, labels outside the classes, or values that are not finite.
        """
        self._check_batch(maps_BFHW, labels_B)
        maps_BFHW = maps_BFHW.detach().float()
        pooled_BF = pool_maps(maps_BFHW, self.share)
        sharpness_BF, on_border_BF = _peaks(maps_BFHW)
        if maps_BFHW.device.type == "cuda":
            self._update_on_gpu(pooled_BF.double(), sharpness_BF, on_border_BF, labels_B)
            return
        pooled, sharpness, on_border = (tensor.cpu().double() for tensor in (pooled_BF, sharpness_BF, on_border_BF))
        _check_finite(pooled)
        share = _share(pooled)
        self.locality_F += (share * sharpness).sum(dim=0).numpy()
        self.edge_F -= (share * on_border).sum(dim=0).numpy()
        labels = labels_B.cpu()
        self.count_C += np.bincount(labels.numpy(), minlength=self.num_classes)
        torch.from_numpy(self.sum_CF).index_add_(0, labels, pooled)
        torch.from_numpy(self.square_CF).index_add_(0, labels, pooled.square())

    def _update_on_gpu(
        self, pooled_BF: torch.Tensor, sharpness_BF: torch.Tensor, on_border_BF: torch.Tensor, labels_B: torch.Tensor
    ) -> None:
        """Add a batch where it is: a GPU would wait for sums of this size on a CPU."""
        if self._on_gpu is None:
            self._on_gpu = _SumsOnGpu(self.num_classes, self.num_features, pooled_BF.device)
        _check_finite(pooled_BF)
        self._on_gpu.add(pooled_BF, sharpness_BF, on_border_BF, labels_B)
        self.count_C += np.bincount(labels_B.cpu().numpy(), minlength=self.num_classes)

    def _fetch(self) -> None:
        """Bring here what was summed on a GPU."""
        if self._on_gpu is not None:
            for name in ("sum_CF", "square_CF", "locality_F", "edge_F"):
                setattr(self, name, getattr(self, name) + getattr(self._on_gpu, name).cpu().numpy())
            self._on_gpu = None

    def merge(self, other: FeatureStatistics) -> None:
        """Add the sums of another part of the images, counted elsewhere.

        Raises:
            ChiqpmError: the other part has other sizes or another pooling.
        """
        own = (self.num_features, self.num_classes, self.share)
        theirs = (other.num_features, other.num_classes, other.share)
        if own != theirs:
            raise ChiqpmError(f"can't merge statistics of (features, classes, pooled share) {own} with {theirs}")
        self._fetch()
        other._fetch()
        self.count_C += other.count_C
        self.sum_CF += other.sum_CF
        self.square_CF += other.square_CF
        self.locality_F += other.locality_F
        self.edge_F += other.edge_F

    def reduce(self, add: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        """Make these the sums over the images of all processes.

        Args:
            add: from an array to its sum over all processes, which must call this together.
        """
        self._fetch()
        for name in ("count_C", "sum_CF", "square_CF", "locality_F", "edge_F"):
            setattr(self, name, add(getattr(self, name)))

    def compute(self) -> Statistics:
        """Compute the constants from the sums.

        Features that never vary get a zero row in A, and are counted in a warning.

        Raises:
            ChiqpmError: a class has no image yet.
        """
        self._fetch()
        if (self.count_C == 0).any():
            missing = np.flatnonzero(self.count_C == 0)
            raise ChiqpmError(
                f"{len(missing)} of {self.num_classes} classes have no image in the statistics (first: "
                f"{missing[:5].tolist()}); every class needs training images"
            )
        count = self.count_C.sum()
        mean_F = self.sum_CF.sum(axis=0) / count
        variance_F = np.maximum(self.square_CF.sum(axis=0) / count - mean_F**2, 0.0)
        alive_F = variance_F > 1e-12 * np.maximum(mean_F**2, 1e-12)
        if not alive_F.all():
            dead = int((~alive_F).sum())
            warnings.warn(
                f"{dead} of {self.num_features} features never vary over the training images and can't be selected",
                stacklevel=2,
            )
        # The largest arrays first: at F = 2048 and C = 1000 everything together stays below 200 MB.
        similarity_FC = _similarity(self.sum_CF, self.count_C, mean_F, np.sqrt(variance_F), alive_F)
        redundancy_FF = redundancy(similarity_FC)
        class_mean_FC = self.sum_CF.T / self.count_C
        class_variance_FC = self.square_CF.T / self.count_C
        class_variance_FC -= class_mean_FC**2
        np.maximum(class_variance_FC, 0.0, out=class_variance_FC)
        return Statistics(
            similarity_FC=similarity_FC,
            redundancy_FF=redundancy_FF,
            bias_F=locality_bias(self.locality_F / count, self.edge_F),
            mean_F=mean_F,
            std_F=np.sqrt(variance_F),
            class_mean_FC=class_mean_FC,
            class_variance_FC=class_variance_FC,
        )

    def _check_batch(self, maps_BFHW: torch.Tensor, labels_B: torch.Tensor) -> None:
        if maps_BFHW.ndim != 4 or maps_BFHW.shape[1] != self.num_features:
            raise ChiqpmError(f"maps must be (B, {self.num_features}, H, W), received {tuple(maps_BFHW.shape)}")
        if labels_B.shape != maps_BFHW.shape[:1]:
            raise ChiqpmError(f"labels must be (B,) = ({len(maps_BFHW)},), received {tuple(labels_B.shape)}")
        if len(labels_B) and not 0 <= int(labels_B.min()) <= int(labels_B.max()) < self.num_classes:
            raise ChiqpmError(
                f"labels must lie in [0, {self.num_classes}), received values from {int(labels_B.min())} to "
                f"{int(labels_B.max())}"
            )


class _SumsOnGpu:
    """The sums of `FeatureStatistics` on a GPU, in double precision.

    Sums over classes are products with a matrix of ones and zeros, which add in the same order every time.
    """

    def __init__(self, num_classes: int, num_features: int, device: torch.device) -> None:
        self.sum_CF = torch.zeros(num_classes, num_features, dtype=torch.float64, device=device)
        self.square_CF = torch.zeros_like(self.sum_CF)
        self.locality_F, self.edge_F = torch.zeros_like(self.sum_CF[0]), torch.zeros_like(self.sum_CF[0])

    def add(
        self, pooled_BF: torch.Tensor, sharpness_BF: torch.Tensor, on_border_BF: torch.Tensor, labels_B: torch.Tensor
    ) -> None:
        labels_B = labels_B.to(pooled_BF.device, non_blocking=True)
        one_CB = pooled_BF.new_zeros(len(self.sum_CF), len(labels_B)).scatter_(0, labels_B[None], 1.0)
        self.sum_CF.addmm_(one_CB, pooled_BF)
        self.square_CF.addmm_(one_CB, pooled_BF.square())
        share_BF = _share(pooled_BF)
        self.locality_F += (share_BF * sharpness_BF).sum(dim=0)
        self.edge_F -= (share_BF * on_border_BF).sum(dim=0)


def _check_finite(pooled_BF: torch.Tensor) -> None:
    if not bool(pooled_BF.isfinite().all()):
        raise ChiqpmError("the feature maps contain values that are not finite; the dense model has diverged")


def _share(pooled_BF: torch.Tensor) -> torch.Tensor:
    """Return each feature's share of the activation of its image; 0 where nothing is active."""
    total_B1 = pooled_BF.sum(dim=1, keepdim=True)
    return (pooled_BF / total_B1).where(total_B1 > 0, 0.0)


def redundancy(similarity_FC: Array) -> Array:
    """R: how much two features say the same of the classes (arXiv 2502.20130, feature redundancy).

    Cosine of the rows of A; upper triangle, negatives and diagonal 0; divided by the largest entry. All zero when no
    two features agree.

    Args:
        similarity_FC: A (F, C).

    Returns:
        R (F, F), upper triangular, in [0, 1].
    """
    length_F1 = np.linalg.norm(similarity_FC, axis=1, keepdims=True)
    unit_FC = np.divide(similarity_FC, length_F1, out=np.zeros_like(similarity_FC), where=length_F1 > 0)
    redundancy_FF: Array = unit_FC @ unit_FC.T
    np.maximum(redundancy_FF, 0.0, out=redundancy_FF)
    for feature, row_F in enumerate(redundancy_FF):
        row_F[: feature + 1] = 0.0
    largest = redundancy_FF.max(initial=0.0)
    if largest > 0:
        redundancy_FF /= largest
    return redundancy_FF


def locality_bias(locality_F: Array, edge_F: Array) -> Array:
    """b: a small reward for features with sharp maps that don't peak on the image's border (arXiv 2502.20130).

    Args:
        locality_F: mean over images of the feature's share of the activation times the peak of its softmax map.
        edge_F: minus the sum over images of that share where the map's peak lies on the border.

    Returns:
        b (F,), zero mean before the last scaling, |b| <= sqrt(10)/10.
    """
    locality = _clip_outliers_and_scale(locality_F)
    edge = _clip_outliers_and_scale(edge_F)
    return _clip_outliers_and_scale(np.where(edge >= 0, locality, locality.min()))


def _clip_outliers_and_scale(values_F: Array) -> Array:
    """Pull values outside the biggest mean-shift cluster to its limits, centre, and scale to sqrt(10)/10."""
    if np.ptp(values_F) == 0:
        return np.zeros_like(values_F)
    lowest, highest = _biggest_cluster(values_F)
    clipped = np.where(values_F < lowest, abs(lowest) * np.sign(values_F), values_F)
    clipped = np.where(values_F > highest, abs(highest) * np.sign(values_F), clipped)
    centred = clipped - clipped.mean()
    largest = np.abs(centred).max()
    return np.asarray(centred / largest * np.sqrt(10) / 10) if largest > 0 else np.zeros_like(values_F)


def _biggest_cluster(values_F: Array) -> tuple[float, float]:
    """Return the least and the greatest member of the biggest cluster that mean shift finds."""
    members = values_F[mean_shift(values_F) == 0]
    return float(members.min()), float(members.max())


def _similarity(
    sum_CF: Array, count_C: NDArray[np.int64], mean_F: Array, std_F: Array, alive_F: NDArray[np.bool_]
) -> Array:
    count = count_C.sum()
    prior_C = count_C / count
    similarity_FC: Array = np.ascontiguousarray(sum_CF.T) / count
    similarity_FC -= mean_F[:, None] * prior_C
    scale_FC = std_F[:, None] * np.sqrt(prior_C * (1 - prior_C))
    usable_FC = alive_F[:, None] & (scale_FC > 0)
    np.divide(similarity_FC, scale_FC, out=similarity_FC, where=usable_FC)
    similarity_FC[~usable_FC] = 0.0
    largest = max(similarity_FC.max(), -similarity_FC.min())
    if largest > 0:
        similarity_FC /= largest
    return similarity_FC


def _peaks(maps_BFHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each map (B, F): the peak of its softmax, and 1 where the map is largest on the outermost ring of cells."""
    height, width = maps_BFHW.shape[2:]
    cells, axis, _ = flat_cells(maps_BFHW)
    peak, position_BF = cells.max(dim=axis, keepdim=True)
    sharpness_BF = (cells - peak).exp_().sum(dim=axis).reciprocal()
    return sharpness_BF, _border(height, width, maps_BFHW.device)[position_BF.squeeze(axis)]


@lru_cache(maxsize=8)
def _border(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Whether each cell (H·W,) lies on the outermost ring."""
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[1:-1, 1:-1] = True
    return (~inside).flatten().to(device)
