"""Nonconformity scores, one a file."""

from __future__ import annotations

from chiqpm.conformal.scores.aps import APS
from chiqpm.conformal.scores.base import Score
from chiqpm.conformal.scores.hierarchical import HierarchicalScore
from chiqpm.conformal.scores.margin import Margin
from chiqpm.conformal.scores.raps import RAPS
from chiqpm.conformal.scores.saps import SAPS
from chiqpm.conformal.scores.thr import THR
from chiqpm.conformal.scores.topk import TopK

SCORES: dict[str, type[Score]] = {
    score.name: score for score in (HierarchicalScore, THR, APS, RAPS, SAPS, TopK, Margin)
}
"""Scores by their name in saved files."""

__all__ = ["APS", "RAPS", "SAPS", "SCORES", "THR", "HierarchicalScore", "Margin", "Score", "TopK"]
