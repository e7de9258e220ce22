"""Models in words, for terminals, captions and screen readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chiqpm.explain.wording import count, features_listed, listed

if TYPE_CHECKING:
    from chiqpm.explain.model_values import ClassPair, ModelExplanation, SeparatingFeature


def model_sentence(model: ModelExplanation) -> str:
    """Say how many classes and features there are, how many near pairs, and what not to trust."""
    classes, features = len(model.class_names), len(model.features)
    words = f"{classes} classes, each the sum of {model.features_per_class} of {features} features."
    if model.pairs:
        shared = model.pairs[0].shared
        words += f" {count(model.num_pairs, 'pair', 'pairs')} of classes share {shared} features, no pair more."
    if model.untrusted:
        number = count(len(model.untrusted), "feature", "features")
        words += f" {number} not to be trusted blindly: {listed([str(u.index) for u in model.untrusted])}."
    return words


def pair_sentence(pair: ClassPair) -> str:
    """Say what separates two classes, and how well."""
    own = [
        f"only {name} has {features_listed(features)}{_separations(features)}"
        for name, features in ((pair.name_a, pair.only_a), (pair.name_b, pair.only_b))
        if features
    ]
    if not own:
        return f"{pair.name_a} and {pair.name_b} have the same features: nothing separates them."
    return f"{pair.name_a} and {pair.name_b} share {count(pair.shared, 'feature', 'features')}; {', '.join(own)}."


def model_text(model: ModelExplanation, *, max_pairs: int, max_classes: int) -> str:
    """Write the model as plain lines."""
    lines = [model_sentence(model), "", "Classes, related ones together, with their features:"]
    for c in model.class_order[:max_classes]:
        lines.append(f"  {model.class_names[c]}: {', '.join(model.features[k].label for k in model.class_features[c])}")
    if len(model.class_order) > max_classes:
        lines.append(f"  and {count(len(model.class_order) - max_classes, 'more class', 'more classes')}")
    if model.pairs:
        lines += ["", "Nearest pairs, the least separated first:"]
        lines += [f"  {pair_sentence(pair)}" for pair in model.pairs[:max_pairs]]
    if model.untrusted:
        lines += ["", "Features not to be trusted blindly:"]
        lines += [f"  {feature.words}: {' '.join(feature.evidence)}" for feature in model.untrusted]
    return "\n".join(lines)


def _separations(features: Sequence[SeparatingFeature]) -> str:
    known = [feature.separation for feature in features if feature.separation is not None]
    if len(known) < len(features):
        return ""
    return f" (separation {listed([f'{value:.1f}' for value in known])})"
