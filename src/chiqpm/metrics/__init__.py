"""Measures of what makes a model readable and its prediction sets good: pure functions of arrays.

Maps may be NumPy arrays or torch tensors on any device, everything else NumPy arrays or tensors. Axes: B or N
samples, K features, C classes, H and W cells or pixels, A attributes, P parts.
"""

from __future__ import annotations

from chiqpm.metrics._active_mean import active_mean
from chiqpm.metrics._attribute_auc import AttributeAUC, attribute_auc
from chiqpm.metrics._class_independence import class_independence
from chiqpm.metrics._contrastiveness import contrastiveness, overlap_coefficient
from chiqpm.metrics._correlation import correlation
from chiqpm.metrics._cosine import class_similarity
from chiqpm.metrics._coverage import (
    CoverageReport,
    GroupCoverage,
    coverage,
    coverage_by_group,
)
from chiqpm.metrics._dependence import dependence
from chiqpm.metrics._feature_alignment import feature_alignment
from chiqpm.metrics._map_similarity import map_similarity
from chiqpm.metrics._mixture import Mixtures, fit_mixtures
from chiqpm.metrics._part_grounding import PartGrounding, modal_parts, part_grounding
from chiqpm.metrics._part_removal import PartRemoval, part_removal
from chiqpm.metrics._peaks import map_peaks
from chiqpm.metrics._perturbation import PerturbationCurve, perturbation_curve
from chiqpm.metrics._pivot_faithfulness import PivotFaithfulness, pivot_faithfulness
from chiqpm.metrics._set_coherence import SetCoherence, set_coherence
from chiqpm.metrics._set_hierarchy import SetHierarchy, set_hierarchy
from chiqpm.metrics._spatial_diversity import spatial_diversity, spatial_diversity_per_sample
from chiqpm.metrics._structural_grounding import structural_grounding

__all__ = [
    "AttributeAUC",
    "CoverageReport",
    "GroupCoverage",
    "Mixtures",
    "PartGrounding",
    "PartRemoval",
    "PerturbationCurve",
    "PivotFaithfulness",
    "SetCoherence",
    "SetHierarchy",
    "active_mean",
    "attribute_auc",
    "class_independence",
    "class_similarity",
    "contrastiveness",
    "correlation",
    "coverage",
    "coverage_by_group",
    "dependence",
    "feature_alignment",
    "fit_mixtures",
    "map_peaks",
    "map_similarity",
    "modal_parts",
    "overlap_coefficient",
    "part_grounding",
    "part_removal",
    "perturbation_curve",
    "pivot_faithfulness",
    "set_coherence",
    "set_hierarchy",
    "spatial_diversity",
    "spatial_diversity_per_sample",
    "structural_grounding",
]
