"""Compiled search that gives a neighbourhood of paired classes new rows. Import this module only when a search starts.

Exchanges along chains keep how many features any three mutually paired classes share, so they can't turn classes with
one common core into classes that each lack another feature of one common set. Taking the rows of a few connected
classes away and choosing them anew, one after the other, can. `rows` is an `arrays.Rows`, `regions` an
`arrays.Regions`.
"""

# ruff: noqa: PLR0917  (compiled functions take their arguments by position)
from __future__ import annotations

from typing import Any

import numpy as np

from chiqpm.assignment.compiled import compiled, gumbel, uniform
from chiqpm.assignment.rows import chain, exchange, is_free, put_row, take_row, unmark

_LEAST_GAIN = 1e-9
_POLISH = 40


@compiled
def draw_row(
    c: int, temperature: float, random: Any, open_C: Any, row_N: Any, rows: Any
) -> Any:  # pragma: no cover - compiled
    """Draw a row for class c that agrees with all its neighbours that have one; returns whether there is any.

    Every such row differs in one slot from the row of the first of these neighbours. They are drawn with probability
    proportional to exp(value / temperature).
    """
    per_class, num_slots = rows.rows_CN.shape[1], rows.has_CK.shape[1]
    first = -1
    for e in range(rows.start[c], rows.start[c + 1]):
        if not open_C[rows.neighbour[e]]:
            first = rows.neighbour[e]
            break
    best: Any = -np.inf
    out, into = -1, -1
    for i in range(per_class):
        dropped = rows.rows_CN[first, i]
        if rows.locked_CK[c, dropped]:
            continue
        for added in range(num_slots):
            if rows.has_CK[first, added]:
                continue
            value = rows.value_CK[c, added] - rows.value_CK[c, dropped] + temperature * gumbel(random)
            if value <= best:
                continue
            agrees = True
            for e in range(rows.start[c], rows.start[c + 1]):
                d = rows.neighbour[e]
                if d != first and not open_C[d]:
                    shared = 1 if rows.has_CK[d, added] else 0
                    for j in range(per_class):
                        h = rows.rows_CN[first, j]
                        if h != dropped and rows.has_CK[d, h]:
                            shared += 1
                    if shared != per_class - 1:
                        agrees = False
                        break
            code = rows.hash_C[first] ^ rows.key_K[dropped] ^ rows.key_K[added]
            if agrees and is_free(code, open_C, rows):
                best, out, into = value, dropped, added
    if out < 0:
        return False
    for j in range(per_class):
        h = rows.rows_CN[first, j]
        row_N[j] = into if h == out else h
    for h in range(num_slots):
        if rows.locked_CK[c, h]:
            found = False
            for j in range(per_class):
                found = found or row_N[j] == h
            if not found:
                return False
    return True


@compiled
def renew(
    tries: int,
    largest: int,
    hot: float,
    cold: float,
    accept: float,
    random: Any,
    regions: Any,
    rows: Any,
) -> Any:  # pragma: no cover - compiled
    """Metropolis at temperature `accept` over new rows for neighbourhoods of up to `largest` classes.

    Returns the total gain. Rows are drawn at temperatures between `cold` and `hot`. One class of the neighbourhood's
    component always keeps its row to begin with; exchanges along chains then improve all of it.
    """
    num_classes, per_class = rows.rows_CN.shape
    open_C = np.zeros(num_classes, dtype=np.bool_)
    open_list = np.empty(num_classes, dtype=np.int64)
    saved_CN = np.empty((num_classes, per_class), dtype=np.int64)
    row_N = np.empty(per_class, dtype=np.int64)
    total = 0.0
    for _ in range(tries):
        group = 0
        spot = int(uniform(random) * len(regions.grouped))
        while regions.group_start[group + 1] <= spot:
            group += 1
        low, high = regions.group_start[group], regions.group_start[group + 1]
        before = 0.0
        for i in range(low, high):
            c = regions.grouped[i]
            for j in range(per_class):
                saved_CN[c, j] = rows.rows_CN[c, j]
                before += rows.value_CK[c, rows.rows_CN[c, j]]
        wanted = min(1 + int(uniform(random) * largest), high - low - 1)
        open_list[0] = regions.grouped[spot]
        open_C[open_list[0]] = True
        size: Any = np.int64(1)
        for _step in range(8 * wanted):
            if size >= wanted:
                break
            u = open_list[int(uniform(random) * size)]
            e = rows.start[u] + int(uniform(random) * (rows.start[u + 1] - rows.start[u]))
            if not open_C[rows.neighbour[e]]:
                open_list[size] = rows.neighbour[e]
                open_C[open_list[size]] = True
                size += 1
        for i in range(size):
            take_row(open_list[i], rows)
        temperature = cold * (hot / cold) ** uniform(random)
        left: Any = size
        while left > 0:
            # The next class is a random one of those with a neighbour that has a row.
            ready = -1
            seen = 0.0
            for i in range(left):
                c = open_list[i]
                for e in range(rows.start[c], rows.start[c + 1]):
                    if not open_C[rows.neighbour[e]]:
                        seen += 1.0
                        if uniform(random) * seen < 1.0:
                            ready = i
                        break
            c = open_list[ready]
            if not draw_row(c, temperature, random, open_C, row_N, rows):
                break
            put_row(c, row_N, rows)
            open_C[c] = False
            left -= 1
            open_list[ready] = open_list[left]
            open_list[left] = c
        succeeded = left == 0
        if succeeded:
            for _step in range(_POLISH * size):
                c = open_list[int(uniform(random) * size)]
                f = rows.rows_CN[c, int(uniform(random) * per_class)]
                g = int(uniform(random) * rows.has_CK.shape[1])
                if not rows.has_CK[c, g]:
                    reached, gain = chain(c, f, g, rows)
                    if gain > _LEAST_GAIN:
                        exchange(reached, f, g, rows)
                    unmark(reached, rows)
        after = 0.0
        if succeeded:
            for i in range(low, high):
                c = regions.grouped[i]
                for j in range(per_class):
                    after += rows.value_CK[c, rows.rows_CN[c, j]]
        if succeeded and (after >= before or uniform(random) < np.exp((after - before) / accept)):
            total += after - before
        else:
            for i in range(low, high):
                if not open_C[regions.grouped[i]]:
                    take_row(regions.grouped[i], rows)
            for i in range(low, high):
                c = regions.grouped[i]
                open_C[c] = False
                put_row(c, saved_CN[c], rows)
    return total
