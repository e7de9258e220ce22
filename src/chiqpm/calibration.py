"""From the name of a score to the score, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.conformal import APS, RAPS, SAPS, THR, HierarchicalScore, Margin, Score, TopK
from chiqpm.errors import ChiqpmError

HIERARCHICAL = ("path", "evidence", "branch", "level_limited")
FLAT = {"thr": THR, "margin": Margin, "topk": TopK, "aps": APS, "raps": RAPS, "saps": SAPS}
SCORES = (*HIERARCHICAL, *FLAT)


def make_score(name: str, weight_CK: NDArray[np.floating[Any]]) -> Score:
    """Return a nonconformity score by name.

    Args:
        name: "path", "evidence", "branch" or "level_limited" (sets are parts of the explanation's tree); or "thr",
            "margin", "topk", "aps", "raps", "saps" (flat, none of them randomised).
        weight_CK: the model's binary assignment.

    Raises:
        ChiqpmError: there is no such score.
    """
    if name in HIERARCHICAL:
        return HierarchicalScore(weight_CK, kind=name)  # type: ignore[arg-type]
    if name in FLAT:
        return FLAT[name]()
    raise ChiqpmError(f"unknown score {name!r}; choose one of {', '.join(SCORES)}")


def score_name(score: Score) -> str:
    """Return the name that `make_score` takes for scores of this kind."""
    return score.kind if isinstance(score, HierarchicalScore) else score.name
