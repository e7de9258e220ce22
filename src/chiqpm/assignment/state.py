"""One candidate solution as the arrays that the compiled loops change in place."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.arrays import Regions, Rows
from chiqpm.assignment.pairs import components
from chiqpm.assignment.problem import AssignmentProblem
from chiqpm.errors import ChiqpmError

_GREEDY_ROWS = 64


class SearchState:
    """Selection, rows and work space of the search.

    Args:
        problem: the problem that is searched.
        selection_K: features in the slots, in any order.
        pairs_P2: class pairs that moves have to respect (those given to `set_pairs` later replace them).
        seed: seed of the generator inside the compiled loops.
    """

    def __init__(self, problem: AssignmentProblem, selection_K: NDArray[np.int64], seed: int) -> None:
        self.problem = problem
        num_classes, num_slots = problem.num_classes, problem.kept_features
        generator = np.random.default_rng(seed)
        self.random = generator.integers(0, 2**63, size=1, dtype=np.uint64)
        self.key_K = generator.integers(0, 2**63, size=num_slots, dtype=np.uint64)
        self.selection_K = np.array(selection_K, dtype=np.int64)
        self.value_CK = np.ascontiguousarray(problem.gain_FC[self.selection_K].T)
        slot = {int(f): k for k, f in enumerate(self.selection_K)}
        self.locked_CK = np.zeros((num_classes, num_slots), dtype=np.bool_)
        for c, f in problem.required:
            self.locked_CK[c, slot[f]] = True
        self.fixed_K: NDArray[np.bool_] = np.asarray(self.locked_CK.any(axis=0))
        self.chosen_F = ~problem.allowed_F
        self.chosen_F[self.selection_K] = True
        self.redundancy_F = problem.penalty_FF[self.selection_K].sum(axis=0)
        self.set_pairs(np.empty((0, 2), dtype=np.int64))
        self.set_rows(best_distinct_rows(self.value_CK, self.locked_CK, problem.features_per_class))

    def set_pairs(self, pairs_P2: NDArray[np.int64]) -> None:
        """Take these class pairs as the ones that moves keep intact."""
        both = np.concatenate([pairs_P2, pairs_P2[:, ::-1]])
        order = np.argsort(both[:, 0], kind="stable")
        self.neighbour = np.ascontiguousarray(both[order, 1])
        self.start = np.searchsorted(both[order, 0], np.arange(self.problem.num_classes + 1)).astype(np.int64)
        self.component_C = components(pairs_P2, self.problem.num_classes)

    def set_rows(self, rows_CN: NDArray[np.int64]) -> None:
        """Take these slots (C,n) for the classes; they must be distinct."""
        self.rows_CN = np.array(rows_CN, dtype=np.int64)
        self.has_CK: NDArray[np.bool_] = np.zeros(self.value_CK.shape, dtype=np.bool_)
        np.put_along_axis(self.has_CK, self.rows_CN, True, axis=1)
        self.hash_C = np.bitwise_xor.reduce(self.key_K[self.rows_CN], axis=1)
        size = 1 << int(np.ceil(np.log2(16 * len(self.rows_CN))))
        self.bucket = np.bincount((self.hash_C & np.uint64(size - 1)).astype(np.int64), minlength=size).astype(np.int32)

    def set_solution(self, selection_K: NDArray[np.int64], rows_CN: NDArray[np.int64]) -> None:
        """Take another solution with the same required features in the same slots."""
        self.selection_K[:] = selection_K
        self.value_CK = np.ascontiguousarray(self.problem.gain_FC[selection_K].T)
        self.chosen_F[:] = ~self.problem.allowed_F
        self.chosen_F[selection_K] = True
        self.redundancy_F[:] = self.problem.penalty_FF[selection_K].sum(axis=0)
        self.set_rows(rows_CN)

    def rows(self) -> Rows:
        """The rows as the compiled moves take them: the state's own arrays, and work space."""
        num_classes, num_slots = self.has_CK.shape
        return Rows(
            has_CK=self.has_CK,
            rows_CN=self.rows_CN,
            value_CK=self.value_CK,
            locked_CK=self.locked_CK,
            hash_C=self.hash_C,
            bucket=self.bucket,
            key_K=self.key_K,
            start=self.start,
            neighbour=self.neighbour,
            component_C=self.component_C,
            mark_C=np.zeros(num_classes, dtype=np.bool_),
            queue_C=np.zeros(num_classes, dtype=np.int64),
            seen_CK=np.zeros((num_classes, num_slots), dtype=np.int64),
            best_C=np.zeros(num_classes),
            partner_C=np.zeros(num_classes, dtype=np.int64),
            saved_CN=np.zeros_like(self.rows_CN),
            changed_C=np.zeros(num_classes, dtype=np.bool_),
            clock=np.zeros(1, dtype=np.int64),
        )

    def regions(self) -> Regions:
        """Work space for the regions of paired classes."""
        num_classes, per_class = self.rows_CN.shape
        size_C = np.bincount(self.component_C, minlength=num_classes)[self.component_C]
        grouped = np.flatnonzero(size_C > 1)
        grouped = grouped[np.argsort(self.component_C[grouped], kind="stable")]
        starts = np.flatnonzero(np.diff(self.component_C[grouped], prepend=-1))
        most = num_classes * per_class
        return Regions(
            grouped=grouped,
            group_start=np.append(starts, len(grouped)).astype(np.int64),
            alone_C=np.full(num_classes, np.inf),
            first=np.zeros(len(starts) + 1, dtype=np.int64),
            start=np.zeros(most + 1, dtype=np.int64),
            member=np.zeros(num_classes * self.has_CK.shape[1], dtype=np.int64),
            cost=np.zeros(most),
            code=np.zeros(most, dtype=np.int64),
        )

    @property
    def objective(self) -> float:
        """Z of the present state."""
        return self.problem.objective(self.selection_K, self.has_CK)

    def snapshot(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Selection and rows, copied."""
        return self.selection_K.copy(), self.rows_CN.copy()


def best_distinct_rows(
    value_CK: NDArray[np.float64], locked_CK: NDArray[np.bool_], per_class: int
) -> NDArray[np.int64]:
    """The most valuable slots for each class, changed where two classes would be equal.

    Classes with the most locked slots are served first; each takes its best free combination among its most valuable
    slots. Pairs are not considered.

    Args:
        value_CK: worth of slot k for class c (C,K).
        locked_CK: slots that a class must use (C,K).
        per_class: n.

    Returns:
        Slots of each class (C,n).
    """
    ranked_CK = np.where(locked_CK, np.inf, value_CK)
    order_CK = np.argsort(-ranked_CK, axis=1, kind="stable")
    rows_CN = order_CK[:, :per_class].copy()
    taken: set[frozenset[int]] = set()
    for c in np.argsort(-locked_CK.sum(axis=1), kind="stable"):
        row = frozenset(rows_CN[c].tolist())
        if row in taken:
            row = _best_free_row(value_CK[c], order_CK[c], int(locked_CK[c].sum()), per_class, taken)
            rows_CN[c] = sorted(row)
        taken.add(row)
    return rows_CN


def _best_free_row(
    value_K: NDArray[np.float64], order_K: NDArray[np.int64], locked: int, per_class: int, taken: set[frozenset[int]]
) -> frozenset[int]:
    kept = order_K[:locked].tolist()
    for width in range(per_class + 1, len(order_K) + 1):
        candidates = [
            frozenset(kept + list(rest)) for rest in combinations(order_K[locked:width].tolist(), per_class - locked)
        ]
        free = [row for row in candidates if row not in taken]
        if free and (len(candidates) <= _GREEDY_ROWS or width == len(order_K) or len(free) >= per_class):
            return max(free, key=lambda row: float(value_K[sorted(row)].sum()))
    raise ChiqpmError(
        "The required features leave some class no combination of its own: require fewer, or keep more features."
    )
