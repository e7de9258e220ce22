"""Where to compute."""

from __future__ import annotations

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
