"""TopK: the rank of the class."""

from __future__ import annotations

from typing import ClassVar

import torch

from chiqpm.conformal.scores.base import RandomizableScore
from chiqpm.conformal.scores.ranking import ranking


class TopK(RandomizableScore):
    """The same number of classes for every image: the k likeliest.

    s is the rank of the class by its logit, so that k is the threshold; randomised, s = rank - 1 + u with one
    uniform draw u per image, which covers exactly by mixing k - 1 and k. Equally likely classes have the rank
    of the last of them. See Angelopoulos et al. (2021), where it is a baseline.
    """

    name: ClassVar[str] = "topk"

    def class_scores(
        self,
        logits_BC: torch.Tensor,
        features_BK: torch.Tensor | None = None,
        uniform_B: torch.Tensor | None = None,
        *,
        variant: int = 0,
    ) -> torch.Tensor:
        """Return the rank, 1..C, or one less plus the draw."""
        return ranking(logits_BC).rank_BC - 1 + self.share(uniform_B)
