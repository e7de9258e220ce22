"""Where to compute."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from chiqpm.errors import ChiqpmError

Module = TypeVar("Module", bound=nn.Module)


def find_device(name: str) -> torch.device:
    """Return the device of a name; "auto" prefers CUDA, then Apple's GPU, then the CPU.

    Raises:
        ChiqpmError: no such device here.

    >>> find_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ChiqpmError(f"device {name!r} can't be used here ({reason}); try 'auto' or 'cpu'") from None
    return device


def place(model: Module, device: torch.device) -> Module:
    """Move a model to a device, convolutions in channels-last order (about a third faster on CPUs)."""
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def send_images(images_B3SS: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Send images to a device in channels-last order; a CUDA GPU fetches pinned ones while this returns."""
    return images_B3SS.to(device, memory_format=torch.channels_last, non_blocking=device.type == "cuda")


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Have torch refuse operations whose results differ from run to run, for a while."""
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS can't be deterministic
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
