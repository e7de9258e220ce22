"""Batches of a data set, loaded ahead in other processes where that pays."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from chiqpm.errors import ChiqpmError

_MOST_WORKERS = 8
_FEW_IMAGES = 200
"""Up to this many images are sooner loaded here than by processes that must be started first."""


def load_batches(
    dataset: Dataset[Any],
    order: Sequence[NDArray[np.int64]],
    *,
    workers: int | None,
    collate: Callable[[list[Any]], Any] | None = None,
) -> Iterator[Any]:
    """Yield batches of a data set.

    While workers run, torch computes with the threads that they leave free: threads that outnumber the cores wait for
    each other, which costs many times what they gain.

    Args:
        dataset: anything with `__getitem__`.
        order: the places in the data set that make each batch.
        workers: loading processes; 0 loads in this one. None chooses: a quarter of the cores where the CPU computes
            too, most of them where a GPU does.
        collate: from a list of items to a batch; None stacks tensors.

    Raises:
        ChiqpmError: a negative number of workers, or whatever the data set raises of this kind.
    """
    if workers is None:
        cores = count_cores()
        wanted = cores - 1 if torch.cuda.is_available() else cores // 4
        workers = affordable_workers(min(_MOST_WORKERS, wanted), sum(map(len, order)))
    if workers < 0:
        raise ChiqpmError(f"workers must be 0 or more, or None to choose; received {workers}")
    loader = DataLoader(
        dataset,
        batch_sampler=_Order(order),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=be_silent_at_the_end,
    )
    try:
        with threads_beside(workers):
            yield from loader
    except ChiqpmError as error:
        if workers == 0:
            raise
        # What comes back from a worker has the worker's traceback in front of its message.
        raise type(error)(str(error).strip().rpartition("\n")[2].partition(": ")[2]) from None


@contextmanager
def threads_beside(workers: int) -> Iterator[None]:
    """Let torch compute with no more threads than so many loading processes leave cores for, and at least one."""
    threads = torch.get_num_threads()
    if workers > 0:
        torch.set_num_threads(max(1, min(threads, count_cores() - workers)))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def be_silent_at_the_end(_: int) -> None:
    """Have this loading process print nothing where the main one is gone, interrupted while it fetched a batch."""

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not issubclass(kind, ConnectionError | EOFError):
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = show


class _Order:
    """The places of each batch as the loader wants them, made when they are asked for: a list of all would be large."""

    def __init__(self, order: Sequence[NDArray[np.int64]]) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list[int]]:
        return (chunk.tolist() for chunk in self.order)


def affordable_workers(wanted: int, num_images: int) -> int:
    """Return the number of processes that are wanted, or 0 where they don't pay or can't be started.

    They don't pay for few images. They can't be started inside a worker, and not on systems other than Linux, which
    start a process by running the caller's script again.
    """
    possible = sys.platform == "linux" and not multiprocessing.current_process().daemon
    return wanted if possible and num_images > _FEW_IMAGES else 0


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
