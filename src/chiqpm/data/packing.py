"""Write the images of a table as WebDataset shards, for data that outgrow one disk or a file system of small files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chiqpm.data.shard_index import INDEX
from chiqpm.data.shards import read_shards
from chiqpm.data.table import PARTS, ImageTable, Progress
from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_shards(
    table: ImageTable, out: str | Path, *, shard_megabytes: int = 500, seed: int = 0, progress: Progress | None = None
) -> int:
    """Pack images into tar files that this package, `webdataset` and `tar` can read.

    Files go in as they are; pictures that are cut to a box, or that come from elsewhere, as PNG. Within a part the
    order is random, so that a reader from front to back sees all classes.

    Args:
        table: The images; its parts, if it has any, become `train-*.tar`, `calibration-*.tar`, `test-*.tar`.
        out: A folder, made if need be, without shards in it.
        shard_megabytes: A shard ends when it has this size.
        seed: Of the order.
        progress: Called with (done, total).

    Returns:
        The number of shards.

    Raises:
        ChiqpmError: The folder has shards already, a size below 1, or an image that can't be read.
        OSError: The folder can't be written.
    """
    out = Path(out)
    if shard_megabytes < 1:
        raise ChiqpmError(f"shard_megabytes must be 1 or more; received {shard_megabytes}")
    out.mkdir(parents=True, exist_ok=True)
    if (out / INDEX).exists() or next(out.glob("*.tar"), None) is not None:
        raise ChiqpmError(f"{out} has shards already; give another folder, or remove them")
    (out / "classes.txt").write_text("\n".join(table.classes) + "\n", encoding="utf-8")
    rows_of = {"images": np.arange(len(table))}
    if table.parts is not None:
        rows_of = {part: table.indices(part) for part in PARTS}
    done = 0
    for name, rows in rows_of.items():
        order = np.random.default_rng(seed).permutation(rows)
        for _ in _write_part(table, out / name, order, limit=shard_megabytes * 1_000_000):
            done += 1
            if progress is not None:
                progress(done, len(table))
    read_shards(out)
    return len(list(out.glob("*.tar")))


def _write_part(table: ImageTable, start: Path, order: NDArray[np.int64], *, limit: int) -> Iterator[int]:
    """Write images into shards whose paths begin with `start`, and yield the row of each."""
    rows, number = iter(order.tolist()), 0
    row = next(rows, None)
    while row is not None:
        with tarfile.open(start.with_name(f"{start.name}-{number:06d}.tar"), "w") as archive:
            while row is not None and archive.offset < limit:
                content, ending = _content(table, row)
                _add(archive, f"{row:09d}{ending}", content)
                _add(archive, f"{row:09d}.cls", str(int(table.labels_N[row])).encode())
                yield row
                row = next(rows, None)
        number += 1


def _content(table: ImageTable, row: int) -> tuple[bytes, str]:
    if table.reader is None and table.boxes_N4 is None:
        return table.path(row).read_bytes(), table.path(row).suffix.lower()
    buffer = io.BytesIO()
    table.load(row).save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
