"""Images without pictures: features, logits and labels that are hard on a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from chiqpm.experiments.conformal.models import HeldOut

NUM_FEATURES, PER_CLASS = 50, 5


@dataclass(frozen=True)
class Population:
    """Images to be divided at random into calibration and test.

    Attributes:
        logits_NC: logits, the sums of each class's features.
        features_NK: features.
        labels_N: true classes.
        weight_CK: binary assignment.
    """

    logits_NC: NDArray[np.float32]
    features_NK: NDArray[np.float32]
    labels_N: NDArray[np.int64]
    weight_CK: NDArray[np.float32]

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy."""
        return float((self.logits_NC.argmax(axis=1) == self.labels_N).mean())


def of_model(answers: HeldOut) -> Population:
    """Return a trained model's answers."""
    return Population(answers.logits_NC, answers.features_NK, answers.labels_N, answers.weight_CK)


def with_ties(answers: HeldOut) -> Population:
    """Return a trained model's answers with features rounded down to whole numbers, and none at all in a fifth."""
    features_NK = np.floor(answers.features_NK)
    features_NK[::5] = 0
    logits_NC = (features_NK @ answers.weight_CK.T).astype(np.float32)
    return Population(logits_NC, features_NK, answers.labels_N, answers.weight_CK)


def synthetic(num_classes: int, num_images: int, *, seed: int) -> Population:
    """Return random features that are stronger where the true class owns them.

    Every second class shares all features but one with the class before it, so that, at pair density .5, every
    pair that the quadratic problem could force is there.

    Args:
        num_classes: even.
        num_images: N.
        seed: of assignment, labels and features.
    """
    generator = np.random.default_rng(seed)
    order: list[tuple[int, ...]] = []
    while len(order) < num_classes:
        six = generator.choice(NUM_FEATURES, PER_CLASS + 1, replace=False)
        pair = {tuple(sorted(six[1:].tolist())), tuple(sorted(six[:-1].tolist()))}
        if not pair & set(order):
            order += sorted(pair)
    weight_CK = np.zeros((num_classes, NUM_FEATURES), dtype=np.float32)
    np.put_along_axis(weight_CK, np.array(order), 1, axis=1)
    labels_N: NDArray[Any] = generator.integers(num_classes, size=num_images)
    features_NK = generator.standard_normal((num_images, NUM_FEATURES), dtype=np.float32)
    features_NK += 2.2 * weight_CK[labels_N] - 0.3
    np.maximum(features_NK, 0, out=features_NK)
    return Population(features_NK @ weight_CK.T, features_NK, labels_N, weight_CK)
