"""What a folder is: one of the published data sets, shards, a saved Hugging Face data set, or plain class folders."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from chiqpm.data import releases
from chiqpm.data.hub import HubReader, is_saved, read_saved
from chiqpm.data.layout import Layout, read_layout
from chiqpm.data.releases import Release
from chiqpm.data.shards import ShardReader, has_shards, read_shards
from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from chiqpm.config import DataConfig
    from chiqpm.data.table import Reader

_logger = logging.getLogger(__name__)

Find = Callable[[Path], Path | None]
Read = Callable[[Path, "DataConfig"], Layout]


@dataclass(frozen=True)
class _Kind:
    release: Release
    find: Find
    read: Read


# TravelingBirds before CUB: its folder may hold CUB's lists.
_KINDS = (
    _Kind(releases.TRAVELINGBIRDS, releases.find_travelingbirds, releases.read_travelingbirds),
    _Kind(releases.CUB, releases.find_cub, releases.read_cub),
    _Kind(releases.IMAGENET, releases.find_imagenet, releases.read_imagenet),
    _Kind(releases.CARS, releases.find_cars, releases.read_cars),
    _Kind(releases.AIRCRAFT, releases.find_aircraft, releases.read_aircraft),
)
PUBLISHED = {kind.release.key: kind.release for kind in _KINDS}
"""Key -> published data set."""


def recognise(root: Path) -> str:
    """What a folder is, by its content: a value of `DataConfig.dataset` other than `auto`."""
    if is_saved(root):
        return "huggingface"
    found = next((kind.release.key for kind in _KINDS if kind.find(root) is not None), "folder")
    return "shards" if found == "folder" and has_shards(root) else found


def read_any(root: Path, config: DataConfig) -> Layout:
    """List the pictures of a folder of any kind; no picture is opened.

    Args:
        root: The folder.
        config: `dataset` says what it is; with "auto" its content does. `crop_to_box` and `aircraft_classes` are used.

    Raises:
        FileNotFoundError: There's no such folder.
        ChiqpmError: A data set with parts missing, another data set than the one that is asked for, boxes that are
            asked for and that the data set hasn't, or a layout that isn't understood.
    """
    from chiqpm.config import DatasetName

    if config.dataset not in get_args(DatasetName):
        raise ChiqpmError(f"unknown data set {config.dataset!r}; choose one of {', '.join(get_args(DatasetName))}")
    if not root.exists():
        raise FileNotFoundError(f"there is no folder {root}; give the folder that holds the images")
    name = "folder" if not root.is_dir() else recognise(root) if config.dataset == "auto" else config.dataset
    kind = next((kind for kind in _KINDS if kind.release.key == name), None)
    if kind is not None:
        _refuse_another(root, kind)
        try:
            return kind.read(root, config)
        except ChiqpmError as error:
            raise ChiqpmError(f"{error}. Where these are other images in class folders, add --dataset folder") from None
    if config.crop_to_box:
        raise ChiqpmError(f"{root} comes without boxes; leave out crop_to_box (boxes come with CUB, Cars and Aircraft)")
    if config.dataset == "auto":
        _point_out_above(root)
    if name == "shards":
        return read_shards(root)
    return read_saved(root) if name == "huggingface" else read_layout(root)


def find_reader(root: Path) -> Reader | None:
    """What reads the pictures of a folder whose images aren't files of their own; None where they are."""
    if has_shards(root):
        return ShardReader(root)
    return HubReader.of_saved(root) if is_saved(root) else None


def _point_out_above(root: Path) -> None:
    """Say so where a folder is a part of a published data set, whose own division would go unused unnoticed."""
    above, kind = root.resolve().parent, None
    with suppress(OSError):  # of what lies above, some may be closed
        kind = next((kind for kind in _KINDS if kind.find(above) == above), None)
    if kind is not None:
        _logger.warning(
            "%s lies in the folder of %s, whose published division and classes go unused; give %s for them",
            root,
            kind.release.title,
            above,
        )


def _refuse_another(root: Path, kind: _Kind) -> None:
    """Say so where a folder isn't what was asked for, but something else."""
    found = recognise(root)
    if kind.find(root) is None and found != "folder":
        title = PUBLISHED[found].title if found in PUBLISHED else found
        raise ChiqpmError(
            f"{root} holds {title}, and {kind.release.title} was asked for (by --dataset or by the preset). Choose a "
            f"preset for {title}, give the folder of {kind.release.title}, or use this recipe on these images with "
            f"--dataset {found}"
        )
