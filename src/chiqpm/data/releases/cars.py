"""Stanford Cars: 196 models of cars with boxes (Krause et al. 2013), in either form in which it is passed on."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from chiqpm.data.images import is_image_name
from chiqpm.data.layout import FoundImage, Layout, class_images
from chiqpm.data.releases.matlab import fields_of, read_matlab
from chiqpm.data.releases.release import Release, below, folders_in, read_lines
from chiqpm.data.table import Part, some

if TYPE_CHECKING:
    from chiqpm.config import DataConfig

CARS = Release(
    key="cars",
    title="Stanford Cars",
    source=(
        "page 'Cars Dataset' of Jonathan Krause (Stanford AI Lab), files cars_train.tgz, cars_test.tgz, "
        "car_devkit.tgz and cars_test_annos_withlabels.mat; or 'Stanford Car Dataset by classes folder' by jutrera on "
        "Kaggle, with folders train/<class> and test/<class>, and boxes in anno_train.csv and anno_test.csv"
    ),
    classes=196,
    counts={"train": 8144, "test": 8041},
)
_LABELS: dict[Part, str] = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
_PICTURES: dict[Part, str] = {"train": "cars_train", "test": "cars_test"}
_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_ENDS_IN_YEAR = re.compile(r".* (19|20)\d\d")


def find_cars(root: Path) -> Path | None:
    """The folder of Stanford Cars: with MATLAB files and `cars_train`, or with `train/<model and year>`."""
    names = ("devkit", "cars_meta.mat", *_LABELS.values(), *_PICTURES.values())
    if sum((root / name).exists() for name in names) >= 2 or (root / "devkit" / "cars_meta.mat").exists():
        return root
    for folder in (root, root / "car_data", root / "car_data" / "car_data"):
        models = [_joined(folder / "train", name) for name in folders_in(folder / "train")]
        if models and (folder / "test").is_dir() and all(map(_ENDS_IN_YEAR.fullmatch, models)):
            return folder
    return None


def read_cars(root: Path, config: DataConfig) -> Layout:
    """The images of Stanford Cars: from the MATLAB files, or from class folders.

    Args:
        root: The folder with `cars_train`, `cars_test` and the MATLAB files (in `devkit` or beside it), or the folder
            above `train` and `test`.
        config: `crop_to_box` is used; the boxes of class folders are in `anno_train.csv` and `anno_test.csv`.

    Raises:
        ChiqpmError: Files or pictures are missing, or contradict each other.
    """
    folder = find_cars(root) or root
    by_folders = (folder / "train").is_dir() and (folder / "test").is_dir()
    images, classes = _by_folders(root, folder, config) if by_folders else _by_matlab(root, folder, config)
    images.sort(key=lambda image: image.path)
    CARS.report(images, len(classes))
    return Layout(tuple(images), classes=classes, dataset=CARS.key)


def _by_matlab(root: Path, folder: Path, config: DataConfig) -> tuple[list[FoundImage], tuple[str, ...]]:
    files = {name: _place(folder, name) for name in ("cars_meta.mat", *_LABELS.values())}
    CARS.require(root, folder, (str(file.relative_to(folder)) for file in files.values()))
    CARS.require(root, folder, _PICTURES.values())
    names = tuple(str(name) for name in read_matlab(CARS, root, files["cars_meta.mat"], "class_names"))
    images = []
    for part, name in _LABELS.items():
        rows = read_matlab(CARS, root, files[name], "annotations")
        pictures = folder / _PICTURES[part]
        if (pictures / pictures.name).is_dir():
            pictures /= pictures.name
        start = below(root, pictures)
        for file, label, *box in fields_of(CARS, root, files[name], rows, ("fname", "class", *_BOX)):
            if not 1 <= int(label) <= len(names):
                raise CARS.refuse(root, f"{name} gives {file} the class {label}; cars_meta.mat has {len(names)}")
            left, top, right, bottom = (int(edge) for edge in box)
            found = (left - 1, top - 1, right, bottom) if config.crop_to_box else None
            images.append(FoundImage(f"{start}{file}", names[int(label) - 1], part, found))
        CARS.check_pictures(root, [image.path for image in images if image.part == part], name)
    present = {image.class_name for image in images}
    return images, tuple(name for name in names if name in present)


def _place(folder: Path, name: str) -> Path:
    places = (folder / "devkit" / name, folder / name, folder / "car_devkit" / "devkit" / name)
    return next((place for place in places if place.is_file()), places[0])


def _by_folders(root: Path, folder: Path, config: DataConfig) -> tuple[list[FoundImage], tuple[str, ...]]:
    images: list[FoundImage] = []
    for part in _LABELS:
        found: list[FoundImage] = []
        for name in folders_in(folder / part):
            found += class_images(root, folder / part / name, _joined(folder / part, name), part)
        images += _with_boxes(root, folder, part, found) if config.crop_to_box else found
    classes = {part: {image.class_name for image in images if image.part == part} for part in _LABELS}
    pairs: tuple[tuple[Part, Part], ...] = (("train", "test"), ("test", "train"))
    for part, other in pairs:
        lacking = sorted(classes[other] - classes[part])
        if lacking:
            raise CARS.refuse(root, f"{folder / part} lacks pictures of {len(lacking)} classes: {some(lacking)}")
    if not images:
        raise CARS.refuse(root, f"there are no class folders with pictures in {folder / 'train'}")
    return images, tuple(sorted(classes["train"]))


def _with_boxes(root: Path, folder: Path, part: Part, images: list[FoundImage]) -> list[FoundImage]:
    """Give images their boxes from `anno_<part>.csv`: file, x1, y1, x2, y2, class; without a header, from 1."""
    name = f"anno_{part}.csv"
    places = [place for place in (folder, *folder.parents) if place.is_relative_to(root)]
    file = next((place / name for place in places if (place / name).is_file()), None)
    if file is None:
        raise CARS.refuse(
            root,
            f"{name}, which has the boxes of its class folders, is missing; add it, or leave out crop_to_box",
        )
    boxes: dict[str, tuple[int, int, int, int]] = {}
    for line in read_lines(CARS, root, file):
        try:
            picture, left, top, right, bottom, _ = line.split(",")
            boxes[picture] = (int(left) - 1, int(top) - 1, int(right), int(bottom))
        except ValueError:
            raise CARS.refuse(root, f"{name}: {line!r} isn't a file, four edges of its box and a class") from None
    names = [image.path.rpartition("/")[2] for image in images]
    lacking = sorted(set(names) - boxes.keys())
    if lacking:
        raise CARS.refuse(root, f"{name} has no box for {len(lacking)} pictures: {some(lacking)}")
    return [replace(image, box=boxes[name]) for image, name in zip(images, names, strict=True)]


def _joined(folder: Path, name: str) -> str:
    """The class of a folder. A slash in a name (Ram C/V) became a hyphen, or a folder in a folder."""
    inner = folders_in(folder / name)
    if len(inner) == 1 and not any(is_image_name(entry.name) for entry in (folder / name).iterdir()):
        return f"{name}/{inner[0]}"
    return re.sub(r"\bC-V\b", "C/V", name)
