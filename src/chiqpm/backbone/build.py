"""`build_backbone`: from a configuration to a backbone, with every name and number checked."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from chiqpm.backbone.create import create
from chiqpm.backbone.module import Backbone, Head, to_maps
from chiqpm.backbone.stride import can_refine, pixels_per_cell, refine
from chiqpm.backbone.units import WHOLE, Layout, Trunk, Unit, ends_in_relu, find, known_trunk, run
from chiqpm.config import BackboneConfig
from chiqpm.errors import ChiqpmError

logger = logging.getLogger(__name__)

MIN_IMAGE_SIZE = 32


def build_backbone(config: BackboneConfig, *, image_size: int) -> Backbone:
    """Build the network that turns an image into feature maps.

    New weights (a head's, or all without `pretrained`) come from torch's global generator: seed it first.

    `cut` and `frozen` name parts of the trunk (`Backbone.unit_names`); the front of several names means the
    last of them: `blocks.4`, `layer3`. `frozen="all"` freezes the whole kept trunk; without a new head, only
    a classifier on top has something left to learn then. Models outside the families EfficientNet,
    MobileNet, ResNet, ConvNeXt, Swin and ViT (with DeiT and DINOv2) have a single part.

    What is `auto` is taken from `BackboneConfig.resolved`.

    `output_stride` sets strides to 1 without dilation in ResNets, as published (arXiv 2511.20779),
    EfficientNets and MobileNets; other CNNs are asked for it through timm, which dilates; transformers can't
    have it.

    `rectify` says whether a ReLU follows the trunk; None leaves it out only where the trunk is known to end
    in one. A new head always ends in its own ReLU, so `rectify` changes nothing there.

    Args:
        config: which network, what is kept of it, frozen and put on top.
        image_size: side S of the square images, in pixels; models with a fixed input size are built for it.

    Returns:
        The backbone in training mode, on the CPU.

    Raises:
        ChiqpmError: an unknown model or part, a part frozen behind the cut, a stride or an image size that
            the model can't have, or pretrained weights that can't be fetched.
        FileNotFoundError: the bundled weights of `lite0` aren't installed.

    Example:
        >>> config = BackboneConfig(pretrained=False, cut="blocks.4.0", frozen="blocks.3.0", head_channels=32)
        >>> backbone = build_backbone(config, image_size=64)
        >>> backbone(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 32, 4, 4])
    """
    # Which modules have a part in the maps is read from the graph of a gradient.
    with torch.inference_mode(mode=False), torch.enable_grad():
        return _build(config.resolved(), image_size)


def _build(config: BackboneConfig, image_size: int) -> Backbone:
    head_channels = config.head_channels if isinstance(config.head_channels, int) else None
    _check_numbers(image_size, head_channels, config.output_stride)
    created = create(config, image_size)
    plan = _plan(created.model, config, image_size)
    wanted = config.output_stride
    if wanted is not None and wanted != plan.stride:
        if can_refine(created.model):
            refine(created.model, plan.kept, stride=plan.stride, output_stride=wanted, model_name=config.name)
        else:
            created = create(config, image_size, output_stride=wanted)
        plan = _plan(created.model, config, image_size)
        if wanted != plan.stride:
            raise ChiqpmError(
                f"output_stride={wanted} can't be had from {config.name} with the parts that are kept: the "
                f"maps come out with stride {plan.stride}. Leave output_stride out, or choose another cut."
            )
    _cut_off(created.model, plan.units[len(plan.kept) :])
    head = None if head_channels is None else Head(plan.num_features, head_channels)
    rectify = config.rectify if config.rectify is not None else not ends_in_relu(created.model, plan.kept[-1])
    return Backbone(
        created.model,
        frozen_units=plan.kept[: plan.num_frozen],
        trainable_units=plan.kept[plan.num_frozen :],
        layout=plan.layout,
        num_prefix_tokens=plan.num_prefix_tokens,
        head=head,
        rectify=rectify and head is None,
        num_features=plan.num_features if head_channels is None else head_channels,
        grid=plan.grid,
        stride=plan.stride,
        mean=created.mean,
        std=created.std,
        unit_names=tuple(unit.name for unit in plan.units),
    )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is kept and frozen of a trunk, and what its maps are like."""

    units: tuple[Unit, ...]
    kept: tuple[Unit, ...]
    num_frozen: int
    layout: Layout
    num_prefix_tokens: int
    num_features: int
    grid: tuple[int, int]
    stride: int


def _check_numbers(image_size: int, head_channels: int | None, output_stride: int | None) -> None:
    if image_size < MIN_IMAGE_SIZE:
        raise ChiqpmError(f"image_size must be at least {MIN_IMAGE_SIZE} pixels, received {image_size}")
    for option, value in (("head_channels", head_channels), ("output_stride", output_stride)):
        if value is not None and value < 1:
            raise ChiqpmError(f"{option} must be at least 1, or None, received {value}")


def _plan(model: nn.Module, config: BackboneConfig, image_size: int) -> _Plan:
    """Divide the trunk, find what `cut` and `frozen` mean, and run one image to see the maps."""
    # Noise, not zeros: zeros would hide a difference between the parts and the whole.
    images = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    num_prefix_tokens = int(getattr(model, "num_prefix_tokens", 0))
    model.eval()
    trunk = _trunk(model, images, num_prefix_tokens, config.name)
    with torch.no_grad():
        kept, num_frozen = _choose(trunk.units, config)
        hidden = run(model, kept, images)
    grid = _grid(hidden, trunk.layout, num_prefix_tokens)
    num_features = to_maps(hidden, trunk.layout, num_prefix_tokens, grid).shape[1]
    stride = pixels_per_cell(image_size, grid[0], exact=trunk.layout == "NLC")
    return _Plan(
        units=trunk.units,
        kept=kept,
        num_frozen=num_frozen,
        layout=trunk.layout,
        num_prefix_tokens=num_prefix_tokens,
        num_features=num_features,
        grid=grid,
        stride=stride,
    )


def _trunk(model: nn.Module, images: torch.Tensor, num_prefix_tokens: int, name: str) -> Trunk:
    """Return the model's parts; only one if they are unknown or don't add up to its `forward_features`."""
    try:
        whole = run(model, (WHOLE,), images)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ChiqpmError(
            f"{name} can't take images of {images.shape[-1]}×{images.shape[-1]} pixels ({error}). Choose "
            "another image_size."
        ) from error
    layout = _layout(model, whole, num_prefix_tokens, name)
    _drop_unused(model, whole)
    known = known_trunk(model)
    if known is not None:
        with torch.no_grad():
            same = torch.equal(run(model, known.units, images), whole)
        if same:
            return known
        logger.info("%s is put together in its own way: it is treated as a single part", name)
    return Trunk((WHOLE,), layout)


def _layout(model: nn.Module, whole: Any, num_prefix_tokens: int, name: str) -> Layout:
    """Tell the order of the axes of `forward_features`' result from its shape."""
    if isinstance(whole, torch.Tensor):
        if whole.ndim == 3 and math.isqrt(cells := whole.shape[1] - num_prefix_tokens) ** 2 == cells:
            return "NLC"
        if whole.ndim == 4:
            last = whole.shape[3] == model.num_features and whole.shape[1] != model.num_features
            return "NHWC" if last else "NCHW"
    raise ChiqpmError(
        f"{name} gives no feature maps: its features are "
        f"{tuple(whole.shape) if isinstance(whole, torch.Tensor) else type(whole).__name__}; allowed are "
        "maps (B, F, H, W) or (B, H, W, F) and tokens (B, H·W, F) of a square grid"
    )


def _grid(hidden: torch.Tensor, layout: Layout, num_prefix_tokens: int) -> tuple[int, int]:
    if layout == "NLC":
        side = math.isqrt(hidden.shape[1] - num_prefix_tokens)
        return side, side
    height, width = hidden.shape[1:3] if layout == "NHWC" else hidden.shape[2:4]
    return height, width


def _choose(units: tuple[Unit, ...], config: BackboneConfig) -> tuple[tuple[Unit, ...], int]:
    """Return the kept parts and how many of them, from the first on, are frozen."""
    num_kept = len(units)
    if config.cut is not None:
        num_kept = find(units, config.cut, option="cut", model_name=config.name) + 1
    if config.frozen is None:
        return units[:num_kept], 0
    if config.frozen == "all":
        return units[:num_kept], num_kept
    num_frozen = find(units, config.frozen, option="frozen", model_name=config.name) + 1
    if num_frozen > num_kept:
        raise ChiqpmError(
            f"frozen={config.frozen!r} lies behind cut={config.cut!r}: freeze a part that is kept, or say frozen='all'"
        )
    return units[:num_kept], num_frozen


def _cut_off(model: nn.Module, units: tuple[Unit, ...]) -> None:
    """Take parts out of the model, so that they are neither saved nor waited for by distributed training."""
    for unit in units:
        for step in unit.steps:
            parent, _, name = step.rpartition(".")
            setattr(model.get_submodule(parent), name, nn.Identity())


def _drop_unused(model: nn.Module, features: torch.Tensor) -> None:
    """Take out the children of the model whose parameters the features don't depend on: the classifier's.

    The graph of the features tells, since some models use the weights of a child without calling it.
    """
    used: set[int] = set()
    seen: set[object] = set()
    waiting: list[Any] = [features.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            used.add(id(node.variable))
        waiting.extend(parent for parent, _ in node.next_functions)
    for name, child in list(model.named_children()):
        parameters = list(child.parameters())
        if parameters and not any(id(parameter) in used for parameter in parameters):
            setattr(model, name, nn.Identity())
