"""Why an image got its class: the sample's tree, the contrast of two classes, saliency; values, not drawings.

`chiqpm.explain.drawing` turns these values into figures.
"""

from __future__ import annotations

from chiqpm.explain.contrast import Contrast, contrast
from chiqpm.explain.saliency import heat_map
from chiqpm.explain.sample import explain_sample
from chiqpm.explain.values import Branch, Explanation, Feature, FeatureEvidence, FeatureUse, Rival

__all__ = [
    "Branch",
    "Contrast",
    "Explanation",
    "Feature",
    "FeatureEvidence",
    "FeatureUse",
    "Rival",
    "contrast",
    "explain_sample",
    "heat_map",
]
