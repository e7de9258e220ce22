"""How often a feature is how active, with its two states, in any axes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from chiqpm.explain.drawing.colours import GREY, INK
from chiqpm.explain.features import Histogram

_POINTS = 300


def draw_histogram(ax: Axes, histogram: Histogram, *, colour: str, scale: float = 1.0) -> None:
    """Draw a histogram of activations with the mixture fitted to them, on a logarithmic scale of images.

    Args:
        ax: axes to draw in.
        histogram: the values.
        colour: of the active state.
        scale: factor on the sizes of letters and lines.
    """
    edges, counts = np.array(histogram.edges), np.array(histogram.counts)
    width = edges[1] - edges[0]
    ax.bar(edges[:-1], counts, width=width, align="edge", color="#C9C9C9", linewidth=0)
    x = np.linspace(edges[0], edges[-1], _POINTS)
    for component, line, style in zip(histogram.components, (GREY, colour), ("--", "-"), strict=True):
        # A state narrower than a bin is drawn as wide as one, else its curve would be a spike.
        std = max(component.std, width / 2)
        density = np.exp(-0.5 * ((x - component.mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
        curve = counts.sum() * width * component.weight * density
        ax.plot(x, np.where(curve > 0.3, curve, np.nan), style, color=line, linewidth=1.8 * scale)
    ax.axvline(histogram.active_mean, color=INK, linewidth=1.0 * scale, linestyle=":")
    top = max(10.0, 3.0 * counts.max())
    ax.set_yscale("log")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0.7, top)
    ax.tick_params(labelsize=8.0 * scale, width=0.7 * scale, length=3.0 * scale, colors=INK)
    ax.minorticks_off()
    powers = [10**power for power in range(int(np.log10(top)) + 1)]
    ax.set_yticks(powers, [f"{power:,}" for power in powers])
    marks = MaxNLocator(5).tick_values(edges[0], edges[-1])
    marks = marks[(marks >= edges[0]) & (marks <= edges[-1])]
    ax.set_xticks(marks, [f"{mark:g}" for mark in marks])
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.set_xlabel("activation", fontsize=8.5 * scale, labelpad=2.0 * scale)
    ax.set_ylabel("images", fontsize=8.5 * scale, labelpad=2.0 * scale)
