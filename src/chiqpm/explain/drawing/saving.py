"""Figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from chiqpm.errors import ChiqpmError
from chiqpm.files import write_atomic

_FORMATS = (".png", ".svg", ".pdf")


def save_figure(figure: Figure, path: str | Path, *, title: str = "", description: str = "") -> Path:
    """Write a figure, with what it says in words beside it for search and screen readers.

    Args:
        figure: the figure.
        path: a file that ends in .png, .svg or .pdf; its folder must exist.
        title: title to store in the file.
        description: text to store in the file, such as an explanation's `text()`.

    Returns:
        The path.

    Raises:
        ChiqpmError: another ending.
        FileNotFoundError: the folder doesn't exist.
        OSError: the disk is full or read-only; what stood there before is untouched.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in _FORMATS:
        raise ChiqpmError(f"a figure can be saved as {', '.join(_FORMATS)}, received {path.name!r}")
    subject = "Subject" if ending == ".pdf" else "Description"
    metadata: dict[str, str | None] = {"Title": title, subject: description}
    options: dict[str, Any] = {}
    # The time would make every file differ from the last.
    if ending == ".svg":
        metadata["Date"] = None
    elif ending == ".pdf":
        metadata["CreationDate"] = None
    else:
        # Photographs hardly shrink at the higher levels, which take several times as long.
        options["pil_kwargs"] = {"compress_level": 2}
    write_atomic(path, lambda file: figure.savefig(file, format=ending[1:], metadata=metadata, **options))
    return path
