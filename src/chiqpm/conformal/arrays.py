"""Arrays at the border of the room: NumPy or torch in, checked, blocks of torch inside, the same kind out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError

Array: TypeAlias = "torch.Tensor | NDArray[Any]"
"""A torch tensor or a NumPy array (anything that `numpy.asarray` takes counts as the latter)."""

# Entries of a (block, classes) table: small enough for a few of them to stay in a laptop's cache, large
# enough to keep threads busy.
_BLOCK_ENTRIES = 1 << 18


def as_array(value: Any) -> Array:
    """Return a tensor as it is (without its gradient) and anything else as a NumPy array."""
    return value.detach() if isinstance(value, torch.Tensor) else np.asarray(value)


def as_numpy(value: Any) -> NDArray[Any]:
    """Return anything array-like as a NumPy array on the CPU."""
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def as_matrix(value: Any, name: str, axes: str) -> Array:
    """Return a two-dimensional array of real numbers.

    Args:
        value: what the caller gave.
        name: its name in the message.
        axes: its axes in words, for the message.

    Raises:
        TypeError: it isn't numeric.
        ChiqpmError: it isn't two-dimensional.
    """
    array = as_array(value)
    if isinstance(array, torch.Tensor):
        numeric = not array.is_complex()
    else:
        numeric = array.dtype.kind in "fiub"
    if not numeric:
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}.")
    if array.ndim != 2:
        raise ChiqpmError(f"{name} must have two axes ({axes}); got shape {tuple(array.shape)}.")
    return array


def check_inputs(
    logits: Any,
    features: Any,
    *,
    needs_features: bool,
    score: str,
    num_classes: int | None,
    num_features: int | None,
) -> tuple[Array, Array | None]:
    """Check logits (B, C) and features (B, K) against each other and against what the score expects."""
    logits_BC = as_matrix(logits, "logits", "images, classes")
    if logits_BC.shape[1] < 1:
        raise ChiqpmError("logits must have at least one class; got none.")
    if num_classes is not None and logits_BC.shape[1] != num_classes:
        raise ChiqpmError(
            f"logits have {logits_BC.shape[1]} classes where {num_classes} are expected (by the "
            "class-feature assignment or "
            "the calibration); use the logits of the same model."
        )
    if not needs_features:
        return logits_BC, None
    if features is None:
        raise ChiqpmError(f"the score {score} reads the features of each image; pass features (images, kept features).")
    features_BK = as_matrix(features, "features", "images, kept features")
    if features_BK.shape[0] != logits_BC.shape[0]:
        raise ChiqpmError(
            f"logits and features must describe the same images; got {logits_BC.shape[0]} rows of logits and "
            f"{features_BK.shape[0]} rows of features."
        )
    if num_features is not None and features_BK.shape[1] != num_features:
        raise ChiqpmError(
            f"features have {features_BK.shape[1]} columns where the assignment has {num_features} kept "
            "features; pass the "
            "features of the sparse model, in the order of the assignment's columns."
        )
    return logits_BC, features_BK


def check_labels(labels: Any, num_images: int, num_classes: int) -> torch.Tensor:
    """Return labels as an int64 tensor (M,) on the CPU; each in 0 .. num_classes - 1."""
    return check_codes(labels, num_images, num_classes, name="labels", what="class")


def check_codes(codes: Any, num_images: int, limit: int, *, name: str, what: str) -> torch.Tensor:
    """Return integer codes as an int64 tensor (M,) on the CPU; each in 0 .. limit - 1."""
    values = as_numpy(codes)
    if values.ndim != 1 or values.shape[0] != num_images:
        raise ChiqpmError(
            f"{name} must be one {what} per image, shape ({num_images},); got shape {tuple(values.shape)}."
        )
    if values.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers ({what} indices from 0); got dtype {values.dtype}.")
    if num_images and (values.min() < 0 or values.max() >= limit):
        wrong = values[(values < 0) | (values >= limit)][0]
        raise ChiqpmError(f"{name} must lie in 0..{limit - 1}, the {what} indices; got {wrong}.")
    return torch.from_numpy(values.astype(np.int64))


def blocks(num_images: int, num_classes: int) -> Iterator[slice]:
    """Cut the images into slices whose (images, classes) tables stay small."""
    step = max(1, _BLOCK_ENTRIES // max(1, num_classes))
    return (slice(start, min(start + step, num_images)) for start in range(0, num_images, step))


def block(array: Array, rows: slice, name: str) -> torch.Tensor:
    """Return some rows as a finite floating-point tensor: float64 where the input is, else float32.

    NumPy rows are copied, so that read-only, memory-mapped and oddly strided arrays all work.
    """
    part = array[rows]
    if isinstance(part, torch.Tensor):
        tensor = part.to(torch.float64 if part.dtype == torch.float64 else torch.float32)
    else:
        tensor = torch.from_numpy(np.array(part, dtype=np.float64 if part.dtype == np.float64 else np.float32))
    if not bool(torch.isfinite(tensor).all()):
        row = int((~torch.isfinite(tensor)).any(dim=1).int().argmax())
        raise ChiqpmError(
            f"{name} must be finite; row {rows.start + row} holds NaN or infinity. Look at that image and "
            "at the model that gave it."
        )
    return tensor


def empty_like_kind(like: Array, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return an uninitialised tensor where `like` lives (its device, or the CPU for NumPy)."""
    return torch.empty(shape, dtype=dtype, device=like.device if isinstance(like, torch.Tensor) else "cpu")


def as_kind(tensor: torch.Tensor, like: Array) -> Array:
    """Return the result as the kind of array that the caller gave."""
    return tensor if isinstance(like, torch.Tensor) else tensor.numpy()
