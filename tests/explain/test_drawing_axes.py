"""Parts of figures in axes of the caller's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from chiqpm.explain.drawing import (
    draw_class_tree,
    draw_histogram,
    draw_matrix,
    draw_perturbation,
    draw_similarity,
)
from chiqpm.explain.drawing.colours import feature_colour, rgb
from chiqpm.metrics import perturbation_curve


def axes(count: int):
    figure = Figure(figsize=(4 * count, 3.2), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, count)


def words(figure: Figure) -> str:
    figure.draw_without_rendering()
    return " | ".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())


def test_curves_name_every_order_with_its_area() -> None:
    figure, (deletion, insertion, similarity) = axes(3)
    fractions = np.array([0.0, 0.5, 1.0])
    curves = {
        name: perturbation_curve(fractions, np.array([[0.9, level, 0.1], [0.8, level, 0.0]]))
        for name, level in (("map", 0.2), ("random", 0.6), ("centre", 0.4), ("edges", 0.5))
    }
    draw_perturbation(deletion, curves)
    draw_perturbation(insertion, curves, inserting=True)
    draw_similarity(similarity, [0.1, 1.0], [0.5, 0.02], [0.1, 0.01], unrelated=0.07)
    said = words(figure)
    for name in ("by the maps: area 0.3", "at random: area", "from the centre: area", "edges: area"):
        assert said.count(name) == 2
    assert "taken away" in said and "shown" in said and "maps of other images: 0.07" in said
    line = similarity.get_lines()[0]
    assert list(line.get_ydata()) == [1.0, 0.5, 0.02]


def test_a_matrix_lies_beside_its_tree_row_by_row(cases: SimpleNamespace) -> None:
    _, model = cases.explained(48)
    figure, (tree, matrix) = axes(2)
    draw_class_tree(tree, model)
    draw_matrix(matrix, model)
    figure.draw_without_rendering()
    assert tree.get_ylim() == matrix.get_ylim() == (47.5, -0.5)
    pixels = matrix.get_images()[0].get_array()
    for row, c in enumerate(model.class_order):
        for column, k in enumerate(model.feature_order):
            wanted = rgb(feature_colour(k)) if k in model.class_features[c] else (255, 255, 255)
            assert tuple(pixels[row, column]) == wanted
    segments = tree.collections[0].get_segments()
    assert len(segments) == 3 * 47
    assert min(float(segment[:, 0].min()) for segment in segments) >= 0


def test_a_histogram_shows_all_images_and_both_states(cases: SimpleNamespace) -> None:
    features, _ = cases.explained(48)
    figure, (ax, silent) = axes(2)
    draw_histogram(ax, features[2].histogram, colour="#0072B2")
    draw_histogram(silent, features[-1].histogram, colour="#0072B2")
    assert sum(bar.get_height() for bar in ax.patches) == features[2].images
    assert len(ax.get_lines()) == 3
    assert "images" in words(figure)
