"""A run's numbers as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MEANINGS = {
    "contrastiveness": "features are either on or off (1 is best)",
    "class_independence": "no feature belongs to one class (1 is best)",
    "correlation": "features that say the same (lower is better)",
    "dependence": "share of the strongest feature in a prediction (lower is better)",
    "structural_grounding": "similar classes share features (1 is best)",
    "feature_alignment": "features follow attributes (higher is better)",
    "attribute_auc": "each feature detects an attribute (1 is best, 0.5 is chance)",
    "part_hit": "explaining features peak on their part (1 is best)",
    "part_hit_other_image": "the same peaks on the parts of other images (a control)",
    "part_hit_random": "random places on their part (a control)",
}


def metrics_table(values: Mapping[str, Any]) -> str:
    """Lay out what `metrics.json` holds.

    Args:
        values: of a run, or of a measurement on other images, which has fewer.

    Returns:
        Text with headings and aligned columns, at most 100 characters wide.
    """
    blocks = [_data(values), _accuracy(values["accuracy"])]
    if "assignment" in values:
        blocks.append(_assignment(values["features"], values["assignment"]))
    if "interpretability" in values:
        blocks.append(_interpretability(values["interpretability"]))
    if "grounding" in values:
        blocks.append(_grounding(values["grounding"]))
    if "coverage" in values:
        blocks.append(_coverage(values["coverage"], values.get("calibration_score")))
    else:
        blocks.append("Prediction sets\n  calibrated anew since; `chiqpm evaluate RUN --images IMAGES` measures them")
    return "\n\n".join(blocks)


def _data(values: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{count} {part}" for part, count in values["images"].items())
    kind = "synthetic images" if values.get("synthetic") else "images"
    return f"{values['classes']} classes; {kind}: {counts}"


def _accuracy(accuracy: Mapping[str, float | None]) -> str:
    lines = ["Accuracy on test images"]
    if accuracy["dense"] is not None:
        lines.append(_row("dense black box", f"{accuracy['dense']:.3f}"))
    lines.append(_row("sparse CHiQPM", f"{accuracy['sparse']:.3f}"))
    if accuracy["ratio"] is not None:
        lines.append(_row("sparse / dense", f"{accuracy['ratio']:.3f}"))
    return "\n".join(lines)


def _assignment(features: Mapping[str, int], assignment: Mapping[str, Any]) -> str:
    pairs = f"{assignment['pairs_satisfied']} of {assignment['pairs_forced']}"
    lines = ["Assignment", _row("features", f"{features['kept']}, {features['per_class']} per class")]
    lines.append(_row("similar pairs that differ in one feature", pairs))
    gap = "" if assignment["gap"] is None else f", proven: no other is more than {100 * assignment['gap']:.1f}% better"
    lines.append(_row("objective", f"{assignment['objective']:.2f}{gap}"))
    return "\n".join(lines)


def _interpretability(values: Mapping[str, float]) -> str:
    lines = ["Interpretability"]
    for name, value in values.items():
        meaning = MEANINGS.get(name, "the maps of a class lie apart (1 is best)")
        lines.append(f"{_row(name.replace('_', ' '), f'{value:.3f}')}   {meaning}")
    return "\n".join(lines)


def _grounding(values: Mapping[str, Any]) -> str:
    peaks, pivots = values["peaks"], values["pivots"]
    lines = [
        "Grounding (synthetic birds rendered again)",
        _row("peaks of explaining features on their part", f"{peaks['hit']:.3f}")
        + f"   other image {peaks['other_image']:.3f}, random place {peaks['random_image']:.3f}",
    ]
    if pivots is not None:
        lines.append(
            _row("sibling's attribute: prediction follows", f"{pivots['flip_rate']:.3f}")
            + f"   another part's attribute {pivots['control_flip_rate']:.3f}"
        )
        lines.append(
            _row("sibling's attribute: separating feature follows", f"{pivots['faithful']:.3f}")
            + f"   another part's attribute {pivots['control_faithful']:.3f}"
        )
    return "\n".join(lines)


def _coverage(table: Mapping[str, Mapping[str, Any]], used: str | None) -> str:
    targets = list(next(iter(table.values())))
    rows = [["Prediction sets", *(f"target {float(target):.3g}" for target in targets)]]
    for score, values in table.items():
        name = f"{score} (in use)" if score == used else score
        rows.append([f"  {name}: coverage", *(f"{values[target]['coverage']:.3f}" for target in targets)])
        rows.append(["      mean size", *(f"{values[target]['mean_size']:.2f}" for target in targets)])
        if any(values[target]["empty_rate"] > 0 for target in targets):
            rows.append(["      empty sets", *(f"{values[target]['empty_rate']:.3f}" for target in targets)])
        if any("coherence" in values[target] for target in targets):
            cells = [values[target].get("coherence", {}).get("pair_pooled") for target in targets]
            rows.append(["      coherence", *("-" if cell is None else f"{cell:.3f}" for cell in cells)])
    return "\n".join(_columns(row) for row in rows)


def _row(name: str, value: str) -> str:
    return f"  {name:<50}{value}"


def _columns(cells: Sequence[str]) -> str:
    return f"{cells[0]:<36}" + "".join(f"{cell:>14}" for cell in cells[1:])
