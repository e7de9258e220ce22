"""Compiled annealing of the pairs' violations alone. Import this module only when a search starts."""

# ruff: noqa: PLR0917  (compiled functions take their arguments by position)
from __future__ import annotations

from typing import Any

import numpy as np

from chiqpm.assignment.compiled import compiled, uniform
from chiqpm.assignment.rows import exchange, unmark


@compiled
def violation(c: int, d: int, has_CK: Any, rows_CN: Any) -> Any:  # pragma: no cover - compiled
    """How far the number of features that two classes share is from n - 1."""
    shared = 0
    for j in range(rows_CN.shape[1]):
        if has_CK[d, rows_CN[c, j]]:
            shared += 1
    return abs(shared - (rows_CN.shape[1] - 1))


@compiled
def repair(
    steps: int,
    hot: float,
    cold: float,
    leak: float,
    random: Any,
    edges_E2: Any,
    rows: Any,
) -> Any:  # pragma: no cover - compiled
    """Anneal the number of violations of the pairs; returns how many are left (0 ends it at once).

    A move starts at a class of a violated pair and exchanges a slot that only this class has for one that only the
    other
    has; the region grows through satisfied pairs, each of which lets go with probability `leak`.
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
