"""SAPS: the largest probability and the rank, and no other probability."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from chiqpm.conformal.scores.base import RandomizableScore
from chiqpm.conformal.scores.ranking import ranking
from chiqpm.errors import ChiqpmError


class SAPS(RandomizableScore):
    """Sorted adaptive prediction sets: of the probabilities, only the largest counts.

    Huang, Xi, Zhang, Yao, Qiu and Wei (2024), "Conformal prediction for deep classifier via label ranking":
    u·p_max for the likeliest class and p_max + (rank - 2 + u) · weight for the others, where u is 1, or one
    uniform draw per image in the randomised form. Equally likely classes have the rank of the last of them.
    """

    name: ClassVar[str] = "saps"

    def __init__(self, weight: float = 0.2, randomized: bool = False) -> None:
        """Choose the weight of the rank and the form.

        Args:
            weight: added for each rank, > 0.
            randomized: as for every `RandomizableScore`.

        Raises:
            ChiqpmError: a weight that isn't positive.
        """
        if not weight > 0:
            raise ChiqpmError(f"weight must be above 0; got {weight}.")
        super().__init__(randomized)
        self.weight = float(weight)

    def class_scores(
        self,
        logits_BC: torch.Tensor,
        features_BK: torch.Tensor | None = None,
        uniform_B: torch.Tensor | None = None,
        *,
        variant: int = 0,
    ) -> torch.Tensor:
        """Return a score above 0, or 0 where the draw is."""
        ranked = ranking(logits_BC)
        largest_B1 = logits_BC.softmax(dim=1).amax(dim=1, keepdim=True)
        u = self.share(uniform_B)
        others_BC = largest_B1 + (ranked.rank_BC - 2 + u) * self.weight
        return torch.where(ranked.rank_BC == 1, u * largest_B1, others_BC)

    def options(self) -> dict[str, Any]:
        """Keyword arguments that make this score again."""
        return {"weight": self.weight, **super().options()}
