"""Activations of the frozen part of a backbone, computed once and kept on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from chiqpm.backbone import Backbone, fold_batch_norm
from chiqpm.files import write_json
from chiqpm.loading import affordable_workers, count_cores, load_batches
from chiqpm.progress import bar

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
        quiet: show no progress bar.

    Returns:
        Array (V views, N images, ...), memory-mapped, read-only.
    """
    marker = path.with_suffix(".json")
    if marker.exists() and path.exists() and json.loads(marker.read_text())["key"] == key:
        return _open(path)
    marker.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(views[0])
    hidden_VN: NDArray[np.float32] | None = None
    device = device or torch.device("cpu")
    frozen = fold_batch_norm(backbone, views[0][0][0][None].to(device, memory_format=torch.channels_last))
    with bar(len(views) * count, description, quiet=quiet) as progress:
        for number, view in enumerate(views):
            start = 0
            for hidden in _hidden(frozen, view, workers, device):
                if hidden_VN is None:
                    shape = (len(views), count, *hidden.shape[1:])
                    hidden_VN = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
                hidden_VN[number, start : start + len(hidden)] = hidden
                start += len(hidden)
                progress.update(len(hidden))
    assert hidden_VN is not None
    hidden_VN.flush()  # type: ignore[attr-defined]
    write_json(marker, {"key": key})
    return _open(path)


class _Hidden(Dataset[torch.Tensor]):
    """Activations of single images, computed wherever they are asked for."""

    def __init__(self, frozen: Backbone, images: Dataset[Any]) -> None:
        self.frozen, self.images = frozen, images

    def __getitem__(self, index: int) -> torch.Tensor:
        image = self.images[index][0]
        with torch.inference_mode():
            hidden = self.frozen.forward_frozen(image[None].contiguous(memory_format=torch.channels_last))
        return hidden[0].clone()


def _hidden(frozen: Backbone, view: Any, workers: int | None, device: torch.device) -> Iterator[NDArray[np.float32]]:
    """Yield the activations of all images in their order, batch by batch."""
    order = [np.arange(start, min(start + _BATCH_SIZE, len(view))) for start in range(0, len(view), _BATCH_SIZE)]
    if workers is None and device.type == "cpu":
        workers = affordable_workers(min(count_cores(), _MOST_PROCESSES), len(view))
    if device.type == "cpu" and workers:
        for hidden in load_batches(_Hidden(frozen.eval(), view), order, workers=workers):
            yield hidden.numpy()
        return
    frozen.eval()
    with torch.inference_mode():
        for images, *_ in load_batches(view, order, workers=workers):
            yield frozen.forward_frozen(images.to(device, memory_format=torch.channels_last)).cpu().numpy()


def _open(path: Path) -> NDArray[np.float32]:
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
