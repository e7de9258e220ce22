"""WebDataset shards as a source of images: tar files of pictures and labels, read where they lie.

An index says where in its shard each picture begins, so that any order of images can be read: the order of an epoch,
its division over processes and workers and a resumed run are those of a folder of files.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from chiqpm.data.images import IMAGE_SUFFIXES, UnreadableImageError, decode_image
from chiqpm.data.layout import PART_OF_NAME, FoundImage, Layout
from chiqpm.data.releases.release import folders_in
from chiqpm.data.shard_index import INDEX, Shard, read_index, write_index
from chiqpm.data.table import Part, some
from chiqpm.errors import ChiqpmError

_HOW = (
    "shards are train-000000.tar or train/000000.tar (the same with val, calibration, test) of KEY.jpg and KEY.cls, "
    "whose content is a class number or name; `chiqpm pack` makes them"
)


@dataclass(frozen=True)
class ShardReader:
    """Pictures by paths like `train-000000.tar/1536-20341/n01440764_18.jpg`: shard, first byte, number of bytes, name.

    Attributes:
        root: The folder of the shards.
    """

    root: Path

    def load(self, path: str, max_pixels: int) -> Image.Image:
        """Read one picture from its shard.

        Raises:
            FileNotFoundError: The shard is gone.
            UnreadableImageError: What lies there isn't a picture, or the shard is shorter than it was.
        """
        shard, place, _ = path.rsplit("/", 2)
        start, size = map(int, place.split("-"))
        with (self.root / shard).open("rb") as file:
            file.seek(start)
            content = file.read(size)
        if len(content) < size:
            raise UnreadableImageError.of(path, "its shard is cut off; copy the shard again")
        return decode_image(content, path, max_pixels=max_pixels)

    def stamp(self, path: str) -> tuple[Any, ...]:
        """Size and time of the shard."""
        stat = (self.root / path.rsplit("/", 2)[0]).stat()
        return stat.st_size, stat.st_mtime_ns


def has_shards(root: Path) -> bool:
    """Whether a folder holds shards, directly or in folders of the parts, and no class folders."""
    if (root / INDEX).is_file():
        return True
    folders = folders_in(root)
    inner = (name for part in folders if part in PART_OF_NAME for name in folders_in(root / part))
    return set(folders) <= set(PART_OF_NAME) and not any(inner) and next(_shard_files(root), None) is not None


def read_shards(root: Path) -> Layout:
    """List the pictures in shards, by their index; it is made, and kept if possible, where it is missing or old.

    Args:
        root: `ROOT/train-*.tar` or `ROOT/train/*.tar`, the same for the other parts; shards whose names say no part
            aren't split yet. `ROOT/classes.txt` may name the classes, one a line, in the order of their numbers.

    Raises:
        ChiqpmError: A shard is missing, cut off or not a tar file, a picture has no class, or there are fewer than two
            classes.
    """
    files = sorted(path.relative_to(root).as_posix() for path in _shard_files(root))
    known = read_index(root)
    missing = sorted(set(known) - set(files))
    if missing:
        raise ChiqpmError(f"{root} lacks {len(missing)} of the {len(known)} shards in {INDEX}: {some(missing)}")
    shards = {}
    for file in files:
        size, entry = (root / file).stat().st_size, known.get(file)
        shards[file] = entry if entry is not None and entry.bytes == size else _scan(root / file)
    if shards != known:
        write_index(root, shards)
    return _as_layout(root, shards)


def _as_layout(root: Path, shards: dict[str, Shard]) -> Layout:
    parts = {file: _part(file) for file in shards}
    without = [file for file, part in parts.items() if part is None]
    if without and len(without) < len(parts):
        raise ChiqpmError(f"{root}: the names of some shards say no part of the split: {some(without)}; {_HOW}")
    names = _class_names(root)
    found = [
        FoundImage(f"{file}/{start}-{size}/{name}", _name_of(root, names, label), parts[file])
        for file, shard in shards.items()
        for name, start, size, label in shard.images
    ]
    present = {image.class_name for image in found}
    if len(present) < 2:
        raise ChiqpmError(f"the shards in {root} have {len(found)} images of {len(present)} classes; {_HOW}")
    found.sort(key=lambda image: image.path)
    classes = tuple(name for name in names if name in present) if names else None
    return Layout(tuple(found), classes=classes, dataset="shards", reader=ShardReader(root))


def _scan(shard: Path) -> Shard:
    """Where the pictures of a shard lie, and their labels, in the order of their keys."""
    pictures: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, str] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key = f"{folder}/{stem}"
                if member.isfile() and f".{ending.lower()}" in IMAGE_SUFFIXES:
                    pictures[key] = name, member.offset_data, member.size
                elif member.isfile() and ending.lower() == "cls":
                    content = archive.extractfile(member)
                    assert content is not None
                    labels[key] = content.read().decode("utf-8").strip()
            end = archive.offset
        with shard.open("rb") as file:
            file.seek(end)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it is cut off")
    except (tarfile.TarError, UnicodeDecodeError, EOFError) as error:
        raise ChiqpmError(f"the shard {shard} is damaged or no tar file ({error}); copy it again") from None
    unlabelled = sorted(name for key, (name, _, _) in pictures.items() if not labels.get(key))
    if unlabelled:
        raise ChiqpmError(f"{len(unlabelled)} pictures in {shard} have no class: {some(unlabelled)}; {_HOW}")
    images = tuple((*picture, labels[key]) for key, picture in sorted(pictures.items()))
    return Shard(shard.stat().st_size, images)


def _class_names(root: Path) -> tuple[str, ...]:
    file = root / "classes.txt"
    if not file.is_file():
        return ()
    names = tuple(line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    if len(set(names)) < len(names):
        raise ChiqpmError(f"{file} names a class twice; names must differ")
    return names


def _name_of(root: Path, names: tuple[str, ...], label: str) -> str:
    if not names:
        return label
    if label.isdecimal() and int(label) < len(names):
        return names[int(label)]
    if label in names:
        return label
    raise ChiqpmError(f"the shards in {root} have the class {label!r}, but classes.txt names {len(names)} others")


def _shard_files(root: Path) -> Iterator[Path]:
    yield from root.glob("*.tar")
    for name in PART_OF_NAME:
        yield from (root / name).glob("*.tar")


def _part(file: str) -> Part | None:
    folder, _, name = file.rpartition("/")
    return PART_OF_NAME.get(folder or name.partition("-")[0].lower())
