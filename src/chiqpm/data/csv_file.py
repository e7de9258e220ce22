"""Read a table that people wrote with a spreadsheet."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from chiqpm.errors import ChiqpmError


def read_csv(path: Path, *, strip: bool = True) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV file, empty lines left out.

    UTF-8 with or without a byte order mark; comma, semicolon or tab, whichever the header has most of.

    Args:
        path: The file.
        strip: Take blanks off both ends of every cell.

    Raises:
        FileNotFoundError: There is no such file.
        ChiqpmError: Not UTF-8, empty, a repeated column, or a row of another length than the header.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give the path of a CSV file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError:
        raise ChiqpmError(f"{path} isn't UTF-8 text; save it as CSV in UTF-8") from None
    first_line = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first_line.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ChiqpmError(f"{path} isn't a proper CSV file: {error}") from None
    table = [line for line in lines if any(cell.strip() for cell in line)]
    if strip:
        table = [[cell.strip() for cell in line] for line in table]
    if not table:
        raise ChiqpmError(f"{path} is empty; its first line must name the columns")
    header, rows = table[0], table[1:]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise ChiqpmError(f"{path} has the column {repeated[0]!r} more than once; column names must differ")
    for row in rows:
        if len(row) != len(header):
            raise ChiqpmError(
                f"{path}: the row of {row[0]!r} has {len(row)} cells, but the header names {len(header)} columns"
            )
    return header, rows
