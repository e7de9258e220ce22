"""Which files of a folder belong to which class and part, from names alone: no file is opened here."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chiqpm.data.images import is_image_name
from chiqpm.data.table import PARTS, Part, Reader, counted, some
from chiqpm.errors import ChiqpmError

PART_OF_NAME: dict[str, Part] = {
    "train": "train",
    "calibration": "calibration",
    "val": "calibration",
    "validation": "calibration",
    "test": "test",
}
"""What a folder, a shard or a split is used for, by its name."""
_CLUTTER = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"))
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".7z", ".rar")
_EXPECTED = "expected ROOT/<class>/*.jpg or ROOT/{train,calibration,test}/<class>/*.jpg"


@dataclass(frozen=True, slots=True)
class FoundImage:
    """A file that is named like a picture: path below the root, class, part if the folder has parts, box if any."""

    path: str
    class_name: str
    part: Part | None
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Layout:
    """What the names in a folder say.

    Attributes:
        images: Sorted by path (in Unicode's composed form), so independent of the file system's order.
        skipped: (path, reason) of what lies among the images and isn't used.
        classes: Class names in the data set's own order; None sorts them.
        dataset: What the folder was recognised as.
        reader: Where the pictures come from if they aren't files.
    """

    images: tuple[FoundImage, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    classes: tuple[str, ...] | None = None
    dataset: str = "folder"
    reader: Reader | None = None


def read_layout(root: Path) -> Layout:
    """List the pictures of `ROOT/<class>/...` or `ROOT/{train,calibration,test}/<class>/...`.

    `val` and `validation` stand for calibration when there's no folder of that name. Folders below a class
    are searched as well. Hidden files and what operating systems leave behind are passed over.

    Raises:
        FileNotFoundError: There's no such folder.
        ChiqpmError: A file instead of a folder, no class folders, fewer than two classes, an empty class,
            parts that don't have the same classes, or a mixture of class folders and parts.
    """
    if not root.exists():
        raise FileNotFoundError(f"there is no folder {root}; {_EXPECTED}")
    if not root.is_dir():
        raise ChiqpmError(f"{root} is a file, not a folder; {_EXPECTED}")
    skipped: list[tuple[str, str]] = []
    images: list[FoundImage] = []
    parts = _part_folders(root, skipped)
    if parts is None:
        images.extend(_read_classes(root, root, None, skipped))
    else:
        for part, folder in parts.items():
            images.extend(_read_classes(root, folder, part, skipped))
        _check_same_classes(images, parts)
    classes = {image.class_name for image in images}
    if len(classes) < 2:
        raise ChiqpmError(
            f"{root} has only one class ({some(sorted(classes))}); a classifier needs two or more. {_EXPECTED}"
        )
    images.sort(key=lambda image: (_composed(image.path), image.path))
    images, twins = _one_of_each_name(images)
    skipped.extend(twins)
    return Layout(tuple(images), tuple(sorted(skipped)))


def class_images(root: Path, folder: Path, class_name: str, part: Part | None) -> list[FoundImage]:
    """The pictures anywhere below a folder, all of one class; what isn't a picture is passed over."""
    return [FoundImage(path, class_name, part) for path in _files(root, folder, [])]


def _part_folders(root: Path, skipped: list[tuple[str, str]]) -> dict[Part, Path] | None:
    """The folders of the parts, or None where the folders of `root` are classes."""
    folders = [entry for entry in _entries(root) if _is_folder(entry)]
    by_name: dict[str, list[str]] = {}
    for entry in folders:
        by_name.setdefault(entry.name.lower(), []).append(entry.name)
    named = [name for name in PART_OF_NAME if name in by_name]
    others = sorted(entry.name for entry in folders if entry.name.lower() not in PART_OF_NAME)
    if not named or (others and not ("train" in named and len(named) > 1)):
        return None
    if others:
        raise ChiqpmError(
            f"{root} has folders of a split ({', '.join(named)}) and others ({some(others)}); {_EXPECTED}. "
            "Move the others elsewhere, or rename the folders if they're classes"
        )
    if "train" not in named:
        raise ChiqpmError(f"{root} has {', '.join(named)} but no folder train; {_EXPECTED}")
    twins = next((names for names in by_name.values() if len(names) > 1), None)
    if twins:
        raise ChiqpmError(f"{root} has the folders {' and '.join(sorted(twins))}; keep one of them")
    if "calibration" in named:
        for extra in ("val", "validation"):
            if extra in named:
                named.remove(extra)
                skipped.append((by_name[extra][0], "left out: the folder calibration is used instead"))
    elif "val" in named and "validation" in named:
        raise ChiqpmError(f"{root} has both val and validation; rename one of them to calibration")
    return {PART_OF_NAME[name]: root / by_name[name][0] for name in named}


def _read_classes(root: Path, folder: Path, part: Part | None, skipped: list[tuple[str, str]]) -> list[FoundImage]:
    """The images of all class folders in `folder`."""
    entries = _entries(folder)
    class_folders = [entry for entry in entries if _is_folder(entry)]
    loose = [entry.name for entry in entries if not _is_folder(entry) and is_image_name(entry.name)]
    if not class_folders:
        what = f"{len(loose)} images directly in it ({some(loose)}) but no class folders" if loose else "no images"
        archives = [entry.name for entry in entries if entry.name.lower().endswith(_ARCHIVES)]
        if archives and not loose:
            what += f", but {some(archives)}, which has to be unpacked"
        raise ChiqpmError(f"{folder} has {what}; {_EXPECTED}")
    skipped.extend(
        (_relative(root, folder / name), "it lies outside the class folders, so it has no class") for name in loose
    )
    images: list[FoundImage] = []
    empty: list[str] = []
    for entry in class_folders:
        files = list(_files(root, Path(entry.path), skipped))
        if not files:
            empty.append(_relative(root, Path(entry.path)))
        images.extend(FoundImage(path, _composed(entry.name), part) for path in files)
    if empty:
        several = counted(len(empty), "class folder holds", "class folders hold")
        raise ChiqpmError(f"{several} no image: {some(empty)}; add images or remove the folder. {_EXPECTED}")
    return images


def _files(root: Path, folder: Path, skipped: list[tuple[str, str]]) -> Iterator[str]:
    """Relative paths of the picture files anywhere below a folder; linked folders are entered once."""
    entered = {os.path.realpath(folder)}
    pending = [folder]
    while pending:
        for entry in _entries(pending.pop()):
            if _is_folder(entry):
                real = os.path.realpath(entry.path)
                if real not in entered:
                    entered.add(real)
                    pending.append(Path(entry.path))
                continue
            path = _relative(root, Path(entry.path))
            reason = _why_not(entry)
            if reason is None:
                yield path
            else:
                skipped.append((path.encode("utf-8", "replace").decode(), reason))


def _why_not(entry: os.DirEntry[str]) -> str | None:
    if not is_image_name(entry.name):
        return "not an image"
    if not _is_file(entry):
        return "the link leads nowhere" if entry.is_symlink() else "not a regular file"
    if not _is_unicode(entry.path):
        return "its name isn't valid Unicode; rename it"
    return None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = [e for e in found if not e.name.startswith(".") and e.name.lower() not in _CLUTTER]
    except OSError as error:
        raise ChiqpmError(f"can't list the folder {folder}: {error.strerror}; check its permissions") from error
    return sorted(entries, key=lambda entry: (_composed(entry.name), entry.name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _check_same_classes(images: list[FoundImage], parts: dict[Part, Path]) -> None:
    classes = {part: {image.class_name for image in images if image.part == part} for part in parts}
    for part in PARTS:
        if part in classes and classes[part] != classes["train"]:
            missing = sorted(classes["train"] - classes[part])
            extra = sorted(classes[part] - classes["train"])
            found = [f"{what} {some(who)}" for what, who in (("lacks", missing), ("has in addition", extra)) if who]
            raise ChiqpmError(
                f"the parts must have the same classes, but compared with {parts['train'].name} the folder "
                f"{parts[part].name} {' and '.join(found)}; add or move the class folders"
            )


def _one_of_each_name(images: list[FoundImage]) -> tuple[list[FoundImage], list[tuple[str, str]]]:
    """Without files whose path is an earlier one's in another Unicode form: no list could tell them apart."""
    kept: dict[str, FoundImage] = {}
    twins: list[tuple[str, str]] = []
    for image in images:
        if kept.setdefault(_composed(image.path), image) is not image:
            twins.append((image.path, "another file has the same name in another Unicode form"))
    return list(kept.values()), twins


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
