"""What an exported file says of itself, so that a consumer needs nothing else: JSON under the key `chiqpm`."""

from __future__ import annotations

from typing import Any

import numpy as np

from chiqpm import __version__
from chiqpm.calibration import score_name
from chiqpm.classifier import Classifier
from chiqpm.conformal import ConformalPredictor
from chiqpm.conformal.quantile import conformal_rank
from chiqpm.export.network import can_score

KEY = "chiqpm"
FORMAT = 1
"""Version of the metadata; docs/onnx.md describes it."""
COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.88, 0.9, 0.925, 0.95, 0.975, 0.98, 0.99)
"""Coverages whose thresholds are written out; every other follows from the calibration scores."""


def describe(classifier: Classifier) -> dict[str, Any]:
    """Return what `docs/onnx.md` describes, as plain values for JSON."""
    weight_CK = classifier.model.weight_CK.cpu().numpy()
    backbone: Any = classifier.model.backbone
    return {
        "format": FORMAT,
        "version": __version__,
        "classifier": classifier.fingerprint(),
        "input": {
            "layout": "NCHW",
            "colours": "RGB",
            "size": classifier.data_config.image_size,
            "resize": classifier.data_config.resize,
            "centre_share": classifier.data_config.centre_share,
            "crop_to_box": classifier.data_config.crop_to_box,
            "interpolation": "bilinear, antialiased (Pillow's BILINEAR)",
            "range": [0.0, 1.0],
            "orientation": "upright, by the picture's EXIF",
            "transparency": "over white",
            "sixteen_bits": "divided by 257 and rounded to 8 bits",
            "mean": list(backbone.mean),
            "std": list(backbone.std),
        },
        "classes": list(classifier.class_names),
        "features": None if classifier.feature_names is None else list(classifier.feature_names),
        "assignment": [np.flatnonzero(row).tolist() for row in weight_CK],
        "active_mean": classifier.active_mean_K.tolist(),
        "calibration": _calibration(classifier.predictor, classifier.coverage),
    }


def _calibration(predictor: ConformalPredictor | None, coverage: float) -> dict[str, Any] | None:
    if predictor is None or not can_score(predictor.score):
        return None
    scores_M = predictor.state()["arrays"]["calibration_scores_VM"][0]
    images = len(scores_M)
    ranks = {wanted: conformal_rank(images, wanted) for wanted in sorted({*COVERAGES, coverage})}
    return {
        "score": score_name(predictor.score),
        "images": images,
        "coverage": coverage,
        "margin": 1e-5,
        "thresholds": {
            f"{wanted:g}": float(scores_M[rank - 1]) if rank <= images else None for wanted, rank in ranks.items()
        },
        "scores": [float(score) for score in scores_M],
    }
