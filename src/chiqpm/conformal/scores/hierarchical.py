"""The hierarchical scores: how far up the prediction's path, and for how much evidence, a class is let in."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

import torch

from chiqpm.conformal.arrays import Array
from chiqpm.conformal.hierarchy import Branches, branches, check_assignment
from chiqpm.conformal.scores.base import Score
from chiqpm.errors import ChiqpmError

Kind = Literal["branch", "evidence", "path", "level_limited"]

_TINY = 1e-9


class HierarchicalScore(Score):
    """Nonconformity along the tree of a sample (Norrenbrock et al., 2025, arXiv 2511.20779).

    Let p be the predicted class (largest logit, the lowest index on ties), F_1^c ... F_n^c the features of
    class c by activation, k_c the number of leading ones it shares with p, and f the activations; f_{F_{n+1}}
    = 0. See `chiqpm.conformal.hierarchy`.

    * `branch` (this package's, the default): s_c = -log of the mean softmax probability of the classes in c's branch,
      that is, of all classes with the same k_c and the same leaving feature; s_p = 0. A set is the prediction and a
      union of side branches, which may leave the path at different depths. Where the softmax is right, no other rule
      whose sets are such unions covers as often with fewer classes on average.
    * `path`: s_c = -(k_c + r_c), with r_c = min(f_{F_{k_c+1}^c} / max(f_{F_{k_c+1}^p}, 1e-9), 0.999) and r_p
      = 0. Classes enter in the order in which they leave the path, deepest first, then by the strength of
      their leaving feature. A set is therefore a whole subtree around the prediction and, one level above,
      the side branches of the strongest leaving features.
    * `evidence`: s_c = max(0, Σ_{j>k_c} f_{F_j^p} - f_{F_{k_c+1}^c}) / max(Σ_j f_{F_j^p}, 1e-9), the share of
      the prediction's evidence that must be given up to admit the class. A set is the prediction and a union
      of side branches, which may leave the path at different depths. An image without any active feature gets
      the set of all classes.
    * `level_limited`, the published score: s_c = -Σ_{j=L+1}^{min(k_c+1, n)} f_{F_j^c} for classes with k_c >=
      L, infinite for the others. L, the depth below which all sets stay, is chosen for each coverage: the
      deepest with a finite threshold on the calibration images. L = n gives the predicted class alone.

    If calibration and test images are exchangeable, the sets of all kinds cover the truth with at least the
    requested probability, however few the calibration images (for `level_limited` with the choice of L as
    `ConformalPredictor` makes it). Classes with the same k_c and the same leaving feature enter together.

    The sets of `branch`, `evidence` and `path` are nested in the coverage and always hold the prediction, whose score
    no class of any image undercuts (0, or -n for `path`), so that they are never empty and never cover less often than
    the prediction is right. Those of `level_limited` lie in one subtree, may be empty, and needn't be nested
    across coverages.
    """

    name: ClassVar[str] = "hierarchical"
    needs_features: ClassVar[bool] = True

    def __init__(self, weight_CK: Array, kind: Kind = "branch", *, level: int | None = None, depth: int = 1) -> None:
        """Bind the score to an assignment.

        Args:
            weight_CK: 1 where a class uses a feature, else 0; every class uses the same number n of features.
            kind: `branch`, `evidence`, `path` or `level_limited`.
            level: a given L in 0..n, for `level_limited` alone; None chooses it for each coverage.
            depth: number of features in 1..n, from the leaving one on, that the classes of a branch share, for
                `branch` alone; more where branches hold many classes, as with hundreds of classes.

        Raises:
            TypeError: `weight_CK` isn't numeric.
            ChiqpmError: the assignment, the kind, the level or the depth isn't allowed.
        """
        weight = check_assignment(weight_CK)
        self.weight_CK = weight
        self.num_classes, self.num_features = weight.shape
        self.features_per_class = int(weight[0].sum())
        if kind not in get_args(Kind):
            raise ChiqpmError(f"kind must be one of {', '.join(get_args(Kind))}; got {kind!r}.")
        self.kind: Kind = kind
        if level is not None and (kind != "level_limited" or not 0 <= level <= self.features_per_class):
            raise ChiqpmError(
                f"level must be None, or, for kind='level_limited', lie in 0..{self.features_per_class} "
                "(the features per class); "
                f"got {level!r} with kind={kind!r}."
            )
        if depth != 1 and (kind != "branch" or not 1 <= depth <= self.features_per_class):
            raise ChiqpmError(
                f"depth must be 1, or, for kind='branch', lie in 1..{self.features_per_class} (the features per "
                f"class); got {depth!r} with kind={kind!r}."
            )
        self.level, self.depth = level, depth
        self.variants = self.features_per_class + 1 if kind == "level_limited" and level is None else 1

    def class_scores(
        self,
        logits_BC: torch.Tensor,
        features_BK: torch.Tensor | None = None,
        uniform_B: torch.Tensor | None = None,
        *,
        variant: int = 0,
    ) -> torch.Tensor:
        """Score every class; `variant` is the level L of `level_limited` where no level is given."""
        found = self.find_branches(logits_BC, features_BK)
        return self.from_branches(found, logits_BC, variant).to(logits_BC.dtype)

    def label_scores(
        self,
        logits_BC: torch.Tensor,
        labels_B: torch.Tensor,
        features_BK: torch.Tensor | None = None,
        uniform_B: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Score the true class of each image under every variant: (variants, B)."""
        if self.kind == "branch":
            return super().label_scores(logits_BC, labels_B, features_BK)
        found = self.find_branches(logits_BC, features_BK, labels_B[:, None])
        scores = [self.from_branches(found, logits_BC, variant)[:, 0] for variant in range(self.variants)]
        return torch.stack(scores).to(logits_BC.dtype)

    def options(self) -> dict[str, Any]:
        """Keyword arguments that make this score again."""
        return {
            "weight_CK": self.weight_CK.to(torch.uint8).numpy(),
            "kind": self.kind,
            "level": self.level,
            "depth": self.depth,
        }

    def find_branches(
        self,
        logits_BC: torch.Tensor,
        features_BK: torch.Tensor | None,
        classes_BS: torch.Tensor | None = None,
    ) -> Branches:
        """Find where every class, or some classes of each image, leave the path of the predicted one."""
        if features_BK is None:
            raise ChiqpmError(
                "HierarchicalScore reads the features of each image; pass features (images, kept features)."
            )
        weight_CK = self.weight_CK.to(features_BK.device)
        return branches(features_BK, weight_CK, logits_BC.argmax(dim=1), classes_BS, self.depth)

    def from_branches(self, found: Branches, logits_BC: torch.Tensor, variant: int) -> torch.Tensor:
        """Score every class whose place in the tree is known; nothing is checked."""
        if self.kind == "branch":
            return _branch(found, logits_BC)
        if self.kind == "path":
            return _path(found)
        if self.kind == "evidence":
            return _evidence(found)
        return _level_limited(found, variant if self.level is None else self.level)


def _branch(found: Branches, logits_BC: torch.Tensor) -> torch.Tensor:
    branch_BC, num_branches = _branch_numbers(found)
    shape = (logits_BC.shape[0], num_branches)
    best_BN = logits_BC.new_full(shape, -torch.inf).scatter_reduce_(1, branch_BC, logits_BC, "amax")
    # Relative to the best of each branch, so that small probabilities don't round to ties.
    best_BC = best_BN.gather(1, branch_BC)
    part_BC = (logits_BC - best_BC).exp_()
    mean_BN = logits_BC.new_zeros(shape).scatter_add_(1, branch_BC, part_BC)
    mean_BN /= logits_BC.new_zeros(shape).scatter_add_(1, branch_BC, torch.ones_like(part_BC))
    score_BC = logits_BC.logsumexp(dim=1, keepdim=True) - best_BC - mean_BN.gather(1, branch_BC).log_()
    return score_BC.masked_fill_(found.leaving_BC == found.order_BK.shape[1], 0.0).clamp_min_(0.0)


def _branch_numbers(found: Branches) -> tuple[torch.Tensor, int]:
    """Number of each class's branch (B, C), and how many numbers there are."""
    num_positions = found.order_BK.shape[1] + 1
    branch_BC = found.shared_BC * num_positions + found.leaving_BC
    if not found.further:
        return branch_BC, (found.path_Bn.shape[1] + 1) * num_positions
    for position_BC in found.further:
        # Numbered from 0 without gaps at each step, so that they grow neither beyond C nor beyond an integer.
        sorted_BC, order_BC = (branch_BC * num_positions + position_BC).sort(dim=1)
        steps_BC = torch.nn.functional.pad((sorted_BC.diff(dim=1) > 0).long(), (1, 0)).cumsum(dim=1)
        branch_BC = torch.empty_like(steps_BC).scatter_(1, order_BC, steps_BC)
    return branch_BC, branch_BC.shape[1]


def _path(found: Branches) -> torch.Tensor:
    own_B1n = torch.nn.functional.pad(found.path_Bn, (0, 1)).clamp_min(_TINY)
    strength_BC = (found.leaving_activation_BC / own_B1n.gather(1, found.shared_BC)).clamp(0.0, 0.999)
    return -(found.shared_BC + strength_BC)


def _evidence(found: Branches) -> torch.Tensor:
    # Summed from the weakest up, so that the last entries don't suffer from cancellation.
    remaining_Bn = torch.nn.functional.pad(found.path_Bn.flip(1).cumsum(dim=1).flip(1), (0, 1))
    total_B1 = remaining_Bn[:, :1].clamp_min(_TINY)
    return (remaining_Bn.gather(1, found.shared_BC) - found.leaving_activation_BC).clamp_min_(0.0) / total_B1


def _level_limited(found: Branches, level: int) -> torch.Tensor:
    shared_Bn = torch.nn.functional.pad(found.path_Bn[:, level:].cumsum(dim=1), (1, 0))
    gathered_BC = shared_Bn.gather(1, (found.shared_BC - level).clamp_min(0)) + found.leaving_activation_BC
    return torch.where(found.shared_BC >= level, -gathered_BC, torch.inf)
