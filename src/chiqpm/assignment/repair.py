"""Compiled annealing of the pairs' violations alone. Import this module only when a search starts."""

# ruff: noqa: PLR0917  (compiled functions take their arguments by position)
from __future__ import annotations

from typing import Any

import numpy as np

from chiqpm.assignment.compiled import compiled, uniform
from chiqpm.assignment.rows import exchange, is_free, put_row, take_row, unmark


@compiled
def violation(c: int, d: int, has_CK: Any, rows_CN: Any) -> Any:  # pragma: no cover - compiled
    """How far the number of features that two classes share is from n - 1."""
    shared = 0
    for j in range(rows_CN.shape[1]):
        if has_CK[d, rows_CN[c, j]]:
            shared += 1
    return abs(shared - (rows_CN.shape[1] - 1))


@compiled
def violations(c: int, rows: Any) -> Any:  # pragma: no cover - compiled
    """The violations of all pairs of a class, summed."""
    total = 0
    for e in range(rows.start[c], rows.start[c + 1]):
        total += violation(c, rows.neighbour[e], rows.has_CK, rows.rows_CN)
    return total


@compiled
def draw_beside(c: int, d: int, random: Any, row_N: Any, rows: Any) -> Any:  # pragma: no cover - compiled
    """Draw a row for class c that shares n - 1 slots with class d's; returns its hash, 0 if there is none this time.

    The other slot is half of the time one of a neighbour of c, so that the row may suit two neighbours at once.
    """
    per_class, num_slots = rows.rows_CN.shape[1], rows.has_CK.shape[1]
    if uniform(random) < 0.5:
        e = rows.start[c] + int(uniform(random) * (rows.start[c + 1] - rows.start[c]))
        added = rows.rows_CN[rows.neighbour[e], int(uniform(random) * per_class)]
    else:
        added = int(uniform(random) * num_slots)
    if rows.has_CK[d, added]:
        return np.uint64(0)
    for j in range(per_class):
        row_N[j] = rows.rows_CN[d, j]
    i = int(uniform(random) * per_class)
    dropped = row_N[i]
    row_N[i] = added
    for h in range(num_slots):
        if rows.locked_CK[c, h] and h != added and (h == dropped or not rows.has_CK[d, h]):
            return np.uint64(0)
    return rows.hash_C[d] ^ rows.key_K[dropped] ^ rows.key_K[added]


@compiled
def jump(
    c: int, d: int, temperature: float, random: Any, spare_2N: Any, open_C: Any, rows: Any
) -> Any:  # pragma: no cover - compiled
    """Metropolis for one class: a row beside class d's; returns the change of the violations."""
    old_N, row_N = spare_2N[0], spare_2N[1]
    code = draw_beside(c, d, random, row_N, rows)
    open_C[c] = True
    possible = code != np.uint64(0) and is_free(code, open_C, rows)
    open_C[c] = False
    if not possible:
        return 0
    for j in range(len(old_N)):
        old_N[j] = rows.rows_CN[c, j]
    before = violations(c, rows)
    take_row(c, rows)
    put_row(c, row_N, rows)
    change = violations(c, rows) - before
    if change <= 0 or uniform(random) < np.exp(-change / temperature):
        return change
    take_row(c, rows)
    put_row(c, old_N, rows)
    return 0


@compiled
def repair(
    steps: int,
    hot: float,
    cold: float,
    leak: float,
    jumps: float,
    random: Any,
    edges_E2: Any,
    rows: Any,
) -> Any:  # pragma: no cover - compiled
    """Anneal the number of violations of the pairs; returns how many are left (0 ends it at once).

    A move starts at a class of a violated pair. With probability `jumps` the class gets a row beside the other's, which
    solves more of the densest pairs but keeps less of what rows are worth.
    Otherwise a slot that only this class has is exchanged for one that only the other has; the region grows through
    satisfied pairs, each of which lets go with probability `leak`.
    """
    has_CK, rows_CN, locked_CK = rows.has_CK, rows.rows_CN, rows.locked_CK
    start, neighbour, mark_C, queue_C = rows.start, rows.neighbour, rows.mark_C, rows.queue_C
    num_edges = len(edges_E2)
    listing = max(64, num_edges // 8)
    energy = 0
    violated = np.empty(num_edges, dtype=np.int64)
    for e in range(num_edges):
        energy += violation(edges_E2[e, 0], edges_E2[e, 1], has_CK, rows_CN)
    num_slots = has_CK.shape[1]
    per_class = rows_CN.shape[1]
    spare_2N = np.empty((2, per_class), dtype=np.int64)
    open_C = np.zeros(len(rows_CN), dtype=np.bool_)
    for step in range(steps):
        if energy == 0:
            break
        if step % listing == 0:
            count = 0
            for e in range(num_edges):
                if violation(edges_E2[e, 0], edges_E2[e, 1], has_CK, rows_CN) > 0:
                    violated[count] = e
                    count += 1
        temperature = hot * (cold / hot) ** (step / steps)
        e = violated[int(uniform(random) * count)] if uniform(random) < 0.8 else int(uniform(random) * num_edges)
        side = 0 if uniform(random) < 0.5 else 1
        c, d = edges_E2[e, side], edges_E2[e, 1 - side]
        if jumps > 0.0 and uniform(random) < jumps:
            energy += jump(c, d, temperature, random, spare_2N, open_C, rows)
            continue
        f = rows_CN[c, int(uniform(random) * per_class)]
        g = rows_CN[d, int(uniform(random) * per_class)]
        if uniform(random) < 0.2:
            g = int(uniform(random) * num_slots)
        if has_CK[c, g]:
            continue
        mark_C[c] = True
        queue_C[0] = c
        size: Any = np.int64(1)
        head = 0
        change = 0
        while head < size:
            u = queue_C[head]
            head += 1
            for i in range(start[u], start[u + 1]):
                v = neighbour[i]
                if (
                    not mark_C[v]
                    and has_CK[v, f] != has_CK[v, g]
                    and violation(u, v, has_CK, rows_CN) == 0
                    and uniform(random) >= leak
                ):
                    mark_C[v] = True
                    queue_C[size] = v
                    size += 1
        allowed = True
        for i in range(size):
            u = queue_C[i]
            if locked_CK[u, f] or locked_CK[u, g]:
                allowed = False
            for j in range(start[u], start[u + 1]):
                if not mark_C[neighbour[j]]:
                    change -= violation(u, neighbour[j], has_CK, rows_CN)
        if allowed and exchange(size, f, g, rows):
            for i in range(size):
                u = queue_C[i]
                for j in range(start[u], start[u + 1]):
                    if not mark_C[neighbour[j]]:
                        change += violation(u, neighbour[j], has_CK, rows_CN)
            if change <= 0 or uniform(random) < np.exp(-change / temperature):
                energy += change
            else:
                exchange(size, f, g, rows)
        unmark(size, rows)
    return energy
