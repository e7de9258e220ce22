"""Compiled moves on the classes' rows. Import this module only when a search starts: it loads numba.

Every move exchanges two slots f and g in a whole connected region of classes that use exactly one of the two (a Kempe
chain, as in graph colouring). Classes with both or neither don't change, and a neighbour with exactly one always joins,
so the exchange keeps the number of features that any two paired classes share. `rows` is an `arrays.Rows`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chiqpm.assignment.compiled import compiled, uniform

_LEAST_GAIN = 1e-9
_ALTERNATIVES = 4


@compiled
def chain(c: int, f: int, g: int, rows: Any) -> Any:  # pragma: no cover - compiled
    """Collect and mark the region of class c that uses exactly one of f and g.

    Returns its size and the change of the objective by exchanging f and g in it; -inf where a locked slot forbids that.
    """
    has_CK, value_CK, mark_C, queue_C = rows.has_CK, rows.value_CK, rows.mark_C, rows.queue_C
    mark_C[c] = True
    queue_C[0] = c
    size, head, gain = 1, 0, 0.0
    while head < size:
        u = queue_C[head]
        head += 1
        change = value_CK[u, g] - value_CK[u, f]
        gain += change if has_CK[u, f] else -change
        if rows.locked_CK[u, f] or rows.locked_CK[u, g]:
            gain = -np.inf
        for e in range(rows.start[u], rows.start[u + 1]):
            v = rows.neighbour[e]
            if not mark_C[v] and has_CK[v, f] != has_CK[v, g]:
                mark_C[v] = True
                queue_C[size] = v
                size += 1
    return size, gain


@compiled
def exchange(size: int, f: int, g: int, rows: Any) -> Any:  # pragma: no cover - compiled
    """Exchange f and g in the marked region unless a class would equal one outside; returns whether it was done."""
    hash_C, bucket, queue_C = rows.hash_C, rows.bucket, rows.queue_C
    difference = rows.key_K[f] ^ rows.key_K[g]
    mask = np.uint64(len(bucket) - 1)
    for i in range(size):
        bucket[hash_C[queue_C[i]] & mask] -= 1
    for i in range(size):
        new = hash_C[queue_C[i]] ^ difference
        if bucket[new & mask] > 0:
            for d in range(len(hash_C)):
                if hash_C[d] == new and not rows.mark_C[d]:
                    for j in range(size):
                        bucket[hash_C[queue_C[j]] & mask] += 1
                    return False
    for i in range(size):
        u = queue_C[i]
        hash_C[u] ^= difference
        bucket[hash_C[u] & mask] += 1
        old, new_slot = (f, g) if rows.has_CK[u, f] else (g, f)
        rows.has_CK[u, old] = False
        rows.has_CK[u, new_slot] = True
        for j in range(rows.rows_CN.shape[1]):
            if rows.rows_CN[u, j] == old:
                rows.rows_CN[u, j] = new_slot
                break
    return True


@compiled
def unmark(size: int, rows: Any) -> None:  # pragma: no cover - compiled
    """Clear the marks of the region."""
    for i in range(size):
        rows.mark_C[rows.queue_C[i]] = False


@compiled
def put_row(c: int, row_N: Any, rows: Any) -> None:  # pragma: no cover - compiled
    """Give class c these slots, and count it."""
    code = np.uint64(0)
    for j in range(len(row_N)):
        rows.rows_CN[c, j] = row_N[j]
        rows.has_CK[c, row_N[j]] = True
        code ^= rows.key_K[row_N[j]]
    rows.hash_C[c] = code
    rows.bucket[code & np.uint64(len(rows.bucket) - 1)] += 1


@compiled
def take_row(c: int, rows: Any) -> None:  # pragma: no cover - compiled
    """Take class c's slots away, and don't count it."""
    rows.bucket[rows.hash_C[c] & np.uint64(len(rows.bucket) - 1)] -= 1
    for j in range(rows.rows_CN.shape[1]):
        rows.has_CK[c, rows.rows_CN[c, j]] = False


@compiled
def is_free(code: Any, open_C: Any, rows: Any) -> Any:  # pragma: no cover - compiled
    """Whether no class that has a row has the one with this hash."""
    if rows.bucket[code & np.uint64(len(rows.bucket) - 1)] > 0:
        for d in range(len(rows.hash_C)):
            if rows.hash_C[d] == code and not open_C[d]:
                return False
    return True


@compiled
def save_rows(rows: Any) -> None:  # pragma: no cover - compiled
    """Remember the rows."""
    for c in range(len(rows.rows_CN)):
        for j in range(rows.rows_CN.shape[1]):
            rows.saved_CN[c, j] = rows.rows_CN[c, j]


@compiled
def restore_rows(rows: Any) -> None:  # pragma: no cover - compiled
    """Bring back the remembered rows."""
    for c in range(len(rows.rows_CN)):
        same = True
        for j in range(rows.rows_CN.shape[1]):
            same = same and rows.saved_CN[c, j] == rows.rows_CN[c, j]
        if not same:
            take_row(c, rows)
            put_row(c, rows.saved_CN[c], rows)


@compiled
def anneal_rows(steps: int, hot: float, cold: float, random: Any, rows: Any) -> Any:  # pragma: no cover - compiled
    """Metropolis over single exchanges at a temperature falling from `hot` to `cold`; returns the total gain."""
    num_classes, num_slots = rows.has_CK.shape
    per_class = rows.rows_CN.shape[1]
    total = 0.0
    for step in range(steps):
        c = int(uniform(random) * num_classes)
        f = rows.rows_CN[c, int(uniform(random) * per_class)]
        g = int(uniform(random) * num_slots)
        if rows.has_CK[c, g]:
            continue
        temperature = hot * (cold / hot) ** (step / steps)
        size, gain = chain(c, f, g, rows)
        if (gain >= 0 or uniform(random) < np.exp(gain / temperature)) and exchange(size, f, g, rows):
            total += gain
        unmark(size, rows)
    return total


@compiled
def find_best(k: int, leaving: bool, rows: Any) -> Any:  # pragma: no cover - compiled
    """Note each class's best exchange that involves slot k; returns how many would help.

    A region is walked through once, whichever of its classes is looked at first. Only components marked in
    `changed_C` are looked at, and only classes that use the slot where they are to leave it.
    """
    has_CK, value_CK, best_C, seen_CK = rows.has_CK, rows.value_CK, rows.best_C, rows.seen_CK
    num_classes, num_slots = has_CK.shape
    per_class = rows.rows_CN.shape[1]
    rows.clock[0] += 1
    clock = rows.clock[0]
    for c in range(num_classes):
        best_C[c] = _LEAST_GAIN
    for c in range(num_classes):
        if not rows.changed_C[rows.component_C[c]] or rows.locked_CK[c, k]:
            continue
        alone = rows.start[c] == rows.start[c + 1]
        uses = has_CK[c, k]
        if leaving and not uses:
            continue
        for j in range(num_slots if uses else per_class):
            h = j if uses else rows.rows_CN[c, j]
            if uses and has_CK[c, h]:
                continue
            if alone:
                gain = value_CK[c, h] - value_CK[c, k]
                if not uses:
                    gain = -np.inf if rows.locked_CK[c, h] else -gain
                if gain > best_C[c]:
                    best_C[c], rows.partner_C[c] = gain, h
            elif seen_CK[c, h] != clock:
                size, gain = chain(c, k, h, rows)
                for i in range(size):
                    u = rows.queue_C[i]
                    rows.mark_C[u] = False
                    seen_CK[u, h] = clock
                    if gain > best_C[u]:
                        best_C[u], rows.partner_C[u] = gain, h
    count = 0
    for c in range(num_classes):
        if best_C[c] > _LEAST_GAIN:
            count += 1
    return count


@compiled
def next_best(c: int, k: int, below: float, rows: Any) -> Any:  # pragma: no cover - compiled
    """The best exchange of slot k for class c that gains less than `below`: its gain and the other slot."""
    best: Any = _LEAST_GAIN
    partner: Any = np.int64(-1)
    uses = rows.has_CK[c, k]
    for j in range(rows.has_CK.shape[1] if uses else rows.rows_CN.shape[1]):
        h = j if uses else rows.rows_CN[c, j]
        if not (uses and rows.has_CK[c, h]):
            size, gain = chain(c, k, h, rows)
            unmark(size, rows)
            if best < gain < below:
                best, partner = gain, h
    return best, partner


@compiled
def improve(k: int, leaving: bool, random: Any, rows: Any) -> Any:  # pragma: no cover - compiled
    """Improve by exchanges that involve slot k until none helps; returns the gain."""
    num_classes = len(rows.has_CK)
    total = 0.0
    while find_best(k, leaving, rows) > 0:
        for c in range(num_classes):
            rows.changed_C[c] = False
        improved = False
        offset = int(uniform(random) * num_classes)
        for i in range(num_classes):
            c = (i + offset) % num_classes
            if not rows.best_C[c] > _LEAST_GAIN:
                continue
            partner = rows.partner_C[c]
            for _ in range(_ALTERNATIVES):
                if rows.has_CK[c, k] == rows.has_CK[c, partner]:
                    break  # a region before this one has changed the class
                size, gain = chain(c, k, partner, rows)
                done = gain > _LEAST_GAIN and exchange(size, k, partner, rows)
                unmark(size, rows)
                if done:
                    total += gain
                    improved = rows.changed_C[rows.component_C[c]] = True
                    break
                gain, partner = next_best(c, k, gain, rows)
                if partner < 0:
                    break
        if not improved:
            break
    return total


@compiled
def polish_slot(k: int, random: Any, rows: Any) -> Any:  # pragma: no cover - compiled
    """Improve by exchanges that involve slot k until none helps; returns the gain.

    Only components marked in `changed_C` are looked at.
    """
    return improve(k, False, random, rows)


@compiled
def leave_slot(k: int, random: Any, rows: Any) -> Any:  # pragma: no cover - compiled
    """Let classes that use the worthless slot k take others instead; returns the gain.

    Only components marked in `changed_C` are looked at.
    """
    return improve(k, True, random, rows)
