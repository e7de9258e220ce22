"""What CUB-200-2011 knows of its birds beyond their species: attributes of classes and images, places of parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chiqpm.data.attributes import Attributes
from chiqpm.data.releases.cub import CUB, find_cub
from chiqpm.data.releases.release import read_lines, read_numbered
from chiqpm.data.releases.travelingbirds import find_lists, find_travelingbirds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chiqpm.data.table import ImageTable


@dataclass(frozen=True, eq=False)
class PartPlaces:
    """Where P parts of the object are in N pictures.

    Attributes:
        names: The parts.
        places_NP2: y and x in pixels of the picture as the table loads it, cut to its box; centres of pixels are at
            .5.
        visible_NP: Whether the part can be seen.
    """

    names: tuple[str, ...]
    places_NP2: NDArray[np.float64]
    visible_NP: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Annotations:
    """What is known of the images of a table; None for what the folder lacks.

    Attributes:
        classes: Share of its people who saw each attribute, by class (C, A), in 0..1.
        present_NA: Attributes that were seen in each image.
        parts: Where the parts are.
    """

    classes: Attributes | None
    present_NA: NDArray[np.bool_] | None
    parts: PartPlaces | None


def read_annotations(table: ImageTable) -> Annotations | None:
    """The annotations of a table of CUB-200-2011 or TravelingBirds; None for other images.

    Raises:
        ChiqpmError: A file of annotations is there and isn't understood.
    """
    folder = _folder(table)
    if folder is None:
        return None
    number_of = {path: number for number, path in read_numbered(CUB, table.root, folder / "images.txt").items()}
    numbers_N = np.array([number_of["/".join(path.split("/")[-2:])] for path in table.paths], dtype=np.int64)
    names = _attribute_names(table.root, folder)
    return Annotations(
        _class_attributes(table, folder, names),
        _image_attributes(table.root, folder, numbers_N, len(names)),
        _parts(table, folder, numbers_N),
    )


def annotation_stamps(table: ImageTable) -> dict[str, list[int]]:
    """Size and time of each file of annotations, as values for JSON; empty where there are none."""
    folder = _folder(table)
    files = [] if folder is None else [*(folder / "attributes").glob("*.txt"), *(folder / "parts").glob("*.txt")]
    stats = {file.name: file.stat() for file in sorted(files)}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _folder(table: ImageTable) -> Path | None:
    if table.dataset == "cub":
        return find_cub(table.root)
    if table.dataset == "travelingbirds":
        return find_lists(table.root, find_travelingbirds(table.root) or table.root)
    return None


def _attribute_names(root: Path, folder: Path) -> tuple[str, ...]:
    """The archive has the list of names beside its folder, some copies inside."""
    places = (folder / "attributes" / "attributes.txt", folder / "attributes.txt", folder.parent / "attributes.txt")
    file = next((place for place in places if place.is_file()), None)
    return () if file is None else tuple(read_numbered(CUB, root, file).values())


def _class_attributes(table: ImageTable, folder: Path, names: tuple[str, ...]) -> Attributes | None:
    """Rows are in the order of the numbers in classes.txt."""
    file = folder / "attributes" / "class_attribute_labels_continuous.txt"
    if not file.is_file() or not (folder / "classes.txt").is_file():
        return None
    rows = [line.split() for line in read_lines(CUB, table.root, file)]
    listed = list(read_numbered(CUB, table.root, folder / "classes.txt").values())
    try:
        values_CA = np.array(rows, dtype=np.float64)
    except ValueError:
        values_CA = np.empty(0)
    if values_CA.ndim != 2 or len(values_CA) != len(listed) or not np.isfinite(values_CA).all():
        raise CUB.refuse(
            table.root, f"{file} must have a row of equally many numbers for each of {len(listed)} classes"
        )
    order = [listed.index(name) for name in table.classes]
    count = values_CA.shape[1]
    return Attributes(names if len(names) == count else _numbers(count), values_CA[order] / 100)


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(f"attribute {number}" for number in range(1, count + 1))


def _image_attributes(
    root: Path, folder: Path, numbers_N: NDArray[np.int64], num_names: int
) -> NDArray[np.bool_] | None:
    """Image, attribute, presence, certainty and time in each line; some lines of the archive have a number too many."""
    file = folder / "attributes" / "image_attribute_labels.txt"
    if not file.is_file():
        return None
    try:
        rows_M3 = np.loadtxt(file, usecols=(0, 1, 2), dtype=np.int64, ndmin=2)
    except ValueError as error:
        raise CUB.refuse(root, f"{file}: {error}") from None
    if len(rows_M3) == 0 or rows_M3[:, :2].min() < 1:
        raise CUB.refuse(root, f"{file} must number images and attributes from 1")
    count = max(num_names, int(rows_M3[:, 1].max()))
    present = np.zeros((max(int(rows_M3[:, 0].max()), int(numbers_N.max())) + 1, count), dtype=bool)
    seen = rows_M3[rows_M3[:, 2] == 1]
    present[seen[:, 0], seen[:, 1] - 1] = True
    present_NA: NDArray[np.bool_] = present[numbers_N]
    return present_NA


def _parts(table: ImageTable, folder: Path, numbers_N: NDArray[np.int64]) -> PartPlaces | None:
    file, named = folder / "parts" / "part_locs.txt", folder / "parts" / "parts.txt"
    if not file.is_file() or not named.is_file():
        return None
    names = read_numbered(CUB, table.root, named)
    try:
        rows_M5 = np.loadtxt(file, usecols=(0, 1, 2, 3, 4), ndmin=2)
    except ValueError as error:
        raise CUB.refuse(table.root, f"{file}: {error}") from None
    row_of = {number: row for row, number in enumerate(numbers_N.tolist())}
    column_of = {number: column for column, number in enumerate(names)}
    places_NP2 = np.zeros((len(numbers_N), len(names), 2))
    visible_NP = np.zeros((len(numbers_N), len(names)), dtype=bool)
    for image, part, x, y, visible in rows_M5.tolist():
        if int(part) not in column_of:
            raise CUB.refuse(table.root, f"{file} has the part {int(part)}, which parts.txt doesn't name")
        if int(image) in row_of:
            row, column = row_of[int(image)], column_of[int(part)]
            places_NP2[row, column] = y + 0.5, x + 0.5
            visible_NP[row, column] = visible == 1
    if table.boxes_N4 is not None:
        corners_N2 = np.maximum(table.boxes_N4[:, [1, 0]], 0)
        places_NP2 -= corners_N2[:, None]
        visible_NP &= (places_NP2 >= 0).all(axis=2)
    return PartPlaces(tuple(names.values()), places_NP2, visible_NP)
