"""From the name of a score to the score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.conformal import APS, THR, HierarchicalScore, Score
from chiqpm.errors import ChiqpmError

SCORES = ("path", "evidence", "level_limited", "thr", "aps")


def make_score(name: str, weight_CK: NDArray[np.floating[Any]]) -> Score:
    """Return a nonconformity score by name.

    Args:
        name: "path", "evidence" or "level_limited" (one branch of the explanation), "thr" or "aps" (flat).
        weight_CK: the model's binary assignment.

    Raises:
        ChiqpmError: there is no such score.
    """
    if name in ("path", "evidence", "level_limited"):
        return HierarchicalScore(weight_CK, kind=name)  # type: ignore[arg-type]
    if name == "thr":
        return THR()
    if name == "aps":
        return APS()
    raise ChiqpmError(f"unknown score {name!r}; choose one of {', '.join(SCORES)}")
