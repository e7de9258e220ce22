"""Compiled inner loops of the search. Import this module only when a search starts: it loads numba.

A state is a set of arrays that the functions change in place:

- ``has_CK``: class c uses slot k; ``rows_CN``: the same as lists of slots, unordered;
- ``value_CK``: what slot k is worth to class c, i.e. the scaled similarity of the feature in that slot;
- ``locked_CK``: class c must keep slot k;
- ``hash_C``: XOR of the random keys ``key_K`` of a class's slots; ``bucket``: how many classes fall into each bucket of
  hashes, so that most rows are known to be distinct without comparing them with any other;
- ``start``, ``neighbour``: the graph of class pairs in compressed rows; ``mark_C``, ``queue_C``: work space.

Every move exchanges two slots f and g in a whole connected region of classes that use exactly one of the two (a Kempe
chain, as in graph colouring). Classes with both or neither don't change, and a neighbour with exactly one always joins,
so the exchange keeps the number of features that any two paired classes share.
"""

# ruff: noqa: PLR0917  (compiled functions take their state as plain arrays)
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile a function on its first call, and keep the machine code on disk where there is a place for it.

    Sums may be reordered, so that they run in vector registers; `contract` and `reassoc` keep infinities intact.
    """
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        return cast(_F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # numba finds neither a writable package folder nor a writable user cache
        return cast(_F, numba.njit(**options)(function))


@compiled
def uniform(random: Any) -> Any:  # pragma: no cover - compiled
    """Next number of the splitmix64 generator whose state is `random[0]`, in [0, 1)."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def chain(
    c: int,
    f: int,
    g: int,
    has_CK: Any,
    value_CK: Any,
    locked_CK: Any,
    start: Any,
    neighbour: Any,
    mark_C: Any,
    queue_C: Any,
) -> Any:  # pragma: no cover - compiled
    """Collect and mark the region of class c that uses exactly one of f and g.

    Returns its size and the change of the objective by exchanging f and g in it; -inf where a locked slot forbids that.
    """
    mark_C[c] = True
    queue_C[0] = c
    size, head, gain = 1, 0, 0.0
    while head < size:
        u = queue_C[head]
        head += 1
        change = value_CK[u, g] - value_CK[u, f]
        gain += change if has_CK[u, f] else -change
        if locked_CK[u, f] or locked_CK[u, g]:
            gain = -np.inf
        for e in range(start[u], start[u + 1]):
            v = neighbour[e]
            if not mark_C[v] and has_CK[v, f] != has_CK[v, g]:
                mark_C[v] = True
                queue_C[size] = v
                size += 1
    return size, gain


@compiled
def exchange(
    size: int,
    f: int,
    g: int,
    has_CK: Any,
    rows_CN: Any,
    hash_C: Any,
    bucket: Any,
    key_K: Any,
    mark_C: Any,
    queue_C: Any,
) -> Any:  # pragma: no cover - compiled
    """Exchange f and g in the region unless a class would equal one outside; returns whether it was done.

    The marks of the region must be set.
    """
    difference = key_K[f] ^ key_K[g]
    mask = np.uint64(len(bucket) - 1)
    for i in range(size):
        bucket[hash_C[queue_C[i]] & mask] -= 1
    for i in range(size):
        new = hash_C[queue_C[i]] ^ difference
        if bucket[new & mask] > 0:
            for d in range(len(hash_C)):
                if hash_C[d] == new and not mark_C[d]:
                    for j in range(size):
                        bucket[hash_C[queue_C[j]] & mask] += 1
                    return False
    for i in range(size):
        u = queue_C[i]
        hash_C[u] ^= difference
        bucket[hash_C[u] & mask] += 1
        old, new_slot = (f, g) if has_CK[u, f] else (g, f)
        has_CK[u, old] = False
        has_CK[u, new_slot] = True
        for j in range(rows_CN.shape[1]):
            if rows_CN[u, j] == old:
                rows_CN[u, j] = new_slot
                break
    return True


@compiled
def unmark(size: int, mark_C: Any, queue_C: Any) -> None:  # pragma: no cover - compiled
    """Clear the marks of the region."""
    for i in range(size):
        mark_C[queue_C[i]] = False


@compiled
def anneal_rows(
    steps: int,
    hot: float,
    cold: float,
    random: Any,
    has_CK: Any,
    rows_CN: Any,
    value_CK: Any,
    locked_CK: Any,
    hash_C: Any,
    bucket: Any,
    key_K: Any,
    start: Any,
    neighbour: Any,
    mark_C: Any,
    queue_C: Any,
) -> Any:  # pragma: no cover - compiled
    """Metropolis over single exchanges at a temperature falling from `hot` to `cold`; returns the total gain."""
    num_classes, num_slots = has_CK.shape
    per_class = rows_CN.shape[1]
    total = 0.0
    for step in range(steps):
        c = int(uniform(random) * num_classes)
        f = rows_CN[c, int(uniform(random) * per_class)]
        g = int(uniform(random) * num_slots)
        if has_CK[c, g]:
            continue
        temperature = hot * (cold / hot) ** (step / steps)
        size, gain = chain(c, f, g, has_CK, value_CK, locked_CK, start, neighbour, mark_C, queue_C)
        if (gain >= 0 or uniform(random) < np.exp(gain / temperature)) and exchange(
            size, f, g, has_CK, rows_CN, hash_C, bucket, key_K, mark_C, queue_C
        ):
            total += gain
        unmark(size, mark_C, queue_C)
    return total


@compiled
def polish_slot(
    k: int,
    random: Any,
    has_CK: Any,
    rows_CN: Any,
    value_CK: Any,
    locked_CK: Any,
    hash_C: Any,
    bucket: Any,
    key_K: Any,
    start: Any,
    neighbour: Any,
    mark_C: Any,
    queue_C: Any,
) -> Any:  # pragma: no cover - compiled
    """Improve by exchanges that involve slot k until none helps; returns the gain."""
    num_classes, num_slots = has_CK.shape
    total = 0.0
    improved = True
    while improved:
        improved = False
        offset = int(uniform(random) * num_classes)
        for i in range(num_classes):
            c = (i + offset) % num_classes
            best: Any = 1e-9
            partner: Any = np.int64(-1)
            choices = num_slots if has_CK[c, k] else rows_CN.shape[1]
            for j in range(choices):
                h = j if has_CK[c, k] else rows_CN[c, j]
                if has_CK[c, k] and has_CK[c, h]:
                    continue
                size, gain = chain(c, k, h, has_CK, value_CK, locked_CK, start, neighbour, mark_C, queue_C)
                unmark(size, mark_C, queue_C)
                if gain > best:
                    best, partner = gain, h
            if partner >= 0:
                size, best = chain(c, k, partner, has_CK, value_CK, locked_CK, start, neighbour, mark_C, queue_C)
                if exchange(size, k, partner, has_CK, rows_CN, hash_C, bucket, key_K, mark_C, queue_C):
                    total += best
                    improved = True
                unmark(size, mark_C, queue_C)
    return total


@compiled
def screen(
    k: int,
    has_CK: Any,
    rows_CN: Any,
    value_CK: Any,
    locked_CK: Any,
    selection_K: Any,
    separation_FP: Any,
    screen_FD: Any,
    base_D: Any,
    score_F: Any,
) -> None:  # pragma: no cover - compiled
    """Optimistic worth of every feature in slot k to the classes, as if each class chose alone.

    A class gives up its least valuable other slot for the new feature; one that uses slot k falls back on its best
    unused slot. The columns behind those of the classes are the pairs' separations, of which the largest among the
    selected features counts.
    """
    num_classes, num_slots = has_CK.shape
    for c in range(num_classes):
        if has_CK[c, k]:
            base = -np.inf
            for h in range(num_slots):
                if not has_CK[c, h] and value_CK[c, h] > base:
                    base = value_CK[c, h]
        else:
            base = np.inf
            for j in range(rows_CN.shape[1]):
                h = rows_CN[c, j]
                if not locked_CK[c, h] and value_CK[c, h] < base:
                    base = value_CK[c, h]
        base_D[c] = base
    for p in range(separation_FP.shape[1]):
        largest = 0.0
        for h in range(num_slots):
            if h != k and separation_FP[selection_K[h], p] > largest:
                largest = separation_FP[selection_K[h], p]
        base_D[num_classes + p] = largest
    for feature in range(screen_FD.shape[0]):
        total = np.float32(0.0)
        for c in range(screen_FD.shape[1]):
            excess = screen_FD[feature, c] - base_D[c]
            total += excess if excess > 0 else np.float32(0.0)
        score_F[feature] = total


@compiled
def copy_rows(
    from_has: Any,
    from_rows: Any,
    from_hash: Any,
    from_bucket: Any,
    to_has: Any,
    to_rows: Any,
    to_hash: Any,
    to_bucket: Any,
) -> None:  # pragma: no cover - compiled
    """Copy the arrays that describe the rows."""
    for c in range(len(from_hash)):
        to_hash[c] = from_hash[c]
        for k in range(from_has.shape[1]):
            to_has[c, k] = from_has[c, k]
        for j in range(from_rows.shape[1]):
            to_rows[c, j] = from_rows[c, j]
    for i in range(len(from_bucket)):
        to_bucket[i] = from_bucket[i]


@compiled
def anneal_selection(
    steps: int,
    hot: float,
    cold: float,
    proposal: float,
    random: Any,
    gain_FC: Any,
    separation_FP: Any,
    screen_FD: Any,
    worth_F: Any,
    penalty_FF: Any,
    redundancy_F: Any,
    chosen_F: Any,
    fixed_K: Any,
    selection_K: Any,
    base_D: Any,
    score_F: Any,
    saved_has_CK: Any,
    saved_rows_CN: Any,
    saved_hash_C: Any,
    saved_bucket: Any,
    has_CK: Any,
    rows_CN: Any,
    value_CK: Any,
    locked_CK: Any,
    hash_C: Any,
    bucket: Any,
    key_K: Any,
    start: Any,
    neighbour: Any,
    mark_C: Any,
    queue_C: Any,
) -> Any:  # pragma: no cover - compiled
    """Metropolis over the features in the slots, re-optimising the slot's classes after each exchange.

    The temperature falls from `hot` to `cold`; that of the random part of a proposal is `proposal`. `redundancy_F`
    holds
    each feature's total penalty with the selected ones; `chosen_F` marks the selected and the forbidden ones.
    Returns the total gain.
    """
    num_classes, num_slots = has_CK.shape
    num_features = len(worth_F)
    total = 0.0
    for step in range(steps):
        temperature = hot * (cold / hot) ** (step / steps)
        k = int(uniform(random) * num_slots)
        if fixed_K[k]:
            continue
        old = selection_K[k]
        screen(k, has_CK, rows_CN, value_CK, locked_CK, selection_K, separation_FP, screen_FD, base_D, score_F)
        best, new = -np.inf, -1
        for feature in range(num_features):
            if not chosen_F[feature]:
                score = score_F[feature] + worth_F[feature] - redundancy_F[feature] + penalty_FF[old, feature]
                if score + 15.0 * proposal > best:
                    score -= proposal * np.log(-np.log(uniform(random) + 1e-300) + 1e-300)
                    if score > best:
                        best, new = score, feature
        if new < 0:
            continue
        copy_rows(has_CK, rows_CN, hash_C, bucket, saved_has_CK, saved_rows_CN, saved_hash_C, saved_bucket)
        gain = worth_F[new] - worth_F[old] - redundancy_F[new] + penalty_FF[old, new] + redundancy_F[old]
        for c in range(num_classes):
            if has_CK[c, k]:
                gain += gain_FC[new, c] - gain_FC[old, c]
            value_CK[c, k] = gain_FC[new, c]
        for p in range(separation_FP.shape[1]):
            others = base_D[num_classes + p]
            gain += max(separation_FP[new, p], others) - max(separation_FP[old, p], others)
        gain += polish_slot(
            k, random, has_CK, rows_CN, value_CK, locked_CK, hash_C, bucket, key_K, start, neighbour, mark_C, queue_C
        )
        if gain >= 0 or uniform(random) < np.exp(gain / temperature):
            total += gain
            selection_K[k] = new
            chosen_F[old], chosen_F[new] = False, True
            for feature in range(num_features):
                redundancy_F[feature] += penalty_FF[new, feature] - penalty_FF[old, feature]
        else:
            copy_rows(saved_has_CK, saved_rows_CN, saved_hash_C, saved_bucket, has_CK, rows_CN, hash_C, bucket)
            for c in range(num_classes):
                value_CK[c, k] = gain_FC[old, c]
    return total


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
    has_CK: Any,
    rows_CN: Any,
    locked_CK: Any,
    hash_C: Any,
    bucket: Any,
    key_K: Any,
    start: Any,
    neighbour: Any,
    mark_C: Any,
    queue_C: Any,
) -> Any:  # pragma: no cover - compiled
    """Anneal the number of violations of the pairs; returns how many are left (0 ends it at once).

    A move starts at a class of a violated pair and exchanges a slot that only this class has for one that only the
    other
    has; the region grows through satisfied pairs, each of which lets go with probability `leak`.
    """
    num_edges = len(edges_E2)
    energy = 0
    violated = np.empty(num_edges, dtype=np.int64)
    for e in range(num_edges):
        energy += violation(edges_E2[e, 0], edges_E2[e, 1], has_CK, rows_CN)
    num_slots = has_CK.shape[1]
    per_class = rows_CN.shape[1]
    for step in range(steps):
        if energy == 0:
            break
        if step % 64 == 0:
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
        if allowed and exchange(size, f, g, has_CK, rows_CN, hash_C, bucket, key_K, mark_C, queue_C):
            for i in range(size):
                u = queue_C[i]
                for j in range(start[u], start[u + 1]):
                    if not mark_C[neighbour[j]]:
                        change += violation(u, neighbour[j], has_CK, rows_CN)
            if change <= 0 or uniform(random) < np.exp(-change / temperature):
                energy += change
            else:
                exchange(size, f, g, has_CK, rows_CN, hash_C, bucket, key_K, mark_C, queue_C)
        unmark(size, mark_C, queue_C)
    return energy
