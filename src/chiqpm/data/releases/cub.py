"""CUB-200-2011: 200 species of birds, with boxes, parts and attributes (Wah et al. 2011)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from chiqpm.data.layout import FoundImage, Layout
from chiqpm.data.releases.release import Release, below, check_same_numbers, read_numbered
from chiqpm.data.table import some

if TYPE_CHECKING:
    from chiqpm.config import DataConfig

CUB = Release(
    key="cub",
    title="CUB-200-2011",
    source="page 'CUB-200-2011' of CaltechDATA (Caltech Vision Lab), file CUB_200_2011.tgz",
    classes=200,
    counts={"train": 5994, "test": 5794},
)
FOLDER = "CUB_200_2011"
_FILES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")


def find_cub(root: Path) -> Path | None:
    """The folder with the files of CUB-200-2011: `root`, or `CUB_200_2011` in it; None without any."""
    for folder in (root, root / FOLDER):
        if sum((folder / name).is_file() for name in _FILES) >= 2:
            return folder
    if root.name == FOLDER:
        return root
    return root / FOLDER if (root / FOLDER).is_dir() else None


def read_cub(root: Path, config: DataConfig) -> Layout:
    """The images of CUB-200-2011 by its own lists: images, classes, training and test part, boxes.

    Classes keep their published names and order (`001.Black_footed_Albatross`).

    Args:
        root: The unpacked folder, or the one above it.
        config: `crop_to_box` is used.

    Raises:
        ChiqpmError: Lists or pictures are missing, or the lists contradict each other.
    """
    folder = find_cub(root) or root
    CUB.require(root, folder, (*_FILES, *(["bounding_boxes.txt"] if config.crop_to_box else []), "images"))
    paths, is_training = read_split_lists(root, folder, CUB)
    labels, names = _read_labels(root, folder, paths)
    boxes = read_boxes(root, folder, paths, CUB) if config.crop_to_box else {}
    start = below(root, folder) + "images/"
    CUB.check_pictures(root, [start + path for path in paths.values()], "images.txt")
    images = [
        FoundImage(start + path, names[labels[number]], "train" if is_training[number] else "test", boxes.get(number))
        for number, path in paths.items()
    ]
    images.sort(key=lambda image: image.path)
    classes = tuple(names[label] for label in sorted(names) if label in set(labels.values()))
    CUB.report(images, len(classes))
    return Layout(tuple(images), classes=classes, dataset=CUB.key)


def read_split_lists(root: Path, folder: Path, release: Release) -> tuple[dict[int, str], dict[int, bool]]:
    """Number -> path below `images`, and number -> whether the image is a training image.

    Raises:
        ChiqpmError: The two lists contradict each other.
    """
    listed, divided = folder / "images.txt", folder / "train_test_split.txt"
    paths, parts = read_numbered(release, root, listed), read_numbered(release, root, divided)
    check_same_numbers(release, root, {listed.name: paths, divided.name: parts})
    strange = sorted({value for value in parts.values() if value not in ("0", "1")})
    if strange:
        raise release.refuse(root, f"{divided} has the values {some(strange)}; 1 means training, 0 test")
    return paths, {number: value == "1" for number, value in parts.items()}


def read_boxes(
    root: Path, folder: Path, paths: dict[int, str], release: Release
) -> dict[int, tuple[int, int, int, int]]:
    """Number -> left, top, right, bottom in pixels, rounded outwards, from x, y, width and height.

    Raises:
        ChiqpmError: An image without a box, or a line that isn't one.
    """
    file = folder / "bounding_boxes.txt"
    lines = read_numbered(release, root, file)
    check_same_numbers(release, root, {"images.txt": paths, file.name: lines})
    boxes = {}
    for number, line in lines.items():
        try:
            x, y, width, height = map(float, line.split())
            box = math.floor(x), math.floor(y), math.ceil(x + width), math.ceil(y + height)
        except (ValueError, OverflowError):
            raise release.refuse(root, f"{file} has the line '{number} {line}'; expected 4 numbers") from None
        if width <= 0 or height <= 0:
            raise release.refuse(root, f"{file} has an empty box in the line '{number} {line}'")
        boxes[number] = box
    return boxes


def _read_labels(root: Path, folder: Path, paths: dict[int, str]) -> tuple[dict[int, int], dict[int, str]]:
    labelled = folder / "image_class_labels.txt"
    lines = read_numbered(CUB, root, labelled)
    check_same_numbers(CUB, root, {"images.txt": paths, labelled.name: lines})
    names = read_numbered(CUB, root, folder / "classes.txt")
    unknown = sorted({value for value in lines.values() if not value.isdecimal() or int(value) not in names})
    if unknown:
        raise CUB.refuse(root, f"{labelled.name} has the classes {some(unknown)}, which classes.txt doesn't name")
    return {number: int(value) for number, value in lines.items()}, names
