"""Features in words, for terminals, captions and screen readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chiqpm.explain.wording import count, listed

if TYPE_CHECKING:
    from chiqpm.explain.features import ClassUse, FeatureExplanation

_NAMED = 6


def feature_sentence(feature: FeatureExplanation) -> str:
    """Say which classes use a feature, what it follows, and whether it can be trusted."""
    number = len(feature.classes)
    used = f"is used by {count(number, 'class', 'classes')}" if number else "is used by no class"
    follows = ""
    if feature.attributes:
        best = feature.attributes[0]
        follows = f" and follows {best.name} best (AUC {best.auc:.2f})"
    trust = f" Not to be trusted blindly: {listed(feature.warnings)}." if feature.warnings else ""
    return f"{_capital(feature.words)} {used}{follows}.{trust}"


def warning_sentence(feature: FeatureExplanation, warning: str) -> str:
    """Say what a warning means, with the numbers behind it."""
    if warning == "dead":
        return f"Dead: active in {feature.active_share:.1%} of {count(feature.images, 'image', 'images')}."
    if warning == "unused":
        return "Unused: no class has it."
    if warning == "border":
        return f"On the border: {feature.border_share:.0%} of its activation peaks at the edge of the image."
    if warning == "class-specific":
        main = max((*feature.classes, *feature.others), key=lambda use: use.mean)
        return f"Class-specific: {feature.main_class_share:.0%} of its activation falls on {main.class_name}."
    found = feature.polysemanticity
    if warning != "polysemantic" or found is None:
        return warning
    first, second = found.clusters
    words = (
        f"May stand for two things: its top images fall into groups of {first.size} and {second.size} "
        f"({found.z:.1f} standard deviations more apart than images of one kind)"
    )
    if found.attribute:
        words += f"; {found.attribute} in {found.shares[0]:.0%} of one and {found.shares[1]:.0%} of the other"
    return words + "."


def feature_text(feature: FeatureExplanation) -> str:
    """Write all values as plain lines."""
    silent, active = feature.histogram.components
    lines = [feature_sentence(feature), *(warning_sentence(feature, w) for w in feature.warnings), ""]
    lines.append(f"Active in {feature.active_share:.0%} of {count(feature.images, 'image', 'images')}.")
    if feature.active_share > 0:
        lines.append(
            f"Two states: silent around {silent.mean:.2f} ({silent.weight:.0%} of images), "
            f"active around {active.mean:.2f} ({active.weight:.0%})."
        )
    lines += _uses("Classes that use it, with its mean activation", feature.classes)
    lines += _uses("Most active in other classes", feature.others)
    if feature.attributes:
        links = "; ".join(f"{link.name} {link.auc:.2f}" for link in feature.attributes)
        lines.append(f"Attributes it follows (AUC): {links}.")
    if feature.top:
        lines.append("Most activating images:")
        lines += [
            f"  {n}. {_image(image.path, image.class_name)}: activation {image.activation:.2f}, at {_place(image.peak)}"
            for n, image in enumerate(feature.top, start=1)
        ]
    return "\n".join(lines)


def _uses(heading: str, uses: Sequence[ClassUse]) -> list[str]:
    if not uses:
        return []
    named = [f"{use.class_name} {use.mean:.2f}" for use in uses[:_NAMED]]
    if len(uses) > _NAMED:
        named.append(count(len(uses) - _NAMED, "more class", "more classes"))
    return [f"{heading}: {'; '.join(named)}."]


def _image(path: str, class_name: str) -> str:
    return f"{path} ({class_name})" if path else class_name


def _place(peak: tuple[float, float]) -> str:
    """Name a place in an image by its third.

    >>> _place((0.1, 0.5)), _place((0.5, 0.5)), _place((0.9, 0.9))
    ('the top', 'the middle', 'the bottom right')
    """
    rows, columns = ("top", "", "bottom"), ("left", "", "right")
    y, x = (min(2, int(3 * value)) for value in peak)
    words = " ".join(word for word in (rows[y], columns[x]) if word)
    return f"the {words or 'middle'}"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
