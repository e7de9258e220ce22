"""The nearest pairs of classes: what separates them, seen on an image of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chiqpm.explain.model_values import ClassPair, ModelExplanation, SeparatingFeature
from chiqpm.explain.saliency import strength
from chiqpm.inference import Answers
from chiqpm.inspection import Examined, RunRecord, examine
from chiqpm.markup.pictures import heat_picture, panel


@dataclass(frozen=True)
class Sight:
    """A separating feature on an image: of which class the image is, the picture, and the picture in words."""

    class_name: str
    url: str
    alt: str


@dataclass(frozen=True)
class PairRow:
    """A pair of classes: each feature that separates them, on an image of either class."""

    pair: ClassPair
    features: tuple[tuple[SeparatingFeature, str, tuple[Sight, ...]], ...]


def pair_rows(record: RunRecord, model: ModelExplanation, *, most: int) -> list[PairRow]:
    """Return the nearest pairs, the least separated first.

    Args:
        record: the run.
        model: its classes.
        most: how many pairs.
    """
    return [_row(record, pair) for pair in model.pairs[:most]]


def _row(record: RunRecord, pair: ClassPair) -> PairRow:
    seen = [(name, _examined(record, c)) for c, name in ((pair.class_a, pair.name_a), (pair.class_b, pair.name_b))]
    rows = []
    for owner, own in ((pair.name_a, pair.only_a), (pair.name_b, pair.only_b)):
        for feature in own:
            sights = tuple(_sight(record, feature, name, found) for name, found in seen if found is not None)
            rows.append((feature, owner, sights))
    return PairRow(pair, tuple(rows))


def _examined(record: RunRecord, label: int) -> Examined | None:
    """Look at the test image of a class that has most of it, a rightly classified one where there is one."""
    test = record.answers.get("test")
    place = None if test is None else typical_image(test, label)
    picture = None if place is None else record.picture("test", place)
    return None if picture is None else examine(record.classifier, picture, true_class=label)


def typical_image(answers: Answers, label: int) -> int | None:
    """Return the image of a class with the largest logit for it; None without an image."""
    of_class = np.flatnonzero(answers.labels_N == label)
    if not of_class.size:
        return None
    right = of_class[answers.predicted_N[of_class] == label]
    candidates = right if right.size else of_class
    return int(candidates[answers.logits_NC[candidates, label].argmax()])


def _sight(record: RunRecord, feature: SeparatingFeature, class_name: str, found: Examined) -> Sight:
    k = feature.index
    activation, usual = float(found.features_K[k]), float(record.classifier.active_mean_K[k])
    share = strength(activation, usual)
    words = f"{feature.words} on an image of {class_name}: activation {activation:.2f}, {share:.2f}× usual"
    return Sight(class_name, heat_picture(panel(found.picture, side=160), k, found.maps_KHW[k], share), words)
