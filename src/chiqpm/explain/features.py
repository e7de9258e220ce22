"""What a feature is, as values: where it fires, for which classes, and why not to trust it.

Axis letters: K features, C classes, H×W grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.explain.feature_wording import feature_sentence, feature_text, warning_sentence
from chiqpm.explain.values import Feature, read_only_map


@dataclass(frozen=True)
class TopImage:
    """An image in which a feature is very active.

    Attributes:
        place: index of the image in the data set that was passed over.
        path: its path below the data folder, "" where it has none.
        class_index: its class.
        class_name: name of the class.
        activation: the feature's value.
        strength: the value over the active mean, 0 or more.
        peak: centre (y, x) of the map's largest cell, as fractions of height and width.
        box: the part of the image around the peak where the map is at least half as high: top, left, bottom,
            right, as fractions.
        map_HW: the feature's raw map, read-only.
    """

    place: int
    path: str
    class_index: int
    class_name: str
    activation: float
    strength: float
    peak: tuple[float, float]
    box: tuple[float, float, float, float]
    map_HW: NDArray[np.float32] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Component:
    """One normal distribution of a mixture: its share, its mean and its standard deviation."""

    weight: float
    mean: float
    std: float


@dataclass(frozen=True)
class Histogram:
    """How a feature's activations are distributed over images.

    Attributes:
        edges: ascending edges of the bins, one more than bins.
        counts: images in each bin.
        components: of the mixture fitted to the same images: the silent state, then the active one.
        active_mean: mean of the active state, to which strengths refer.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    components: tuple[Component, Component]
    active_mean: float


@dataclass(frozen=True)
class ClassUse:
    """A class and how active the feature is in its images.

    Attributes:
        class_index: the class.
        class_name: its name.
        mean: mean activation in its images.
        assigned: whether the class uses the feature.
    """

    class_index: int
    class_name: str
    mean: float
    assigned: bool


@dataclass(frozen=True)
class AttributeLink:
    """An attribute that a feature follows.

    Attributes:
        name: the attribute.
        auc: area under the ROC curve of the feature as its detector, on training images; 0.5 is chance.
    """

    name: str
    auc: float


@dataclass(frozen=True)
class Cluster:
    """One of the two groups into which a feature's top images fall.

    Attributes:
        images: their positions in `FeatureExplanation.top`, as far as they are among those kept there.
        size: number of images in the group.
        classes: names of its most frequent classes, the most frequent first.
    """

    images: tuple[int, ...]
    size: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Polysemanticity:
    """Evidence that a feature stands for two things.

    Attributes:
        clusters: the two groups of top images, the larger first.
        index: variation within the groups over all variation, in [0, 1]; small where the groups lie apart.
        expected: the index that images of one kind would give.
        z: how many standard deviations the index lies below that.
        attribute: the attribute whose frequency differs most between the groups, "" without attributes.
        shares: its frequency in the first and in the second group.
    """

    clusters: tuple[Cluster, Cluster]
    index: float
    expected: float
    z: float
    attribute: str = ""
    shares: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class FeatureExplanation(Feature):
    """All that is known about one feature.

    Attributes:
        images: number of images that were passed over.
        active_share: share of them in which the feature is active at all.
        classes: the classes that use it, those in which it is most active first.
        others: the classes in which it is most active without being theirs, at most five.
        top: its most activating images, the most activating first; of a polysemantic feature some of either group.
        histogram: of its activations; from a random sample of the images where they are many.
        attributes: those that it follows best, better than chance, the best first; empty where none is known.
        main_class_share: share of its activation that falls on the class with most of it.
        border_share: share of its activation that peaks on the border of the image.
        warnings: reasons not to trust it: "dead", "unused", "border", "class-specific", "polysemantic".
        polysemanticity: the evidence for the last one; None where there is none.
    """

    images: int
    active_share: float
    classes: tuple[ClassUse, ...]
    others: tuple[ClassUse, ...]
    top: tuple[TopImage, ...]
    histogram: Histogram
    attributes: tuple[AttributeLink, ...]
    main_class_share: float
    border_share: float
    warnings: tuple[str, ...]
    polysemanticity: Polysemanticity | None

    def representatives(self, count: int) -> tuple[int, ...]:
        """Return positions in `top` of images to show: the first ones, or as many of either group where there are two.

        Args:
            count: how many at most.
        """
        if self.polysemanticity is None:
            return tuple(range(min(count, len(self.top))))
        first, second = (cluster.images for cluster in self.polysemanticity.clusters)
        half = max(count // 2, count - len(first))
        return (*first[: count - min(half, len(second))], *second[:half])

    def group(self, position: int) -> str:
        """Name the group of an image of `top`: "A" or "B", or "" where there are no groups."""
        if self.polysemanticity is None:
            return ""
        first, _ = self.polysemanticity.clusters
        return "A" if position in first.images else "B"

    def sentence(self) -> str:
        """Say in a sentence what the feature is."""
        return feature_sentence(self)

    def warning_sentences(self) -> tuple[str, ...]:
        """Say each warning with its evidence, in the order of `warnings`."""
        return tuple(warning_sentence(self, warning) for warning in self.warnings)

    def text(self) -> str:
        """Write everything as plain lines, for a terminal or a screen reader."""
        return feature_text(self)

    def to_dict(self, *, maps: bool = True) -> dict[str, Any]:
        """Return lists, numbers and strings, ready for JSON.

        Args:
            maps: include the raw maps of the top images; without them `from_dict` can't restore the values.
        """
        plain = asdict(self)
        for image in plain["top"]:
            map_HW = image.pop("map_HW")
            if maps:
                image["map_HW"] = map_HW.tolist()
        plain["sentence"] = self.sentence()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> FeatureExplanation:
        """Restore what `to_dict` returned, also after a round trip through JSON."""
        values = {name: plain[name] for name in cls.__dataclass_fields__}
        histogram, poly = values["histogram"], values["polysemanticity"]
        values["classes"] = tuple(ClassUse(**use) for use in values["classes"])
        values["others"] = tuple(ClassUse(**use) for use in values["others"])
        values["top"] = tuple(_top_image(image) for image in values["top"])
        values["attributes"] = tuple(AttributeLink(**link) for link in values["attributes"])
        values["warnings"] = tuple(values["warnings"])
        values["histogram"] = Histogram(
            tuple(histogram["edges"]),
            tuple(histogram["counts"]),
            (Component(**histogram["components"][0]), Component(**histogram["components"][1])),
            histogram["active_mean"],
        )
        if poly is not None:
            first, second = (Cluster(tuple(c["images"]), c["size"], tuple(c["classes"])) for c in poly["clusters"])
            values["polysemanticity"] = Polysemanticity(
                **{**poly, "clusters": (first, second), "shares": tuple(poly["shares"])}
            )
        return cls(**values)


def _top_image(plain: Mapping[str, Any]) -> TopImage:
    changed = {
        "peak": tuple(plain["peak"]),
        "box": tuple(plain["box"]),
        "map_HW": read_only_map(plain["map_HW"]),
    }
    return TopImage(**{**plain, **changed})
