"""Explanations in words, for terminals, captions and screen readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from chiqpm.explain.values import Branch, Explanation, Feature, FeatureUse, Rival

_NAMED_RIVALS = 3


def explanation_sentence(explanation: Explanation) -> str:
    """Say what was predicted, what else remains, and what separates the nearest rival from the prediction."""
    return f"Predicted {explanation.predicted_name}. {set_sentence(explanation)}"


def set_sentence(explanation: Explanation) -> str:
    """Say what remains beside the prediction, and what separates the nearest rival from it."""
    name, rivals = explanation.predicted_name, explanation.rivals
    at = f"At {percent(explanation.coverage)}"
    if not explanation.set_classes:
        return f"{at} no class remains, not even {name}."
    if explanation.predicted not in explanation.set_classes:
        return f"{at} {name} does not remain, but {_named(explanation, rivals)}."
    if not rivals:
        return f"{at} no other class remains."
    if len(explanation.set_classes) == len(explanation.class_names) and len(rivals) > 1:
        return f"{at} all {len(explanation.class_names)} classes remain: this image does not tell them apart."
    also = f"{at} also {_named(explanation, rivals)}"
    if len(rivals) == 1:
        return f"{also}, which {_difference(explanation, rivals[0])}."
    nearest = explanation.class_names[rivals[0].class_index]
    return f"{also}. The nearest, {nearest}, {_difference(explanation, rivals[0])}."


def explanation_text(explanation: Explanation, *, max_names: int, max_branches: int) -> str:
    """Write the sentence, then the tree: a line for each feature and each group of classes that leaves."""
    if max_names < 1 or max_branches < 1:
        raise ChiqpmError(f"max_names and max_branches must be at least 1, received {max_names} and {max_branches}")
    total = len(explanation.class_names)
    lines = [explanation.sentence()]
    if explanation.true_class is not None:
        lines.append(f"True class: {explanation.class_names[explanation.true_class]}.")
    marked = f"{len(explanation.set_classes)} of {total} classes, marked with *"
    lines += ["", f"Set at {percent(explanation.coverage)}: {marked}."]
    lines.append(f"Path of the prediction from {total} classes, the strongest feature first:")
    for level, feature in enumerate(explanation.features):
        leaving = sorted(explanation.leaving_at(level), key=lambda branch: not branch.in_set)
        lines += [_branch_line(explanation, branch, max_names) for branch in leaving[:max_branches]]
        lines += _rest_line(leaving[max_branches:])
        left = count(explanation.classes_left[level + 1], "class", "classes")
        lines.append(f"  {level + 1}. {feature.words}: {_values(feature)}; {left} left")
    star = "*" if explanation.predicted in explanation.set_classes else ""
    lines.append(f"Prediction: {star}{explanation.predicted_name}")
    return "\n".join(lines)


def percent(coverage: float) -> str:
    """Write a coverage as a percentage without needless digits.

    >>> percent(0.9), percent(0.925)
    ('90%', '92.5%')
    """
    return f"{100 * coverage:.6g}%"


def count(number: int, singular: str, plural: str) -> str:
    """Write a number with the right form of its noun.

    >>> count(1, "class", "classes"), count(48, "class", "classes")
    ('1 class', '48 classes')
    """
    return f"{number} {singular if number == 1 else plural}"


def listed(items: Sequence[str]) -> str:
    """Join names as a sentence does, with semicolons where names have commas of their own.

    >>> listed(["wren", "robin", "jay"])
    'wren, robin and jay'
    >>> listed(["wren, barred", "robin", "jay"])
    'wren, barred; robin; and jay'
    """
    if any("," in item for item in items) and len(items) > 2:
        return "; ".join([*items[:-1], f"and {items[-1]}"])
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def features_listed(features: Sequence[Feature]) -> str:
    """Name features in a sentence.

    >>> from chiqpm.explain import Feature
    >>> features_listed([Feature(3, ""), Feature(17, "crest")])
    'features 3 and 17 (crest)'
    """
    if len(features) == 1:
        return features[0].words
    return "features " + listed([feature.words.removeprefix("feature ") for feature in features])


def _values(feature: FeatureUse) -> str:
    return f"activation {feature.activation:.2f}, {feature.strength:.2f} times its usual strength"


def _branch_line(explanation: Explanation, branch: Branch, max_names: int) -> str:
    members = set(branch.in_set)
    ordered = sorted(branch.classes, key=lambda c: c not in members)
    shown = [("*" if c in members else "") + explanation.class_names[c] for c in ordered[:max_names]]
    if len(ordered) > max_names:
        shown.append(_more(len(ordered) - max_names, max(0, len(members) - max_names)))
    leaving = f"{branch.leaving.words}, activation {branch.leaving.activation:.2f}"
    return f"     leave with {leaving}: {'; '.join(shown)}"


def _rest_line(branches: Sequence[Branch]) -> list[str]:
    if not branches:
        return []
    rest = _more(sum(len(branch.classes) for branch in branches), sum(len(branch.in_set) for branch in branches))
    return [f"     leave with {count(len(branches), 'other feature', 'other features')}: {rest}"]


def _more(classes: int, in_set: int) -> str:
    return f"{count(classes, 'more class', 'more classes')}" + (f" ({in_set} of them in the set)" if in_set else "")


def _named(explanation: Explanation, rivals: Sequence[Rival]) -> str:
    shown = [explanation.class_names[rival.class_index] for rival in rivals[:_NAMED_RIVALS]]
    hidden = len(rivals) - len(shown)
    return listed([*shown, count(hidden, "other class", "other classes")]) if hidden else listed(shown)


def _difference(explanation: Explanation, rival: Rival) -> str:
    name, shared = explanation.predicted_name, len(explanation.features) - len(rival.own)
    if shared == 0:
        return f"shares no feature with {name}"
    active = _active(rival.own)
    if len(rival.own) == 1:
        return f"differs from {name} only in {rival.own[0].words}, {active}"
    return (
        f"shares {shared} of the {len(explanation.features)} features of {name} "
        f"and has {features_listed(rival.own)} instead, {active}"
    )


def _active(features: Sequence[FeatureUse]) -> str:
    if all(feature.activation <= 0.0 for feature in features):
        return "not active here"
    if all(feature.strength < 0.05 for feature in features):
        return "barely active here"
    strengths = listed([f"{feature.strength:.1f}" for feature in features])
    return f"active here at {strengths} times {'its' if len(features) == 1 else 'their'} usual strength"
