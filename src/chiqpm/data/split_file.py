"""The split as a file, `split.csv`, so that every later run and every other tool uses the very same one."""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from chiqpm.data.csv_file import read_csv
from chiqpm.data.recognise import find_reader, recognise
from chiqpm.data.splits import check_groups
from chiqpm.data.table import PARTS, ImageTable, some
from chiqpm.errors import ChiqpmError
from chiqpm.files import write_atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMNS = ["path", "class", "part", "group"]
_FURTHER = ("label", "box")


def write_split(table: ImageTable, path: str | Path) -> None:
    """Write a table's split: UTF-8, columns path, class, part and group (empty without groups).

    Two columns follow where they are needed: `label`, the number of the class, where classes aren't in the order of
    their names; `box`, left, top, right and bottom, where pictures are cut (see `ImageTable`). The file appears whole
    or not at all.

    Raises:
        ChiqpmError: The table isn't split.
    """
    if table.parts is None:
        raise ChiqpmError("these images aren't split into parts yet; call chiqpm.data.split first")
    write_atomic(Path(path), lambda file: _write(table, file))


def _write(table: ImageTable, file: BinaryIO) -> None:
    assert table.parts is not None
    text = TextIOWrapper(file, encoding="utf-8", newline="")
    groups = table.groups if table.groups is not None else ("",) * len(table)
    writer = csv.writer(text, lineterminator="\n")
    further: dict[str, list[str]] = {}
    if list(table.classes) != sorted(table.classes):
        further["label"] = [str(label) for label in table.labels_N.tolist()]
    if table.boxes_N4 is not None:
        further["box"] = [" ".join(map(str, box)) for box in table.boxes_N4.tolist()]
    writer.writerow([*_COLUMNS, *further])
    classes = [table.classes[label] for label in table.labels_N.tolist()]
    writer.writerows(zip(table.paths, classes, table.parts.tolist(), groups, *further.values(), strict=True))
    text.detach()


def read_split(path: str | Path, root: str | Path) -> ImageTable:
    """The table of a written split, without looking at the images.

    Args:
        path: A file by `write_split`.
        root: The folder in which the images lie, or their shards.

    Returns:
        A split table; its classes are those of the file, in the order of their labels, else sorted.

    Raises:
        FileNotFoundError: There is no such file.
        ChiqpmError: Not such a file: columns, parts, labels, boxes, repeated paths, or paths that leave the folder.
    """
    path = Path(path)
    header, rows = read_csv(path, strip=False)
    further = header[len(_COLUMNS) :]
    if header[: len(_COLUMNS)] != _COLUMNS or further != [name for name in _FURTHER if name in further]:
        raise ChiqpmError(f"{path} has the columns {some(header, 8)}; a split has {', '.join(_COLUMNS)}")
    paths = tuple(row[0] for row in rows)
    twice = [name for name, count in Counter(paths).items() if count > 1]
    if twice:
        raise ChiqpmError(f"{path} names {len(twice)} images more than once: {some(twice)}")
    strange = [name for name in paths if _leaves_folder(name)]
    if strange:
        raise ChiqpmError(f"{path} has paths that don't lie below the data folder: {some(strange)}")
    unknown = sorted({row[2] for row in rows} - set(PARTS))
    if unknown:
        raise ChiqpmError(f"{path} has the part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    groups = tuple(row[3] for row in rows)
    if any(groups) and not all(groups):
        missing = [row[0] for row in rows if not row[3]]
        raise ChiqpmError(
            f"{path} gives no group for {len(missing)} images: {some(missing)}; give all of them one or none"
        )
    columns = {name: [row[header.index(name)] for row in rows] for name in further}
    classes = tuple(sorted({row[1] for row in rows}))
    if "label" in columns:
        classes = _ordered_classes(
            path, classes, {(row[1], label) for row, label in zip(rows, columns["label"], strict=True)}
        )
    label_of = {name: label for label, name in enumerate(classes)}
    parts = np.array([row[2] for row in rows], dtype="<U11")
    check_groups(parts, groups if any(groups) else None)
    return ImageTable(
        root=Path(root),
        paths=paths,
        labels_N=np.array([label_of[row[1]] for row in rows], dtype=np.int64),
        classes=classes,
        parts=parts,
        groups=groups if any(groups) else None,
        boxes_N4=_read_boxes(path, columns["box"]) if "box" in columns else None,
        reader=find_reader(Path(root)),
        dataset=recognise(Path(root)),
    )


def _ordered_classes(path: Path, classes: Sequence[str], labels: set[tuple[str, str]]) -> tuple[str, ...]:
    name_of = {int(label): name for name, label in labels if label.isdecimal()}
    if len(labels) != len(classes) or sorted(name_of) != list(range(len(classes))):
        raise ChiqpmError(f"{path} must give every class one number of its own in the column label, from 0 on")
    return tuple(name_of[label] for label in range(len(classes)))


def _read_boxes(path: Path, texts: Sequence[str]) -> NDArray[np.int64]:
    try:
        boxes = np.array([[int(edge) for edge in text.split(" ")] for text in texts], dtype=np.int64)
        return boxes.reshape(len(texts), 4)
    except ValueError:
        raise ChiqpmError(f"{path} has a box that isn't four whole numbers with blanks between them") from None


def apply_split(table: ImageTable, path: str | Path) -> ImageTable:
    """Give the images of a folder the parts of a written split.

    Args:
        table: As from `open_folder`; parts that it has are replaced.
        path: A file by `write_split`.

    Returns:
        The table with the parts of the file, and its groups where the table has none.

    Raises:
        FileNotFoundError: There is no such file.
        ChiqpmError: The file and the folder don't hold the same images of the same classes, or the table's
            groups don't fit the written parts.
    """
    path = Path(path)
    written = read_split(path, table.root)
    row_of = {_composed(name): row for row, name in enumerate(written.paths)}
    here = {_composed(name): index for index, name in enumerate(table.paths)}
    remedy = (
        f"Restore the images as they were, or delete {path} (or choose another run directory) to make a "
        "new split; a model trained with the old one must then be trained again"
    )
    missing = [written.paths[row] for name, row in row_of.items() if name not in here]
    new = [table.paths[index] for name, index in here.items() if name not in row_of]
    if missing or new:
        found = [
            f"{len(names)} are {what} ({some(names)})" for what, names in (("missing", missing), ("new", new)) if names
        ]
        raise ChiqpmError(f"the images in {table.root} aren't those of {path}: {' and '.join(found)}. {remedy}")
    rows = [row_of[_composed(name)] for name in table.paths]
    moved = [
        table.paths[index]
        for index, row in enumerate(rows)
        if table.classes[table.labels_N[index]] != written.classes[written.labels_N[row]]
    ]
    if moved:
        raise ChiqpmError(f"{len(moved)} images have another class than in {path}: {some(moved)}. {remedy}")
    assert written.parts is not None
    parts = written.parts[rows]
    check_groups(parts, table.groups)
    groups = table.groups
    if groups is None and written.groups is not None:
        groups = tuple(written.groups[row] for row in rows)
    return replace(table, parts=parts, groups=groups)


def _leaves_folder(name: str) -> bool:
    native = PurePath(name)
    return not name or bool(native.anchor) or PurePosixPath(name).is_absolute() or ".." in native.parts


def _composed(name: str) -> str:
    """One spelling of a path: file systems may decompose the accents in it."""
    return unicodedata.normalize("NFC", name)
