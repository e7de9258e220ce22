"""Which software on which kind of machine: what a run must remember to be made again."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

import torch

from chiqpm.loading import count_cores

_PACKAGES = ("chiqpm", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow", "numba")


def describe_environment() -> dict[str, Any]:
    """Return date, versions and kind of machine as plain values; neither its name nor its user's."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": count_cores(),
            "memory_bytes": memory,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def machine_words(environment: dict[str, Any]) -> str:
    """Say which kind of machine it was.

    >>> machine_words({"machine": {"system": "Linux", "processor": "x86_64", "cores": 2, "memory_bytes": 8 * 2**30,
    ...                            "gpu": None}})
    'Linux, x86_64, 2 cores, 8 GiB of memory, no CUDA GPU'
    """
    machine = environment["machine"]
    parts = [machine["system"], machine["processor"], f"{machine['cores']} core{'' if machine['cores'] == 1 else 's'}"]
    if machine["memory_bytes"]:
        parts.append(f"{machine['memory_bytes'] / 2**30:.0f} GiB of memory")
    return ", ".join([*parts, machine["gpu"] or "no CUDA GPU"])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        from chiqpm import __version__

        return __version__ if package == "chiqpm" else "not installed"
