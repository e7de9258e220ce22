"""Images of a table as a torch data set whose random changes depend on seed, epoch and image alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chiqpm.data.table import ImageTable


class ImageDataset(Dataset[tuple[torch.Tensor, int, int]]):
    """Images of a table, decoded on demand.

    What an image looks like depends on (seed, epoch, its index in the table) and on nothing else: not on the
    order, the number of workers or other use of torch's generator, which is left as it was.

    Args:
        table: The images.
        indices: Which of them, for instance `table.indices("train")`.
        transform: From an RGB image to a tensor; may draw from torch's global generator.
        max_pixels: As for `load_image`.
        seed: Of the random changes; 0 or more.

    Raises:
        ChiqpmError: Indices outside the table, or a negative seed.
    """

    def __init__(
        self,
        table: ImageTable,
        indices: Sequence[int] | NDArray[np.int64],
        transform: Callable[[Image.Image], torch.Tensor],
        *,
        max_pixels: int = 100_000_000,
        seed: int = 0,
    ) -> None:
        self.indices = np.asarray(indices, dtype=np.int64)
        if self.indices.ndim != 1 or (
            len(self.indices) and not 0 <= self.indices.min() <= self.indices.max() < len(table)
        ):
            raise ChiqpmError(f"indices must be a list of numbers in 0..{len(table) - 1} for {len(table)} images")
        if seed < 0:
            raise ChiqpmError(f"seed must be 0 or more; received {seed}")
        self.table = table
        self.transform = transform
        self.max_pixels = max_pixels
        self.seed = seed
        # Shared memory: workers that live on from epoch to epoch see the new number.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Choose the random changes of another epoch (0 or more), also in workers that run already.

        Raises:
            ChiqpmError: A negative epoch.
        """
        if epoch < 0:
            raise ChiqpmError(f"epoch must be 0 or more; received {epoch}")
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int, int]:
        """The tensor, the label and the index in the table of the i-th of `indices`.

        Raises:
            UnreadableImageError: The file can't be read (any more).
        """
        index = int(self.indices[i])
        image = self.table.load(index, max_pixels=self.max_pixels)
        entropy = np.random.SeedSequence([self.seed, int(self._epoch), index])
        # Only the CPU's generator: seeding through torch would reseed the accelerator's too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
            tensor = self.transform(image)
        return tensor, int(self.table.labels_N[index]), index
