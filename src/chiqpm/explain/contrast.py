"""What two classes share, and what separates them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chiqpm.errors import ChiqpmError
from chiqpm.explain.inputs import class_index, finite_array, names
from chiqpm.explain.values import Feature
from chiqpm.explain.wording import features_listed


@dataclass(frozen=True)
class Contrast:
    """The features of two classes.

    Attributes:
        class_a: index of the first class.
        class_b: index of the second class.
        name_a: its name.
        name_b: its name.
        shared: features that both use, by index.
        only_a: features that only the first uses, by index.
        only_b: features that only the second uses, by index.
    """

    class_a: int
    class_b: int
    name_a: str
    name_b: str
    shared: tuple[Feature, ...]
    only_a: tuple[Feature, ...]
    only_b: tuple[Feature, ...]

    def sentence(self) -> str:
        """Say what the two share and what separates them."""
        both = f"{self.name_a} and {self.name_b}"
        if not self.only_a and not self.only_b:
            return f"{both} use the same features: nothing separates them."
        total = len(self.shared) + max(len(self.only_a), len(self.only_b))
        how_many = f"{len(self.shared)} of {total} features" if self.shared else "no feature"
        own = [
            f"only {name} has {features_listed(features)}"
            for name, features in ((self.name_a, self.only_a), (self.name_b, self.only_b))
            if features
        ]
        return f"{both} share {how_many}; {', '.join(own)}."

    def text(self) -> str:
        """Write the sentence and the features as plain lines, for a terminal or a screen reader."""
        groups = (
            ("Shared", self.shared),
            (f"Only {self.name_a}", self.only_a),
            (f"Only {self.name_b}", self.only_b),
        )
        lines = [f"{head}: {', '.join(f.words for f in features) or 'none'}" for head, features in groups]
        return "\n".join([self.sentence(), *lines])

    def to_dict(self) -> dict[str, Any]:
        """Return lists, numbers and strings, ready for JSON."""
        return {**asdict(self), "sentence": self.sentence()}


def contrast(
    weight_CK: Any,
    class_a: int,
    class_b: int,
    class_names: Sequence[str],
    *,
    feature_names: Sequence[str] | None = None,
) -> Contrast:
    """Compare two classes by their features.

    Similar classes share n-1 of their n features (arXiv 2511.20779); any other two may be compared as well.

    Args:
        weight_CK: binary assignment (C, K).
        class_a: index of the first class.
        class_b: index of the second class.
        class_names: C names.
        feature_names: K names, "" where a feature has none; None for no names at all.

    Raises:
        ChiqpmError: an index outside the classes, twice the same class, or names that don't fit the weight.

    >>> contrast([[1, 1, 0], [1, 0, 1]], 0, 1, ["wren", "robin"]).sentence()
    'wren and robin share 1 of 2 features; only wren has feature 1, only robin has feature 2.'
    """
    weight = finite_array(weight_CK, "the weight", ("C", "K"))
    num_classes, num_features = weight.shape
    if not ((weight == 0) | (weight == 1)).all():
        raise ChiqpmError("the weight (C, K) must be binary: 1 where a class uses a feature, else 0")
    a, b = class_index(class_a, "class_a", num_classes), class_index(class_b, "class_b", num_classes)
    if a == b:
        raise ChiqpmError(f"a contrast needs two different classes, received class {a} twice")
    labels = names(feature_names, "feature", num_features) if feature_names is not None else ("",) * num_features
    class_labels = names(class_names, "class", num_classes)

    def pick(mask_K: Any) -> tuple[Feature, ...]:
        return tuple(Feature(k, labels[k]) for k in np.flatnonzero(mask_K).tolist())

    used_a, used_b = weight[a] == 1, weight[b] == 1
    return Contrast(
        class_a=a,
        class_b=b,
        name_a=class_labels[a],
        name_b=class_labels[b],
        shared=pick(used_a & used_b),
        only_a=pick(used_a & ~used_b),
        only_b=pick(used_b & ~used_a),
    )
