"""The tree of one image as a page shows it: which classes are named at each step, which are folded away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chiqpm.explain.values import Branch, Explanation, FeatureEvidence, FeatureUse
from chiqpm.markup.pictures import heat_picture, map_words

_GROUPS, _MOST_GROUPS, _NAMES, _LETTERS = 4, 12, 5, 150


@dataclass(frozen=True)
class ClassMark:
    """A class in the tree: its index, its name, whether it is in the set, and whether it is the truth."""

    index: int
    name: str
    in_set: bool
    is_true: bool


@dataclass(frozen=True)
class Group:
    """Classes that leave the path together: those named at once, and those folded away."""

    leaving: FeatureUse
    shown: tuple[ClassMark, ...]
    folded: tuple[ClassMark, ...]


@dataclass(frozen=True)
class Step:
    """One feature of the prediction's path.

    Attributes:
        feature: the feature.
        picture: URL of its heat map over the image; "" where there is no image.
        alt: the picture in words.
        before: how many classes share the path so far.
        leaving: how many of them leave it here.
        groups: those who leave, with the feature they go on with; those with classes of the set first.
        folded: further groups.
    """

    feature: FeatureEvidence
    picture: str
    alt: str
    before: int
    leaving: int
    groups: tuple[Group, ...]
    folded: tuple[Group, ...]

    @property
    def folded_classes(self) -> int:
        """How many classes the folded groups have."""
        return sum(len(group.shown) + len(group.folded) for group in self.folded)


def heat_pictures(explanation: Explanation, panel_HW3: NDArray[np.uint8] | None) -> tuple[str, ...]:
    """Return the URL of every feature's heat map, "" without an image; the same at every coverage."""
    if panel_HW3 is None:
        return ("",) * len(explanation.features)
    return tuple(heat_picture(panel_HW3, f.index, f.map_HW, f.strength) for f in explanation.features)


def tree_steps(explanation: Explanation, pictures: Sequence[str]) -> list[Step]:
    """Lay out the tree.

    Args:
        explanation: what to show.
        pictures: from `heat_pictures`.
    """
    members = frozenset(explanation.set_classes)
    steps = []
    for level, (feature, picture) in enumerate(zip(explanation.features, pictures, strict=True)):
        branches = sorted(explanation.leaving_at(level), key=lambda branch: not branch.in_set)
        groups = tuple(_group(explanation, branch, members) for branch in branches)
        # What is in the set is shown, within reason; a single group isn't worth folding.
        shown = min(max(_GROUPS, sum(bool(branch.in_set) for branch in branches)), _MOST_GROUPS)
        shown = len(groups) if len(groups) <= shown + 1 else shown
        steps.append(
            Step(
                feature=feature,
                picture=picture,
                alt=map_words(feature),
                before=explanation.classes_left[level],
                leaving=explanation.classes_left[level] - explanation.classes_left[level + 1],
                groups=groups[:shown],
                folded=groups[shown:],
            )
        )
    return steps


def class_mark(explanation: Explanation, index: int) -> ClassMark:
    """Return one class as the tree shows it."""
    return ClassMark(
        index,
        explanation.class_names[index],
        index in explanation.set_classes,
        index == explanation.true_class,
    )


def _group(explanation: Explanation, branch: Branch, members: frozenset[int]) -> Group:
    ordered = [*branch.in_set, *(c for c in branch.classes if c not in members)]
    if explanation.true_class in ordered:
        ordered.sort(key=lambda c: (c != explanation.true_class, c not in members))
    shown = _names_shown([len(explanation.class_names[c]) for c in ordered])
    marks = [ClassMark(c, explanation.class_names[c], c in members, c == explanation.true_class) for c in ordered]
    return Group(branch.leaving, tuple(marks[:shown]), tuple(marks[shown:]))


def _names_shown(lengths: Sequence[int]) -> int:
    """How many of the names stand in the open: a few, fewer where they are long; one alone isn't worth folding.

    >>> _names_shown([10] * 6), _names_shown([10] * 7), _names_shown([90] * 7)
    (6, 5, 1)
    """
    fitting = int(np.searchsorted(np.cumsum(lengths), _LETTERS, side="right"))
    shown = max(1, min(_NAMES, fitting))
    return shown if len(lengths) > shown + 1 else len(lengths)
