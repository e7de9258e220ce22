"""The linear classifier that comes with a model's pretrained weights, for data of the same classes."""

from __future__ import annotations

import torch
from torch import nn

from chiqpm.backbone.create import LITE0, fetch_whole
from chiqpm.backbone.module import Backbone
from chiqpm.config import BackboneConfig


def pretrained_classifier(
    config: BackboneConfig, backbone: Backbone, num_classes: int, *, image_size: int
) -> nn.Linear | None:
    """Return the pretrained model's own last layer, where that is linear on the means of exactly these maps.

    Args:
        config: what the backbone was built from.
        backbone: with its pretrained weights, on the CPU; it is left in evaluation mode.
        num_classes: C.
        image_size: side of the images in pixels.

    Returns:
        The layer (C, F); None where the weights come without one, with one for another number of classes, or with one
        that sees more than the means (a hidden layer, a norm, maps that were changed here).

    Raises:
        ChiqpmError: the weights can't be fetched.
    """
    if not config.pretrained or config.name == LITE0:
        return None
    model = fetch_whole(config.name).eval()
    linear = model.get_classifier()  # type: ignore[operator]
    if not isinstance(linear, nn.Linear) or linear.weight.shape != (num_classes, backbone.num_features):
        return None
    image = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        same = torch.allclose(linear(backbone.eval()(image).mean(dim=(2, 3))), model(image), rtol=1e-3, atol=1e-3)
    return linear if same else None
