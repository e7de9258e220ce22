"""Charts of features and classes: an activation histogram, the class tree with the class–feature matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from chiqpm.explain import ModelExplanation
from chiqpm.explain.drawing.colours import feature_colour
from chiqpm.explain.features import Histogram

_LABELLED = 120
_TREE, _NAMES, _COLUMN = 110.0, 190.0, 11.0
_MOST_LETTERS = 28


def histogram_chart(histogram: Histogram, feature: int) -> Markup:
    """Draw a feature's activations with its two states; the bar of the silent images is cut off where it dwarfs all.

    Heights are square roots, so that rare activations show.

    Args:
        histogram: the values.
        feature: its index, which gives the colour.
    """
    width, height, base = 300.0, 92.0, 72.0
    edges, counts = histogram.edges, histogram.counts
    low, high = edges[0], edges[-1]
    second = sorted(counts)[-2]
    most = math.sqrt(max(1, min(max(counts), 2 * second or max(counts))))

    def x(value: float) -> float:
        return 4.0 + (value - low) / (high - low) * (width - 8.0)

    def y(count: float) -> float:
        return base - min(1.0, math.sqrt(count) / most) * (base - 4.0)

    parts = [
        f'<rect x="{x(a):.1f}" y="{y(n):.1f}" width="{x(b) - x(a):.1f}" height="{base - y(n):.1f}" '
        f'fill="{feature_colour(feature)}"/>'
        for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
        if n
    ]
    total, step = sum(counts), edges[1] - edges[0]
    for component, dash in zip(histogram.components, ("3 3", ""), strict=True):
        if component.std > 0:
            curve = " ".join(
                f"{x(v):.1f},{y(total * step * component.weight * _density(v, component.mean, component.std)):.1f}"
                for v in (low + (high - low) * i / 80 for i in range(81))
            )
            parts.append(
                f'<polyline points="{curve}" fill="none" stroke="var(--ink)" stroke-width="1.5" '
                f'stroke-dasharray="{dash}"/>'
            )
    parts.append(f'<line x1="0" x2="{width:g}" y1="{base}" y2="{base}" stroke="var(--grey)"/>')
    for value, anchor in ((low, "start"), (high, "end")):
        parts.append(
            f'<text x="{x(value):.1f}" y="{height - 6:g}" text-anchor="{anchor}" font-size="12" '
            f'fill="var(--ink)">{value:.1f}</text>'
        )
    silent, active = histogram.components
    words = (
        f"Histogram of activations from {low:.1f} to {high:.1f}: silent around {silent.mean:.2f} "
        f"({silent.weight:.0%}), active around {active.mean:.2f} ({active.weight:.0%})"
    )
    return _svg(parts, width, height, words, "chart")


def class_tree_chart(model: ModelExplanation) -> Markup:
    """Draw the tree of the classes beside the class–feature matrix, its rows and columns in the order of the tree.

    Args:
        model: the values. Beyond 120 classes the rows get thin and lose their names.
    """
    classes, features = len(model.class_order), len(model.feature_order)
    row = 15.0 if classes <= _LABELLED else max(1.0, 1200.0 / classes)
    names = _NAMES if classes <= _LABELLED else 12.0
    top, left = 54.0 if features <= _LABELLED else 8.0, _TREE + names
    width, height = left + features * _COLUMN + 8.0, top + classes * row + 8.0
    place = {c: number for number, c in enumerate(model.class_order)}
    parts = [_dendrogram(model, place, top, row)]
    if classes <= _LABELLED:
        parts += [
            f'<rect x="{_TREE:g}" y="{top + n * row:.1f}" width="{width - _TREE:.1f}" height="{row:g}" '
            'fill="var(--card)"/>'
            for n in range(0, classes, 2)
        ]
        parts += [
            f'<text x="{_TREE + 8:g}" y="{top + (n + 0.5) * row + 4:.1f}" font-size="11" fill="var(--ink)">'
            f"{escape(_short(model.class_names[c]))}<title>{escape(model.class_names[c])}</title></text>"
            for n, c in enumerate(model.class_order)
        ]
    column = {k: number for number, k in enumerate(model.feature_order)}
    for k, number in column.items():
        x = left + number * _COLUMN
        if features <= _LABELLED:
            parts.append(
                f'<text transform="translate({x + 8.5:.1f} {top - 6:g}) rotate(-90)" font-size="10" '
                f'fill="var(--ink)">f{k}<title>{escape(model.features[k].label)}</title></text>'
            )
        rows = [place[c] for c, own in enumerate(model.class_features) if k in own]
        cells = "".join(
            f"M{x:.1f} {top + r * row:.1f}h{_COLUMN - 1:g}v{max(row - 1, 0.8 * row):.1f}h-{_COLUMN - 1:g}z"
            for r in sorted(rows)
        )
        parts.append(f'<path d="{cells}" fill="{feature_colour(k)}"/>')
    words = (
        f"Tree of {classes} classes beside the matrix of classes and {features} features. {model.sentence()} "
        "The same in words below."
    )
    return _svg(parts, width, height, words, "matrix")


def _dendrogram(model: ModelExplanation, place: dict[int, int], top: float, row: float) -> str:
    """Branches meet further to the left the fewer features their classes share."""
    classes, most = len(place), max(1, model.features_per_class)

    def x(shared: float) -> float:
        return 4.0 + shared / most * (_TREE - 8.0)

    ends: list[tuple[float, float]] = [(x(most), top + (place[c] + 0.5) * row) for c in range(classes)]
    lines = []
    for merge in model.merges:
        (xa, ya), (xb, yb) = ends[merge.first], ends[merge.second]
        at = x(merge.shared)
        lines.append(f"M{xa:.1f} {ya:.1f}H{at:.1f}V{yb:.1f}H{xb:.1f}")
        ends.append((at, (ya + yb) / 2))
    return f'<path d="{"".join(lines)}" fill="none" stroke="var(--grey)" stroke-width="1"/>'


def _short(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"{name[:16]}…{name[-11:]}"


def _density(value: float, mean: float, std: float) -> float:
    return math.exp(-0.5 * ((value - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


def _svg(parts: Sequence[str], width: float, height: float, words: str, name: str) -> Markup:
    return Markup(
        f'<svg class="{name}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(words)}">'
        f"{''.join(parts)}</svg>"
    )
