"""Figures of explanations, on matplotlib's object interface: no pyplot, no state, any backend."""

from __future__ import annotations

from chiqpm.explain.drawing.class_tree import draw_class_tree, draw_matrix
from chiqpm.explain.drawing.contrast_figure import draw_contrast
from chiqpm.explain.drawing.curves import draw_perturbation, draw_similarity
from chiqpm.explain.drawing.explanation_figure import draw_explanation
from chiqpm.explain.drawing.feature_figure import draw_feature
from chiqpm.explain.drawing.histogram import draw_histogram
from chiqpm.explain.drawing.model_figure import draw_model
from chiqpm.explain.drawing.pairs_figure import draw_pairs
from chiqpm.explain.drawing.saving import save_figure

__all__ = [
    "draw_class_tree",
    "draw_contrast",
    "draw_explanation",
    "draw_feature",
    "draw_histogram",
    "draw_matrix",
    "draw_model",
    "draw_pairs",
    "draw_perturbation",
    "draw_similarity",
    "save_figure",
]
