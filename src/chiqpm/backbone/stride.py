"""Finer maps: the stride of a trunk's maps, and how it is made smaller."""

from __future__ import annotations

import math
from typing import Any

from timm.layers.blur_pool import BlurPool2d
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.resnet import ResNet
from torch import nn

from chiqpm.backbone.units import Unit, resolve
from chiqpm.errors import ChiqpmError


def can_refine(model: nn.Module) -> bool:
    """Say whether `refine` knows how the model halves its maps."""
    return isinstance(model, EfficientNet | MobileNetV3 | ResNet)


def refine(model: nn.Module, units: tuple[Unit, ...], *, stride: int, output_stride: int, model_name: str) -> None:
    """Change strides of 2 to 1, in place, from the trunk's end on, until a cell has `output_stride` pixels.

    The kernels stay as they are, without dilation, as published for ResNets (arXiv 2511.20779): with the last
    two stages at stride 1, maps are 28×28 at 224 pixels. The stem is left alone.

    Args:
        model: a model for which `can_refine` holds.
        units: the kept parts of its trunk.
        stride: pixels per cell so far.
        output_stride: pixels per cell that are wanted.
        model_name: for the message.

    Raises:
        ChiqpmError: the stride can't be reached.
    """
    halving = [modules for unit in units[1:] if (modules := _strided(model, unit))]
    possible = [stride >> i for i in range(len(halving) + 1)]
    if output_stride not in possible:
        raise ChiqpmError(
            f"output_stride={output_stride} can't be had from {model_name} with the parts that are kept. "
            f"Possible: {', '.join(str(value) for value in possible)}."
        )
    for modules in halving[len(halving) - possible.index(output_stride) :]:
        for path, module in modules:
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
            else:
                parent, _, name = path.rpartition(".")
                setattr(model.get_submodule(parent), name, nn.Identity())


def pixels_per_cell(image_size: int, cells: int, *, exact: bool) -> int:
    """Return the stride that makes a map of `cells` cells a side from an image of `image_size` pixels a side.

    Args:
        image_size: side of the image in pixels.
        cells: side of the map.
        exact: the image is an exact number of patches; else the stride is a power of two, the last cell may
            reach over the border of the image, and networks without padding lose some cells.
    """
    if exact:
        return image_size // cells
    powers = [1 << i for i in range(image_size.bit_length())]
    fitting = [power for power in powers if math.ceil(image_size / power) == cells]
    nearest = 1 << round(math.log2(image_size / cells))
    return fitting[0] if fitting else min(nearest, powers[-1])


def _strided(model: nn.Module, unit: Unit) -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = []
    for step in unit.steps:
        for name, module in resolve(model, step).named_modules():
            stride: Any = getattr(module, "stride", 1)
            if isinstance(module, nn.Conv2d | nn.AvgPool2d | BlurPool2d) and stride in (2, (2, 2), [2, 2]):
                found.append((f"{step}.{name}" if name else step, module))
    return found
