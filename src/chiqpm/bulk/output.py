"""A file of predictions that a killed run leaves usable: what is whole stays, half a line is taken away."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from chiqpm.bulk.rows import Row, decode, encode, format_of, header, may_begin
from chiqpm.errors import ChiqpmError
from chiqpm.files import Lock, naming, write_all


class Output:
    """Rows appended to a CSV or JSON Lines file.

    Args:
        path: the file, made if need be; its ending chooses the format.
        overwrite: drop what is in it.

    Raises:
        ChiqpmError: another ending, another kind of file at this place, or another run is writing it.
        OSError: it can't be written.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path, self.form = path, format_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = Lock(path)
        except BlockingIOError:
            raise ChiqpmError(f"another run is writing {path}; wait for it, or choose another file") from None
        self._file = self._lock.file
        if overwrite:
            self._file.truncate(0)
        self.num_rows = 0

    def continue_after(self, paths: Iterable[str], *, coverage: float, model: str) -> tuple[int, int]:
        """Read what is there, check that it is the beginning of this job, and take half a last line away.

        Args:
            paths: of the job's pictures, in order.
            coverage: of the job.
            model: of the job.

        Returns:
            How many pictures are done, and how many of them were unreadable.

        Raises:
            ChiqpmError: the file holds predictions of another job, or something else.
        """
        unreadable, end = 0, 0
        waiting = iter(paths)
        for number, line in enumerate(self._lines()):
            end += len(line)
            if self.form == "csv" and number == 0:
                if line != header("csv"):
                    raise self._foreign()
                continue
            row = self._row(line, number + 1)
            given = {"path": next(waiting, "no further picture"), "coverage": coverage, "model": model}
            for name, value in given.items():
                if row[name] != value:
                    raise ChiqpmError(
                        f"{self.path} was made by another job: in line {number + 1} the {name} is {row[name]!r}, now "
                        f"it is {value!r}. Choose another file, or begin again with --overwrite"
                    )
            self.num_rows += 1
            unreadable += row["error"] is not None
        self._file.seek(end)
        if end == 0 and not may_begin(self._file.read(), self.form):
            raise self._foreign()
        self._file.truncate(end)
        if end == 0:
            self._write(header(self.form))
        return self.num_rows, unreadable

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows and hand them to the system, so that not even kill -9 takes them away."""
        self._write(b"".join(encode(row, self.form) for row in rows))

    def close(self) -> None:
        """Flush to the disk and close."""
        try:
            with naming(self.path), self._file:
                os.fsync(self._file.fileno())
        finally:
            self._lock.release()

    def _write(self, data: bytes) -> None:
        # Unbuffered: what a full disk doesn't take must not be written later.
        with naming(self.path):
            write_all(self._file.raw, data)

    def _lines(self) -> Iterator[bytes]:
        """Yield whole records; a quoted cell of a CSV may hold ends of lines."""
        self._file.seek(0)
        record = b""
        for line in self._file:
            record += line
            if line.endswith(b"\n") and (self.form == "jsonl" or record.count(b'"') % 2 == 0):
                yield record
                record = b""

    def _foreign(self) -> ChiqpmError:
        return ChiqpmError(
            f"{self.path} is there and holds something else; choose another file, or begin again with --overwrite"
        )

    def _row(self, line: bytes, number: int) -> Row:
        try:
            return decode(line, self.form)
        except ValueError as error:
            raise ChiqpmError(
                f"{self.path} is damaged in line {number} ({error}), or holds something else; choose another file, or "
                "begin again with --overwrite"
            ) from None
