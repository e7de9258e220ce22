"""One prediction as a row: the columns, and how a row stands in a CSV or JSON Lines file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from chiqpm.bulk.loading import Chunk
from chiqpm.errors import ChiqpmError
from chiqpm.prediction import BatchPrediction

Format = Literal["csv", "jsonl"]
Row = dict[str, Any]
COLUMNS = (
    "path",
    "label",
    "softmax",
    "set",
    "set_size",
    "depth",
    "features",
    "activations",
    "coverage",
    "model",
    "error",
)
"""Names and order of the columns; docs/predictions.md says what they hold. Further ones would come after them."""
_LISTS = ("set", "features", "activations")
_ENCODING: dict[Format, tuple[str, str]] = {
    # A file name needn't be UTF-8: a CSV keeps its bytes, JSON writes them as the escapes that Python reads.
    "csv": ("utf-8", "surrogateescape"),
    "jsonl": ("utf-8", "backslashreplace"),
}


def format_of(path: Path) -> Format:
    """Return the format that a file's ending means.

    Raises:
        ChiqpmError: another ending than .csv and .jsonl.
    """
    if path.suffix == ".csv":
        return "csv"
    if path.suffix == ".jsonl":
        return "jsonl"
    raise ChiqpmError(f"predictions are written to a .csv or a .jsonl file, received {path}")


def rows_of(chunk: Chunk, batch: BatchPrediction | None, *, coverage: float, model: str) -> Iterator[Row]:
    """Yield a row for each picture of a chunk, readable or not.

    Args:
        chunk: the pictures.
        batch: the answers for the readable ones; None where none is.
        coverage: of the sets.
        model: what identifies the classifier.
    """
    place = 0
    for path, error in zip(chunk.paths, chunk.errors, strict=True):
        row: Row = dict.fromkeys(COLUMNS)
        row.update(path=path, coverage=coverage, model=model, error=error or None)
        if batch is not None and not error:
            row.update(_answer(batch, place))
            place += 1
        yield row


def _answer(batch: BatchPrediction, place: int) -> Row:
    names, path_n = batch.legend.class_names, batch.path_Bn[place]
    members = batch.members(place)
    return {
        "label": names[int(batch.predicted_B[place])],
        "softmax": _rounded(float(batch.softmax_B[place])),
        "set": [names[c] for c in members],
        "set_size": len(members),
        "depth": int(batch.depth_B[place]),
        "features": path_n.tolist(),
        "activations": [_rounded(value) for value in batch.features_BK[place, path_n].tolist()],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def header(form: Format) -> bytes:
    """Return what stands before the first row."""
    return (",".join(COLUMNS) + "\n").encode() if form == "csv" else b""


def may_begin(part: bytes, form: Format) -> bool:
    """Whether a file that ends before its first line does can be one of these."""
    first = header("csv") if form == "csv" else f'{{"{COLUMNS[0]}": "'.encode()
    return part.startswith(first) or first.startswith(part)


def encode(row: Row, form: Format) -> bytes:
    """Return a row as the line of a file, its end of line included."""
    if form == "jsonl":
        return (json.dumps(row, ensure_ascii=False) + "\n").encode(*_ENCODING[form])
    text = io.StringIO()
    cells = [_cell(name, row[name]) for name in COLUMNS]
    # The writer leaves a carriage return bare, which readers take for the end of a line.
    bare = any(isinstance(cell, str) and "\r" in cell for cell in cells)
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL).writerow(cells)
    return text.getvalue().encode(*_ENCODING[form])


def _cell(name: str, value: Any) -> Any:
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if name in _LISTS else value


def decode(line: bytes, form: Format) -> Row:
    """Return the row of a line, its lists and numbers as they were.

    Raises:
        ValueError: it is none.
    """
    text = line.decode(*_ENCODING[form]) if form == "csv" else line.decode("utf-8")
    if form == "jsonl":
        row = json.loads(text)
        if not isinstance(row, dict) or set(row) != set(COLUMNS):
            raise ValueError("it has other keys")
        return row
    try:
        (cells,) = csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if len(cells) != len(COLUMNS):
        raise ValueError(f"it has {len(cells)} cells where {len(COLUMNS)} belong")
    return {name: _value(name, cell) for name, cell in zip(COLUMNS, cells, strict=True)}


def _value(name: str, cell: str) -> Any:
    if name in ("path", "label", "model", "error"):
        return cell if cell or name == "path" else None
    return json.loads(cell) if cell else None
