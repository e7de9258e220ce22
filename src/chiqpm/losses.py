"""The two losses that make features diverse and grounded (arXiv 2511.20779; FDL first in arXiv 2303.13166).

Axis letters: B batch, F features, K kept features, C classes, H×W grid, P = H·W positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from chiqpm.errors import ChiqpmError
from chiqpm.pooling import at_least_float32, flat_cells


def feature_diversity_loss(
    maps_BFHW: torch.Tensor, logits_BC: torch.Tensor, weight_CF: torch.Tensor, beta: float = 0.196
) -> torch.Tensor:
    """Reward the features of the predicted class for lighting up in different places.

    For sample i with predicted class c: `-(beta/B) Σ_i Σ_p max_f [ P_f(p) · s_f · ŵ_f ]`, where P_f is the softmax of
    map f over its positions, s_f the map's mean relative to the largest mean of the sample, and ŵ the row |W[c]|
    divided by its length (SLDD-Model, arXiv 2303.13166, Feature Diversity Loss). Gradients reach the maps and the
    weight, and pass through s and its maximum; none passes through the choice of the predicted class.

    It can be differentiated once. Maps in half precision need no copy: it computes in float32.

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
    # Not by indexing, whose gradient sorts the indices: a dozen kernels on a GPU.
    row_BF = weight_CF.index_select(0, logits_BC.detach().argmax(dim=1))
    return diversity_of_rows(maps_BFHW, unit_rows(row_BF), beta)


def unit_rows(weight_CF: torch.Tensor) -> torch.Tensor:
    """Return ŵ, the rows |W[c]| divided by their lengths."""
    magnitude_CF = weight_CF.abs()
    unit_CF: torch.Tensor = magnitude_CF / (magnitude_CF.norm(dim=1, keepdim=True) + 1e-5)
    return unit_CF


def diversity_of_rows(maps_BFHW: torch.Tensor, unit_row_BF: torch.Tensor, beta: float) -> torch.Tensor:
    """Return the Feature Diversity Loss from the rows ŵ of the predicted classes."""
    cells, position, _ = flat_cells(maps_BFHW)
    loss: torch.Tensor = _Diversity.apply(cells, unit_row_BF, position, -beta / len(maps_BFHW))
    return loss


def feature_grounding_loss(
    features_BK: torch.Tensor, target_B: torch.Tensor, weight_CK: torch.Tensor, *, check_classes: bool = True
) -> torch.Tensor:
    """Ask the features of the true class to be active, and all others to be silent (arXiv 2511.20779).

    With a = W[y] and m = Σ a: `in = Σ f·a / m`, `out = 2 Σ f·(1-a) / (K - m)`; the loss is the mean over the batch of
    `(out - in) / max(max_f |f|, 0.01)`. The divisor takes part in the gradient, which reaches the features alone. It
    can be differentiated once.

    Args:
        features_BK: features after normalisation and ReLU (B, K).
        target_B: true classes (B,), integers in [0, C).
        weight_CK: binary assignment (C, K).
        check_classes: look at the target's rows of the weight first, for which a GPU has to finish all that it was
            given; a training looks once, with `check_grounding`.

    Returns:
        Scalar; -1 when all features of the true class, and no others, are equally active.

    Raises:
        ChiqpmError: the shapes don't belong together, or a class of the target uses all or none of the features.
    """
    if features_BK.ndim != 2 or weight_CK.ndim != 2 or features_BK.shape[1] != weight_CK.shape[1]:
        raise ChiqpmError(
            f"features (B, K) and weight (C, K) must share K, received {tuple(features_BK.shape)} and "
            f"{tuple(weight_CK.shape)}"
        )
    if target_B.shape != features_BK.shape[:1]:
        raise ChiqpmError(f"target must be (B,) = ({len(features_BK)},), received {tuple(target_B.shape)}")
    own_BK = weight_CK.detach()[target_B]
    if check_classes:
        check_grounding(own_BK)
    return grounding_of_rows(features_BK, grounding_coefficients(own_BK))


def grounding_coefficients(weight_CK: torch.Tensor) -> torch.Tensor:
    """Return what `out - in` multiplies the features with, for each row of the assignment (C, K)."""
    own_count_C1 = weight_CK.sum(dim=1, keepdim=True)
    other_count_C1 = weight_CK.shape[1] - own_count_C1
    return 2 * (1 - weight_CK) / other_count_C1 - weight_CK / own_count_C1


def grounding_of_rows(features_BK: torch.Tensor, coefficient_BK: torch.Tensor) -> torch.Tensor:
    """Return the Feature Grounding Loss from the coefficients of the true classes."""
    loss: torch.Tensor = _Grounding.apply(features_BK, coefficient_BK)
    return loss


def check_grounding(weight_CK: torch.Tensor) -> None:
    """Look whether the Feature Grounding Loss is defined for all classes.

    Args:
        weight_CK: binary assignment (C, K).

    Raises:
        ChiqpmError: a class uses all or none of the features.
    """
    count_C, kept = weight_CK.sum(dim=1), weight_CK.shape[1]
    if bool(((count_C == 0) | (count_C == kept)).any()):
        raise ChiqpmError(
            "the Feature Grounding Loss needs classes that use some but not all features; choose features_per_class "
            f"between 1 and {kept - 1} (kept_features - 1)"
        )


class _Diversity(torch.autograd.Function):
    """`factor · Σ_p max_f [ P_f(p) · s_f · ŵ_f ]`, summed over the batch, with its gradient in closed form.

    Only the feature that is largest at a position has a gradient there. With g = s·ŵ, and t_f the incoming gradient
    times the sum of P_f over the positions where f is largest: the maps get `-g_f P_f(p) t_f`, where f is largest also
    `g_f P_f(p)` times the incoming gradient, and through the mean of the map a constant; ŵ gets `s_f t_f`. This
    passes over the maps once, where autograd, step by step, passes many times over them and their gradients.
    """

    @staticmethod
    def forward(ctx: Any, cells: torch.Tensor, unit_row_BF: torch.Tensor, position: int, factor: float) -> torch.Tensor:
        precision = at_least_float32(cells)
        mean_BF = cells.mean(dim=position, dtype=precision)
        largest_B1 = mean_BF.amax(dim=1, keepdim=True).clamp_min(_LEAST)
        scale_BF = mean_BF / largest_B1
        gain_BF = scale_BF * unit_row_BF
        weighted = _softmax(cells, position, precision, gain_BF)
        peak_BP, winner_BP = weighted.max(dim=3 - position)
        ctx.position, ctx.factor, ctx.dtype = position, factor, cells.dtype
        ctx.save_for_backward(weighted, peak_BP, winner_BP, mean_BF, largest_B1, scale_BF, gain_BF, unit_row_BF)
        return peak_BP.sum() * factor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        weighted, peak_BP, winner_BP, mean_BF, largest_B1, scale_BF, gain_BF, unit_row_BF = ctx.saved_tensors
        position, feature = ctx.position, 3 - ctx.position
        slope = slope * ctx.factor
        # A gain of 0 has a peak of 0, and no probability counts.
        probability_BP = peak_BP / gain_BF.gather(1, winner_BP).clamp_min(torch.finfo(peak_BP.dtype).tiny)
        total_BF = torch.zeros_like(mean_BF).scatter_add_(1, winner_BP, probability_BP * slope)
        # What reaches each cell through the mean of its map.
        slope_BF = total_BF * unit_row_BF
        shift_BF = _through_relative(slope_BF, mean_BF, largest_B1, scale_BF) / weighted.shape[position]
        gradient = torch.empty_like(weighted, dtype=ctx.dtype)
        torch.addcmul(shift_BF.unsqueeze(position), weighted, total_BF.unsqueeze(position), value=-1, out=gradient)
        own_BP = shift_BF.gather(1, winner_BP) + peak_BP * (slope - total_BF.gather(1, winner_BP))
        gradient.scatter_(feature, winner_BP.unsqueeze(feature), own_BP.unsqueeze(feature).to(ctx.dtype))
        return gradient, total_BF * scale_BF, None, None


class _Grounding(torch.autograd.Function):
    """Mean over the batch of `Σ f·q / max(max_f |f|, 0.01)`, with its gradient in closed form.

    Autograd, step by step, asks a GPU's host for more. With r the ratio of a sample and d its divisor:
    `(q - r·sign(f) / ties) / d`, the second term for the features alone that tie for the largest.
    """

    @staticmethod
    def forward(ctx: Any, features_BK: torch.Tensor, coefficient_BK: torch.Tensor) -> torch.Tensor:
        magnitude_BK = features_BK.abs()
        divisor_B1 = magnitude_BK.amax(dim=1, keepdim=True).clamp_min(0.01)
        ratio_B1 = (features_BK * coefficient_BK).sum(dim=1, keepdim=True) / divisor_B1
        # None where the largest is below 0.01.
        is_largest_BK = magnitude_BK == divisor_B1
        ctx.save_for_backward(features_BK, coefficient_BK, is_largest_BK, divisor_B1, ratio_B1)
        return ratio_B1.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None]:
        features_BK, coefficient_BK, is_largest_BK, divisor_B1, ratio_B1 = ctx.saved_tensors
        lost_B1 = ratio_B1 / is_largest_BK.sum(dim=1, keepdim=True).clamp_min(1)
        inner_BK = torch.addcmul(coefficient_BK, is_largest_BK * lost_B1, features_BK.sign(), value=-1)
        return inner_BK / divisor_B1 * (slope / len(features_BK)), None


_LEAST = 1e-6
"""Means are relative to the largest of the sample, or to this: they are 0 for a sample without any activation."""


def _softmax(cells: torch.Tensor, position: int, precision: torch.dtype, factor_BF: torch.Tensor) -> torch.Tensor:
    """Return the softmax over the positions, times a factor for each map.

    On a GPU torch's own is slower along the middle of three axes than these steps.
    """
    if cells.device.type == "cpu" or position == 2:
        return cells.softmax(dim=position, dtype=precision).mul_(factor_BF.unsqueeze(position))
    largest = cells.amax(dim=position, keepdim=True)
    grown = (cells - largest.to(precision)).exp_()
    return grown.mul_(factor_BF.unsqueeze(position) / grown.sum(dim=position, keepdim=True))


def _through_relative(
    slope_BF: torch.Tensor, mean_BF: torch.Tensor, largest_B1: torch.Tensor, scale_BF: torch.Tensor
) -> torch.Tensor:
    """Return the gradient of `scale_BF` for the means; equal largest ones share theirs, as autograd has it."""
    # None where the largest mean is below the least.
    is_largest_BF = (mean_BF == largest_B1).to(mean_BF.dtype)
    lost_B1 = (slope_BF * scale_BF).sum(dim=1, keepdim=True) / is_largest_BF.sum(dim=1, keepdim=True).clamp_min(1)
    return torch.addcmul(slope_BF, is_largest_BF, lost_B1, value=-1) / largest_B1


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
