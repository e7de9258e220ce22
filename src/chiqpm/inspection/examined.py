"""One picture looked at once, then explained at any coverage."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chiqpm.classifier import Classifier
from chiqpm.conformal import SmallCalibrationWarning
from chiqpm.explain import Explanation, explain_sample


@dataclass(frozen=True)
class Examined:
    """What the model said about one picture; all that its explanations need, without another forward pass.

    Attributes:
        picture: the picture as the maps lie over it.
        logits_C: logits.
        features_K: activations.
        maps_KHW: feature maps.
        scores_C: nonconformity scores of all classes; None without a calibration.
        p_values_C: conformal p-values; None without a calibration, or where sets aren't nested.
        true_class: the label, where it is known.
    """

    picture: Image.Image
    logits_C: NDArray[np.float32]
    features_K: NDArray[np.float32]
    maps_KHW: NDArray[np.float32]
    scores_C: NDArray[np.float64] | None
    p_values_C: NDArray[np.float64] | None = None
    true_class: int | None = None


def examine(classifier: Classifier, picture: Image.Image, *, true_class: int | None = None) -> Examined:
    """Run the model over one upright RGB picture, once.

    Args:
        classifier: calibrated or not.
        picture: an upright RGB picture, for instance from `chiqpm.data.load_image`.
        true_class: the label, where it is known.
    """
    logits, features, maps = classifier.outputs([picture])
    return take_up(
        classifier, classifier.frame(picture), logits[0], features[0], maps_KHW=maps[0], true_class=true_class
    )


def take_up(
    classifier: Classifier,
    picture: Image.Image,
    logits_C: NDArray[np.float32],
    features_K: NDArray[np.float32],
    *,
    maps_KHW: NDArray[np.float32],
    true_class: int | None = None,
) -> Examined:
    """Return what the model once said, without running it.

    Args:
        classifier: the one that said it.
        picture: the picture as the maps lie over it.
        logits_C: logits.
        features_K: activations.
        maps_KHW: feature maps.
        true_class: the label, where it is known.
    """
    predictor = classifier.predictor
    scores = p_values = None
    if predictor is not None:
        scores = np.asarray(predictor.scores(logits_C[None], features_K[None]))[0]
        if predictor.score.variants == 1:
            p_values = np.asarray(predictor.p_values(logits_C[None], features_K[None]))[0]
    return Examined(picture, logits_C, features_K, maps_KHW, scores, p_values, true_class)


def explain_examined(classifier: Classifier, examined: Examined, coverage: float) -> Explanation:
    """Explain at a coverage; without a calibration the set is the prediction alone, whatever the coverage.

    Args:
        classifier: the one that examined the picture.
        examined: from `examine`.
        coverage: in (0, 1). Where the calibration is too small for it, the set holds every class.

    Raises:
        ChiqpmError: the coverage isn't in (0, 1).
    """
    if classifier.predictor is None:
        set_C = np.arange(len(examined.logits_C)) == examined.logits_C.argmax()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallCalibrationWarning)
            sets = classifier.predictor.predict_set(
                examined.logits_C[None], examined.features_K[None], coverage=coverage
            )
        set_C = np.asarray(sets)[0]
    return explain_sample(
        examined.features_K,
        examined.maps_KHW,
        examined.logits_C,
        classifier.model.weight_CK.cpu().numpy(),
        set_C,
        active_mean_K=classifier.active_mean_K,
        class_names=classifier.class_names,
        coverage=coverage,
        feature_names=classifier.feature_names,
        true_class=examined.true_class,
        scores_C=examined.scores_C,
        p_values_C=examined.p_values_C,
    )
