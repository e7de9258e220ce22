"""APS: the probability of all classes that are at least as likely."""

from __future__ import annotations

from typing import ClassVar

import torch

from chiqpm.conformal.scores.base import RandomizableScore
from chiqpm.conformal.scores.ranking import ranking


class APS(RandomizableScore):
    """Adaptive prediction sets: classes enter by falling probability until enough of it is collected.

    Romano, Sesia and Candès (2020), "Classification with valid and adaptive coverage". With classes sorted by
    probability, s of the r-th is p_1 + ... + p_{r-1} + u·p_r, where u is 1, or one uniform draw per image in
    the randomised form. The randomised sets are smaller on average, cover exactly rather than at least, and
    may be empty. Equally likely classes count as one: they enter together.
    """

    name: ClassVar[str] = "aps"

    def class_scores(
        self,
        logits_BC: torch.Tensor,
        features_BK: torch.Tensor | None = None,
        uniform_B: torch.Tensor | None = None,
        *,
        variant: int = 0,
    ) -> torch.Tensor:
        """Return the collected probability in [0, 1]."""
        ranked = ranking(logits_BC)
        return ranked.above_BC + self.share(uniform_B) * ranked.tied_BC
