"""The prediction set on a sample's tree, which stays as it is while the coverage moves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from chiqpm.errors import ChiqpmError
from chiqpm.explain.values import Explanation, FeatureUse, Rival

_ROUNDING = 1e-12


def at_coverage(explanation: Explanation, coverage: float) -> Explanation:
    """Return an explanation with the set at another coverage.

    Raises:
        ChiqpmError: the coverage lies outside (0, 1), or the p-values aren't known.
    """
    if not 0.0 < coverage < 1.0:
        raise ChiqpmError(f"the coverage must lie strictly between 0 and 1, received {coverage}")
    if explanation.p_values is None:
        raise ChiqpmError(
            "this explanation knows no p-values, so its set can't move with the coverage; predict the image again at "
            f"coverage {coverage:g}"
        )
    members = {c for c, p in enumerate(explanation.p_values) if p > 1.0 - coverage + _ROUNDING}
    return replace(with_set(explanation, members), coverage=float(coverage))


def with_set(explanation: Explanation, members: Collection[int]) -> Explanation:
    """Mark some classes on the tree and say in what they differ from the prediction.

    Args:
        explanation: with its tree, `entering`, `uses` and `class_features`.
        members: the classes of the set.
    """
    ordered = tuple(c for c in explanation.entering if c in members)
    levels = {c: branch.level for branch in explanation.branches for c in branch.classes}
    return replace(
        explanation,
        set_classes=ordered,
        branches=tuple(
            replace(branch, in_set=tuple(c for c in branch.classes if c in members)) for branch in explanation.branches
        ),
        rivals=tuple(_rival(explanation, c, levels[c]) for c in ordered if c != explanation.predicted),
    )


def _rival(explanation: Explanation, other: int, level: int) -> Rival:
    theirs, ours = (set(explanation.class_features[c]) for c in (other, explanation.predicted))

    def strongest_first(features: set[int]) -> tuple[FeatureUse, ...]:
        return tuple(sorted((explanation.uses[k] for k in sorted(features)), key=lambda use: -use.activation))

    return Rival(other, level, own=strongest_first(theirs - ours), missing=strongest_first(ours - theirs))
