"""TopK: the rank of the class."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from chiqpm.conformal.scores.base import Score, share
from chiqpm.conformal.scores.ranking import ranking


class TopK(Score):
    """The same number of classes for every image: the k likeliest.

    s is the rank of the class by its logit, so that k is the threshold; randomised, s = rank - 1 + u with one
    uniform draw u per image, which covers exactly by mixing k - 1 and k. Equally likely classes have the rank
    of the last of them. See Angelopoulos et al. (2021), where it is a baseline.
    """

    name: ClassVar[str] = "topk"

    def __init__(self, randomized: bool = False) -> None:
        """Choose the form.

        Args:
            randomized: read one uniform draw per image from the generator that is given to `calibrate` and
                `predict_set`.
        """
        self.randomized = bool(randomized)

    def class_scores(
        self,
        logits_BC: torch.Tensor,
        features_BK: torch.Tensor | None = None,
        uniform_B: torch.Tensor | None = None,
        *,
        variant: int = 0,
    ) -> torch.Tensor:
        """Return the rank, 1..C, or one less plus the draw."""
        return ranking(logits_BC).rank_BC - 1 + share(uniform_B, self)

    def options(self) -> dict[str, Any]:
        """Keyword arguments that make this score again."""
        return {"randomized": self.randomized}
