"""Which of many 64-bit hashes are nearly the same, without comparing each with each."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DISTANCE = 6
MOST_PER_HASH = 8
_BLOCK_CELLS = 1 << 21


def close_hashes(hash_A: NDArray[np.uint64], hash_B: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Pairs of hashes that differ in at most `DISTANCE` bits.

    Of `DISTANCE` + 1 bands of bits at least one must then be the same in both, so only hashes that share
    a band are compared. Memory is bounded by the blocks in which that happens.

    Args:
        hash_A: Distinct hashes (A,).
        hash_B: Distinct hashes (B,).

    Returns:
        Rows (index in B, distance, index in A), sorted; for each index in B the eight nearest at most.
    """
    kept = np.empty((0, 3), dtype=np.int64)
    edges = np.linspace(0, 64, DISTANCE + 2).astype(int).tolist()
    for low, high in pairwise(edges):
        shift, mask = np.uint64(low), np.uint64((1 << (high - low)) - 1)
        starts_a, order_a = _buckets((hash_A >> shift) & mask, 1 << (high - low))
        starts_b, order_b = _buckets((hash_B >> shift) & mask, 1 << (high - low))
        found = [kept]
        for (first_a, last_a), (first_b, last_b) in zip(pairwise(starts_a), pairwise(starts_b), strict=True):
            if first_a == last_a or first_b == last_b:
                continue
            members_b = order_b[first_b:last_b]
            step = max(1, _BLOCK_CELLS // len(members_b))
            for start in range(first_a, last_a, step):
                members_a = order_a[start : min(start + step, last_a)]
                found.append(_close_in_block(hash_A, hash_B, members_a, members_b))
        kept = _nearest(np.concatenate(found))
    return kept


def count_bits(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Number of set bits of each value.

    >>> count_bits(np.array([0, 5, 2**64 - 1], dtype=np.uint64)).tolist()
    [0, 2, 64]
    """
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(values)
    as_bytes = np.ascontiguousarray(values).view(np.uint8).reshape(*values.shape, 8)
    counts: NDArray[np.uint8] = np.unpackbits(as_bytes, axis=-1).sum(axis=-1, dtype=np.uint8)
    return counts


def _buckets(band_N: NDArray[np.uint64], number: int) -> tuple[list[int], NDArray[np.int64]]:
    """Where each value of the band starts in the sorted order, and that order."""
    order = np.argsort(band_N, kind="stable")
    starts = np.searchsorted(band_N[order], np.arange(number + 1, dtype=np.uint64))
    return starts.tolist(), order


def _close_in_block(
    hash_A: NDArray[np.uint64],
    hash_B: NDArray[np.uint64],
    members_a: NDArray[np.int64],
    members_b: NDArray[np.int64],
) -> NDArray[np.int64]:
    distance = count_bits(hash_B[members_b][:, None] ^ hash_A[members_a][None, :])
    at_b, at_a = np.nonzero(distance <= DISTANCE)
    rows = np.stack([members_b[at_b], distance[at_b, at_a].astype(np.int64), members_a[at_a]], axis=1)
    return _nearest(rows) if len(rows) > MOST_PER_HASH * len(members_b) else rows


def _nearest(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted, without repetitions, and of each first column the first eight."""
    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    rows = rows[np.append(True, (rows[1:] != rows[:-1]).any(axis=1))] if len(rows) else rows
    _, first, group = np.unique(rows[:, 0], return_index=True, return_inverse=True)
    return rows[np.arange(len(rows)) - first[group] < MOST_PER_HASH]
