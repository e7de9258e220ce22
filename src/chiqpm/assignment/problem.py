"""The quadratic problem that chooses the features and gives each class its own few (arXiv 2511.20779)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chiqpm.assignment.pairs import nearest_class_pairs, sharing_pairs
from chiqpm.assignment.preconditions import check_preconditions
from chiqpm.assignment.threshold import redundancy_threshold
from chiqpm.errors import ChiqpmError
from chiqpm.files import read_npz

_SCALE = 1000.0

PairMeaning = Literal["forced", "count"]


@dataclass(frozen=True)
class Feasibility:
    """What a selection and an assignment satisfy, and each thing they violate in words."""

    violations: tuple[str, ...]
    """Broken constraints other than the pairs; empty for a valid assignment."""
    pair_violations: tuple[tuple[int, int], ...]
    """Class pairs that should share exactly n - 1 features and don't."""

    @property
    def feasible(self) -> bool:
        """Whether every constraint holds, the pairs included."""
        return not self.violations and not self.pair_violations


class AssignmentProblem:
    """Choose K of F features and n of them for every class.

    With binary x_f (feature f is selected) and w_fc (class c uses feature f), maximise

        Z = 1000 / (n C) · Σ_fc v_c A_fc w_fc - Σ_{f<g, R_fg >= tau} rho_fg x_f x_g + Σ_f b_f x_f

    where rho_fg = (R_fg - r0) / (max R - r0), r0 is the smallest positive entry of R and v the class weights (1
    when not
    given), subject to: K features are selected; a class uses n selected features; no two classes use the same n; and
    each of the given pairs of classes shares exactly n - 1.

    Args:
        similarity_FC: A, similarity of features and classes (F,C). A feature whose row is 0 is dead: it can't be
            selected.
        redundancy_FF: R, redundancy of two features (F,F), symmetric or upper triangular; the diagonal is ignored
            and negative entries count as 0. All zero means no penalty.
        bias_F: b, preference for each feature (F,).
        kept_features: K.
        features_per_class: n.
        pair_density: rho in [0, 1]: int(rho · C) pairs of classes with the nearest columns of A are forced to
            share n - 1.
        threshold: tau. None takes the published rule (`redundancy_threshold`).
        pairs: class pairs (P,2) to be forced instead of the nearest ones, for instance from a taxonomy.
        forbidden_features: features that must not be selected.
        required: (class, feature) pairs: that class must use that feature. n of them for one class fix its row.
        class_weight_C: v, positive weight of each class in the first term (C,).
        pair_meaning: ``"forced"``, as above, or ``"count"``: any `pairs_needed` pairs of classes share n - 1.
            The latter is the published method's last relaxation, for comparison only: its optimum is degenerate.
            The count is met by about sqrt(2 rho C) arbitrary classes around one common core of n - 1 features,
            which says nothing about which classes are similar.

    Attributes:
        pairs_needed: how many pairs of classes share n - 1 features at least: all of `pairs`, or int(rho C) for
            ``"count"``, where `pairs` is empty.
        gain_FC: what w_fc = 1 adds to the objective (F,C).
        penalty_FF: what selecting two features together costs (F,F), symmetric with zero diagonal.
        allowed_F: features that may be selected: alive and not forbidden (F,).
        pairs: class pairs that are to share exactly n - 1 features (P,2), the smaller index first.

    Raises:
        ChiqpmError: shapes don't fit, values are not finite, a precondition fails, or the wishes contradict one
            another.

    Example:
        >>> problem = AssignmentProblem(np.eye(3, 2), np.zeros((3, 3)), np.zeros(3), 2, 1, 0.0)
        >>> problem.objective(np.array([0, 1]), np.array([[1, 0], [0, 1]]))
        1000.0
        >>> problem.check(np.array([0, 1]), np.array([[1, 0], [1, 0]])).violations
        ('classes 0 and 1 use the same features',)
    """

    def __init__(  # noqa: PLR0917
        self,
        similarity_FC: ArrayLike,
        redundancy_FF: ArrayLike,
        bias_F: ArrayLike,
        kept_features: int,
        features_per_class: int,
        pair_density: float,
        *,
        threshold: float | None = None,
        pairs: ArrayLike | None = None,
        forbidden_features: Sequence[int] = (),
        required: Sequence[tuple[int, int]] = (),
        class_weight_C: ArrayLike | None = None,
        pair_meaning: PairMeaning = "forced",
    ) -> None:
        self.similarity_FC = _array("similarity_FC", similarity_FC, 2)
        num_features, num_classes = self.similarity_FC.shape
        redundancy = _array("redundancy_FF", redundancy_FF, 2, (num_features, num_features))
        self.bias_F = _array("bias_F", bias_F, 1, (num_features,))
        check_preconditions(num_features, num_classes, kept_features, features_per_class, pair_density)
        self.kept_features = int(kept_features)
        self.features_per_class = int(features_per_class)
        self.pair_density = float(pair_density)
        self.redundancy_FF = _symmetric(redundancy)
        if threshold is None:
            threshold = redundancy_threshold(self.redundancy_FF, self.kept_features)
        if np.isnan(threshold):
            raise ChiqpmError("threshold must be a number, received nan: leave it out to use the published rule.")
        self.threshold = float(threshold)
        self.class_weight_C = (
            np.ones(num_classes)
            if class_weight_C is None
            else _array("class_weight_C", class_weight_C, 1, (num_classes,))
        )
        if not (self.class_weight_C > 0).all():
            raise ChiqpmError(
                f"class_weight_C must be positive, received a smallest weight of {self.class_weight_C.min()}: "
                "give a class that matters little a small weight instead."
            )
        if pair_meaning not in ("forced", "count"):
            raise ChiqpmError(f"pair_meaning must be 'forced' or 'count', received {pair_meaning!r}.")
        self.pair_meaning: PairMeaning = pair_meaning
        if pair_meaning == "count":
            if pairs is not None and len(np.asarray(pairs)):
                raise ChiqpmError(
                    "pair_meaning='count' asks for a number of pairs, so none can be given: leave pairs out."
                )
            self.pairs = np.empty((0, 2), dtype=np.int64)
        elif pairs is None:
            self.pairs = nearest_class_pairs(self.similarity_FC, self.pair_density)
        else:
            self.pairs = _class_pairs(pairs, num_classes)
        self.forbidden_features = tuple(sorted(set(_indices("forbidden_features", forbidden_features, num_features))))
        self.required = _required(required, num_classes, num_features)
        self.pairs_needed = len(self.pairs) if pair_meaning == "forced" else int(self.pair_density * num_classes)
        scale = _SCALE / (self.features_per_class * num_classes)
        self.gain_FC = np.ascontiguousarray(scale * self.similarity_FC * self.class_weight_C)
        self.penalty_FF = _penalty(self.redundancy_FF, self.threshold)
        self.allowed_F: NDArray[np.bool_] = (self.similarity_FC != 0).any(axis=1)
        self.allowed_F[list(self.forbidden_features)] = False
        self._check_wishes()

    @property
    def num_features(self) -> int:
        """F."""
        return int(self.similarity_FC.shape[0])

    @property
    def num_classes(self) -> int:
        """C."""
        return int(self.similarity_FC.shape[1])

    @property
    def num_dead(self) -> int:
        """How many features are dead: similarity 0 with every class."""
        return int((self.similarity_FC == 0).all(axis=1).sum())

    def objective(self, selection_K: ArrayLike, weight_CK: ArrayLike) -> float:
        """Z of a selection and an assignment, feasible or not.

        Args:
            selection_K: selected feature indices (K,).
            weight_CK: binary assignment (C,K), columns in the order of `selection_K`.
        """
        selection, weight = self._shapes(selection_K, weight_CK)
        linear = float((self.gain_FC[selection].T * weight).sum())
        penalty = float(np.triu(self.penalty_FF[np.ix_(selection, selection)], 1).sum())
        return linear - penalty + float(self.bias_F[selection].sum())

    def check(self, selection_K: ArrayLike, weight_CK: ArrayLike) -> Feasibility:
        """Test every constraint, without any solver.

        Args:
            selection_K: selected feature indices (K,).
            weight_CK: binary assignment (C,K), columns in the order of `selection_K`.
        """
        selection, weight = self._shapes(selection_K, weight_CK)
        found: list[str] = []
        if len(np.unique(selection)) != len(selection):
            found.append("a feature is selected twice")
        found += [f"feature {f} is dead or forbidden" for f in selection if not self.allowed_F[f]]
        if not np.isin(weight, (0, 1)).all():
            found.append("the assignment is not binary")
        binary = weight != 0
        counts = binary.sum(axis=1)
        found += [
            f"class {c} uses {counts[c]} features instead of {self.features_per_class}"
            for c in np.flatnonzero(counts != self.features_per_class)
        ]
        order = np.lexsort(binary.T)
        for first, second in pairwise(order):
            if (binary[first] == binary[second]).all():
                found.append(f"classes {min(first, second)} and {max(first, second)} use the same features")
        slot = {int(f): k for k, f in enumerate(selection)}
        found += [
            f"class {c} does not use its required feature {f}"
            for c, f in self.required
            if f not in slot or not binary[c, slot[f]]
        ]
        sharing = len(sharing_pairs(binary, self.features_per_class - 1)) if self.pair_meaning == "count" else 0
        if sharing < self.pairs_needed and self.pair_meaning == "count":
            found.append(
                f"{sharing} pairs of classes share all features but one instead of at least {self.pairs_needed}"
            )
        shared_P = (binary[self.pairs[:, 0]] & binary[self.pairs[:, 1]]).sum(axis=1)
        broken = self.pairs[shared_P != self.features_per_class - 1]
        return Feasibility(tuple(found), tuple((int(c), int(d)) for c, d in broken))

    def save(self, path: str | Path) -> None:
        """Write the problem to an .npz file of plain arrays."""
        with Path(path).open("wb") as file:
            np.savez_compressed(
                file,
                similarity_FC=self.similarity_FC,
                redundancy_FF=np.triu(self.redundancy_FF),
                bias_F=self.bias_F,
                sizes=np.array([self.kept_features, self.features_per_class]),
                pair_density=np.array(self.pair_density),
                threshold=np.array(self.threshold),
                pairs_P2=self.pairs,
                forbidden_features=np.array(self.forbidden_features, dtype=np.int64),
                required=np.array(self.required, dtype=np.int64).reshape(-1, 2),
                class_weight_C=self.class_weight_C,
                counted=np.array(self.pair_meaning == "count"),
            )

    @classmethod
    def load(cls, path: str | Path) -> AssignmentProblem:
        """Read a problem that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ChiqpmError: the file is not a saved problem.
        """
        try:
            stored = read_npz(Path(path))
            return cls(
                stored["similarity_FC"],
                stored["redundancy_FF"],
                stored["bias_F"],
                int(stored["sizes"][0]),
                int(stored["sizes"][1]),
                float(stored["pair_density"]),
                threshold=float(stored["threshold"]),
                pairs=stored["pairs_P2"],
                forbidden_features=stored["forbidden_features"].tolist(),
                required=[(c, f) for c, f in stored["required"].tolist()],
                class_weight_C=stored["class_weight_C"],
                pair_meaning="count" if stored.get("counted", False) else "forced",
            )
        except FileNotFoundError:
            raise
        except ChiqpmError as error:
            raise ChiqpmError(f"{path} holds no valid assignment problem: {error}") from error
        except (KeyError, IndexError, ValueError, EOFError, OSError, AttributeError) as error:
            raise ChiqpmError(
                f"{path} is not an assignment problem written by AssignmentProblem.save ({error}): write it again."
            ) from error

    def _shapes(self, selection_K: ArrayLike, weight_CK: ArrayLike) -> tuple[NDArray[np.int64], NDArray[Any]]:
        selection, weight = np.asarray(selection_K), np.asarray(weight_CK)
        if selection.shape != (self.kept_features,) or selection.dtype.kind not in "iu":
            raise ChiqpmError(
                f"selection_K must hold {self.kept_features} feature indices, received shape {selection.shape} of "
                f"{selection.dtype}."
            )
        if selection.min() < 0 or selection.max() >= self.num_features:
            raise ChiqpmError(
                f"selection_K must hold indices from 0 to {self.num_features - 1}, received {selection.min()} to "
                f"{selection.max()}."
            )
        if weight.shape != (self.num_classes, self.kept_features):
            raise ChiqpmError(
                f"weight_CK must have shape {(self.num_classes, self.kept_features)} (classes, selected features), "
                f"received {weight.shape}."
            )
        return selection.astype(np.int64), weight

    def _check_wishes(self) -> None:
        allowed = int(self.allowed_F.sum())
        if allowed < self.kept_features:
            raise ChiqpmError(
                f"kept_features={self.kept_features} features are to be selected, but only {allowed} of "
                f"{self.num_features} can be: {self.num_dead} are dead (never active, similarity 0 with every class) "
                f"and {len(self.forbidden_features)} are forbidden. Keep fewer features or use a wider model."
            )
        per_class: dict[int, set[int]] = {}
        for c, f in self.required:
            if not self.allowed_F[f]:
                raise ChiqpmError(f"Class {c} requires feature {f}, which is dead or forbidden: require another.")
            per_class.setdefault(c, set()).add(f)
        needed = set().union(*per_class.values()) if per_class else set()
        if len(needed) > self.kept_features:
            raise ChiqpmError(
                f"{len(needed)} different features are required, more than kept_features={self.kept_features}: require "
                "fewer or keep more."
            )
        rows: dict[frozenset[int], int] = {}
        for c, features in sorted(per_class.items()):
            if len(features) > self.features_per_class:
                raise ChiqpmError(
                    f"Class {c} requires {len(features)} features, more than features_per_class="
                    f"{self.features_per_class}: require fewer."
                )
            if len(features) == self.features_per_class:
                twin = rows.setdefault(frozenset(features), c)
                if twin != c:
                    raise ChiqpmError(
                        f"Classes {twin} and {c} are fixed to the same features {sorted(features)}: change one of them."
                    )


def _penalty(redundancy_FF: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    positive = redundancy_FF[redundancy_FF > 0]
    if positive.size == 0 or positive.max() == positive.min():
        return np.zeros_like(redundancy_FF)
    smallest, largest = positive.min(), positive.max()
    penalised = (redundancy_FF >= threshold) & (redundancy_FF > 0)
    return np.where(penalised, (redundancy_FF - smallest) / (largest - smallest), 0.0)


def _array(name: str, value: ArrayLike, ndim: int, shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    given = np.asarray(value)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of numbers, received {given.dtype}.")
    array = np.array(given, dtype=np.float64, order="C")
    if array.ndim != ndim or (shape is not None and array.shape != shape):
        expected = f"shape {shape}" if shape is not None else f"{ndim} axes"
        raise ChiqpmError(f"{name} must have {expected}, received shape {array.shape}.")
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ChiqpmError(
            f"{name} must be finite, received {array[where]} at index {where} ({int((~finite).sum())} such values): "
            "look for features that are never active or a model that diverged."
        )
    return array


def _symmetric(redundancy: NDArray[np.float64]) -> NDArray[np.float64]:
    upper, lower = np.triu(redundancy, 1), np.tril(redundancy, -1)
    largest = float(np.abs(redundancy).max(initial=0.0))
    if lower.any() and not np.allclose(upper, lower.T, rtol=0, atol=1e-6 * largest):
        where = np.unravel_index(int(np.abs(upper - lower.T).argmax()), upper.shape)
        raise ChiqpmError(
            f"redundancy_FF must be symmetric or upper triangular, received {redundancy[where]} at "
            f"{int(where[0]), int(where[1])} and {redundancy[where[::-1]]} at {int(where[1]), int(where[0])}."
        )
    upper = np.maximum(upper, 0.0)
    return upper + upper.T


def _indices(name: str, values: Sequence[int], size: int) -> list[int]:
    wrong = [v for v in values if isinstance(v, bool) or not hasattr(v, "__index__")]
    if wrong:
        raise TypeError(f"{name} must hold integers, received {wrong[0]!r}.")
    indices = [int(v) for v in values]
    outside = [v for v in indices if not 0 <= v < size]
    if outside:
        raise ChiqpmError(f"{name} must hold indices from 0 to {size - 1}, received {outside[0]}.")
    return indices


def _required(required: Sequence[tuple[int, int]], num_classes: int, num_features: int) -> tuple[tuple[int, int], ...]:
    wrong = [entry for entry in required if not hasattr(entry, "__len__") or len(entry) != 2]
    if wrong:
        raise ChiqpmError(f"required must hold (class, feature) pairs, received {wrong[0]!r}.")
    classes = _indices("required (classes)", [c for c, _ in required], num_classes)
    features = _indices("required (features)", [f for _, f in required], num_features)
    return tuple(sorted(set(zip(classes, features, strict=True))))


def _class_pairs(pairs: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    given = np.asarray(pairs)
    if given.size == 0:
        return np.empty((0, 2), dtype=np.int64)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
        raise ChiqpmError(
            f"pairs must be class indices of shape (P, 2), received shape {given.shape} of {given.dtype}."
        )
    if given.min() < 0 or given.max() >= num_classes:
        raise ChiqpmError(
            f"pairs must hold classes from 0 to {num_classes - 1}, received {given.min()} to {given.max()}."
        )
    ordered = np.sort(given.astype(np.int64), axis=1)
    if (ordered[:, 0] == ordered[:, 1]).any():
        own = int(ordered[ordered[:, 0] == ordered[:, 1]][0, 0])
        raise ChiqpmError(f"pairs must join two different classes, received ({own}, {own}).")
    _, first = np.unique(ordered, axis=0, return_index=True)
    return ordered[np.sort(first)]
