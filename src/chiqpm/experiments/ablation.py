"""What the grounding loss, the ReLU, beta and lambda do for features that sit on parts."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial
from typing import Any

from chiqpm.classifier import load
from chiqpm.data.birds import open_birds
from chiqpm.errors import ChiqpmError
from chiqpm.experiments.finished_run import FinishedRun, open_run
from chiqpm.experiments.grounding import measure_grounding
from chiqpm.experiments.keeping import kept
from chiqpm.experiments.maps_figure import draw_maps
from chiqpm.experiments.outcome import Context, Interval, Outcome, Verdict, mean_interval
from chiqpm.experiments.part_changes import measure_part_changes
from chiqpm.experiments.variants import Variant, train_variants

DEFAULT, NO_LOSS = "default", "no grounding loss"
_HIT = "part_hit"
NO_COST = 0.02
"""A loss of accuracy up to here counts as none."""
VARIANTS = [
    Variant(DEFAULT, {}),
    Variant(NO_LOSS, {"finetune": {"grounding_weight": 0.0}}),
    Variant("lambda 0.3", {"finetune": {"grounding_weight": 0.3}}),
    Variant("lambda 3", {"finetune": {"grounding_weight": 3.0}}),
    Variant("no ReLU", {"finetune": {"rectify": False}}),
    Variant("no ReLU, no grounding loss", {"finetune": {"rectify": False, "grounding_weight": 0.0}}),
    Variant("beta 0", {"dense": {"diversity_weight": 0.0}}),
    Variant("beta 0.5", {"dense": {"diversity_weight": 0.5}}),
    Variant("beta 1", {"dense": {"diversity_weight": 1.0}}),
]
REDUCED = VARIANTS[:2]
_COLUMNS = {
    "accuracy": ("accuracy", "sparse"),
    "contrastiveness": ("interpretability", "contrastiveness"),
    "class independence": ("interpretability", "class_independence"),
    "SID": ("interpretability", "sid"),
    "peaks on part": ("peaks", "hit"),
    "... another image's part": ("peaks", "other_image"),
    "... random place": ("peaks", "random_image"),
    "attribute AUC": ("attribute_auc",),
    "flips": ("pivots", "flip_rate"),
    "... control": ("pivots", "control_flip_rate"),
    "faithful": ("pivots", "faithful"),
    "falls without its part": ("removed", "falls"),
    "... without another": ("removed", "control_falls"),
}


def run(context: Context) -> Outcome:
    """Train the variants on the same images and measure their grounding, on birds also by drawing them again.

    Raises:
        ChiqpmError: a given run on images whose parts are not known.
    """
    if context.runs:
        _check_parts(open_run(context.runs[0]))
    chosen = REDUCED if context.reduced else VARIANTS
    per_class = 2 if context.reduced else 5
    runs = train_variants(context, chosen)
    measured = {}
    for name, found in runs.items():
        made_from = {"run": found.out.name, "seed": context.seed, "per_class": per_class}
        made_from |= {"key": found.key} if context.runs else {}
        file = context.out / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        measured[name] = kept(file, made_from, partial(_measure, found, per_class, context))
    shown = {name: runs[name] for name in (DEFAULT, NO_LOSS, "no ReLU", "beta 0") if name in runs}
    draw_maps(shown, context.out / "maps.png")
    rows = [[name, *(_at(values, path) for path in _COLUMNS.values())] for name, values in measured.items()]
    return Outcome(
        verdict=judge(measured, _accuracy_difference(runs[DEFAULT], runs[NO_LOSS])),
        columns=["variant", *_COLUMNS],
        rows=rows,
        values=measured,
        notes=[
            "All variants share images, seed and frozen part; one seed, so that differences of a hundredth between "
            "variants may be chance. peaks on part: of the features that explain a prediction; its controls are the "
            "same peaks against another image's part, and random places. attribute AUC: the attribute is chosen on "
            "calibration, scored on test images. flips, faithful: a sibling's attribute is drawn instead; control: an "
            "attribute of another part. falls without its part: the feature that separates siblings loses half of its "
            "activation when the part that separates them is removed. Where images can't be drawn again, these are "
            "empty. "
            "Without the ReLU a feature is active above its mean.",
            _what_else(measured),
        ],
    )


def _check_parts(run: FinishedRun) -> None:
    if not run.is_birds and _HIT not in run.metrics["interpretability"]:
        raise ChiqpmError(
            f"grounding is measured where the places of parts are known, as in CUB-200-2011; for {run.out} they are not"
        )


def _measure(found: FinishedRun, per_class: int, context: Context) -> dict[str, Any]:
    interpretability = dict(found.metrics["interpretability"])
    interpretability["sid"] = next(value for name, value in interpretability.items() if name.startswith("sid@"))
    accuracy = found.metrics["accuracy"]
    if found.is_birds:
        looked_at = per_class * len(found.weight_CK)
        grounding = _measure_birds(found, per_class, context)
    else:
        looked_at = found.metrics["images"]["test"]
        shares = {"hit": _HIT, "other_image": f"{_HIT}_other_image", "random_image": f"{_HIT}_random"}
        peaks = {share: interpretability.get(name) for share, name in shares.items()}
        grounding = {"peaks": peaks, "attribute_auc": interpretability.get("attribute_auc")}
    return {"accuracy": accuracy, "looked_at": looked_at, "interpretability": interpretability, **grounding}


def _measure_birds(found: FinishedRun, per_class: int, context: Context) -> dict[str, Any]:
    classifier = load(found.out, device="cpu")
    grounding = measure_grounding(
        classifier, found.birds, images_per_class=per_class, seed=context.seed, quiet=context.quiet
    )
    removed = measure_part_changes(
        classifier,
        open_birds(found.birds)[2],
        images=per_class * len(found.weight_CK),
        seed=context.seed,
        swap=False,
    ).removed
    return {**grounding.to_dict(), "removed": None if removed is None else asdict(removed)}


def judge(measured: dict[str, dict[str, Any]], accuracy: Interval) -> Verdict:
    """Say whether the grounding loss gains peaks on parts beyond chance, and can't have cost accuracy.

    Args:
        measured: variant -> what was measured.
        accuracy: with the loss minus without it.
    """
    ours, without = measured[DEFAULT], measured[NO_LOSS]
    hits = _difference(*((values["peaks"]["hit"], values["looked_at"]) for values in (ours, without)))
    contrast = ours["interpretability"]["contrastiveness"] - without["interpretability"]["contrastiveness"]
    evidence = (
        f"With it minus without it: peaks on their part {hits.text(sign=True)}, contrastiveness {contrast:+.4f}, "
        f"accuracy {accuracy.text(sign=True)}, where a loss of up to {NO_COST} counts as none; another image's part: "
        f"{_share(ours['peaks']['other_image'])}."
    )
    holds = hits.low > 0 and accuracy.low > -NO_COST
    return Verdict(
        claim="The grounding loss puts features on parts without costing accuracy.", holds=holds, evidence=evidence
    )


def _what_else(measured: dict[str, dict[str, Any]]) -> str:
    """Say what leaving out the other parts of the method does."""
    ours = measured[DEFAULT]
    changes = []
    for name in ("no ReLU", "beta 0"):
        if name in measured:
            other = measured[name]
            hits = _difference(*((values["peaks"]["hit"], values["looked_at"]) for values in (other, ours)))
            sid, contrast = (
                other["interpretability"][column] - ours["interpretability"][column]
                for column in ("sid", "contrastiveness")
            )
            changes.append(
                f"{name}: peaks on part {hits.text(sign=True)}, SID {sid:+.3f}, contrastiveness {contrast:+.3f}"
            )
    return f"Against the default, {'; '.join(changes)}." if changes else "Nothing else was left out."


def _difference(first: tuple[float | None, int], second: tuple[float | None, int]) -> Interval:
    """Difference of two shares with a normal interval; NaN without cases.

    The peaks of one image depend on each other, so each image counts as one case: the interval is wide rather than
    narrow.
    """
    (share, images), (other, other_images) = first, second
    if share is None or other is None:
        return Interval(math.nan, math.nan, math.nan)
    reach = 1.96 * math.sqrt(share * (1 - share) / images + other * (1 - other) / other_images)
    return Interval(share - other, share - other - reach, share - other + reach)


def _accuracy_difference(first: FinishedRun, second: FinishedRun) -> Interval:
    """Difference of two models' accuracies on the same test images."""
    one, other = (found.answers("test") for found in (first, second))
    differences = (one.predicted_N == one.labels_N).astype(float) - (other.predicted_N == other.labels_N)
    return mean_interval(differences.tolist())


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _at(values: dict[str, Any], path: tuple[str, ...]) -> float | None:
    found: Any = values
    for name in path:
        found = None if found is None else found.get(name)
    return None if found is None else float(found)
