"""Files that are whole or absent: written beside their place, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from chiqpm.errors import DamagedFileError


def write_atomic(path: Path, write: Callable[[BinaryIO], object], *, keep: Path | None = None) -> None:
    """Write a file so that a reader, a crash or a full disk never leaves half of it.

    Args:
        path: where the file goes; its folder must exist.
        write: receives the open binary file.
        keep: where the file that is replaced goes; None drops it.

    Raises:
        OSError: the disk is full or read-only; names `path`, or its folder where that doesn't exist, and what stood
            there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with naming(path, temporary=temporary):
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if keep is not None and path.exists():
                path.replace(keep)
            temporary.replace(path)
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):  # where it couldn't be made, it can't be taken away
            temporary.unlink()
        raise


class Lock:
    """Keeps other programs, and other places of this one, from a file until it is released or the process ends.

    It is the process's own: its worker processes, which outlive a killed one for some seconds, don't keep it. On
    Windows, and where the file system has no locks, nobody is kept from anything.

    Args:
        path: the file, made if need be. Nothing else of this process may open and close it meanwhile: that ends a lock.

    Attributes:
        file: it, open to be read and appended to; closed with the release.

    Raises:
        BlockingIOError: somebody else has it.
        OSError: it can't be opened.
    """

    _held: ClassVar[set[Path]] = set()

    def __init__(self, path: Path) -> None:
        self._place = path.resolve()
        if self._place in self._held:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))
        self.file = path.open("a+b")
        try:
            _lock(self.file)
        except BaseException:
            self.file.close()
            raise
        self._held.add(self._place)

    def release(self) -> None:
        """Let others have it; the file stays."""
        self._held.discard(self._place)
        self.file.close()


def _lock(file: BinaryIO) -> None:
    try:
        import fcntl
    except ImportError:  # on Windows
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            raise BlockingIOError(errno.EAGAIN, error.strerror, file.name) from None


@contextmanager
def naming(path: Path, *, temporary: Path | None = None) -> Iterator[None]:
    """Have an error of the system that says what is wrong, but not where, name a file: which disk is full.

    Args:
        path: the file.
        temporary: what stands for it while it is written; errors name the file instead, or its folder where that
            doesn't exist.
    """
    try:
        yield
    except OSError as error:
        is_temporary = error.filename is not None and error.filename == str(temporary)
        if error.errno is None or not (error.filename is None or is_temporary):
            raise
        named = path.parent if is_temporary and isinstance(error, FileNotFoundError) else path
        raise OSError(error.errno, error.strerror, str(named)) from None


def sync_folder(folder: Path) -> None:
    """Have the system write down which files a folder has, so that a renamed one survives a loss of power."""
    if sys.platform == "win32":  # which can't open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(file: RawIOBase, data: bytes | memoryview) -> None:
    """Write all bytes to an unbuffered file, which may take fewer than it is given at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomic(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        FileNotFoundError: no such file.
        DamagedFileError: it is cut short, or something else.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: it isn't JSON ({error})") from None


_NO_NPZ = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy and zipfile raise for a file that is damaged, or made to harm; a header can ask for any memory."""


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed npz atomically; object arrays are refused, so that no reader needs pickles."""
    for name, value in arrays.items():
        if np.asarray(value).dtype.hasobject:
            raise TypeError(f"array {name!r} holds Python objects and can't be written without pickles")
    write_atomic(path, lambda file: np.savez_compressed(file, **arrays))


def read_npz(path: Path) -> dict[str, Any]:
    """Read the arrays of an npz file without unpickling anything.

    Raises:
        FileNotFoundError: no such file.
        DamagedFileError: it is cut short, or something else.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except _NO_NPZ as error:
        reason = str(error) or type(error).__name__
        raise DamagedFileError(f"{path} is damaged: it isn't an npz of arrays ({reason})") from None


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON-serialisable value, independent of the order of keys.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8")).hexdigest()
