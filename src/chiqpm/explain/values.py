"""What an explanation is: plain values that can be saved, compared, spoken and drawn.

Axis letters: C classes, K kept features, n features per class, H×W grid of the feature maps. Levels count the
leading features that a class shares with the prediction, 0..n (arXiv 2511.20779, hierarchical explanation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.explain.wording import explanation_sentence, explanation_text


@dataclass(frozen=True)
class Feature:
    """One of the K kept features.

    Attributes:
        index: 0..K-1.
        name: the name given to it, or "".
    """

    index: int
    name: str

    @property
    def label(self) -> str:
        """The short form for figures: `f17`, or `f17 red crest` where it has a name."""
        return f"f{self.index} {self.name}".rstrip()

    @property
    def words(self) -> str:
        """The long form for sentences: `feature 17`, or `feature 17 (red crest)`."""
        return f"feature {self.index} ({self.name})" if self.name else f"feature {self.index}"


@dataclass(frozen=True)
class FeatureUse(Feature):
    """A feature in one image.

    Attributes:
        activation: its value f.
        strength: f over the feature's active mean, 0 or more; 1 where it is as active as usual when active.
    """

    activation: float
    strength: float


@dataclass(frozen=True)
class FeatureEvidence(FeatureUse):
    """A feature of the predicted class, with the place where it was seen.

    Attributes:
        peak: centre (y, x) of the map's largest cell, as fractions of the image's height and width.
        map_HW: the raw feature map, read-only.
    """

    peak: tuple[float, float]
    map_HW: NDArray[np.float32] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Branch:
    """Classes that leave the prediction's path together.

    Attributes:
        level: how many leading features they share with the prediction, 0..n-1.
        leaving: the feature that comes next for them; the prediction goes on with another one.
        classes: the classes, ascending.
        in_set: those of them that are in the prediction set, ascending.
    """

    level: int
    leaving: FeatureUse
    classes: tuple[int, ...]
    in_set: tuple[int, ...]


@dataclass(frozen=True)
class Rival:
    """A class of the prediction set other than the prediction, and all in which the two differ.

    Attributes:
        class_index: the class.
        level: how many leading features it shares with the prediction.
        own: its features that the predicted class does not use, the strongest first.
        missing: the predicted class's features that it does not use, the strongest first.
    """

    class_index: int
    level: int
    own: tuple[FeatureUse, ...]
    missing: tuple[FeatureUse, ...]


@dataclass(frozen=True)
class Explanation:
    """Why a sample got its class, and which other classes remain.

    Attributes:
        class_names: the C names.
        predicted: the class with the largest logit.
        coverage: the coverage that the prediction set was asked for.
        set_classes: the prediction set, in the order in which its classes enter as the coverage grows.
        features: the predicted class's n features, the strongest first: the path.
        classes_left: n + 1 counts: how many classes share the first 0, 1 ... n features of the path; C to 1.
        branches: where all other classes leave the path, from the root on, within a level the strongest
            leaving feature first.
        rivals: the set's classes other than the prediction, in the order of `set_classes`.
        true_class: the label, where it is known.
        entering: all C classes in the order in which they enter a set as the coverage grows.
        p_values: conformal p-value of each class: at coverage q the set holds those above 1 - q; None where the sets
            of different coverages don't lie within each other, or where it isn't known.
        uses: all K features in this image, by index.
        class_features: indices of the n features of each class, ascending.
    """

    class_names: tuple[str, ...]
    predicted: int
    coverage: float
    set_classes: tuple[int, ...]
    features: tuple[FeatureEvidence, ...]
    classes_left: tuple[int, ...]
    branches: tuple[Branch, ...]
    rivals: tuple[Rival, ...]
    true_class: int | None = None
    entering: tuple[int, ...] = ()
    p_values: tuple[float, ...] | None = None
    uses: tuple[FeatureUse, ...] = ()
    class_features: tuple[tuple[int, ...], ...] = ()

    @property
    def predicted_name(self) -> str:
        """Name of the predicted class."""
        return self.class_names[self.predicted]

    def leaving_at(self, level: int) -> tuple[Branch, ...]:
        """Return the branches that leave after `level` shared features."""
        return tuple(branch for branch in self.branches if branch.level == level)

    def at(self, coverage: float) -> Explanation:
        """Return the explanation with the set at another coverage: it grows or shrinks along the same tree.

        Args:
            coverage: in (0, 1).

        Raises:
            ChiqpmError: the coverage lies outside (0, 1), or the p-values aren't known.
        """
        from chiqpm.explain.sets import at_coverage

        return at_coverage(self, coverage)

    def sentence(self) -> str:
        """Say in one or two sentences what was predicted, what else remains and what separates the two."""
        return explanation_sentence(self)

    def text(self, *, max_names: int = 6, max_branches: int = 6) -> str:
        """Write the whole tree as plain lines, for a terminal or a screen reader.

        Args:
            max_names: how many classes are named where more leave together; at least 1.
            max_branches: how many groups of classes are written out where more leave at one level, those that
                hold classes of the set first; at least 1.

        Raises:
            ChiqpmError: a limit below 1.
        """
        return explanation_text(self, max_names=max_names, max_branches=max_branches)

    def to_dict(self, *, maps: bool = True) -> dict[str, Any]:
        """Return the explanation as lists, numbers and strings, ready for JSON.

        Args:
            maps: include the raw feature maps; without them `from_dict` can't restore the explanation.
        """
        plain = asdict(self)
        for feature in plain["features"]:
            map_HW = feature.pop("map_HW")
            if maps:
                feature["map_HW"] = map_HW.tolist()
        plain["sentence"] = self.sentence()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Explanation:
        """Restore what `to_dict` returned, also after a round trip through JSON."""
        return cls(
            class_names=tuple(plain["class_names"]),
            predicted=plain["predicted"],
            coverage=plain["coverage"],
            set_classes=tuple(plain["set_classes"]),
            features=tuple(_evidence(feature) for feature in plain["features"]),
            classes_left=tuple(plain["classes_left"]),
            branches=tuple(
                Branch(b["level"], FeatureUse(**b["leaving"]), tuple(b["classes"]), tuple(b["in_set"]))
                for b in plain["branches"]
            ),
            rivals=tuple(
                Rival(r["class_index"], r["level"], _uses(r["own"]), _uses(r["missing"])) for r in plain["rivals"]
            ),
            true_class=plain["true_class"],
            entering=tuple(plain["entering"]),
            p_values=None if plain["p_values"] is None else tuple(plain["p_values"]),
            uses=_uses(plain["uses"]),
            class_features=tuple(tuple(own) for own in plain["class_features"]),
        )


def read_only_map(values: Any) -> NDArray[np.float32]:
    """Copy a feature map (H, W) into a read-only float32 array."""
    map_HW = np.array(values, dtype=np.float32)
    map_HW.setflags(write=False)
    return map_HW


def _evidence(plain: Mapping[str, Any]) -> FeatureEvidence:
    return FeatureEvidence(
        **{**plain, "peak": tuple(plain["peak"]), "map_HW": read_only_map(plain["map_HW"])},
    )


def _uses(plain: list[dict[str, Any]]) -> tuple[FeatureUse, ...]:
    return tuple(FeatureUse(**use) for use in plain)
