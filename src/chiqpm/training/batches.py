"""Batches of one epoch: from images, or from cached activations of the frozen part of the backbone.

The batches of an epoch depend on the seed and the number of the epoch alone, so that a resumed run sees the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from chiqpm.loading import load_batches
from chiqpm.training.share import Batch, Share


class Batches(Protocol):
    """What the training loop asks for."""

    @property
    def images(self) -> int:
        """Images of an epoch."""
        ...

    def __len__(self) -> int:
        """Return the number of batches, that is of steps, in an epoch."""
        ...

    def epoch(self, epoch: int, *, share: Share, first: int = 0) -> Generator[Batch]:
        """Yield the own parts of the batches of an epoch, in order, from batch `first` on."""
        ...


def shuffled(count: int, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return the order of an epoch in chunks whose sizes differ by one at most, so that no small one is left over.

    >>> [len(chunk) for chunk in shuffled(9, 4, seed=0, epoch=0)]
    [3, 3, 3]
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return np.array_split(order, num_batches(count, batch_size))


def num_batches(count: int, batch_size: int) -> int:
    """Return the number of chunks of `shuffled`: as few as the batch size allows, none of a single image.

    Batch norm needs two images, so with a batch size of 2 there may be a chunk of 3.
    """
    number = math.ceil(count / batch_size)
    return max(1, min(number, count // 2) if batch_size > 1 else number)


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

    @property
    def images(self) -> int:
        """Images of an epoch."""
        return len(self.dataset)  # type: ignore[arg-type]

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return num_batches(self.images, self.batch_size)

    def epoch(self, epoch: int, *, share: Share, first: int = 0) -> Generator[Batch]:
        """Yield images (B, 3, S, S) and labels (B,)."""
        self.dataset.set_epoch(epoch)  # type: ignore[attr-defined]
        chunks = shuffled(self.images, self.batch_size, self.seed, epoch)[first:]
        parts = [part for chunk in chunks for part in share.parts(chunk)]
        loaded = load_batches(self.dataset, [own for own, _ in parts], workers=self.workers)
        for (images, labels, _), (_, rows) in zip(loaded, parts, strict=True):
            yield Batch(images, labels, rows)


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

    @property
    def images(self) -> int:
        """Images of an epoch."""
        return len(self.labels_N)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return num_batches(self.images, self.batch_size)

    def epoch(self, epoch: int, *, share: Share, first: int = 0) -> Generator[Batch]:
        """Yield activations (B, ...) and labels (B,)."""
        views, count = self.hidden_VN.shape[:2]
        hidden_VN: NDArray[Any] = self.hidden_VN
        view_N = np.random.default_rng([self.seed, epoch, 1]).integers(views, size=(count,))
        for chunk in shuffled(count, self.batch_size, self.seed, epoch)[first:]:
            for own, rows in share.parts(chunk):
                hidden = torch.from_numpy(hidden_VN[view_N[own], own])
                hidden = hidden.contiguous(memory_format=memory_layout(hidden))
                yield Batch(hidden, torch.from_numpy(self.labels_N[own]), rows)


def in_order(
    dataset: Dataset[Any], batch_size: int, workers: int | None, rows_N: NDArray[np.int64] | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield every image of a data set once, in its order; with `rows_N`, only those."""
    rows_N = np.arange(len(dataset)) if rows_N is None else rows_N  # type: ignore[arg-type]
    order = [rows_N[start : start + batch_size] for start in range(0, len(rows_N), batch_size)]
    for images, labels, _ in load_batches(dataset, order, workers=workers):
        yield images, labels


def memory_layout(inputs: torch.Tensor) -> torch.memory_format:
    """Channels last makes convolutions on CPUs about a third faster; only images have the four axes that it needs."""
    return torch.channels_last if inputs.ndim == 4 else torch.contiguous_format
