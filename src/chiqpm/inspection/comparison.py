"""Two classes compared on the picture at hand."""

from __future__ import annotations

from dataclasses import dataclass

from chiqpm.classifier import Classifier
from chiqpm.explain import Contrast, Feature, FeatureEvidence, contrast
from chiqpm.explain.saliency import peak, strength
from chiqpm.explain.values import read_only_map
from chiqpm.explain.wording import listed
from chiqpm.inspection.examined import Examined


@dataclass(frozen=True)
class PictureContrast:
    """What two classes share and what separates them, and what of it one picture shows.

    Attributes:
        contrast: the two classes.
        shared: the features of both as they are in the picture, the strongest first.
        only_a: those that only the first has.
        only_b: those that only the second has.
    """

    contrast: Contrast
    shared: tuple[FeatureEvidence, ...]
    only_a: tuple[FeatureEvidence, ...]
    only_b: tuple[FeatureEvidence, ...]

    def sentence(self) -> str:
        """Say what the classes share, and how active what separates them is in this picture."""
        parts = [
            f"{listed([f'{f.words} at {f.strength:.1f}' for f in own])} of {name}"
            for own, name in ((self.only_a, self.contrast.name_a), (self.only_b, self.contrast.name_b))
            if own
        ]
        text = self.contrast.sentence()
        return f"{text} In this picture, relative to what is usual: {'; '.join(parts)}." if parts else text


def compare_in_picture(classifier: Classifier, examined: Examined, first: int, second: int) -> PictureContrast:
    """Compare two classes on one picture.

    Args:
        classifier: the one that examined the picture.
        examined: the picture.
        first: index of a class.
        second: index of another.

    Raises:
        ChiqpmError: an index outside the classes, or twice the same class.
    """
    values = contrast(
        classifier.model.weight_CK.cpu().numpy(),
        first,
        second,
        classifier.class_names,
        feature_names=classifier.feature_names,
    )

    def here(features: tuple[Feature, ...]) -> tuple[FeatureEvidence, ...]:
        found = [_evidence(classifier, examined, feature) for feature in features]
        return tuple(sorted(found, key=lambda feature: (-feature.activation, feature.index)))

    return PictureContrast(values, here(values.shared), here(values.only_a), here(values.only_b))


def _evidence(classifier: Classifier, examined: Examined, feature: Feature) -> FeatureEvidence:
    k = feature.index
    activation, map_HW = float(examined.features_K[k]), examined.maps_KHW[k]
    return FeatureEvidence(
        index=k,
        name=feature.name,
        activation=activation,
        strength=strength(activation, float(classifier.active_mean_K[k])),
        peak=peak(map_HW),
        map_HW=read_only_map(map_HW),
    )
