"""Are the classes of a hierarchical set more alike than those of flat sets of the same coverage?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from chiqpm.experiments.conformal.models import ModelSize, held_out_answers
from chiqpm.experiments.conformal.sets import measure_sets
from chiqpm.experiments.keeping import kept
from chiqpm.experiments.outcome import Context, Interval, Outcome, Verdict, mean_interval

HIERARCHICAL = ("branch", "evidence", "path", "level_limited")
FLAT = ("THR", "APS", "RAPS")
_SHOWN = (*HIERARCHICAL, *FLAT, "SAPS", "APS, randomised", "RAPS, randomised")
_TARGET = "0.95"


def models(context: Context) -> tuple[tuple[int, ...], int, ModelSize, int]:
    """Seeds, training images of each species, size and divisions: few images, so that models err and sets matter."""
    if context.reduced:
        size = ModelSize(held_out=6, image_size=64, families=2, search_seconds=1.0)
        return (context.seed + 101,), 4, size, 5
    return tuple(context.seed + number for number in (101, 102, 103)), 16, ModelSize(), 100


def run(context: Context) -> Outcome:
    """Train three models on few birds and compare the sets of all scores over random halves of their images."""
    seeds, per_class, size, splits = models(context)
    measured = {}
    for seed in seeds:
        made_from = {"seed": seed, "per_class": per_class, "size": asdict(size), "splits": splits}
        measure = partial(_measure, context, seed, per_class, size, splits)
        measured[str(seed)] = kept(context.out / f"sets-{seed}.json", made_from, measure)
    return summarise(measured, splits)


def summarise(models: Mapping[str, dict[str, Any]], splits: int) -> Outcome:
    """Compare scores by what `measure_sets` gave for each model.

    Args:
        models: name of a model -> its sets.
        splits: random halves of its images.
    """
    measured = list(models.values())
    rows = []
    for name in _SHOWN:
        values = [model["scores"][name][_TARGET] for model in measured]
        columns = ("coverage", "size", "coherence_sets", "coherence_pairs", "families")
        rows.append([name, *(_mean([value[column] for value in values]) for column in columns)])
    gains = {name: gain for name in FLAT if (gain := _gain(measured, name)) is not None}
    better = [name for name, gain in gains.items() if gain.low > 0]
    worse = [name for name, gain in gains.items() if gain.high < 0]
    unclear = [name for name in gains if name not in better]
    evidence = (
        "Mean similarity of the classes of a set at 95% coverage, branch minus "
        + "; ".join(f"{name} {gain.text(sign=True)}" for name, gain in gains.items())
        + "."
    )
    if unclear:
        evidence += f" No difference is shown against {', '.join(unclear)}."
    notes = [
        f"Means over {len(measured)} models and {splits} random halves each; intervals are over models. Only sets of "
        "two or more classes have a coherence, and larger sets have less of it by themselves; families: superclasses "
        "in a set, counted over all sets.",
        "Accuracies: " + ", ".join(f"{model['accuracy']:.3f}" for model in measured) + ".",
    ]
    if worse:
        notes.append(f"Less coherent than {', '.join(worse)}.")
    return Outcome(
        verdict=Verdict(
            claim="Hierarchical sets are more coherent than THR, APS and RAPS at the same coverage.",
            holds=len(better) == len(FLAT),
            evidence=evidence,
        ),
        columns=["score", "coverage", "size", "coherence per set", "coherence over pairs", "families"],
        rows=rows,
        values={"models": dict(models), "gains": gains},
        notes=notes,
    )


def _measure(context: Context, seed: int, per_class: int, size: ModelSize, splits: int) -> dict[str, Any]:
    answers = held_out_answers(context.shared / f"model-{seed}", seed, per_class, size, quiet=context.quiet)
    return measure_sets(answers, splits=splits, seed=seed)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _gain(measured: list[dict[str, Any]], flat: str) -> Interval | None:
    """Coherence per set of `branch` minus that of a flat score, over models that have both."""
    pairs = [[model["scores"][name][_TARGET]["coherence_sets"] for name in ("branch", flat)] for model in measured]
    differences = [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]
    return mean_interval(differences) if len(differences) > 1 else None
