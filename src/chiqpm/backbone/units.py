"""The trunk of a timm model as an ordered list of parts that can be cut off or frozen.

A part is a name and the attribute paths of the model that it runs, one after the other. Paths, and not
modules, are stored, so that the model keeps its own parameter names and can be copied and saved as usual.
"""

from __future__ import annotations

import difflib
from typing import Any, Literal, NamedTuple

import torch
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.resnet import ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from chiqpm.errors import ChiqpmError

Layout = Literal["NCHW", "NHWC", "NLC"]
"""Order of the axes of a trunk's output: channels first, channels last, or tokens (L) with channels last."""


class Unit(NamedTuple):
    """One part of a trunk."""

    name: str
    """What `cut` and `frozen` call it."""
    steps: tuple[str, ...]
    """Attribute paths of the model, called in this order; dots lead into submodules."""


class Trunk(NamedTuple):
    """How the features of a model come about."""

    units: tuple[Unit, ...]
    """The parts, first to last; together they are the model's `forward_features`."""
    layout: Layout
    """Order of the axes of what each part returns."""


WHOLE = Unit("forward_features", ("forward_features",))
"""The only part of a model whose family isn't known here."""


def resolve(model: nn.Module, path: str) -> Any:
    """Return the submodule or method of a model at a dotted path."""
    found: Any = model
    for name in path.split("."):
        found = getattr(found, name)
    return found


def run(model: nn.Module, units: tuple[Unit, ...], hidden: torch.Tensor) -> torch.Tensor:
    """Run parts of a model, first to last."""
    for unit in units:
        for step in unit.steps:
            hidden = resolve(model, step)(hidden)
    return hidden


def known_trunk(model: nn.Module) -> Trunk | None:
    """Return the parts of a model of a known family; None where the family isn't known."""
    if isinstance(model, EfficientNet | MobileNetV3):
        stem = Unit("stem", ("conv_stem", "bn1"))
        blocks = _children(model, "blocks.{}.{}", [len(stage) for stage in resolve(model, "blocks")])
        # MobileNetV3 has its last convolution behind the pooling, outside the trunk.
        end = [Unit("conv_head", ("conv_head", "bn2"))] if isinstance(model, EfficientNet) else []
        return Trunk((stem, *blocks, *end), "NCHW")
    if isinstance(model, ResNet):
        stem = Unit("stem", ("conv1", "bn1", "act1", "maxpool"))
        stages = [getattr(model, f"layer{i}") for i in range(1, 5)]
        names = [f"layer{i}.{j}" for i, stage in enumerate(stages, 1) for j in range(len(stage))]
        return Trunk((stem, *(Unit(name, (name,)) for name in names)), "NCHW")
    if isinstance(model, ConvNeXt):
        return Trunk((Unit("stem", ("stem",)), *_stages(model, "stages"), Unit("norm_pre", ("norm_pre",))), "NCHW")
    if isinstance(model, SwinTransformer):
        embed = Unit("patch_embed", ("patch_embed",))
        return Trunk((embed, *_stages(model, "layers"), Unit("norm", ("norm",))), "NHWC")
    if isinstance(model, VisionTransformer):
        embed = Unit("patch_embed", ("patch_embed", "_pos_embed", "patch_drop", "norm_pre"))
        blocks = [Unit(f"blocks.{i}", (f"blocks.{i}",)) for i in range(len(model.blocks))]
        return Trunk((embed, *blocks, Unit("norm", ("norm",))), "NLC")
    return None


def ends_in_relu(model: nn.Module, unit: Unit) -> bool:
    """Say whether the output of a part is known not to be negative."""
    if isinstance(model, ResNet) and unit.name.startswith("layer"):
        block = resolve(model, unit.name)
        return isinstance(getattr(block, "act3", block.act2), nn.ReLU)
    if isinstance(model, EfficientNet) and unit.name == "conv_head":
        return isinstance(getattr(model.bn2, "act", None), nn.ReLU | nn.ReLU6)
    return False


def find(units: tuple[Unit, ...], name: str, *, option: str, model_name: str) -> int:
    """Return the place of a part in the trunk.

    Args:
        units: the parts of the trunk.
        name: a part, or the front of several parts' names (`blocks.4`, `layer3`), which means the last of
            them.
        option: the option that named it, for the message.
        model_name: the model, for the message.

    Raises:
        ChiqpmError: there is no such part.
    """
    places = [i for i, unit in enumerate(units) if unit.name == name or unit.name.startswith(f"{name}.")]
    if places:
        return places[-1]
    names = [unit.name for unit in units]
    if names == [WHOLE.name]:
        raise ChiqpmError(
            f"{option}={name!r}: the inside of {model_name} isn't known here, so it can't be divided. "
            f"Leave {option} out" + (", or say frozen='all'." if option == "frozen" else ".")
        )
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    raise ChiqpmError(
        f"{option}={name!r} is no part of {model_name}."
        + (f" Near names: {', '.join(near)}." if near else "")
        + f" Parts, first to last: {', '.join(names)}."
    )


def _children(model: nn.Module, pattern: str, lengths: list[int]) -> list[Unit]:
    names = [pattern.format(i, j) for i, length in enumerate(lengths) for j in range(length)]
    return [Unit(name, (name,)) for name in names]


def _stages(model: nn.Module, container: str) -> list[Unit]:
    """Blocks of stages that each begin with a downsampling; it belongs to the stage's first block."""
    units = []
    for i, stage in enumerate(resolve(model, container)):
        path = f"{container}.{i}"
        for j in range(len(stage.blocks)):
            name = f"{path}.blocks.{j}"
            units.append(Unit(name, (f"{path}.downsample", name) if j == 0 else (name,)))
    return units
