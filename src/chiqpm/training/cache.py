"""Activations of the frozen part of a backbone, computed once and kept on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.backbone import Backbone
from chiqpm.files import write_json
from chiqpm.progress import bar
from chiqpm.training.batches import in_order

logger = logging.getLogger(__name__)


def cache_hidden(
    backbone: Backbone,
    views: Sequence[Any],
    path: Path,
    *,
    key: str,
    description: str,
    batch_size: int = 8,
    workers: int = 0,
    device: torch.device | None = None,
    quiet: bool = True,
) -> NDArray[np.float32]:
    """Return the activations of the frozen part for several views of the same images, from disk when they are there.

    Args:
        backbone: its `forward_frozen` is evaluated.
        views: data sets of the same N images, in the same order.
        path: npy file that holds the result; a JSON file beside it says when it is complete and what made it.
        key: digest of all that determines the result.
        description: label of the progress bar.
        batch_size: images per forward pass.
        workers: loading processes.
        device: where the backbone is.
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
    backbone.eval()
    progress = bar(len(views) * count, description, quiet=quiet)
    with torch.inference_mode():
        for number, view in enumerate(views):
            start = 0
            for images, _ in in_order(view, batch_size, workers):
                hidden = backbone.forward_frozen(images.to(device, memory_format=torch.channels_last)).cpu().numpy()
                if hidden_VN is None:
                    shape = (len(views), count, *hidden.shape[1:])
                    hidden_VN = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
                hidden_VN[number, start : start + len(hidden)] = hidden
                start += len(hidden)
                progress.update(len(hidden))
    progress.close()
    assert hidden_VN is not None
    hidden_VN.flush()  # type: ignore[attr-defined]
    write_json(marker, {"key": key})
    return _open(path)


def _open(path: Path) -> NDArray[np.float32]:
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
