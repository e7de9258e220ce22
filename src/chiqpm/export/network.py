"""The network that is exported: maps, features, logits, and the nonconformity of every class."""

from __future__ import annotations

import torch
from torch import nn

from chiqpm.conformal import THR, HierarchicalScore, Score, TopK
from chiqpm.conformal.hierarchy import Branches
from chiqpm.model import CHiQPM

OUTPUTS = ("logits", "features", "maps", "scores")


class ScoredNetwork(nn.Module):
    """A CHiQPM that also says how nonconforming each class is: a set holds the classes up to a threshold.

    Args:
        model: the network.
        score: for which `can_score` holds, or None for a network without scores.
    """

    def __init__(self, model: CHiQPM, score: Score | None) -> None:
        super().__init__()
        self.model = model
        self.score = score
        # Read here: inside of what is exported it would be a number that depends on data.
        self.features_per_class = int(model.weight_CK[0].sum())

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return logits (B, C), features (B, K), maps (B, K, H, W) and, with a score, nonconformity (B, C)."""
        logits_BC, features_BK, maps_BKHW = self.model(images)
        if self.score is None:
            return logits_BC, features_BK, maps_BKHW
        if isinstance(self.score, HierarchicalScore):
            predicted_B = logits_BC.argmax(dim=1)
            found = find_branches(features_BK, self.model.weight_CK, predicted_B, self.features_per_class)
            return logits_BC, features_BK, maps_BKHW, self.score.from_branches(found, logits_BC, 0)
        return logits_BC, features_BK, maps_BKHW, self.score.class_scores(logits_BC)


def can_score(score: Score) -> bool:
    """Whether an exported network can make a score's sets.

    The score must have one number for each class and draw nothing at random, and its numbers must lie further apart
    than the rounding of another runtime: sums of probabilities, as in APS, RAPS and SAPS, crowd below 1.
    """
    if isinstance(score, HierarchicalScore):
        return score.variants == 1 and score.depth == 1
    return isinstance(score, THR) or (isinstance(score, TopK) and not score.randomized)


def find_branches(
    features_BK: torch.Tensor, weight_CK: torch.Tensor, predicted_B: torch.Tensor, features_per_class: int
) -> Branches:
    """Find where every class leaves the prediction's path, in operations that every runtime has.

    The result is that of `chiqpm.conformal.hierarchy.branches`, which is faster but reads the bits of floats; this one
    builds (B, C, K) tables.
    """
    num_features = weight_CK.shape[1]
    order_BK = _by_activation(features_BK)
    sorted_BK = features_BK.gather(1, order_BK)
    owned_BCK = weight_CK[:, order_BK].permute(1, 0, 2) > 0
    own_BK = weight_CK[predicted_B].gather(1, order_BK) > 0
    parting_BC = _first(owned_BCK != own_BK[:, None], num_features)
    place_K = torch.arange(num_features, device=features_BK.device)
    leaving_BC = _first(owned_BCK & (place_K >= parting_BC[:, :, None]), num_features)
    above_BK = torch.nn.functional.pad(own_BK.long().cumsum(dim=1), (1, 0))
    own_places_Bn = (own_BK.long() * (num_features - place_K)).topk(features_per_class, dim=1).indices
    return Branches(
        order_BK,
        above_BK.gather(1, parting_BC),
        leaving_BC,
        torch.nn.functional.pad(sorted_BK, (0, 1)).gather(1, leaving_BC),
        sorted_BK.gather(1, own_places_Bn),
    )


def _first(is_BCK: torch.Tensor, nowhere: int) -> torch.Tensor:
    """Return the first place that is true, or `nowhere`."""
    return torch.where(is_BCK.any(dim=2), is_BCK.long().argmax(dim=2), nowhere)


def _by_activation(features_BK: torch.Tensor) -> torch.Tensor:
    """Return the features' indices, the strongest first, by index on ties; stable sorting has no ONNX operator."""
    num_features = features_BK.shape[1]
    place_K = torch.arange(num_features, device=features_BK.device)
    before_KK = place_K[None, :] < place_K[:, None]
    own_BK1, other_B1K = features_BK[:, :, None], features_BK[:, None, :]
    ahead_BKK = (other_B1K > own_BK1) | ((other_B1K == own_BK1) & before_KK)
    return (-ahead_BKK.sum(dim=2)).topk(num_features, dim=1).indices
