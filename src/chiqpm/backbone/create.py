"""Making timm models by name, with errors that say what to do."""

from __future__ import annotations

import difflib
import socket
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
from huggingface_hub import constants, try_to_load_from_cache
from timm.models import get_arch_name, get_pretrained_cfg
from torch import nn

from chiqpm.backbone.lite0 import ARCHITECTURE, load_lite0
from chiqpm.config import BackboneConfig
from chiqpm.errors import ChiqpmError

_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
LITE0 = "lite0"
"""The name of the bundled network."""


class Created(NamedTuple):
    """A model and the normalisation of its pretrained weights."""

    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]


def create(config: BackboneConfig, image_size: int, *, output_stride: int | None = None) -> Created:
    """Make a timm model without classifier, or the bundled one.

    Args:
        config: `name` and `pretrained` are used.
        image_size: side of the images in pixels, for models with a fixed input size.
        output_stride: passed on to timm when given.

    Raises:
        ChiqpmError: the name or its tag is unknown, the image size doesn't suit, timm can't give this network
            the stride, or the pretrained weights can't be had.
        FileNotFoundError: the bundled weights aren't installed.
    """
    name = ARCHITECTURE if config.name == LITE0 else config.name
    _check_name(name)
    settings = _settings(name)
    options: dict[str, Any] = {"num_classes": 0}
    if settings.fixed_input_size:
        options["img_size"] = image_size
    if output_stride is not None:
        options["output_stride"] = output_stride
    # First without weights: what fails here is the network's shape, what fails afterwards is the fetching.
    try:
        model = timm.create_model(name, pretrained=False, **options)
    except (TypeError, AssertionError, ValueError, NotImplementedError, RuntimeError) as error:
        if output_stride is not None:
            raise ChiqpmError(
                f"output_stride={output_stride} can't be had from {config.name}: transformers have "
                f"the grid of their patches, and timm can change some CNNs only ({error}). Leave it out; a "
                "larger image_size gives finer maps."
            ) from error
        raise ChiqpmError(f"{config.name} can't be built for {image_size} pixels: {error}") from error
    _check_patches(model, config.name, image_size)
    if config.pretrained and config.name == LITE0:
        model = load_lite0()
        model.reset_classifier(0)  # type: ignore[operator]
    elif config.pretrained:
        model = _fetch(name, settings, options)
    return Created(model, tuple(settings.mean), tuple(settings.std))


def fetch_whole(name: str) -> nn.Module:
    """Make a timm model with its pretrained weights and its own classifier.

    Raises:
        ChiqpmError: the name or its tag is unknown, or the weights can't be had.
    """
    _check_name(name)
    return _fetch(name, _settings(name), {})


def _check_name(name: str) -> None:
    if timm.is_model(name):
        return
    known = [LITE0, *timm.list_models()]
    near = difflib.get_close_matches(get_arch_name(name), known, n=5, cutoff=0.5)
    raise ChiqpmError(
        f"there is no backbone {name!r}."
        + (f" Near names: {', '.join(near)}." if near else "")
        + f" Allowed: {LITE0!r}, bundled with weights, and every name of timm.list_models()."
    )


def _settings(name: str) -> Any:
    try:
        return get_pretrained_cfg(name)
    except RuntimeError as error:
        architecture = get_arch_name(name)
        tags = [full.partition(".")[2] for full in timm.list_models(f"{architecture}.*", pretrained=True)]
        raise ChiqpmError(
            f"{architecture!r} has no pretrained weights with the tag {name.partition('.')[2]!r}. Tags: "
            f"{', '.join(tags) or 'none'}."
        ) from error


def _check_patches(model: nn.Module, name: str, image_size: int) -> None:
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    side = patch[0] if isinstance(patch, tuple) else patch
    if isinstance(side, int) and image_size % side:
        below = image_size // side * side
        raise ChiqpmError(
            f"{name} cuts images into patches of {side} pixels, and image_size={image_size} isn't a multiple "
            f"of it. Choose {below} or {below + side}."
        )


def _fetch(name: str, settings: Any, options: dict[str, Any]) -> nn.Module:
    if not settings.has_weights:
        raise ChiqpmError(
            f"timm has no pretrained weights for {name}. Say pretrained=False, or choose a name of "
            "timm.list_pretrained()."
        )
    try:
        # The hub's client tries again for more than a minute before it says that there is no connection.
        if _out_of_reach(settings):
            raise ConnectionError("no connection to the hub, and they aren't in its cache")
        model: nn.Module = timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # the hub's client has many families of errors for a missing connection
        raise ChiqpmError(
            f"the pretrained weights of {name} can't be fetched ({type(error).__name__}: {error}). Without a "
            f"connection, use {LITE0!r}, whose weights come with this package, say pretrained=False, or "
            "copy the weights into the Hugging Face cache."
        ) from error
    return model


def _out_of_reach(settings: Any) -> bool:
    """Say whether weights on the hub are known not to be available: not in the cache, and the hub's name unknown."""
    if not settings.hf_hub_id or getproxies():
        return False
    if any(isinstance(try_to_load_from_cache(settings.hf_hub_id, name), str) for name in _WEIGHT_FILES):
        return False
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return True
    return False
