"""The two losses that make features diverse and grounded (arXiv 2511.20779; FDL first in arXiv 2303.13166).

Axis letters: B batch, F features, K kept features, C classes, H×W grid, P = H·W positions.
"""

from __future__ import annotations

import torch

from chiqpm.errors import ChiqpmError
from chiqpm.pooling import flat_cells


def feature_diversity_loss(
    maps_BFHW: torch.Tensor, logits_BC: torch.Tensor, weight_CF: torch.Tensor, beta: float = 0.196
) -> torch.Tensor:
    """Reward the features of the predicted class for lighting up in different places.

    For sample i with predicted class c: `-(beta/B) Σ_i Σ_p max_f [ P_f(p) · s_f · ŵ_f ]`, where P_f is the softmax of
    map f over its positions, s_f the map's mean relative to the largest mean of the sample, and ŵ the row |W[c]|
    divided by its length (SLDD-Model, arXiv 2303.13166, Feature Diversity Loss). Gradients reach the maps and the
    weight, and pass through s and its maximum; none passes through the choice of the predicted class.

    Args:
        maps_BFHW: non-negative feature maps (B, F, H, W).
        logits_BC: logits (B, C); only their argmax is used.
        weight_CF: classifier weight (C, F).
        beta: weight of the loss; 0.196 as published.

    Returns:
        Scalar, in [-beta·sqrt(F), 0]: the lower, the more diverse.

    Raises:
        ChiqpmError: the shapes don't belong together.
    """
    _check_shapes(maps_BFHW, logits_BC, weight_CF)
    cells, position, feature = flat_cells(maps_BFHW)
    row_BF = weight_CF[logits_BC.detach().argmax(dim=1)].abs()
    unit_row_BF = row_BF / (row_BF.norm(dim=1, keepdim=True) + 1e-5)
    mean_BF = cells.mean(dim=position)
    scale_BF = mean_BF / mean_BF.amax(dim=1, keepdim=True).clamp_min(1e-6)
    weighted = cells.softmax(dim=position) * (scale_BF * unit_row_BF).unsqueeze(position)
    loss: torch.Tensor = -beta * weighted.max(dim=feature).values.sum() / len(maps_BFHW)
    return loss


def feature_grounding_loss(features_BK: torch.Tensor, target_B: torch.Tensor, weight_CK: torch.Tensor) -> torch.Tensor:
    """Ask the features of the true class to be active, and all others to be silent (arXiv 2511.20779).

    With a = W[y] and m = Σ a: `in = Σ f·a / m`, `out = 2 Σ f·(1-a) / (K - m)`; the loss is the mean over the batch of
    `(out - in) / max(max_f |f|, 0.01)`. The divisor takes part in the gradient.

    Args:
        features_BK: features after normalisation and ReLU (B, K).
        target_B: true classes (B,), integers in [0, C).
        weight_CK: binary assignment (C, K).

    Returns:
        Scalar; -1 when all features of the true class, and no others, are equally active.

    Raises:
        ChiqpmError: the shapes don't belong together, or a class uses all or none of the features.
    """
    if features_BK.ndim != 2 or weight_CK.ndim != 2 or features_BK.shape[1] != weight_CK.shape[1]:
        raise ChiqpmError(
            f"features (B, K) and weight (C, K) must share K, received {tuple(features_BK.shape)} and "
            f"{tuple(weight_CK.shape)}"
        )
    if target_B.shape != features_BK.shape[:1]:
        raise ChiqpmError(f"target must be (B,) = ({len(features_BK)},), received {tuple(target_B.shape)}")
    own_BK = weight_CK[target_B]
    own_count_B = own_BK.sum(dim=1)
    other_count_B = features_BK.shape[1] - own_count_B
    if bool((own_count_B == 0).any()) or bool((other_count_B == 0).any()):
        raise ChiqpmError(
            "the Feature Grounding Loss needs classes that use some but not all features; choose features_per_class "
            f"between 1 and {features_BK.shape[1] - 1} (kept_features - 1)"
        )
    inside_B = (features_BK * own_BK).sum(dim=1) / own_count_B
    outside_B = 2 * (features_BK * (1 - own_BK)).sum(dim=1) / other_count_B
    largest_B = features_BK.abs().amax(dim=1).clamp_min(0.01)
    return ((outside_B - inside_B) / largest_B).mean()


def _check_shapes(maps_BFHW: torch.Tensor, logits_BC: torch.Tensor, weight_CF: torch.Tensor) -> None:
    if maps_BFHW.ndim != 4 or logits_BC.ndim != 2 or weight_CF.ndim != 2:
        raise ChiqpmError(
            "expected maps (B, F, H, W), logits (B, C) and weight (C, F), received "
            f"{tuple(maps_BFHW.shape)}, {tuple(logits_BC.shape)} and {tuple(weight_CF.shape)}"
        )
    matches = (
        maps_BFHW.shape[0] == logits_BC.shape[0]
        and maps_BFHW.shape[1] == weight_CF.shape[1]
        and logits_BC.shape[1] == weight_CF.shape[0]
    )
    if not matches:
        raise ChiqpmError(
            "maps (B, F, H, W), logits (B, C) and weight (C, F) must agree in B, F and C, received "
            f"{tuple(maps_BFHW.shape)}, {tuple(logits_BC.shape)} and {tuple(weight_CF.shape)}"
        )
