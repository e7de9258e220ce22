"""How prediction sets lie in the tree of each image and in a hierarchy of the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, flags, integers


@dataclass(frozen=True, kw_only=True)
class SetHierarchy:
    """Means over the sets that hold at least one class; NaN where there is no such set."""

    branches: float
    """Number of branches (tree nodes) of which the set holds a class; the prediction is one of its own."""
    whole: float
    """Share of the sets that are unions of whole branches and hold the prediction: one part of the tree."""
    climbed: float
    """Number of features of the prediction's path that not every class of the set shares, 0 .. n."""
    superclasses: float | None
    """Number of superclasses (genera, say) of which the set holds a class; None without superclasses."""
    sets: int
    """Number of sets with at least one class; only these count."""


def set_hierarchy(
    sets: ArrayOrTensor,
    shared: ArrayOrTensor,
    leaving: ArrayOrTensor,
    superclass: ArrayOrTensor | None = None,
) -> SetHierarchy:
    """Describe prediction sets by the tree of each image (arXiv 2511.20779) and by a hierarchy of the classes.

    A branch is all classes that leave the prediction's path at the same place with the same feature.

    Args:
        sets: Prediction sets (B, C), true where the class belongs to the set.
        shared: Number of leading features that each class shares with the prediction (B, C), 0 .. n; n for the
            prediction: `shared_BC` of `chiqpm.conformal.tree`.
        leaving: Feature with which each class leaves the path (B, C), -1 where it doesn't: `leaving_BC` of the tree.
        superclass: Superclass of each class (C,), indices from 0.

    Returns:
        Means over the sets that aren't empty.

    Raises:
        ChiqpmError: On shapes that don't fit together or indices out of range.
        TypeError: If tree or superclasses aren't integers.

    Example:
        >>> shared, leaving = np.array([[2, 1, 1, 0]]), np.array([[-1, 3, 4, 5]])
        >>> found = set_hierarchy(np.array([[1, 1, 0, 1]]), shared, leaving, np.array([0, 0, 1, 1]))
        >>> found.branches, found.whole, found.climbed, found.superclasses
        (3.0, 1.0, 2.0, 2.0)
    """
    sets_BC = flags(sets, "sets", "BC")
    samples, classes = sets_BC.shape
    shared_BC = integers(shared, "shared", "BC", B=samples, C=classes)
    leaving_BC = integers(leaving, "leaving", "BC", lowest=-1, B=samples, C=classes)
    superclass_C = None if superclass is None else integers(superclass, "superclass", "C", C=classes)
    filled_B = sets_BC.any(axis=1)
    sets_BC, shared_BC, leaving_BC = sets_BC[filled_B], shared_BC[filled_B], leaving_BC[filled_B]
    if not len(sets_BC):
        nothing = float("nan")
        spanned = None if superclass_C is None else nothing
        return SetHierarchy(branches=nothing, whole=nothing, climbed=nothing, superclasses=spanned, sets=0)
    predicted_BC = leaving_BC == -1
    if not predicted_BC.any(axis=1).all():
        raise ChiqpmError("leaving must be -1 for the predicted class of every sample; take it from conformal.tree.")
    branch_BC = shared_BC * (int(leaving_BC.max()) + 2) + leaving_BC + 1
    touched_B = _distinct(branch_BC, sets_BC)
    whole_B = touched_B + _distinct(branch_BC, ~sets_BC) == _distinct(branch_BC, np.ones_like(sets_BC))
    deepest_B = shared_BC.max(axis=1)
    return SetHierarchy(
        branches=float(touched_B.mean()),
        whole=float((whole_B & (sets_BC & predicted_BC).any(axis=1)).mean()),
        climbed=float((deepest_B - np.where(sets_BC, shared_BC, deepest_B[:, None]).min(axis=1)).mean()),
        superclasses=None
        if superclass_C is None
        else float(_distinct(np.broadcast_to(superclass_C, sets_BC.shape), sets_BC).mean()),
        sets=len(sets_BC),
    )


def _distinct(codes_BC: npt.NDArray[np.int64], members_BC: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Number of different codes among the members of each row."""
    sorted_BC = np.sort(np.where(members_BC, codes_BC, -1), axis=1)
    new_BC = np.diff(sorted_BC, axis=1, prepend=-1) > 0
    return np.asarray(new_BC.sum(axis=1), dtype=np.int64)
