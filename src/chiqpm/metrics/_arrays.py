"""What every metric asks of its arguments: the type, the axes and their sizes, finite numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from chiqpm.errors import ChiqpmError

ArrayOrTensor = npt.NDArray[Any] | torch.Tensor


def floats(values: ArrayOrTensor, name: str, axes: str, **sizes: int) -> npt.NDArray[np.float64]:
    """Return finite numbers as float64.

    Args:
        values: What the caller gave.
        name: What the caller calls it.
        axes: One letter an axis, for instance "NK".
        **sizes: Sizes of some of these axes, for instance `K=50`.

    Returns:
        A float64 array with the given axes, none of them empty.

    Raises:
        TypeError: If the values aren't numbers.
        ChiqpmError: If an axis is missing, empty or of another size, or a value isn't finite.
    """
    array = _numbers(values, name, axes, sizes).astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise ChiqpmError(
            f"{name} holds {bad} values that aren't finite (NaN or infinity); leave them out or mend them."
        )
    return array


def integers(
    values: ArrayOrTensor, name: str, axes: str, limit: int | None = None, lowest: int = 0, **sizes: int
) -> npt.NDArray[np.int64]:
    """Return indices as int64; `lowest` is the first that is allowed, `limit` the first beyond.

    Raises:
        TypeError: If the values aren't of an integer type.
        ChiqpmError: If an axis is missing, empty or of another size, or an index is out of range.
    """
    array = _numbers(values, name, axes, sizes)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name} must be integers; received {array.dtype}.")
    low, high = int(array.min()), int(array.max())
    if low < lowest or (limit is not None and high >= limit):
        allowed = f"{lowest} or more" if limit is None else f"between {lowest} and {limit - 1}"
        raise ChiqpmError(f"{name} must be {allowed}; received values from {low} to {high}.")
    return array.astype(np.int64, copy=False)


def flags(values: ArrayOrTensor, name: str, axes: str, **sizes: int) -> npt.NDArray[np.bool_]:
    """Return booleans; the numbers 0 and 1 are taken as such.

    Raises:
        TypeError: If the values are neither booleans nor numbers.
        ChiqpmError: If an axis is missing, empty or of another size, or a number is neither 0 nor 1.
    """
    array = _numbers(values, name, axes, sizes)
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ChiqpmError(
            f"{name} must be true or false (1 or 0); received values from {array.min()} to {array.max()}."
        )
    return array.astype(np.bool_, copy=False)


def _numbers(values: ArrayOrTensor, name: str, axes: str, sizes: dict[str, int]) -> npt.NDArray[Any]:
    array = on_host(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array or tensor of real numbers; received {array.dtype}.")
    check_shape(tuple(array.shape), name, axes, sizes)
    return array


def on_host(values: ArrayOrTensor) -> npt.NDArray[Any]:
    """Return an array or a tensor of any device as a NumPy array."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    # NumPy has no bfloat16.
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def as_tensor(values: ArrayOrTensor) -> torch.Tensor:
    """Return a tensor as it is, without its history, and an array as a tensor on the CPU."""
    if isinstance(values, torch.Tensor):
        return values.detach()
    # torch takes neither negative strides nor, without a warning, read-only memory.
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))


def check_shape(shape: tuple[int, ...], name: str, axes: str, sizes: dict[str, int]) -> None:
    """Compare a shape with the letters of its axes and those sizes that are known.

    Raises:
        ChiqpmError: If an axis is missing, empty or of another size.
    """
    wanted = "(" + ", ".join(axes) + ("," if len(axes) == 1 else "") + ")"
    known = ", ".join(f"{axis} = {sizes[axis]}" for axis in axes if axis in sizes)
    fits = len(shape) == len(axes) and all(
        sizes.get(axis, size) == size for axis, size in zip(axes, shape, strict=True)
    )
    if not fits:
        raise ChiqpmError(f"{name} has shape {shape}; it must be {wanted}{' with ' + known if known else ''}.")
    if 0 in shape:
        raise ChiqpmError(f"{name} is empty (shape {shape}); at least one entry along every axis is needed.")
