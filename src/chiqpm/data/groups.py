"""Which images belong together, from a CSV file or from a pattern on their paths."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chiqpm.data.csv_file import read_csv
from chiqpm.data.table import some
from chiqpm.errors import ChiqpmError

# The shortest match up to `.csv:`, so that the colon of a drive letter belongs to the file.
_CSV_AND_COLUMN = re.compile(r"(.+?\.csv)(?::(.*))?", re.IGNORECASE | re.DOTALL)


def read_groups(spec: str, root: Path, paths: Sequence[str]) -> tuple[str, ...]:
    r"""The group of every image.

    Args:
        spec: `FILE.csv:COLUMN`, where the file also has a column `path` with the relative path or the file
            name of each image; or a regular expression whose first bracket names the group, searched in the
            relative path.
        root: The data folder; FILE is looked for from the working directory, then here.
        paths: Relative paths with forward slashes.

    Raises:
        FileNotFoundError: FILE is missing.
        ChiqpmError: A missing column, a pattern that can't be used, images without a group or with two.

    >>> read_groups(r"/(\w+)_\d+\.jpg$", Path("photos"), ["jay/anna_1.jpg", "jay/anna_2.jpg", "owl/bo_1.jpg"])
    ('anna', 'anna', 'bo')
    """
    match = _CSV_AND_COLUMN.fullmatch(spec.strip())
    if match is None:
        return _groups_by_pattern(spec, paths)
    file, column = match.groups()
    if not column:
        raise ChiqpmError(f"groups = {spec!r} names no column; write it as {file}:COLUMN")
    return _groups_by_file(next((p for p in (Path(file), root / file) if p.is_file()), Path(file)), column, paths)


def _groups_by_pattern(pattern: str, paths: Sequence[str]) -> tuple[str, ...]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ChiqpmError(
            f"groups = {pattern!r} is neither FILE.csv:COLUMN nor a regular expression: {error}"
        ) from None
    if expression.groups == 0:
        raise ChiqpmError(f"groups = {pattern!r} has no bracket; the first bracket names the group, e.g. '/([^_/]+)_'")
    found = [expression.search(path) for path in paths]
    names = [match.group(1) if match else None for match in found]
    return _all_named(names, paths, f"groups = {pattern!r}", "change the pattern so that it matches every path")


def _groups_by_file(file: Path, column: str, paths: Sequence[str]) -> tuple[str, ...]:
    header, rows = read_csv(file)
    for name in ("path", column):
        if name not in header:
            raise ChiqpmError(f"{file} has no column {name!r}; its columns are {some(header, 12)}")
    path_at, group_at = header.index("path"), header.index(column)
    group_of: dict[str, str] = {}
    for row in rows:
        key = _key(row[path_at])
        if group_of.setdefault(key, row[group_at]) != row[group_at]:
            raise ChiqpmError(f"{file} puts {row[path_at]!r} into the groups {group_of[key]!r} and {row[group_at]!r}")

    keys = [_key(path) for path in paths]
    file_names = [key.rsplit("/", 1)[-1] for key in keys]
    how_many = Counter(file_names)
    names: list[str | None] = []
    for key, file_name in zip(keys, file_names, strict=True):
        if key not in group_of and file_name in group_of and how_many[file_name] > 1:
            raise ChiqpmError(
                f"{file} names {file_name!r}, but {how_many[file_name]} images are called so; give their relative paths"
            )
        names.append(group_of.get(key, group_of.get(file_name)))
    return _all_named(names, paths, str(file), f"add a row with path and {column!r} for each")


def _key(path: str) -> str:
    """One spelling of a path: files from Windows have backslashes, those from macOS decomposed accents."""
    key = unicodedata.normalize("NFC", path.strip().replace("\\", "/"))
    return key[2:] if key.startswith("./") else key


def _all_named(names: Sequence[str | None], paths: Sequence[str], source: str, remedy: str) -> tuple[str, ...]:
    missing = [path for path, name in zip(paths, names, strict=True) if not name]
    if missing:
        raise ChiqpmError(
            f"{source} gives no group for {len(missing)} of {len(paths)} images ({some(missing)}); {remedy}"
        )
    return tuple(name for name in names if name)
