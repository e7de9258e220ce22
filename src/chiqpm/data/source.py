"""Open whatever holds the images: a folder of any kind, or a data set in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chiqpm.data.folder import check_layout, open_folder
from chiqpm.data.hub import is_hub_dataset, read_hub
from chiqpm.data.table import ImageTable, Progress

if TYPE_CHECKING:
    from chiqpm.config import DataConfig

IN_MEMORY = Path("(a data set in memory)")
"""Stands for the folder of images that lie in none."""


def open_source(source: Any, config: DataConfig, *, progress: Progress | None = None) -> ImageTable:
    """`open_folder` for a folder's path, or for a Hugging Face `Dataset` or `DatasetDict`.

    Args:
        source: The folder, or the data set.
        config: As for `open_folder`.
        progress: Called with (done, total) while the images are read.

    Raises:
        ChiqpmError: Whatever is wrong with the folder or the data set.
        FileNotFoundError: There's no such folder.
        TypeError: Neither of both.
    """
    if is_hub_dataset(source):
        return check_layout(read_hub(source), IN_MEMORY, config, progress=progress)
    if not isinstance(source, (str, Path)):
        raise TypeError(f"images come from a folder or a Hugging Face Dataset, received {type(source).__name__}")
    return open_folder(source, config, progress=progress)
