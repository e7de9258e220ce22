"""Activations of the frozen part of a backbone, computed once and kept on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from chiqpm.backbone import Backbone, fold_batch_norm
from chiqpm.devices import send_images
from chiqpm.files import naming, write_all, write_json
from chiqpm.loading import affordable_workers, count_cores, load_batches
from chiqpm.processes import Processes
from chiqpm.progress import bar

T = TypeVar("T")

_BATCH_SIZE = 8
_MOST_PROCESSES = 32
"""Beyond this their memory costs more than their speed is worth."""


def cache_hidden(
    backbone: Backbone,
    views: Sequence[Any],
    path: Path,
    *,
    key: str,
    description: str,
    workers: int | None = None,
    device: torch.device | None = None,
    processes: Processes | None = None,
    quiet: bool = True,
) -> NDArray[np.float32]:
    """Return the activations of the frozen part for several views of the same images, from disk when they are there.

    On a CPU, each loading process also computes: one process with one thread for each core does twice what one process
    with a thread for each core does.

    Args:
        backbone: its `forward_frozen` is evaluated, with batch norm folded (equal to rounding).
        views: data sets of the same N images, in the same order.
        path: npy file that holds the result; a JSON file beside it says when it is complete and what made it.
        key: digest of all that determines the result.
        description: label of the progress bar.
        workers: loading processes; None chooses.
        device: where the backbone is; None is the CPU.
        processes: those that divide the images among them; all see the same disk.
        quiet: show no progress bar.

    Returns:
        Array (V views, N images, ...), memory-mapped, read-only.

    Raises:
        OSError: the disk is full; names the file.
    """
    on_main = _alone if processes is None else processes.on_main
    marker = path.with_suffix(".json")
    if on_main(lambda: marker.exists() and path.exists() and json.loads(marker.read_text())["key"] == key):
        return _open(path)
    count = len(views[0])
    rows_N = np.arange(count) if processes is None else processes.own_rows(count, _BATCH_SIZE)
    device = device or torch.device("cpu")
    probe = send_images(views[0][0][0][None], device)
    frozen = fold_batch_norm(backbone, probe)
    with torch.inference_mode():
        shape = (len(views), count, *frozen.eval().forward_frozen(probe).shape[1:])
    row_bytes = 4 * math.prod(shape[2:])
    offset = on_main(lambda: _make(path, shape))
    quiet = quiet or (processes is not None and not processes.is_main)
    # Written, not mapped: on a full disk a mapped file ends the process, and on a network's disk the pages of several
    # machines overwrite each other.
    progress = bar(len(views) * len(rows_N), description, quiet=quiet)
    with progress, naming(path), path.open("r+b", buffering=0) as file:
        for number, view in enumerate(views):
            file.seek(offset + (number * count + int(rows_N[:1].sum())) * row_bytes)
            for hidden in _hidden(frozen, view, rows_N, workers, device):
                write_all(file, np.ascontiguousarray(hidden, dtype=np.float32).data.cast("B"))
                progress.update(len(hidden))
    if processes is not None:
        processes.wait()
    on_main(lambda: write_json(marker, {"key": key}))
    return _open(path)


def _make(path: Path, shape: tuple[int, ...]) -> int:
    """Make the file, and return where its numbers begin; what it will hold is not there yet."""
    path.with_suffix(".json").unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return int(np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape).offset)


def _alone(work: Callable[[], T]) -> T:
    return work()


class _Hidden(Dataset[torch.Tensor]):
    """Activations of single images, computed wherever they are asked for."""

    def __init__(self, frozen: Backbone, images: Dataset[Any]) -> None:
        self.frozen, self.images = frozen, images

    def __getitem__(self, index: int) -> torch.Tensor:
        image = self.images[index][0]
        with torch.inference_mode():
            hidden = self.frozen.forward_frozen(image[None].contiguous(memory_format=torch.channels_last))
        return hidden[0].clone()


def _hidden(
    frozen: Backbone, view: Any, rows_N: NDArray[np.int64], workers: int | None, device: torch.device
) -> Iterator[NDArray[np.float32]]:
    """Yield the activations of some images in their order, batch by batch."""
    order = [rows_N[start : start + _BATCH_SIZE] for start in range(0, len(rows_N), _BATCH_SIZE)]
    if workers is None and device.type == "cpu":
        workers = affordable_workers(min(count_cores(), _MOST_PROCESSES), len(rows_N))
    if device.type == "cpu" and workers:
        for hidden in load_batches(_Hidden(frozen.eval(), view), order, workers=workers):
            yield hidden.numpy()
        return
    frozen.eval()
    with torch.inference_mode():
        for images, *_ in load_batches(view, order, workers=workers):
            yield frozen.forward_frozen(send_images(images, device)).cpu().numpy()


def _open(path: Path) -> NDArray[np.float32]:
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
