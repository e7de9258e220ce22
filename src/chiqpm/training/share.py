"""Which images of a step's batch a process computes, and in how many parts.

A batch is what one step of the optimiser sees. It depends on the seed, the epoch and the step alone; processes and
accumulation only divide it. So one process and many learn the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError


class Rows(NamedTuple):
    """The place of a part in the batch of its step."""

    start: int
    """Place of the part's first image in the batch."""
    total: int
    """Images of the whole batch."""


class Batch(NamedTuple):
    """The part of a batch that a process computes at once."""

    inputs: torch.Tensor
    """Images (B, 3, S, S) or activations of the frozen part (B, ...)."""
    labels: torch.Tensor
    """Classes (B,)."""
    rows: Rows
    """Where in the whole batch these are."""


@dataclass(frozen=True)
class Share:
    """The part of every batch that is a process's own.

    Attributes:
        rank: number of the process.
        processes: how many there are.
        accumulation: parts in which each process computes its share.

    >>> [(part.tolist(), rows) for part, rows in Share(rank=1, processes=2).parts(np.arange(5))]
    [([3, 4], Rows(start=3, total=5))]
    """

    rank: int = 0
    processes: int = 1
    accumulation: int = 1

    def check(self, smallest: int) -> None:
        """Refuse what leaves a process without an image in some batch.

        Args:
            smallest: images of the smallest batch.

        Raises:
            ChiqpmError: fewer images than parts.
        """
        if self.accumulation < 1:
            raise ChiqpmError(f"accumulation must be 1 or more, received {self.accumulation}")
        needed = self.processes * self.accumulation
        if smallest < needed:
            raise ChiqpmError(
                f"{self.processes} processes times {self.accumulation} parts need at least {needed} images in every "
                f"batch, but the smallest has {smallest}. Start fewer processes, or choose a larger batch_size or a "
                "smaller accumulation."
            )

    def parts(self, chunk: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Rows]]:
        """Yield the own parts of a batch; they differ by one image at most."""
        pieces = np.array_split(np.arange(len(chunk)), self.processes * self.accumulation)
        for own in pieces[self.rank :: self.processes]:
            yield chunk[own], Rows(int(own[0]), len(chunk))
