"""The class tree and the class-feature matrix, each in any axes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from chiqpm.explain.drawing.colours import GREY, INK, PAPER, feature_colour, rgb
from chiqpm.explain.model_values import ModelExplanation


def draw_class_tree(ax: Axes, model: ModelExplanation, *, scale: float = 1.0) -> None:
    """Draw the tree of classes over shared features: leaves at the right, from the top in the order of the tree.

    Args:
        ax: axes to draw in; its vertical axis becomes that of `draw_matrix`.
        model: the values.
        scale: factor on the sizes of letters and lines.
    """
    count, most = len(model.class_names), model.features_per_class
    place = np.empty(count + len(model.merges))
    place[list(model.class_order)] = np.arange(count)
    shared = np.full(count + len(model.merges), float(most))
    lines = []
    for number, merge in enumerate(model.merges, start=count):
        here = merge.shared
        lines += [
            [(shared[merge.first], place[merge.first]), (here, place[merge.first])],
            [(shared[merge.second], place[merge.second]), (here, place[merge.second])],
            [(here, place[merge.first]), (here, place[merge.second])],
        ]
        place[number] = (place[merge.first] + place[merge.second]) / 2
        shared[number] = here
    width = (1.1 if count <= 100 else 0.6) * scale
    ax.add_collection(LineCollection(lines, colors=INK, linewidths=width, capstyle="projecting"))
    ax.set_xlim(-0.08 * most, most)
    ax.set_ylim(count - 0.5, -0.5)
    ax.set_xticks(range(most + 1))
    ax.set_yticks([])
    ax.tick_params(labelsize=8.0 * scale, length=2.0 * scale, width=0.7 * scale, colors=GREY, pad=1.0 * scale)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.grid(axis="x", color="#EBEBEB", linewidth=0.7 * scale)
    ax.set_axisbelow(True)


def draw_matrix(ax: Axes, model: ModelExplanation, *, scale: float = 1.0) -> None:
    """Draw which class has which feature, both in the order of the tree, each feature in its colour.

    Args:
        ax: axes to draw in.
        model: the values.
        scale: factor on the sizes of lines.
    """
    weight = model.matrix()
    colours = np.array([rgb(feature_colour(k)) for k in model.feature_order], dtype=np.uint8)
    pixels: NDArray[np.uint8] = np.where(weight[..., None], colours[None], np.array(rgb(PAPER), dtype=np.uint8))
    rows, columns = weight.shape
    ax.imshow(
        pixels,
        aspect="auto",
        interpolation="nearest" if rows <= 300 else "antialiased",
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
    )
    if rows <= 100:
        ax.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, color="#EBEBEB", linewidth=0.5 * scale)
    ax.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, color="#EBEBEB", linewidth=0.5 * scale)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_color(GREY)
        side.set_linewidth(0.7 * scale)
