"""Batch norm multiplied into the convolutions before it: in evaluation mode the same, in nearly half the time."""

from __future__ import annotations

import copy
import logging
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from chiqpm.backbone.module import Backbone

logger = logging.getLogger(__name__)


def fold_batch_norm(backbone: Backbone, probe_B3SS: torch.Tensor) -> Backbone:
    """Return a copy for evaluation whose frozen part has its batch norm folded into its convolutions.

    Only a batch norm that its module registers right after a convolution is folded. Whether the two do follow each
    other is not known from that: the copy must therefore agree with the backbone on the probe, to rounding.

    Args:
        backbone: stays as it is.
        probe_B3SS: images (B, 3, S, S) to compare on.

    Returns:
        The copy, in evaluation mode; the backbone itself where nothing can be folded.
    """
    if not any(_foldable(parent) for parent in backbone.trunk.modules()):
        return backbone
    folded = copy.deepcopy(backbone).eval()
    for parent in list(folded.trunk.modules()):
        for convolution, norm_name in _foldable(parent):
            norm = getattr(parent, norm_name)
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight,
                convolution.bias,
                norm.running_mean,
                norm.running_var,
                norm.eps,
                norm.weight,
                norm.bias,
            )
            # timm's batch norms carry the activation that follows them.
            setattr(parent, norm_name, getattr(norm, "act", nn.Identity()))
    with torch.inference_mode():
        was_training = backbone.training
        expected = backbone.eval().forward_frozen(probe_B3SS)
        backbone.train(was_training)
        found = folded.forward_frozen(probe_B3SS)
    scale = float(expected.abs().max())
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * max(scale, 1e-6)):
        logger.info("batch norm isn't folded: this network doesn't run its modules in the order of their names")
        return backbone
    return folded


def _foldable(parent: nn.Module) -> list[tuple[nn.Conv2d, str]]:
    """Return the convolutions of a module that a batch norm follows, each with the batch norm's name."""
    return [
        (first, name)
        for (_, first), (name, second) in pairwise(parent.named_children())
        if isinstance(first, nn.Conv2d)
        and isinstance(second, nn.BatchNorm2d)
        and second.running_mean is not None
        and first.out_channels == second.num_features
    ]
