"""Find pictures that lie in two parts of the split, as copies or as versions of each other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from chiqpm.data.fingerprints import digest, outline, thumbnail
from chiqpm.data.hamming import MOST_PER_HASH, close_hashes
from chiqpm.data.table import PARTS, Fingerprints, ImageTable, Part, Progress
from chiqpm.data.threads import in_threads
from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_PER_IMAGE = MOST_PER_HASH


@dataclass(frozen=True)
class Duplicate:
    """Two images of different parts that show the same picture.

    Attributes:
        path_a: Of the image in the earlier part (training before calibration before test).
        part_a: Its part.
        path_b: Of the other image.
        part_b: Its part.
        kind: "exact": every pixel is the same. "near": the same picture re-encoded, resized or a little
            brighter.
        same_class: Whether both have the same label; if not, one label is wrong.
    """

    path_a: str
    part_a: Part
    path_b: str
    part_b: Part
    kind: Literal["exact", "near"]
    same_class: bool


def find_duplicates(
    table: ImageTable, *, max_pixels: int = 100_000_000, progress: Progress | None = None
) -> list[Duplicate]:
    """Pairs of images in different parts that are the same picture.

    Exact copies are found by a digest of their pixels. Others must pass two checks: at most 6 of 64 bits of
    a difference hash differ, and so do their thumbnails nowhere by more than noise. Mirrored, turned or
    cropped copies aren't found, and two different pictures of similar things aren't taken for one.

    Args:
        table: A split table. Where it carries fingerprints (as after `open_folder` with `find_duplicates`),
            only the candidates are decoded again.
        max_pixels: As for `load_image`.
        progress: Called with (done, total) while files are read.

    Returns:
        The pairs, in the order of the table. An image that has more than eight counterparts in a part is
        reported with eight of them.

    Raises:
        ChiqpmError: The table isn't split, or a file has become unreadable.
    """
    if table.parts is None:
        raise ChiqpmError("these images aren't split into parts yet; call chiqpm.data.split first")
    prints = table.fingerprints or _read_fingerprints(table, max_pixels, progress)
    exact: list[tuple[int, int]] = []
    similar: list[tuple[int, int]] = []
    for part_a, part_b in combinations(PARTS, 2):
        rows_a, rows_b = table.indices(part_a), table.indices(part_b)
        exact += _equal_pairs(prints.digest_N, rows_a, rows_b)
        similar += _similar_pairs(prints.outline_N, rows_a, rows_b)
    known = set(exact)
    similar = [pair for pair in similar if pair not in known and prints.digest_N[pair[0]] != prints.digest_N[pair[1]]]
    near = _confirmed(table, similar, max_pixels, progress)
    kinds: dict[tuple[int, int], Literal["exact", "near"]] = dict.fromkeys(near, "near")
    kinds.update(dict.fromkeys(exact, "exact"))
    return [_duplicate(table, a, b, kinds[a, b]) for a, b in sorted(kinds)]


def same_picture(thumbnail_a: NDArray[np.uint8], thumbnail_b: NDArray[np.uint8]) -> bool:
    """Whether two thumbnails (side, side, 3) are of one picture, up to compression and a change of light.

    The second is fitted to the first by one gain and one offset per colour; what is left must be small
    against the first's own contrast on the whole, and small in every place: another object on the same
    background differs in few places, but there strongly.
    """
    a, b = thumbnail_a.astype(np.float64), thumbnail_b.astype(np.float64)
    axes = (0, 1)
    mean_a, mean_b = a.mean(axis=axes), b.mean(axis=axes)
    if np.abs(mean_a - mean_b).max() > 40:
        return False
    centred_a, centred_b = a - mean_a, b - mean_b
    gain = (centred_a * centred_b).sum(axis=axes) / np.maximum((centred_b**2).sum(axis=axes), 1e-9)
    # A picture without contrast can't be told from another by its shape: its colour decides.
    flat = float(centred_a.std()) < 2 and float(centred_b.std()) < 2
    if flat:
        return bool(np.abs(a - b).max() <= 4)
    if (gain < 0.6).any() or (gain > 1.6).any():
        return False
    rest = np.abs(centred_a - gain * centred_b)
    contrast = max(float(centred_a.std()), 8.0)
    return bool(np.sqrt((rest**2).mean()) <= 0.12 * contrast and rest.max() <= 0.6 * contrast)


def _equal_pairs(
    digest_N: NDArray[np.uint64], rows_a: NDArray[np.int64], rows_b: NDArray[np.int64]
) -> list[tuple[int, int]]:
    rows_of: dict[int, list[int]] = {}
    for row in rows_a:
        members = rows_of.setdefault(int(digest_N[row]), [])
        if len(members) < _MOST_PER_IMAGE:
            members.append(int(row))
    return [(a, int(b)) for b in rows_b for a in rows_of.get(int(digest_N[b]), ())]


def _similar_pairs(
    outline_N: NDArray[np.uint64], rows_a: NDArray[np.int64], rows_b: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Pairs of rows whose difference hashes are close, at most eight for each of `rows_b`, nearest first."""
    values_a, members_a = _grouped(outline_N, rows_a)
    values_b, members_b = _grouped(outline_N, rows_b)
    candidates: dict[int, list[int]] = {}
    for b, _, a in close_hashes(values_a, values_b).tolist():
        candidates.setdefault(b, []).extend(members_a[a][:_MOST_PER_IMAGE].tolist())
    return [
        (a, row) for b, found in candidates.items() for row in members_b[b].tolist() for a in found[:_MOST_PER_IMAGE]
    ]


def _grouped(
    outline_N: NDArray[np.uint64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], list[NDArray[np.int64]]]:
    """Distinct hashes, and the rows that have each."""
    order = np.argsort(outline_N[rows], kind="stable")
    distinct, starts = np.unique(outline_N[rows[order]], return_index=True)
    return distinct, np.split(rows[order], starts[1:])


def _confirmed(
    table: ImageTable, pairs: list[tuple[int, int]], max_pixels: int, progress: Progress | None
) -> list[tuple[int, int]]:
    rows = sorted({row for pair in pairs for row in pair})
    small = in_threads(lambda row: thumbnail(table.load(row, max_pixels=max_pixels)), rows, progress)
    thumbnail_of = dict(zip(rows, small, strict=True))
    return [(a, b) for a, b in pairs if same_picture(thumbnail_of[a], thumbnail_of[b])]


def _read_fingerprints(table: ImageTable, max_pixels: int, progress: Progress | None) -> Fingerprints:
    def read(row: int) -> tuple[int, int]:
        picture = table.load(row, max_pixels=max_pixels)
        return digest(picture), outline(picture)

    found = in_threads(read, range(len(table)), progress)
    both_N2 = np.array(found, dtype=np.uint64).reshape(-1, 2)
    return Fingerprints(both_N2[:, 0], both_N2[:, 1])


def _duplicate(table: ImageTable, a: int, b: int, kind: Literal["exact", "near"]) -> Duplicate:
    assert table.parts is not None
    part_a, part_b = (next(part for part in PARTS if part == table.parts[row]) for row in (a, b))
    same_class = bool(table.labels_N[a] == table.labels_N[b])
    return Duplicate(table.paths[a], part_a, table.paths[b], part_b, kind, same_class)
