"""Rows for the published relaxation, in which any pairs of classes may be the ones that share n - 1 features.

The cheapest way to reach a count is a few classes around one common core, so that is what is looked for.
"""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from chiqpm.assignment.state import best_distinct_rows
from chiqpm.errors import ChiqpmError

_FORBIDDEN = -1e6
_ROUNDS = 20


def rows_with_sharing(
    value_CK: NDArray[np.float64], locked_CK: NDArray[np.bool_], per_class: int, needed: int
) -> NDArray[np.int64]:
    """Rows of which at least `needed` pairs share all slots but one, at a small loss.

    The fewest classes whose pairs suffice take a common core of n - 1 slots and a further slot each. The core is
    improved by exchanging one of its slots at a time; the classes are those that lose least.

    Args:
        value_CK: worth of slot k for class c (C,K).
        locked_CK: slots that a class must use (C,K).
        per_class: n.
        needed: pairs of classes.

    Returns:
        Slots of each class (C,n), all distinct.

    Raises:
        ChiqpmError: one core can't serve so many classes.
    """
    num_classes, num_slots = value_CK.shape
    rows_CN = best_distinct_rows(value_CK, locked_CK, per_class)
    if needed <= 0:
        return rows_CN
    members = ceil((1 + sqrt(1 + 8 * needed)) / 2)
    if members > min(num_classes, num_slots - per_class + 1):
        raise ChiqpmError(
            f"{needed} pairs need {members} classes around one common core, but there are {num_classes} classes and "
            f"{num_slots - per_class + 1} features outside a core: lower pair_density."
        )
    free_C = np.flatnonzero(~locked_CK.any(axis=1))
    if len(free_C) < members:
        raise ChiqpmError(f"{members} classes without required features are needed, received {len(free_C)}.")
    usual_C = np.take_along_axis(value_CK, rows_CN, axis=1).sum(axis=1)

    def star(core: tuple[int, ...]) -> tuple[float, NDArray[np.int64], NDArray[np.int64]]:
        others = np.setdiff1d(np.arange(num_slots), core)
        gain = (
            value_CK[free_C][:, list(core)].sum(axis=1)[:, None] + value_CK[free_C][:, others] - usual_C[free_C, None]
        )
        chosen = np.argsort(-gain.max(axis=1), kind="stable")[:members]
        row, column = linear_sum_assignment(gain[chosen], maximize=True)
        return float(gain[chosen][row, column].sum()), free_C[chosen[row]], others[column]

    core = tuple(np.argsort(-value_CK.sum(axis=0), kind="stable")[: per_class - 1].tolist())
    best = star(core)
    for _ in range(_ROUNDS):
        tries = [
            tuple(sorted({*core, added} - {dropped}))
            for dropped in core
            for added in range(num_slots)
            if added not in core
        ]
        found = max(((star(other), other) for other in tries), key=lambda entry: entry[0][0], default=(best, core))
        if found[0][0] <= best[0] + 1e-12:
            break
        best, core = found
    _, classes, last = best
    locked = locked_CK.copy()
    for c, slot in zip(classes, last, strict=True):
        locked[c] = False
        locked[c, [*core, slot]] = True
    return best_distinct_rows(value_CK, locked, per_class)
