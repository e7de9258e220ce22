"""The list of labelled images that every later stage reads: files, classes, parts of the split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from PIL import Image

from chiqpm.data.images import cut, load_image
from chiqpm.errors import ChiqpmError
from chiqpm.lines import is_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

Part = Literal["train", "calibration", "test"]
PARTS: tuple[Part, ...] = ("train", "calibration", "test")

Progress = Callable[[int, int], None]
"""Called with (done, total) while files are read."""


class Reader(Protocol):
    """Pictures that aren't files of their own, by the paths that a table gives them."""

    def load(self, path: str, max_pixels: int) -> Image.Image:
        """The upright RGB picture; raises `UnreadableImageError`."""
        ...

    def stamp(self, path: str) -> tuple[Any, ...]:
        """Values for JSON that change when the picture does, without reading it."""
        ...


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What was learnt about each picture's content when it was decoded, N pictures.

    Attributes:
        digest_N: 64-bit digests of the size and the RGB pixels; equal for equal pictures.
        outline_N: 64-bit difference hashes; few bits differ between versions of one picture.
    """

    digest_N: NDArray[np.uint64]
    outline_N: NDArray[np.uint64]

    def take(self, rows_M: NDArray[np.int64]) -> Fingerprints:
        """The fingerprints of some of the pictures."""
        return Fingerprints(self.digest_N[rows_M], self.outline_N[rows_M])


@dataclass(frozen=True, eq=False)
class ImageTable:
    """N labelled images below one folder.

    Attributes:
        root: The folder.
        paths: N paths below it, with forward slashes, in an order that doesn't depend on the file system.
        labels_N: Index into `classes` of each image.
        classes: The C class names.
        parts: "train", "calibration" or "test" for each image; None as long as nothing is split.
        groups: For each image the name of the group that must stay on one side of the split, or None.
        skipped: (path, reason) of the files that were left out.
        fingerprints: Content of the pictures as seen during the scan, or None.
        dataset: What the images were recognised as: "folder", or the key of a published data set.
        boxes_N4: The part (left, top, right, bottom) of each picture that is used, in pixels, or None for whole
            pictures; right and bottom count from the far edge where they aren't positive.
        reader: Where the pictures come from if they aren't files below `root`.

    Raises:
        ChiqpmError: Lengths, labels or parts that don't fit together, or a class name that is blank or no single line.
    """

    root: Path
    paths: tuple[str, ...]
    labels_N: NDArray[np.int64]
    classes: tuple[str, ...]
    parts: NDArray[np.str_] | None = None
    groups: tuple[str, ...] | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    fingerprints: Fingerprints | None = None
    dataset: str = "folder"
    boxes_N4: NDArray[np.int64] | None = None
    reader: Reader | None = None

    def __post_init__(self) -> None:
        labels_N = np.array(self.labels_N, dtype=np.int64)
        labels_N.flags.writeable = False
        object.__setattr__(self, "labels_N", labels_N)
        if labels_N.shape != (len(self.paths),):
            raise ChiqpmError(f"{len(self.paths)} paths came with labels of shape {labels_N.shape}")
        if len(labels_N) and not 0 <= labels_N.min() <= labels_N.max() < len(self.classes):
            raise ChiqpmError(
                f"labels must lie in 0..{len(self.classes) - 1} for {len(self.classes)} classes; "
                f"received {labels_N.min()}..{labels_N.max()}"
            )
        unfit = [name for name in self.classes if not is_line(name)]
        if unfit:
            raise ChiqpmError(
                f"a class has the name {unfit[0]!r}; figures, tables and terminals need names that are not blank and "
                "have neither line breaks nor control characters. Rename it"
            )
        if self.groups is not None and len(self.groups) != len(self.paths):
            raise ChiqpmError(f"{len(self.paths)} paths came with {len(self.groups)} groups")
        if self.boxes_N4 is not None and self.boxes_N4.shape != (len(self.paths), 4):
            raise ChiqpmError(f"{len(self.paths)} paths came with boxes of shape {self.boxes_N4.shape}")
        if self.parts is not None:
            parts = np.array(self.parts, dtype=np.str_)
            parts.flags.writeable = False
            object.__setattr__(self, "parts", parts)
            if parts.shape != (len(self.paths),):
                raise ChiqpmError(f"{len(self.paths)} paths came with parts of shape {parts.shape}")
            unknown = sorted(set(parts.tolist()) - set(PARTS))
            if unknown:
                raise ChiqpmError(f"unknown part {unknown[0]!r}; the parts are {', '.join(PARTS)}")

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, index: int) -> Path:
        """Where image `index` lies on disk."""
        return self.root / self.paths[index]

    @property
    def published(self) -> bool:
        """Whether the images are a published data set with its own training and test part."""
        return self.dataset in ("cub", "travelingbirds", "cars", "aircraft", "imagenet")

    def load(self, index: int, *, max_pixels: int = 100_000_000) -> Image.Image:
        """The picture of image `index`, upright, RGB, cut to its box.

        Args:
            index: Of the image.
            max_pixels: As for `load_image`.

        Raises:
            FileNotFoundError: The file is gone.
            UnreadableImageError: It can't be read, or its box lies outside it.
        """
        if self.reader is None:
            picture = load_image(self.path(index), max_pixels=max_pixels)
        else:
            picture = self.reader.load(self.paths[index], max_pixels)
        return picture if self.boxes_N4 is None else cut(picture, self.boxes_N4[index].tolist(), self.path(index))

    def stamp(self, index: int) -> tuple[Any, ...]:
        """Values for JSON that change when the file of image `index` does, without reading it."""
        if self.reader is not None:
            return self.reader.stamp(self.paths[index])
        stat = self.path(index).stat()
        return stat.st_size, stat.st_mtime_ns

    def exists(self, index: int) -> bool:
        """Whether image `index` is still where it was; it isn't read."""
        try:
            self.stamp(index)
        except OSError:
            return False
        return True

    def indices(self, part: Part) -> NDArray[np.int64]:
        """Indices of the images of one part, ascending.

        Raises:
            ChiqpmError: The table isn't split yet, or there's no such part.
        """
        if part not in PARTS:
            raise ChiqpmError(f"unknown part {part!r}; the parts are {', '.join(PARTS)}")
        if self.parts is None:
            raise ChiqpmError("these images aren't split into parts yet; call chiqpm.data.split first")
        return np.flatnonzero(self.parts == part)

    def class_counts(self, part: Part | None = None) -> NDArray[np.int64]:
        """Number of images of each class, in one part or in all."""
        labels = self.labels_N if part is None else self.labels_N[self.indices(part)]
        return np.bincount(labels, minlength=len(self.classes))

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> ImageTable:
        """The table of some of the images, in the given order; the classes stay as they are."""
        rows = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            paths=tuple(self.paths[i] for i in rows),
            labels_N=self.labels_N[rows],
            parts=None if self.parts is None else self.parts[rows],
            groups=None if self.groups is None else tuple(self.groups[i] for i in rows),
            boxes_N4=None if self.boxes_N4 is None else self.boxes_N4[rows],
            fingerprints=None if self.fingerprints is None else self.fingerprints.take(rows),
        )


def counted(count: int, one: str, several: str) -> str:
    """A number with the words that go with it.

    >>> counted(1, "class has", "classes have")
    '1 class has'
    """
    return f"{count:,} {one if count == 1 else several}"


def some(names: Sequence[object], limit: int = 5) -> str:
    """The first few names for a message, and how many more there are.

    >>> some(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(str(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
