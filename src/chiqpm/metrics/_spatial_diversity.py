"""SID@k: do the features that explain a prediction look at different places?"""

from __future__ import annotations

import torch
from torch import Tensor

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, as_tensor, check_shape


def spatial_diversity(maps: ArrayOrTensor, weight: ArrayOrTensor, predicted: ArrayOrTensor, k: int = 5) -> float:
    """SID@k (arXiv 2511.20779): how far the maps of the predicted class's k strongest features lie apart.

    Every map is divided by the mean of its absolute values and turned into a distribution over the positions
    by a softmax; the sum over positions of the largest of the k probabilities, over k, is averaged over all
    samples.

    Args:
        maps: Feature maps (B, K, H, W).
        weight: Class weights (C, K); for a sparse model the binary assignment.
        predicted: Predicted classes (B,), integers.
        k: Number of features; no more than each predicted class has.

    Returns:
        A number in [1/k, 1]; 1/k where all k maps are the same, 1 where no two share a place.

    Raises:
        ChiqpmError: On shapes that don't fit together, values that aren't finite, or a k that some class
            can't fill.
        TypeError: If the maps aren't floats or the classes aren't integers.

    Example:
        >>> one_place_each = torch.eye(100).reshape(1, 100, 10, 10)[:, :4]
        >>> spatial_diversity(one_place_each, torch.ones(3, 4), torch.tensor([2]), k=4)
        1.0
    """
    return float(spatial_diversity_per_sample(maps, weight, predicted, k).cpu().double().mean())


def spatial_diversity_per_sample(
    maps: ArrayOrTensor, weight: ArrayOrTensor, predicted: ArrayOrTensor, k: int = 5
) -> Tensor:
    """SID@k of each sample, for maps that come in batches; its mean over all samples is the metric.

    Of features with equal weight those with the lowest index are taken. A map without any activation counts
    as even.

    Args:
        maps: Feature maps (B, K, H, W).
        weight: Class weights (C, K).
        predicted: Predicted classes (B,), integers.
        k: Number of features; no more than each predicted class has.

    Returns:
        One value a sample (B,), on the device of the maps, in float32 (float64 where the maps are).

    Raises:
        ChiqpmError: On shapes that don't fit together, values that aren't finite, or a k that some class
            can't fill.
        TypeError: If the maps aren't floats or the classes aren't integers.
    """
    maps_BKHW = as_tensor(maps)
    weight_CK = as_tensor(weight).to(maps_BKHW.device)
    predicted_B = as_tensor(predicted).to(maps_BKHW.device)
    if not maps_BKHW.is_floating_point():
        raise TypeError(f"maps must be floats; received {maps_BKHW.dtype}.")
    if predicted_B.dtype == torch.bool or predicted_B.is_floating_point() or predicted_B.is_complex():
        raise TypeError(f"predicted must be integers; received {predicted_B.dtype}.")
    check_shape(tuple(maps_BKHW.shape), "maps", "BKHW", {})
    check_shape(tuple(weight_CK.shape), "weight", "CK", {"K": maps_BKHW.shape[1]})
    check_shape(tuple(predicted_B.shape), "predicted", "B", {"B": maps_BKHW.shape[0]})
    low, high = int(predicted_B.min()), int(predicted_B.max())
    if low < 0 or high >= len(weight_CK):
        raise ChiqpmError(
            f"predicted must lie between 0 and {len(weight_CK) - 1}; received values from {low} to {high}."
        )

    weight_BK = weight_CK[predicted_B.long()]
    fewest = int((weight_BK != 0).sum(1).min())
    if not 1 <= k <= fewest:
        raise ChiqpmError(f"k is {k}; it must lie between 1 and {fewest}, the fewest features of a predicted class.")
    chosen_Bk = weight_BK.argsort(dim=1, descending=True, stable=True)[:, :k]

    chosen_maps = maps_BKHW.flatten(2).gather(1, chosen_Bk[..., None].expand(-1, -1, maps_BKHW[0, 0].numel()))
    if chosen_maps.dtype != torch.float64:
        chosen_maps = chosen_maps.float()
    if not bool(chosen_maps.isfinite().all()):
        raise ChiqpmError("maps hold values that aren't finite (NaN or infinity); leave those samples out.")
    scale = chosen_maps.abs().mean(dim=2, keepdim=True).clamp_min(1e-5)
    return (chosen_maps / scale).softmax(dim=2).amax(dim=1).sum(dim=1) / k
