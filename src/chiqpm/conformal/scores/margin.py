"""Margin: how far the probability of the class is behind the best of the others."""

from __future__ import annotations

from typing import ClassVar

import torch

from chiqpm.conformal.scores.base import Score


class Margin(Score):
    """The largest probability among the other classes minus that of the class, in [-1, 1].

    Johansson et al. (2017), "Model-agnostic nonconformity functions for conformal classification". Sets may
    be empty.
    """

    name: ClassVar[str] = "margin"

    def class_scores(
        self,
        logits_BC: torch.Tensor,
        features_BK: torch.Tensor | None = None,
        uniform_B: torch.Tensor | None = None,
        *,
        variant: int = 0,
    ) -> torch.Tensor:
        """Return the best other probability minus the own one; -1 where there is no other class."""
        probability_BC = logits_BC.softmax(dim=1)
        best_B1, winner_B1 = probability_BC.max(dim=1, keepdim=True)
        others_BC = best_B1 - probability_BC
        runner_up_B1 = probability_BC.scatter(1, winner_B1, 0.0).amax(dim=1, keepdim=True)
        return others_BC.scatter_(1, winner_B1, runner_up_B1 - best_B1)
