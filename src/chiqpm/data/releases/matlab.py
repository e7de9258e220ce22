"""Read MATLAB files with scipy: numbers, texts and structures, nothing that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from chiqpm.data.releases.release import Release


def read_matlab(release: Release, root: Path, path: Path, name: str) -> Any:
    """A variable of a MATLAB file (version 7.2 or older), single elements unwrapped.

    Args:
        release: The data set, for the message.
        root: The data folder, for the message.
        path: The file.
        name: The variable.

    Raises:
        ChiqpmError: The file can't be read, or has no such variable.
    """
    from scipy.io import loadmat

    try:
        variables = loadmat(path, squeeze_me=True)
    except Exception as error:  # scipy's reader meets damaged bytes with many kinds of exception
        raise release.refuse(root, f"{path} can't be read as a MATLAB file ({error})") from None
    if name not in variables:
        there = ", ".join(key for key in variables if not key.startswith("__"))
        raise release.refuse(root, f"{path} has no variable {name} (it has {there or 'none'})")
    return np.atleast_1d(variables[name])


def fields_of(release: Release, root: Path, path: Path, rows: Any, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """The named fields of every element of a structure.

    Raises:
        ChiqpmError: A field is missing.
    """
    missing = [name for name in names if name not in (rows.dtype.names or ())]
    if missing:
        raise release.refuse(
            root, f"{path} lacks the fields {', '.join(missing)} (it has {', '.join(rows.dtype.names or ['none'])})"
        )
    return [tuple(row[name] for name in names) for row in rows]
