"""Pictures of files and folders, in an order that is the same every time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from chiqpm.data.images import is_image_name


def list_pictures(paths: Sequence[str | Path]) -> Iterator[str]:
    """Yield pictures: files as they are given, those of a folder sorted, with subfolders.

    What is kept in memory is the names in the folders from the root to where it is, not those of all pictures. Links to
    folders aren't followed.

    Raises:
        FileNotFoundError: a path doesn't exist; before the first picture.
    """
    for path in paths:
        if not os.path.exists(path):  # noqa: PTH110 (the rest is in strings, too)
            raise FileNotFoundError(f"there is no image or folder {path}")
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112
            yield from _walk(str(path))
        else:
            yield str(path)


def count_pictures(paths: Sequence[str | Path]) -> int:
    """Return how many pictures `list_pictures` yields.

    Raises:
        FileNotFoundError: a path doesn't exist.
    """
    return sum(1 for _ in list_pictures(paths))


def _walk(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = sorted(
            (entry.name, entry.is_dir(follow_symlinks=False))
            for entry in entries
            if entry.is_dir(follow_symlinks=False) or (is_image_name(entry.name) and entry.is_file())
        )
    for name, is_folder in found:
        path = os.path.join(folder, name)  # noqa: PTH118
        if is_folder:
            yield from _walk(path)
        else:
            yield path
