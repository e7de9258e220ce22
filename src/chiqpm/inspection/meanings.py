"""What each number of a run means, in a line, and which direction is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Meaning:
    """A number explained.

    Attributes:
        name: as a reader calls it.
        better: which direction is better; none for a control.
        words: what it says.
        reach: its range.
    """

    name: str
    better: Literal["higher", "lower", "none"]
    words: str
    reach: str


MEANINGS = {
    "contrastiveness": Meaning(
        "Contrastiveness", "higher", "Each feature is either clearly on or clearly off in an image.", "0 to 1"
    ),
    "class_independence": Meaning(
        "Class independence", "higher", "No feature belongs to a single class; features are shared concepts.", "0 to 1"
    ),
    "correlation": Meaning(
        "Correlation", "lower", "How much each feature says the same as its most similar other one.", "0 to 1"
    ),
    "dependence": Meaning(
        "Dependence", "lower", "Share of the evidence for a prediction that comes from its strongest feature.", "0 to 1"
    ),
    "structural_grounding": Meaning(
        "Structural grounding", "higher", "Classes with similar attributes share features.", "about 0 to 1"
    ),
    "feature_alignment": Meaning(
        "Feature alignment",
        "higher",
        "How much more active a feature is where the attribute that it follows best is present.",
        "0 and more",
    ),
    "attribute_auc": Meaning(
        "Attribute detection", "higher", "How well each feature detects the attribute it follows best.", "0.5 is chance"
    ),
    "part_hit": Meaning(
        "Part grounding", "higher", "Explaining features peak on the part of the object that they stand for.", "0 to 1"
    ),
    "part_hit_other_image": Meaning(
        "Part grounding, other image", "none", "The same peaks on the parts of another image.", "a control"
    ),
    "part_hit_random": Meaning("Part grounding, random place", "none", "Random places on the parts.", "a control"),
    "sid": Meaning(
        "Spatial diversity", "higher", "The features of a class look at different places of the image.", "0 to 1"
    ),
}


def meaning(key: str) -> Meaning:
    """Return what a metric of `metrics.json` means; of an unknown one no more than its name.

    >>> meaning("sid@5").name
    'Spatial diversity (SID@5)'
    """
    if key.startswith("sid@"):
        base = MEANINGS["sid"]
        return Meaning(f"{base.name} ({key.upper()})", base.better, base.words, base.reach)
    return MEANINGS.get(key, Meaning(key.replace("_", " ").capitalize(), "none", "", ""))


def certificate_sentence(assignment: Mapping[str, float | None], features: Mapping[str, int]) -> str:
    """Say how good the choice of features provably is.

    Args:
        assignment: the `assignment` of `metrics.json`.
        features: its `features`.
    """
    gap = assignment["gap"]
    text = (
        f"Of all features of the dense model {features['kept']} were kept, and {features['per_class']} given to "
        "each class, so that a quadratic objective is as large as possible."
    )
    if gap is None:
        return f"{text} No upper bound was computed: how far this choice is from the best one is not known."
    if gap <= 1e-9:
        return f"{text} The choice is proven to be the best one."
    return f"{text} No choice whatsoever can be better by more than {100 * gap:.2g}%: that is proven."
