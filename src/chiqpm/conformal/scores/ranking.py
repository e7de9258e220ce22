"""Classes by falling probability, as the scores that collect probability need them."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ranking:
    """How likely each class is beside the others, (B, C) in the order of the classes.

    Classes with the same logit are treated alike: none is ranked above the other by its index.

    Attributes:
        above_BC: probability of all classes with a larger logit.
        tied_BC: probability of all classes with the same logit, the class itself included.
        rank_BC: number of classes with the same or a larger logit, 1..C, as a floating-point number.
    """

    above_BC: torch.Tensor
    tied_BC: torch.Tensor
    rank_BC: torch.Tensor


def ranking(logits_BC: torch.Tensor) -> Ranking:
    """Rank the classes of a block of images by their softmax probability.

    Sorted by logit, since different small probabilities may round to the same number.
    """
    sorted_BC, order_BC = logits_BC.sort(dim=1, descending=True, stable=True)
    probability_BC = sorted_BC.softmax(dim=1)
    through_BC = probability_BC.cumsum(dim=1)
    above_BC = through_BC - probability_BC
    rank_BC = torch.arange(1, logits_BC.shape[1] + 1, device=logits_BC.device).to(logits_BC.dtype)
    rank_BC = rank_BC.expand_as(sorted_BC)
    same_BC = sorted_BC[:, 1:] == sorted_BC[:, :-1]
    if bool(same_BC.any()):
        # The first of a run of ties hands its own value down the run, the last one its own up.
        first_BC = torch.nn.functional.pad(~same_BC, (1, 0), value=True)
        last_BC = torch.nn.functional.pad(~same_BC, (0, 1), value=True)
        above_BC = torch.where(first_BC, above_BC, 0).cummax(dim=1).values
        through_BC = torch.where(last_BC, through_BC, torch.inf).flip(1).cummin(dim=1).values.flip(1)
        rank_BC = torch.where(last_BC, rank_BC, torch.inf).flip(1).cummin(dim=1).values.flip(1)
        tied_BC = through_BC - above_BC
    else:
        tied_BC = probability_BC
    values = (torch.empty_like(sorted_BC).scatter_(1, order_BC, v) for v in (above_BC, tied_BC, rank_BC))
    return Ranking(*values)
