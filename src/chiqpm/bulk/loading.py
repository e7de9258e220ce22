"""Pictures loaded ahead in other processes, chunk by chunk, the unreadable ones with what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from chiqpm.data import load_image
from chiqpm.data.images import UnreadableImageError
from chiqpm.loading import be_silent_at_the_end, threads_beside

Item = tuple[str, torch.Tensor | None, str]


@dataclass(frozen=True)
class Chunk:
    """Some pictures that follow each other.

    Attributes:
        paths: where they lie.
        errors: for each what is wrong with it, or "".
        images_B3SS: the readable ones, prepared, in their order; B may be 0.
    """

    paths: tuple[str, ...]
    errors: tuple[str, ...]
    images_B3SS: torch.Tensor

    def pin_memory(self) -> Chunk:
        """Return it with its images in pinned memory; torch's loader calls this."""
        return replace(self, images_B3SS=self.images_B3SS.pin_memory())


def load_chunks(
    paths: Iterable[str],
    transform: Callable[[Image.Image], torch.Tensor],
    *,
    size: int,
    max_pixels: int,
    workers: int,
    pin: bool = False,
) -> Generator[Chunk, None, None]:
    """Yield pictures in chunks, in their order; a few chunks are in memory at a time, however many paths there are.

    While workers run, torch computes with the threads that they leave free.

    Args:
        paths: of pictures.
        transform: prepares a picture for the model.
        size: pictures in a chunk.
        max_pixels: larger pictures are unreadable.
        workers: loading processes; 0 loads in this one.
        pin: put the pictures into pinned memory, from which a CUDA GPU fetches them itself.
    """
    loader = DataLoader(
        _Pictures(transform, max_pixels),
        batch_sampler=_chunked(paths, size),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin,
        worker_init_fn=be_silent_at_the_end,
    )
    with threads_beside(workers):
        yield from loader


def _chunked(paths: Iterable[str], size: int) -> Iterator[list[str]]:
    waiting = iter(paths)
    while chunk := list(islice(waiting, size)):
        yield chunk


class _Pictures(Dataset[Item]):
    """Pictures by their path."""

    def __init__(self, transform: Callable[[Image.Image], torch.Tensor], max_pixels: int) -> None:
        self.transform, self.max_pixels = transform, max_pixels

    def __getitem__(self, path: str) -> Item:
        try:
            return path, self.transform(load_image(path, max_pixels=self.max_pixels)), ""
        except UnreadableImageError as error:
            return path, None, error.reason
        except FileNotFoundError:
            return path, None, "the file is gone"


def _collate(items: Sequence[Item]) -> Chunk:
    readable = [image for _, image, _ in items if image is not None]
    images_B3SS = torch.stack(readable) if readable else torch.empty(0)
    return Chunk(tuple(path for path, _, _ in items), tuple(error for _, _, error in items), images_B3SS)
