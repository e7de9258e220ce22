"""A folder of images as a table. Every file is decoded, so that a broken one is found now, not in epoch 3."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chiqpm.data.fingerprints import digest, outline
from chiqpm.data.groups import read_groups
from chiqpm.data.images import UnreadableImageError
from chiqpm.data.layout import FoundImage, Layout
from chiqpm.data.recognise import read_any
from chiqpm.data.table import Fingerprints, ImageTable, Progress, some
from chiqpm.data.threads import in_threads
from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from chiqpm.config import DataConfig

_logger = logging.getLogger(__name__)


def open_folder(root: str | Path, config: DataConfig, *, progress: Progress | None = None) -> ImageTable:
    """Find, check and list the images of a folder.

    The folder is a published data set in its original files (see `read_any`), or `ROOT/<class>/*.jpg`, or split
    already: `ROOT/{train,calibration,test}/<class>/*.jpg`. Where there are parts the table carries them;
    `chiqpm.data.split` makes or completes them.

    Args:
        root: The folder.
        config: `dataset`, `crop_to_box`, `aircraft_classes`, `check_images`, `bad_images`, `max_pixels`, `groups`
            and `find_duplicates` are used.
        progress: Called with (done, total) while the files are read.

    Returns:
        The table of all readable images, sorted by path; `skipped` lists the files left out, with reasons.

    Raises:
        FileNotFoundError: There's no such folder, or no file of groups.
        ChiqpmError: A layout that isn't understood (see `read_layout`), a published data set with parts missing,
            unreadable files while `bad_images` is "refuse", a class without any readable image, or groups that
            don't fit.
    """
    root = Path(root)
    return check_layout(read_any(root, config), root, config, progress=progress)


def check_layout(layout: Layout, root: Path, config: DataConfig, *, progress: Progress | None = None) -> ImageTable:
    """The table of a layout's readable images; arguments, result and errors are those of `open_folder`."""
    table = _as_table(layout, root)
    seen = _read_all(table, config, progress) if config.check_images else [(0, 0)] * len(table)
    good = [index for index, result in enumerate(seen) if not isinstance(result, str)]
    unreadable = [(path, result) for path, result in zip(table.paths, seen, strict=True) if isinstance(result, str)]
    if unreadable and config.bad_images == "refuse":
        listed = some([f"{path} ({reason})" for path, reason in unreadable])
        raise ChiqpmError(
            f"{len(unreadable)} of {len(table)} images in {root} can't be read: {listed}; "
            'repair or remove them, or leave them out with bad_images = "skip"'
        )
    _check_every_class_left(layout.images, [layout.images[index] for index in good], unreadable)
    skipped = (*layout.skipped, *unreadable)
    if skipped:
        reasons = Counter(reason for _, reason in skipped)
        _logger.warning(
            "left out %d files of %s: %s",
            len(skipped),
            root,
            some([f"{count} × {reason}" for reason, count in reasons.most_common()]),
        )
    contents = [result for result in seen if not isinstance(result, str)]
    left = table.subset(good) if unreadable else table
    return replace(
        left,
        groups=None if config.groups is None else read_groups(config.groups, root, left.paths),
        skipped=skipped,
        fingerprints=_fingerprints(contents) if config.find_duplicates and config.check_images else None,
    )


def _as_table(layout: Layout, root: Path) -> ImageTable:
    images = layout.images
    classes = layout.classes or tuple(sorted({image.class_name for image in images}))
    label_of = {name: label for label, name in enumerate(classes)}
    has_parts, has_boxes = images[0].part is not None, images[0].box is not None
    return ImageTable(
        root=root,
        paths=tuple(image.path for image in images),
        labels_N=np.array([label_of[image.class_name] for image in images], dtype=np.int64),
        classes=classes,
        parts=np.array([image.part for image in images], dtype=np.str_) if has_parts else None,
        dataset=layout.dataset,
        boxes_N4=np.array([image.box for image in images], dtype=np.int64) if has_boxes else None,
        reader=layout.reader,
    )


def _read_all(table: ImageTable, config: DataConfig, progress: Progress | None) -> list[str | tuple[int, int]]:
    """For each image its digest and outline (zeros where not asked for), or why it can't be read."""

    def read(index: int) -> str | tuple[int, int]:
        try:
            picture = table.load(index, max_pixels=config.max_pixels)
        except UnreadableImageError as error:
            return error.reason
        except FileNotFoundError:
            return "it vanished while the folder was read"
        return (digest(picture), outline(picture)) if config.find_duplicates else (0, 0)

    return in_threads(read, range(len(table)), progress)


def _fingerprints(contents: Sequence[tuple[int, int]]) -> Fingerprints:
    both_N2 = np.array(contents, dtype=np.uint64).reshape(-1, 2)
    return Fingerprints(both_N2[:, 0].copy(), both_N2[:, 1].copy())


def _check_every_class_left(
    found: Sequence[FoundImage], good: Sequence[FoundImage], unreadable: Sequence[tuple[str, str]]
) -> None:
    """Every class of every part that had files must still have one."""
    places = {(image.part, image.class_name) for image in found} - {(image.part, image.class_name) for image in good}
    if places:
        names = sorted(f"{part}/{name}" if part else name for part, name in places)
        path, reason = unreadable[0]
        raise ChiqpmError(
            f"no readable image is left in {some(names)}: {len(unreadable)} files can't be read, first "
            f"{path} ({reason}); repair them or remove the class folder"
        )
