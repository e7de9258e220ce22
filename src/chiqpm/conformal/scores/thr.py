"""THR (also LAC): the probability of the class."""

from __future__ import annotations

from typing import ClassVar

import torch

from chiqpm.conformal.scores.base import Score


class THR(Score):
    """Least ambiguous sets: a class enters when its softmax probability is high enough.

    Sadinle, Lei and Wasserman (2019), "Least ambiguous set-valued classifiers with bounded error levels".
    Published with s = 1 - p; here s = -log p, which orders all classes of all images alike, so that the sets
    are the same, but doesn't round small probabilities to ties. Sets may be empty.
    """

    name: ClassVar[str] = "thr"

    def class_scores(
        self,
        logits_BC: torch.Tensor,
        features_BK: torch.Tensor | None = None,
        uniform_B: torch.Tensor | None = None,
        *,
        variant: int = 0,
    ) -> torch.Tensor:
        """Return -log softmax, >= 0."""
        return -logits_BC.log_softmax(dim=1)
