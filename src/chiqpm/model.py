"""The two networks of the method: the dense classifier and the sparse, binary CHiQPM (arXiv 2511.20779).

Plain modules that know nothing of calibration, pictures or files. Axis letters: B batch, F dense features, K kept
features, C classes, H×W grid.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from chiqpm.errors import ChiqpmError
from chiqpm.pooling import check_share, pool_maps

DropoutPlace = Literal["pooled", "normalised"]


class Output(NamedTuple):
    """What both networks return for a batch of images."""

    logits: torch.Tensor
    """(B, C)."""
    features: torch.Tensor
    """Pooled features (B, F) of the dense classifier; normalised and rectified features (B, K) of CHiQPM."""
    maps: torch.Tensor
    """Feature maps (B, F, H, W) or, of the kept features, (B, K, H, W)."""


class DenseClassifier(nn.Module):
    """Backbone, pooling, dropout and a dense linear layer: `logits = dropout(g) Wᵀ + bias`.

    Args:
        backbone: module from images (B, 3, S, S) to non-negative maps (B, F, H, W), with an attribute `num_features`.
        num_classes: C.
        pooled_share: share of each map's largest cells that is averaged; 1 is global average pooling.
        dropout: probability that a pooled feature is dropped in training.

    Raises:
        ChiqpmError: fewer than 2 classes, or a pooled share outside (0, 1].
    """

    def __init__(
        self, backbone: nn.Module, num_classes: int, *, pooled_share: float = 1.0, dropout: float = 0.2
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ChiqpmError(f"a classifier needs at least 2 classes, received {num_classes}")
        check_share(pooled_share)
        self.backbone = backbone
        self.pooled_share = pooled_share
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(_num_features(backbone), num_classes)

    def forward(self, images_B3SS: torch.Tensor) -> Output:
        """Classify images."""
        return self.head(self.backbone(images_B3SS))

    def head(self, maps_BFHW: torch.Tensor) -> Output:
        """Classify feature maps of any precision; it computes in its own, and returns the maps as they are."""
        features_BF = pool_maps(maps_BFHW, self.pooled_share).to(self.classifier.weight.dtype)
        return Output(self.classifier(self.dropout(features_BF)), features_BF, maps_BFHW)


class CHiQPM(nn.Module):
    """The sparse classifier: each class is the plain sum of a few standardised, rectified features.

    Maps of the backbone -> the selected channels -> pooling -> dropout -> `(g - mean) / max(std, 1e-6)` -> ReLU ->
    `logits = f Wᵀ`. No bias; W, mean and std don't train (arXiv 2511.20779).

    Args:
        backbone: module from images (B, 3, S, S) to maps (B, F, H, W), with an attribute `num_features`.
        selection_K: indices of the kept features (K,), ascending and distinct.
        weight_CK: binary assignment (C, K).
        mean_K: means of the dense model's pooled features over the training images (K,).
        std_K: their population standard deviations (K,).
        pooled_share: share of each map's largest cells that is averaged; 1 is global average pooling.
        dropout: probability that a feature is dropped in training.
        dropout_place: "pooled", as published: before the normalisation, so that a dropped feature becomes
            relu(-mean/std) and survivors shift; or "normalised": after it, so that a dropped feature becomes 0.
        rectify: apply the ReLU to the features (CHiQPM), or not (QPM).

    Raises:
        ChiqpmError: shapes that don't belong together, an unsorted or impossible selection, a weight that isn't
            binary, or an option out of its range.
    """

    selection_K: torch.Tensor
    weight_CK: torch.Tensor
    mean_K: torch.Tensor
    std_K: torch.Tensor

    def __init__(
        self,
        backbone: nn.Module,
        selection_K: torch.Tensor,
        weight_CK: torch.Tensor,
        mean_K: torch.Tensor,
        std_K: torch.Tensor,
        *,
        pooled_share: float = 1.0,
        dropout: float = 0.1,
        dropout_place: DropoutPlace = "pooled",
        rectify: bool = True,
    ) -> None:
        super().__init__()
        _check_assignment(_num_features(backbone), selection_K, weight_CK, mean_K, std_K)
        check_share(pooled_share)
        if dropout_place not in ("pooled", "normalised"):
            raise ChiqpmError(f"dropout_place must be 'pooled' or 'normalised', received {dropout_place!r}")
        if not 0 <= dropout <= 1:
            raise ChiqpmError(f"dropout must lie in [0, 1], received {dropout}")
        self.backbone = backbone
        self.pooled_share = pooled_share
        self.dropout = nn.Dropout(dropout)
        self.dropout_place = dropout_place
        self.rectify = rectify
        self.register_buffer("selection_K", selection_K.long())
        self.register_buffer("weight_CK", weight_CK.float())
        self.register_buffer("mean_K", mean_K.float())
        self.register_buffer("std_K", std_K.float().clamp_min(1e-6))

    def forward(self, images_B3SS: torch.Tensor) -> Output:
        """Classify images (B, 3, S, S), normalised as the backbone expects."""
        return self.head(self.backbone(images_B3SS))

    def head(self, maps_BFHW: torch.Tensor) -> Output:
        """Classify feature maps (B, F, H, W) of the whole backbone, of any precision; it computes in its own."""
        maps_BKHW = _keep_maps(maps_BFHW, self.selection_K).to(self.weight_CK.dtype)
        features_BK = self.normalise(pool_maps(maps_BKHW, self.pooled_share))
        return Output(features_BK @ self.weight_CK.T, features_BK, maps_BKHW)

    def normalise(self, pooled_BK: torch.Tensor) -> torch.Tensor:
        """Standardise and rectify pooled features (B, K), with dropout in training."""
        if self.dropout_place == "pooled":
            pooled_BK = self.dropout(pooled_BK)
        features_BK = (pooled_BK - self.mean_K) / self.std_K
        if self.rectify:
            features_BK = features_BK.relu()
        return features_BK if self.dropout_place == "pooled" else self.dropout(features_BK)


def _keep_maps(maps_BFHW: torch.Tensor, selection_K: torch.Tensor) -> torch.Tensor:
    if torch.is_grad_enabled() and maps_BFHW.requires_grad:
        kept_BKHW: torch.Tensor = _KeepMaps.apply(maps_BFHW, selection_K)
        return kept_BKHW
    return maps_BFHW[:, selection_K]


class _KeepMaps(torch.autograd.Function):
    """Indexing by indices that are distinct: its gradient is copied, where torch has to sort and add."""

    @staticmethod
    def forward(ctx: Any, maps_BFHW: torch.Tensor, selection_K: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(selection_K)
        last = maps_BFHW.is_contiguous(memory_format=torch.channels_last)
        ctx.shape, ctx.dtype = maps_BFHW.shape, maps_BFHW.dtype
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        return maps_BFHW[:, selection_K]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_BKHW: torch.Tensor) -> tuple[torch.Tensor, None]:
        (selection_K,) = ctx.saved_tensors
        gradient = torch.empty(ctx.shape, dtype=ctx.dtype, device=slope_BKHW.device, memory_format=ctx.layout).zero_()
        return gradient.index_copy_(1, selection_K, slope_BKHW.to(gradient.dtype)), None


def _num_features(backbone: nn.Module) -> int:
    count = getattr(backbone, "num_features", None)
    if not isinstance(count, int):
        raise ChiqpmError(f"the backbone {type(backbone).__name__} needs an integer attribute num_features")
    return count


def _check_assignment(
    num_features: int,
    selection_K: torch.Tensor,
    weight_CK: torch.Tensor,
    mean_K: torch.Tensor,
    std_K: torch.Tensor,
) -> None:
    kept = len(selection_K)
    if weight_CK.ndim != 2 or weight_CK.shape[1] != kept or mean_K.shape != (kept,) or std_K.shape != (kept,):
        raise ChiqpmError(
            f"selection ({kept},), weight {tuple(weight_CK.shape)}, mean {tuple(mean_K.shape)} and std "
            f"{tuple(std_K.shape)} must be (K,), (C, K), (K,) and (K,)"
        )
    inside = kept > 0 and int(selection_K.min()) >= 0 and int(selection_K.max()) < num_features
    if not inside or bool((selection_K[1:] <= selection_K[:-1]).any()):
        raise ChiqpmError(
            f"the selection must be ascending, distinct indices in [0, {num_features}), received {selection_K.tolist()}"
        )
    if not bool(((weight_CK == 0) | (weight_CK == 1)).all()):
        raise ChiqpmError("the weight (C, K) must be binary")


def keep_features(backbone: nn.Module, selection_K: torch.Tensor) -> torch.Tensor:
    """Drop the channels of a backbone's 1×1 head that no class uses, in place; their maps needn't be computed.

    Args:
        backbone: with a `head` of convolution, batch norm and ReLU; without one nothing changes.
        selection_K: indices of the kept features among the backbone's.

    Returns:
        Indices of the same features among those that the backbone gives now.
    """
    head = getattr(backbone, "head", None)
    if head is None:
        return selection_K
    convolution, norm, activation = head
    weight = convolution.weight
    kept = nn.Conv2d(convolution.in_channels, len(selection_K), kernel_size=1, bias=False)
    kept_norm = nn.BatchNorm2d(len(selection_K))
    chosen = selection_K.to(weight.device)
    with torch.no_grad():
        kept.weight.copy_(weight[chosen])
        for name, value in kept_norm.state_dict().items():
            source = norm.state_dict()[name]
            value.copy_(source[chosen] if source.ndim else source)
    backbone.head = nn.Sequential(kept, kept_norm, activation).to(weight.device)
    backbone.num_features = len(selection_K)  # type: ignore[assignment]
    return torch.arange(len(selection_K))
