"""Answers of readers, as rows of a CSV file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from chiqpm.errors import ChiqpmError
from chiqpm.files import write_text
from chiqpm.study.design import ARMS

KINDS = ("practice", "trial", "rating", "preference", "comment", "withdrawn")
CONFIDENCES = (0, 20, 40, 60, 80, 100)
"""What a reader can answer to: how likely is it that your answer is right? In percent."""
RATINGS = (1, 2, 3, 4, 5, 6, 7)
STATEMENTS = {
    "reliance": "I could rely on this help.",
    "understanding": "I understood why the computer suggested what it did.",
    "errors": "I could tell when the computer was wrong.",
}
"""Statements about each kind of help that a reader rates from 1, disagree strongly, to 7, agree strongly."""
_LONGEST_TEXT = 2000


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One row.

    Attributes:
        study: digest of the study's images and plans.
        reader: number of the reader, as text.
        simulated: 1 for a simulated reader, 0 for a person.
        kind: one of `KINDS`.
        block: number of the block, from 1; 0 outside.
        position: number of the image within the block, from 1; 0 outside.
        arm: kind of help, one of `ARMS`; empty outside.
        item: the image, or the statement that is rated.
        answer: number of the class, rating, preferred arm or comment.
        confidence: percent; None outside trials.
        seconds: from the moment when the pictures were shown to the answer; None outside trials.
        hidden_seconds: of these, how long the page was out of sight.
        time: when it was answered, ISO 8601, UTC.
    """

    study: str
    reader: str
    simulated: int = 0
    kind: str
    block: int = 0
    position: int = 0
    arm: str = ""
    item: str = ""
    answer: str = ""
    confidence: int | None = None
    seconds: float | None = None
    hidden_seconds: float | None = None
    time: str = ""


COLUMNS = tuple(field.name for field in fields(Answer))


def check_row(row: Any, where: str) -> Answer:
    """Return a row, whose values may be text, as an `Answer`.

    Raises:
        ChiqpmError: a column is missing or unknown, or a value isn't allowed; names the place.
    """
    if not isinstance(row, dict) or set(row) != set(COLUMNS):
        found = sorted(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise ChiqpmError(f"{where}: the columns must be {', '.join(COLUMNS)}; received {found}")
    texts = {name: "" if row[name] is None else str(row[name]) for name in COLUMNS}
    if any(len(text) > _LONGEST_TEXT for text in texts.values()):
        raise ChiqpmError(f"{where}: a value is longer than {_LONGEST_TEXT} characters")
    answer = Answer(
        study=texts["study"],
        reader=texts["reader"],
        simulated=_whole(texts["simulated"], f"{where}, simulated", (0, 1)),
        kind=_one_of(texts["kind"], f"{where}, kind", KINDS),
        block=_whole(texts["block"], f"{where}, block"),
        position=_whole(texts["position"], f"{where}, position"),
        arm=_one_of(texts["arm"], f"{where}, arm", (*ARMS, "")),
        item=texts["item"],
        answer=texts["answer"],
        confidence=None
        if texts["confidence"] == ""
        else _whole(texts["confidence"], f"{where}, confidence", CONFIDENCES),
        seconds=_seconds(texts["seconds"], f"{where}, seconds"),
        hidden_seconds=_seconds(texts["hidden_seconds"], f"{where}, hidden_seconds"),
        time=texts["time"],
    )
    if answer.kind in ("trial", "practice"):
        _whole(answer.answer, f"{where}, answer")
        if answer.arm == "" or answer.confidence is None or answer.seconds is None or answer.hidden_seconds is None:
            raise ChiqpmError(f"{where}: a {answer.kind} needs an arm, a confidence and seconds")
    if answer.kind == "rating":
        _whole(answer.answer, f"{where}, answer", RATINGS)
        _one_of(answer.item, f"{where}, item", tuple(STATEMENTS))
    return answer


def read_answers(paths: Iterable[str | Path]) -> list[Answer]:
    """Read answer files; a file of each reader, or any number of readers in one.

    Raises:
        FileNotFoundError: no such file.
        ChiqpmError: not an answer file, or the same reader twice with different answers.
    """
    answers: list[Answer] = []
    source: dict[tuple[str, str], Path] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise FileNotFoundError(f"there is no answer file {path}")
        try:
            text = path.read_text(encoding="utf-8-sig")
            rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ChiqpmError(f"{path} is no CSV file of answers: {error}") from None
        found = [check_row(row, f"{path}, line {number}") for number, row in enumerate(rows, start=2)]
        for reader in {(answer.study, answer.reader) for answer in found}:
            if reader in source:
                raise ChiqpmError(
                    f"reader {reader[1]} is both in {source[reader]} and in {path}; keep one of the two files"
                )
            source[reader] = path
        answers += found
    return answers


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Write rows as CSV, whole or not at all."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(answer), "answer": harmless(answer.answer)} for answer in answers)
    write_text(path, stream.getvalue())


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula.

    >>> harmless("=1+1")
    "'=1+1"
    """
    return f"'{text}" if text[:1] in "=+-@\t\r" and text else text


def _whole(text: str, where: str, allowed: tuple[int, ...] | None = None) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ChiqpmError(f"{where}: {text!r} is no whole number, 0 or more")
    value = int(text)
    if allowed is not None and value not in allowed:
        raise ChiqpmError(f"{where}: {value} is none of {', '.join(map(str, allowed))}")
    return value


def _one_of(text: str, where: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise ChiqpmError(f"{where}: {text!r} is none of {', '.join(filter(None, allowed))}")
    return text


def _seconds(text: str, where: str) -> float | None:
    if text == "":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ChiqpmError(f"{where}: {text!r} is no time in seconds, 0 or more")
    return value
