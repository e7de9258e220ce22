"""RAPS: APS with a penalty on far-off classes."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from chiqpm.conformal.scores.base import RandomizableScore
from chiqpm.conformal.scores.ranking import ranking
from chiqpm.errors import ChiqpmError


class RAPS(RandomizableScore):
    """Regularised adaptive prediction sets: APS plus a penalty that grows with the rank of the class.

    Angelopoulos, Bates, Malik and Jordan (2021), "Uncertainty sets for image classifiers using conformal
    prediction": the APS score plus penalty · max(0, rank - k_reg). The guarantee holds for any penalty that
    is fixed before calibration. Equally likely classes count as one and have the rank of the last of them.
    """

    name: ClassVar[str] = "raps"

    def __init__(self, penalty: float = 0.01, k_reg: int = 1, randomized: bool = False) -> None:
        """Choose the penalty and the form.

        Args:
            penalty: added for each rank beyond `k_reg`, >= 0.
            k_reg: number of ranks without a penalty, >= 0.
            randomized: as for every `RandomizableScore`.

        Raises:
            ChiqpmError: a negative penalty or rank.
        """
        if not (penalty >= 0 and k_reg >= 0):
            raise ChiqpmError(f"penalty and k_reg must be 0 or more; got penalty={penalty}, k_reg={k_reg}.")
        super().__init__(randomized)
        self.penalty, self.k_reg = float(penalty), int(k_reg)

    def class_scores(
        self,
        logits_BC: torch.Tensor,
        features_BK: torch.Tensor | None = None,
        uniform_B: torch.Tensor | None = None,
        *,
        variant: int = 0,
    ) -> torch.Tensor:
        """Return the collected probability plus the penalty, >= 0."""
        ranked = ranking(logits_BC)
        collected_BC = ranked.above_BC + self.share(uniform_B) * ranked.tied_BC
        return collected_BC + self.penalty * (ranked.rank_BC - self.k_reg).clamp_min(0)

    def options(self) -> dict[str, Any]:
        """Keyword arguments that make this score again."""
        return {"penalty": self.penalty, "k_reg": self.k_reg, **super().options()}
