"""Read many files at a time: Pillow decodes outside Python's lock, and discs like more than one request."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from chiqpm.data.table import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_THREADS = 8
_BLOCK = 32


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], progress: Progress | None) -> list[Result]:
    """`work` of each item, in the order of the items; the first exception ends it.

    Args:
        work: Called from several threads.
        items: What to work on.
        progress: Called with (done, total), from the calling thread.
    """
    blocks = [items[start : start + _BLOCK] for start in range(0, len(items), _BLOCK)]
    results: list[Result] = []
    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))
    try:
        for done in pool.map(lambda block: [work(item) for item in block], blocks):
            results.extend(done)
            if progress is not None:
                progress(len(results), len(items))
    finally:
        # Also after Ctrl-C: what isn't begun yet is dropped, so that the wait is short.
        pool.shutdown(wait=True, cancel_futures=True)
    return results
