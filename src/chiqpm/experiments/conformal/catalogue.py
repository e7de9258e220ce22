"""The scores that are compared, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.conformal import APS, RAPS, SAPS, THR, HierarchicalScore, Margin, Score, TopK


def all_scores(weight_CK: NDArray[np.floating[Any]]) -> dict[str, Score]:
    """Return every score: hierarchical, flat, and the flat ones that can be randomised."""
    hierarchical: dict[str, Score] = {
        "branch": HierarchicalScore(weight_CK),
        "branch, depth 2": HierarchicalScore(weight_CK, depth=2),
        "evidence": HierarchicalScore(weight_CK, "evidence"),
        "path": HierarchicalScore(weight_CK, "path"),
        "level_limited": HierarchicalScore(weight_CK, "level_limited"),
    }
    flat: dict[str, Score] = {
        "THR": THR(),
        "Margin": Margin(),
        "TopK": TopK(),
        "APS": APS(),
        "RAPS": RAPS(),
        "SAPS": SAPS(),
    }
    randomised: dict[str, Score] = {
        "TopK, randomised": TopK(randomized=True),
        "APS, randomised": APS(randomized=True),
        "RAPS, randomised": RAPS(randomized=True),
        "SAPS, randomised": SAPS(randomized=True),
    }
    return hierarchical | flat | randomised


def label_scores(
    score: Score,
    logits_NC: NDArray[np.float32],
    labels_N: NDArray[np.int64],
    features_NK: NDArray[np.float32],
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Score the true class of each image under every variant: (variants, N)."""
    uniform_N = torch.from_numpy(generator.random(len(labels_N), dtype=np.float32))
    logits, labels, features = (torch.from_numpy(values) for values in (logits_NC, labels_N, features_NK))
    scores_VN: NDArray[np.float64] = score.label_scores(logits, labels, features, uniform_N).double().numpy()
    return scores_VN
