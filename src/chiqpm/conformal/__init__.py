"""Prediction sets with a guarantee: split conformal prediction on logits and features.

NumPy or torch in, the same kind out; nothing here knows of models, images or files of a run.

>>> import numpy as np
>>> generator = np.random.default_rng(0)
>>> labels = generator.integers(4, size=500)
>>> logits = generator.normal(size=(500, 4)) + 2.0 * np.eye(4)[labels]
>>> predictor = ConformalPredictor(THR()).calibrate(logits[:300], labels[:300])
>>> sets = predictor.predict_set(logits[300:], coverage=0.9)
>>> bool(sets[np.arange(200), labels[300:]].mean() > 0.85)
True
"""

from __future__ import annotations

from chiqpm.conformal.clusters import cluster_classes
from chiqpm.conformal.diagnostics import Diagnostics, Slice, diagnose
from chiqpm.conformal.hierarchy import Tree, class_paths, tree
from chiqpm.conformal.intervals import Rate, clopper_pearson, coverage_band
from chiqpm.conformal.levels import deepest_level
from chiqpm.conformal.martingale import ExchangeabilityMonitor
from chiqpm.conformal.mondrian import MondrianPredictor
from chiqpm.conformal.predictor import ConformalPredictor, Threshold, find_threshold
from chiqpm.conformal.quantile import SmallCalibrationWarning, conformal_rank, required_images
from chiqpm.conformal.risk import RiskControlPredictor
from chiqpm.conformal.scores import APS, RAPS, SAPS, THR, HierarchicalScore, Margin, Score, TopK
from chiqpm.conformal.weighted import WeightedPredictor

__all__ = [
    "APS",
    "RAPS",
    "SAPS",
    "THR",
    "ConformalPredictor",
    "Diagnostics",
    "ExchangeabilityMonitor",
    "HierarchicalScore",
    "Margin",
    "MondrianPredictor",
    "Rate",
    "RiskControlPredictor",
    "Score",
    "Slice",
    "SmallCalibrationWarning",
    "Threshold",
    "TopK",
    "Tree",
    "WeightedPredictor",
    "class_paths",
    "clopper_pearson",
    "cluster_classes",
    "conformal_rank",
    "coverage_band",
    "deepest_level",
    "diagnose",
    "find_threshold",
    "required_images",
    "tree",
]
