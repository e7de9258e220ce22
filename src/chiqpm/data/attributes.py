"""What is known about the classes themselves: one row of numbers per class, from a CSV file."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chiqpm.data.csv_file import read_csv
from chiqpm.data.table import some
from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Attributes:
    """Attributes of C classes.

    Attributes:
        names: The A attributes.
        values_CA: Their values, rows in the order of the classes.
    """

    names: tuple[str, ...]
    values_CA: NDArray[np.float64]


def find_attributes(root: Path, attributes: str | None) -> Path | None:
    """The attributes file to use: the one asked for, else `attributes.csv` in the data folder, else None.

    Args:
        root: The data folder.
        attributes: What the user asked for: a path, from the working directory or from the data folder.

    Raises:
        FileNotFoundError: A file was asked for and isn't there.
    """
    if attributes is None:
        found = root / "attributes.csv"
        return found if found.is_file() else None
    for candidate in (Path(attributes), root / attributes):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"there is no attributes file {attributes} (looked here and in {root})")


def read_attributes(path: Path, classes: Sequence[str]) -> Attributes:
    """Read a CSV file with one row per class: the class name first, then one number per attribute.

    Args:
        path: The file; its first line names the columns.
        classes: The class names; each must have exactly one row, and no other class may.

    Raises:
        FileNotFoundError: There is no such file.
        ChiqpmError: Missing, repeated or unknown classes, no attribute column, or a cell that isn't a finite
            number.
    """
    header, rows = read_csv(Path(path))
    names = tuple(header[1:])
    if not names:
        raise ChiqpmError(f"{path} has only the column {header[0]!r}; attributes follow the class, one column each")
    seen = [unicodedata.normalize("NFC", row[0]) for row in rows]
    wanted = {unicodedata.normalize("NFC", name): index for index, name in enumerate(classes)}
    problems = {
        "more than one row for": sorted({name for name in seen if seen.count(name) > 1}),
        "no row for": [name for name in wanted if name not in set(seen)],
        "rows for classes that don't exist:": sorted(set(seen) - set(wanted)),
    }
    found = [f"{what} {some(who)}" for what, who in problems.items() if who]
    if found:
        raise ChiqpmError(
            f"{path} doesn't fit the {len(classes)} classes: {'; '.join(found)}. "
            f"The first column ({header[0]!r}) must name every class once"
        )
    values_CA = np.empty((len(classes), len(names)))
    for name, row in zip(seen, rows, strict=True):
        for column, cell in enumerate(row[1:]):
            values_CA[wanted[name], column] = _number(cell, f"{path}: class {name!r}, attribute {names[column]!r}")
    return Attributes(names, values_CA)


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ChiqpmError(f"{where}: {cell!r} isn't a finite number; use e.g. 0 and 1 for absent and present")
    return value
