"""Images in the order in which they came, with labels where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chiqpm.data.csv_file import read_csv
from chiqpm.data.images import is_image_name
from chiqpm.data.table import some
from chiqpm.errors import ChiqpmError


@dataclass(frozen=True)
class StreamImage:
    """One image of a stream.

    Attributes:
        path: where it lies.
        label: its true class; None where nobody knows.
    """

    path: Path
    label: str | None


def read_stream(source: Path, classes: Sequence[str], *, seed: int = 0) -> list[StreamImage]:
    """List the images of a stream.

    Args:
        source: A CSV file with a column `path` (absolute, or relative to the file) and, if there are labels, a column
            `label`, empty where one isn't known; its rows are in the order of time. A picture of several rows counts
            once, where it comes first, with the label that any of them has. Or a folder. Where all its
            pictures lie in folders named like classes, these are the labels, and the order, of which nothing is
            known, is drawn at random: sorted by class, no stream would look like the calibration. Pictures of any
            other folder have no labels and come in the order of their names.
        classes: names of the classes.
        seed: of the order drawn at random.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ChiqpmError: No pictures, no column `path`, a label that is no class, a picture with two labels, or a file of
            predictions.
    """
    if source.is_dir():
        images = _folder(source, set(classes), seed)
    elif source.exists():
        images = _table(source, set(classes))
    else:
        raise FileNotFoundError(f"there is no file or folder {source}; give a CSV of images or a folder")
    if not images:
        raise ChiqpmError(f"{source} names no pictures")
    return images


def _folder(folder: Path, classes: set[str], seed: int) -> list[StreamImage]:
    found = [path for path in folder.rglob("*") if path.is_file() and is_image_name(path.name)]
    found.sort(key=lambda path: (path.name, str(path)))
    if not all(path.parent.name in classes for path in found):
        return [StreamImage(path, None) for path in found]
    order = np.random.default_rng(seed).permutation(len(found))
    return [StreamImage(found[row], found[row].parent.name) for row in order]


def _table(file: Path, classes: set[str]) -> list[StreamImage]:
    header, rows = read_csv(file)
    if "path" not in header:
        raise ChiqpmError(f"{file} has no column 'path'; its columns are {', '.join(header)}")
    if {"softmax", "label"} <= set(header):
        raise ChiqpmError(
            f"{file} holds predictions: its column 'label' is what the classifier said, not the truth. Give a CSV with "
            "a column 'path' and, where the truth is known, a column 'label'"
        )
    path_at, label_at = header.index("path"), header.index("label") if "label" in header else None
    images: dict[Path, StreamImage] = {}
    for row in rows:
        label = None if label_at is None or not row[label_at] else row[label_at]
        if label is not None and label not in classes:
            raise ChiqpmError(
                f"{file}: {row[path_at]!r} has the label {label!r}, which the classifier does not know; it knows "
                f"{some(sorted(classes), 3)}"
            )
        image = StreamImage(file.parent / row[path_at].replace("\\", "/"), label)
        before = images.setdefault(image.path, image)
        if before.label is None:
            images[image.path] = image
        elif label not in (None, before.label):
            raise ChiqpmError(f"{file}: {row[path_at]!r} has two labels, {before.label!r} and {label!r}; leave one")
    return list(images.values())
