"""The gallery: right, uncertain and wrong predictions with their trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from chiqpm.conformal import required_images
from chiqpm.explain import Explanation
from chiqpm.inspection import Choice, Examined, choose_images, examine, explain_examined
from chiqpm.inspection.examined import take_up
from chiqpm.inspection.record import RunRecord
from chiqpm.markup.pictures import data_url, panel
from chiqpm.markup.tree import ClassMark, Step, class_mark, heat_pictures, tree_steps
from chiqpm.report.coverage import test_sets

_FURTHER = (0.95, 0.98, 0.99)
TITLES = {
    "right": "Right, and sure",
    "uncertain": "Right, but unsure",
    "wrong": "Wrong",
}


@dataclass(frozen=True)
class Example:
    """One explained test image.

    Attributes:
        choice: which image, of which kind, at which coverage.
        name: its file name.
        truth: name of its class.
        picture: URL of the image; "" where it is gone.
        explanation: why it got its class.
        steps: the tree.
        leaf: the predicted class at its end.
    """

    choice: Choice
    name: str
    truth: str
    picture: str
    explanation: Explanation
    steps: list[Step]
    leaf: ClassMark


def examples(record: RunRecord, *, each: int) -> dict[str, list[Example]]:
    """Return examples by kind; empty without a calibration or answers for the test images."""
    predictor = record.classifier.predictor
    if predictor is None or "test" not in record.answers:
        return {}
    first = record.classifier.coverage
    further = [c for c in _FURTHER if c > first and required_images(c) <= predictor.num_calibration]
    coverages = [first, *further]
    sets = test_sets(record, coverages)
    chosen = choose_images(record.answers["test"], [sets[c] for c in coverages], coverages, each=each)
    found: dict[str, list[Example]] = {kind: [] for kind in TITLES}
    for choice in chosen:
        found[choice.kind].append(_example(record, choice))
    return found


def _example(record: RunRecord, choice: Choice) -> Example:
    test, picture = record.answers["test"], record.picture("test", choice.place)
    label = int(test.labels_N[choice.place])
    if picture is None:
        examined = _without_picture(record, choice.place, label)
    else:
        examined = examine(record.classifier, picture, true_class=label)
    explanation = explain_examined(record.classifier, examined, choice.coverage)
    image = None if picture is None else panel(examined.picture)
    return Example(
        choice=choice,
        name=record.name("test", choice.place),
        truth=record.classifier.class_names[label],
        picture="" if picture is None else data_url(examined.picture, side=320),
        explanation=explanation,
        steps=tree_steps(explanation, heat_pictures(explanation, image)),
        leaf=class_mark(explanation, explanation.predicted),
    )


def _without_picture(record: RunRecord, place: int, label: int) -> Examined:
    """Take up the answers of the run; there are no maps."""
    test = record.answers["test"]
    logits, features = test.logits_NC[place], test.features_NK[place]
    no_maps = np.zeros((len(features), 1, 1), dtype=np.float32)
    picture = Image.new("RGB", (1, 1))
    return take_up(record.classifier, picture, logits, features, maps_KHW=no_maps, true_class=label)
