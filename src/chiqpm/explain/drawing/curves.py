"""Curves of faithfulness, each in any axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from chiqpm.explain.drawing.colours import GREY, INK
from chiqpm.metrics import PerturbationCurve

_LINES = {"map": ("#0072B2", "-", "o"), "random": ("#5F5F5F", "--", "s"), "centre": ("#D55E00", ":", "^")}
_NAMES = {"map": "by the maps", "random": "at random", "centre": "from the centre"}


def draw_perturbation(
    ax: Axes, curves: Mapping[str, PerturbationCurve], *, inserting: bool = False, scale: float = 1.0
) -> None:
    """Draw how a predicted class's probability changes as regions are deleted or inserted, in several orders.

    Args:
        ax: axes to draw in.
        curves: "map", "random" and "centre", or some of them; other names are drawn as they are.
        inserting: regions are shown, not taken away.
        scale: factor on the sizes of letters and lines.
    """
    for name, curve in curves.items():
        colour, style, marker = _LINES.get(name, (INK, "-.", "d"))
        label = f"{_NAMES.get(name, name)}: area {curve.auc:.2f} ± {curve.standard_error:.2f}"
        ax.plot(
            curve.fractions,
            curve.means,
            linestyle=style,
            marker=marker,
            color=colour,
            label=label,
            linewidth=1.8 * scale,
            markersize=4.5 * scale,
        )
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_xlabel(f"share of the image {'shown' if inserting else 'taken away'}", fontsize=9.0 * scale)
    ax.set_ylabel("probability of the class", fontsize=9.0 * scale)
    _finish(ax, scale)


def draw_similarity(
    ax: Axes,
    shares: Sequence[float],
    similarities: Sequence[float],
    errors: Sequence[float],
    *,
    unrelated: float,
    scale: float = 1.0,
) -> None:
    """Draw how alike maps stay as more and more layers forget what they learned, the last ones first.

    Args:
        ax: axes to draw in.
        shares: share of the layers that were randomised.
        similarities: mean rank correlation with the trained maps at each share.
        errors: their standard errors.
        unrelated: the correlation of maps that have nothing to do with each other.
        scale: factor on the sizes of letters and lines.
    """
    ax.errorbar(
        [0.0, *shares],
        [1.0, *similarities],
        yerr=[0.0, *(2 * error for error in errors)],
        color="#0072B2",
        marker="o",
        linewidth=1.8 * scale,
        markersize=4.5 * scale,
        capsize=2.5 * scale,
        label="with the trained model's maps",
    )
    ax.axhline(
        unrelated, color=GREY, linestyle="--", linewidth=1.4 * scale, label=f"maps of other images: {unrelated:.2f}"
    )
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(min(-0.25, *(similarity - 0.1 for similarity in similarities)), 1.05)
    ax.set_xlabel("share of layers randomised, from the last", fontsize=9.0 * scale)
    ax.set_ylabel("rank correlation of maps", fontsize=9.0 * scale)
    _finish(ax, scale)


def _finish(ax: Axes, scale: float) -> None:
    ax.tick_params(labelsize=8.0 * scale, width=0.7 * scale, length=3.0 * scale)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    # Above the axes, where no line can run.
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=8.0 * scale, frameon=False)
