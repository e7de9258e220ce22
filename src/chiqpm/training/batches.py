"""Batches of one epoch: from images, or from cached activations of the frozen part of the backbone.

The batches of an epoch depend on the seed and the number of the epoch alone, so that a resumed run sees the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from chiqpm.loading import load_batches

Batch = tuple[torch.Tensor, torch.Tensor]


class Batches(Protocol):
    """What the training loop asks for."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        ...

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the inputs and labels of an epoch."""
        ...


def shuffled(count: int, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return the order of an epoch in chunks; a last chunk of one joins its neighbour (batch norm needs two).

    >>> [len(chunk) for chunk in shuffled(9, 4, seed=0, epoch=0)]
    [4, 5]
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    chunks = [order[start : start + batch_size] for start in range(0, count, batch_size)]
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [np.concatenate(chunks[-2:])]
    return chunks


class ImageBatches:
    """Shuffled, augmented batches of a data set of images.

    Args:
        dataset: yields (image, label, index) and has `set_epoch`.
        batch_size: images per batch.
        seed: seed of the order.
        workers: loading processes; 0 loads in this one, None chooses.
    """

    def __init__(self, dataset: Dataset[Any], batch_size: int, *, seed: int, workers: int | None = None) -> None:
        self.dataset, self.batch_size, self.seed, self.workers = dataset, batch_size, seed, workers

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(shuffled(len(self.dataset), self.batch_size, self.seed, 0))  # type: ignore[arg-type]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield images (B, 3, S, S) and labels (B,)."""
        self.dataset.set_epoch(epoch)  # type: ignore[attr-defined]
        order = shuffled(len(self.dataset), self.batch_size, self.seed, epoch)  # type: ignore[arg-type]
        for images, labels, _ in load_batches(self.dataset, order, workers=self.workers):
            yield images, labels


class CachedBatches:
    """Shuffled batches of cached activations, one of several augmented views drawn for each image and epoch.

    Args:
        hidden_VN: activations of the frozen part (V views, N images, ...).
        labels_N: classes (N,).
        batch_size: images per batch.
        seed: seed of the order and the views.
    """

    def __init__(
        self, hidden_VN: NDArray[np.floating[Any]], labels_N: NDArray[np.int64], batch_size: int, *, seed: int
    ) -> None:
        self.hidden_VN, self.labels_N, self.batch_size, self.seed = hidden_VN, labels_N, batch_size, seed

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(shuffled(len(self.labels_N), self.batch_size, self.seed, 0))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield activations (B, ...) and labels (B,)."""
        views, count = self.hidden_VN.shape[:2]
        hidden_VN: NDArray[Any] = self.hidden_VN
        view_N = np.random.default_rng([self.seed, epoch, 1]).integers(views, size=(count,))
        for chunk in shuffled(count, self.batch_size, self.seed, epoch):
            hidden = torch.from_numpy(hidden_VN[view_N[chunk], chunk])
            yield hidden.contiguous(memory_format=_layout(hidden)), torch.from_numpy(self.labels_N[chunk])


def in_order(dataset: Dataset[Any], batch_size: int, workers: int | None) -> Iterator[Batch]:
    """Yield every image of a data set once, in its order."""
    count = len(dataset)  # type: ignore[arg-type]
    order = [np.arange(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
    for images, labels, _ in load_batches(dataset, order, workers=workers):
        yield images, labels


def _layout(hidden: torch.Tensor) -> torch.memory_format:
    """Channels last makes convolutions on CPUs about a third faster; only images have the four axes that it needs."""
    return torch.channels_last if hidden.ndim == 4 else torch.contiguous_format
