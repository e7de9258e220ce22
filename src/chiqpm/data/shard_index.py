"""The index of a folder of shards: a small JSON file with counts, and arrays of where every picture lies."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chiqpm.errors import DamagedFileError
from chiqpm.files import read_npz

INDEX, PLACES = "shards.json", "shards.npz"
_FORMAT = 1


@dataclass(frozen=True)
class Shard:
    """One tar file.

    Attributes:
        bytes: Its size; with another size it is another file.
        images: Name, first byte, number of bytes and label of each picture.
    """

    bytes: int
    images: tuple[tuple[str, int, int, str], ...]


def read_index(root: Path) -> dict[str, Shard]:
    """File -> shard; empty where there is no index, or none that can be used."""
    try:
        content = json.loads((root / INDEX).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            return {}
        arrays = read_npz(root / PLACES)
        places_N2 = arrays["places_N2"].tolist()
        labels_N = arrays["labels_N"].tolist()
        names = arrays["names"].tobytes().decode("utf-8").split("\n")
        labels = content["labels"]
        if not len(names) == len(places_N2) == len(labels_N) == content["images"]:
            return {}
        images = [
            (name, start, size, str(labels[label]))
            for name, (start, size), label in zip(names, places_N2, labels_N, strict=True)
        ]
        shards, first = {}, 0
        for entry in content["shards"]:
            shards[entry["file"]] = Shard(entry["bytes"], tuple(images[first : first + entry["images"]]))
            first += entry["images"]
    except (DamagedFileError, OSError, ValueError, KeyError, TypeError, IndexError):
        return {}
    return shards


def write_index(root: Path, shards: Mapping[str, Shard]) -> None:
    """Keep the index beside the shards. A folder that can't be written stays without; it is then read every time."""
    images = [image for shard in shards.values() for image in shard.images]
    labels = sorted({label for *_, label in images})
    number = {label: index for index, label in enumerate(labels)}
    arrays = {
        "places_N2": np.array([(start, size) for _, start, size, _ in images], dtype=np.int64).reshape(-1, 2),
        "labels_N": np.array([number[label] for *_, label in images], dtype=np.int32),
        "names": np.frombuffer("\n".join(name for name, *_ in images).encode("utf-8"), dtype=np.uint8),
    }
    content = {
        "format": _FORMAT,
        "images": len(images),
        "shards": [{"file": file, "bytes": shard.bytes, "images": len(shard.images)} for file, shard in shards.items()],
        "labels": labels,
    }
    unfinished = {name: root / f"{name}.{os.getpid()}.part" for name in (PLACES, INDEX)}
    try:
        with unfinished[PLACES].open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        unfinished[INDEX].write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        for name, path in unfinished.items():
            path.replace(root / name)
    except OSError:
        for path in unfinished.values():
            path.unlink(missing_ok=True)
