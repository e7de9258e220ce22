"""Why an image got its class, what a feature is, how classes are related; values, not drawings.

`chiqpm.explain.drawing` turns these values into figures.
"""

from __future__ import annotations

from chiqpm.explain.contrast import Contrast, contrast
from chiqpm.explain.feature_values import explain_features
from chiqpm.explain.features import FeatureExplanation
from chiqpm.explain.model_values import ModelExplanation, explain_model
from chiqpm.explain.observations import FeatureObserver, Observations
from chiqpm.explain.saliency import heat_map
from chiqpm.explain.sample import explain_sample
from chiqpm.explain.values import Branch, Explanation, Feature, FeatureEvidence, FeatureUse, Rival

__all__ = [
    "Branch",
    "Contrast",
    "Explanation",
    "Feature",
    "FeatureEvidence",
    "FeatureExplanation",
    "FeatureObserver",
    "FeatureUse",
    "ModelExplanation",
    "Observations",
    "Rival",
    "contrast",
    "explain_features",
    "explain_model",
    "explain_sample",
    "heat_map",
]
