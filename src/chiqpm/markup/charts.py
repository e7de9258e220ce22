"""Small charts as SVG, in the colours of the page, so that they are legible by day, by night and on paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from chiqpm.conformal import Rate

_WIDTH, _HEIGHT = 340.0, 210.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 12.0, 40.0
_LEGEND = 15.0


@dataclass(frozen=True)
class Point:
    """A point of a chart: its place, its exact interval, and the band in which it is expected."""

    x: float
    rate: Rate
    band: tuple[float, float] | None = None


def coverage_chart(points: Sequence[Point]) -> Markup:
    """Draw observed against requested coverage, with exact intervals and the band that chance allows.

    Args:
        points: at least one, in the order of x.
    """
    low = min(p.x for p in points)
    floor = min([low, *(p.rate.low for p in points), *(p.band[0] for p in points if p.band)])
    axes = _Axes((low - 0.02, 1.0), (max(0.0, floor - 0.02), 1.0), "coverage asked for", "observed")
    parts = axes.frame()
    banded = [p for p in points if p.band is not None]
    if len(banded) > 1:
        upper = [(axes.x(p.x), axes.y(p.band[1])) for p in banded if p.band]
        lower = [(axes.x(p.x), axes.y(p.band[0])) for p in reversed(banded) if p.band]
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in (*upper, *lower))
        parts.append(f'<polygon points="{corners}" fill="var(--band)"/>')
    start, end = max(axes.x0, axes.y0), 1.0
    parts.append(_line((axes.x(start), axes.y(start)), (axes.x(end), axes.y(end)), "var(--grey)", 1.2, dash="5 4"))
    for p in points:
        x = axes.x(p.x)
        parts.append(_line((x, axes.y(p.rate.low)), (x, axes.y(p.rate.high)), "var(--data)", 2.0))
        parts.append(f'<circle cx="{x:.1f}" cy="{axes.y(p.rate.value):.1f}" r="4" fill="var(--data)"/>')
    words = "; ".join(
        f"asked for {p.x:.4g}: {p.rate.value:.3f} ({p.rate.low:.3f} to {p.rate.high:.3f})" for p in points
    )
    return _svg(parts, f"Observed coverage against the coverage asked for. {words}")


def line_chart(points: Sequence[tuple[float, float]], *, x_label: str, y_label: str) -> Markup:
    """Draw a line through points (x, y), y from 0 on."""
    most = max(y for _, y in points)
    axes = _Axes((points[0][0] - 0.02, max(x for x, _ in points) + 0.01), (0.0, 1.1 * most or 1.0), x_label, y_label)
    parts = axes.frame()
    path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="var(--data)" stroke-width="2"/>')
    parts += [f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="3" fill="var(--data)"/>' for x, y in points]
    words = "; ".join(f"{x:.4g}: {y:.3g}" for x, y in points)
    return _svg(parts, f"{y_label} against {x_label}. {words}")


def curves_chart(
    curves: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str, y_label: str, top: float = 1.0
) -> Markup:
    """Draw several curves from 0 on, told apart by colour, dashes and a legend; the first one is the one that matters.

    Args:
        curves: name -> points (x, y).
        x_label: what x is.
        y_label: what y is.
        top: largest y that is shown at least.
    """
    points = [point for curve in curves.values() for point in curve]
    high = max(top, *(y for _, y in points))
    low = min(0.0, *(y for _, y in points))
    axes = _Axes((0.0, max(x for x, _ in points)), (low, high), x_label, y_label, legend=len(curves))
    parts = axes.frame()
    styles = (("var(--data)", ""), ("var(--bad)", "6 4"), ("var(--grey)", "2 3"))
    for (name, curve), (colour, dash), place in zip(curves.items(), styles, range(3), strict=False):
        path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in curve)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.2" stroke-dasharray="{dash}"/>'
        )
        y = 8 + _LEGEND * place
        parts.append(_line((axes.left, y), (axes.left + 24, y), colour, 2.2, dash=dash))
        parts.append(_text(axes.left + 30, y + 4, name, anchor="start", size=11))
    words = ". ".join(f"{name}: " + "; ".join(f"{x:.2g}: {y:.2f}" for x, y in curve) for name, curve in curves.items())
    return _svg(parts, f"{y_label} against {x_label}. {words}")


def bar_chart(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    reference: Sequence[float] | None = None,
    reference_label: str = "",
) -> Markup:
    """Draw bars, each with its value, and perhaps a mark across each for what is expected.

    Args:
        labels: under the bars.
        values: their heights, at least 0.
        x_label: what the labels are.
        y_label: what the heights are.
        reference: a height for a mark at each bar.
        reference_label: what the marks are.
    """
    most = max([*values, *(reference or ()), 1e-9])
    axes = _Axes((-0.5, len(values) - 0.5), (0.0, 1.15 * most), x_label, y_label)
    parts = axes.frame(x_ticks=False)
    step = (axes.right - axes.left) / max(1, len(values))
    width = min(0.72 * step, 60.0)
    for place, (label, value) in enumerate(zip(labels, values, strict=True)):
        x, y = axes.x(place), axes.y(value)
        parts.append(
            f'<rect x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{axes.bottom - y:.1f}" '
            'fill="var(--data)"/>'
        )
        if len(values) <= 14:
            parts.append(_text(x, y - 4, _number(value), anchor="middle", size=10.5))
        if len(values) <= 10 or place % -(-len(values) // 8) == 0:
            parts.append(_text(x, axes.bottom + 14, label, anchor="middle", size=11))
        if reference is not None:
            level = axes.y(reference[place])
            parts.append(_line((x - step * 0.45, level), (x + step * 0.45, level), "var(--bad)", 2.5))
    words = "; ".join(f"{label}: {_number(value)}" for label, value in zip(labels, values, strict=True))
    if reference is not None:
        marks = "; ".join(f"{label}: {_number(value)}" for label, value in zip(labels, reference, strict=True))
        words += f". {reference_label}: {marks}"
    return _svg(parts, f"{y_label} by {x_label}. {words}")


def interval_bar(rate: Rate, target: float) -> Markup:
    """Draw one share in [0, 1] with its exact interval and a mark at the target, for a row of a table."""
    colour = "var(--bad)" if rate.high < target else "var(--data)"
    parts = [
        _line((0, 8), (100, 8), "var(--line)", 1),
        _line((100 * target, 1), (100 * target, 15), "var(--grey)", 1.5, dash="3 2"),
        _line((100 * rate.low, 8), (100 * rate.high, 8), colour, 4),
        f'<rect x="{100 * rate.value - 1.5:.1f}" y="2" width="3" height="12" fill="{colour}"/>',
    ]
    return Markup(
        '<svg class="interval" viewBox="-2 0 104 16" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


class _Axes:
    """Data coordinates on the page, with a frame."""

    left, right, bottom = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], x_label: str, y_label: str, *, legend: int = 0
    ) -> None:
        self.top = _TOP + _LEGEND * legend
        (self.x0, self.x1), (self.y0, self.y1) = x, y
        self.x_label, self.y_label = x_label, y_label

    def x(self, value: float) -> float:
        return self.left + (value - self.x0) / (self.x1 - self.x0) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - (value - self.y0) / (self.y1 - self.y0) * (self.bottom - self.top)

    def frame(self, *, x_ticks: bool = True) -> list[str]:
        parts = []
        for tick in _ticks(self.y0, self.y1):
            y = self.y(tick)
            parts.append(_line((self.left, y), (self.right, y), "var(--line)", 1))
            parts.append(_text(self.left - 6, y + 4, _number(tick), anchor="end", size=11))
        for tick in _ticks(self.x0, self.x1) if x_ticks else ():
            x = self.x(tick)
            parts.append(_line((x, self.bottom), (x, self.bottom + 4), "var(--grey)", 1))
            parts.append(_text(x, self.bottom + 16, _number(tick), anchor="middle", size=11))
        parts.append(_line((self.left, self.bottom), (self.right, self.bottom), "var(--grey)", 1))
        middle = (self.top + self.bottom) / 2
        parts.append(_text((self.left + self.right) / 2, _HEIGHT - 6, self.x_label, anchor="middle", size=12))
        parts.append(_text(11, middle, self.y_label, anchor="middle", size=12, turn=True))
        return parts


def _ticks(low: float, high: float) -> list[float]:
    step = next(s for e in range(-3, 9) for s in (10.0**e, 2 * 10.0**e, 5 * 10.0**e) if (high - low) / s <= 6)
    first = -(-low // step)
    return [round(step * (first + i), 6) for i in range(int((high - first * step) / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _line(start: tuple[float, float], end: tuple[float, float], colour: str, width: float, *, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" stroke="{colour}" '
        f'stroke-width="{width:g}"{dashes}/>'
    )


def _text(x: float, y: float, words: str, *, anchor: str, size: float, turn: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}" fill="var(--ink)"{turned}>'
        f"{escape(words)}</text>"
    )


def _svg(parts: Sequence[str], description: str) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(description)}">'
        f"{''.join(parts)}</svg>"
    )
