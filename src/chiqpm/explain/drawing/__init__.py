"""Figures of explanations, on matplotlib's object interface: no pyplot, no state, any backend."""

from __future__ import annotations

from chiqpm.explain.drawing.contrast_figure import draw_contrast
from chiqpm.explain.drawing.explanation_figure import draw_explanation
from chiqpm.explain.drawing.saving import save_figure

__all__ = ["draw_contrast", "draw_explanation", "save_figure"]
