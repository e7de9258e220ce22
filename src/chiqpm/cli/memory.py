"""Keep freed memory in the process: training frees and takes the same large blocks thousands of times."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_BLOCK = 32 * 2**20
_KEPT = 2**31 - 1
_PAD = 64 * 2**20


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed blocks of up to 32 MiB instead of giving them back to the system.

    Otherwise every activation map is mapped, zeroed page by page and unmapped again, which costs a training step on a
    CPU about an eighth of its time. Only glibc knows these settings; where the user has set them, they stay.

    Returns:
        Whether they were set.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_THRESHOLD, _LARGEST_BLOCK), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _PAD))
    return all(mallopt(name, value) for name, value in settings)
