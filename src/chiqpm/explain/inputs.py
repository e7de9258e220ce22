"""Checks of what callers give to this room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError


def finite_array(value: Any, name: str, shape: tuple[int | str, ...]) -> NDArray[Any]:
    """Return a finite NumPy array of the wanted shape.

    Args:
        value: an array, a tensor on any device, or nested sequences.
        name: what it is, for the message.
        shape: for every axis its length, or a letter where any length will do.

    Raises:
        ChiqpmError: another shape, or values that aren't finite numbers.
    """
    array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(length) for length in shape)
        raise ChiqpmError(f"{name} must have shape ({wanted}), received {array.shape}")
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise ChiqpmError(
            f"{name} must hold finite numbers, received dtype {array.dtype} with NaN, infinity or objects"
        )
    return array


def class_index(value: int, name: str, num_classes: int) -> int:
    """Return a class index in 0..C-1, or raise ChiqpmError."""
    if not 0 <= int(value) < num_classes:
        raise ChiqpmError(f"{name} must be a class index in [0, {num_classes}), received {value}")
    return int(value)


def names(values: Sequence[str], what: str, count: int) -> tuple[str, ...]:
    """Return `count` names, or raise ChiqpmError."""
    if isinstance(values, str) or len(values) != count:
        raise ChiqpmError(f"{count} {what} names are needed, received {len(values)}: one for each {what}")
    return tuple(str(value) for value in values)
