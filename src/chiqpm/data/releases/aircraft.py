"""FGVC-Aircraft: 100 variants of aircraft, 70 families, 30 manufacturers (Maji et al. 2013)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chiqpm.data.layout import FoundImage, Layout
from chiqpm.data.releases.release import Release, below, read_lines
from chiqpm.data.table import Part, some

if TYPE_CHECKING:
    from chiqpm.config import DataConfig

AIRCRAFT = Release(
    key="aircraft",
    title="FGVC-Aircraft",
    source=(
        "page 'FGVC-Aircraft Benchmark' of the Visual Geometry Group (University of Oxford), file "
        "fgvc-aircraft-2013b.tar.gz"
    ),
    classes=100,
    counts={"train": 6667, "test": 3333},
)
_CLASSES = {"variant": 100, "family": 70, "manufacturer": 30}
_NAMES = {"variant": "variants.txt", "family": "families.txt", "manufacturer": "manufacturers.txt"}
_ARCHIVE = "fgvc-aircraft-2013b"
BANNER = 20
"""Height of the strip at the bottom of every picture, with the photographer's name, in pixels."""


def find_aircraft(root: Path) -> Path | None:
    """The folder with the lists of FGVC-Aircraft: `root`, or `data` in the unpacked archive; None without any."""
    for folder in (root, root / "data", root / _ARCHIVE / "data"):
        if any((folder / f"images_{kind}_{part}.txt").is_file() for kind in _CLASSES for part in ("trainval", "test")):
            return folder
    if root.name == _ARCHIVE:
        return root / "data"
    return root / _ARCHIVE / "data" if (root / _ARCHIVE).is_dir() else None


def read_aircraft(root: Path, config: DataConfig) -> Layout:
    """The images of FGVC-Aircraft, training and validation part together, as published results do, and test part.

    The banner at the bottom of each picture is cut off: it names the photographer, which can give the answer away.

    Args:
        root: The unpacked folder, its `data`, or the one above it.
        config: `aircraft_classes` and `crop_to_box` are used.

    Raises:
        ChiqpmError: Lists or pictures are missing, or the lists contradict each other.
    """
    folder, kind = find_aircraft(root) or root, config.aircraft_classes
    lists: dict[Part, str] = {"train": f"images_{kind}_trainval.txt", "test": f"images_{kind}_test.txt"}
    boxes_file = ["images_box.txt"] if config.crop_to_box else []
    AIRCRAFT.require(root, folder, (*lists.values(), _NAMES[kind], *boxes_file, "images"))
    names = tuple(read_lines(AIRCRAFT, root, folder / _NAMES[kind]))
    boxes = _read_boxes(root, folder) if config.crop_to_box else {}
    start = below(root, folder) + "images/"
    images, seen = [], set[str]()
    for part, name in lists.items():
        for line in read_lines(AIRCRAFT, root, folder / name):
            number, _, label = line.partition(" ")
            if label not in names:
                raise AIRCRAFT.refuse(root, f"{name} has the line {line!r}, whose class isn't in {_NAMES[kind]}")
            if number in seen:
                raise AIRCRAFT.refuse(root, f"the lists name the picture {number} twice")
            if config.crop_to_box and number not in boxes:
                raise AIRCRAFT.refuse(root, f"images_box.txt has no box for the picture {number}")
            seen.add(number)
            images.append(FoundImage(f"{start}{number}.jpg", label, part, boxes.get(number, (0, 0, 0, -BANNER))))
    AIRCRAFT.check_pictures(root, [image.path for image in images], " and ".join(lists.values()))
    images.sort(key=lambda image: image.path)
    present = {image.class_name for image in images}
    classes = tuple(name for name in names if name in present)
    release = Release(AIRCRAFT.key, f"{AIRCRAFT.title} ({kind})", AIRCRAFT.source, _CLASSES[kind], AIRCRAFT.counts)
    release.report(images, len(classes))
    return Layout(tuple(images), classes=classes, dataset=AIRCRAFT.key)


def _read_boxes(root: Path, folder: Path) -> dict[str, tuple[int, int, int, int]]:
    """Picture -> left, top, right, bottom; the file counts pixels from 1 and includes both ends."""
    boxes = {}
    strange = []
    for line in read_lines(AIRCRAFT, root, folder / "images_box.txt"):
        number, *edges = line.split()
        if len(edges) == 4 and all(edge.isdecimal() for edge in edges):
            left, top, right, bottom = map(int, edges)
            boxes[number] = left - 1, top - 1, right, bottom
        else:
            strange.append(line)
    if strange:
        raise AIRCRAFT.refuse(root, f"images_box.txt has lines without four whole numbers: {some(strange, 2)}")
    return boxes
