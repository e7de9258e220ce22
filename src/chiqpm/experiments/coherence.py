"""Are the classes of a hierarchical set more alike than those of flat sets of the same coverage?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from chiqpm.experiments.conformal.models import HeldOut, ModelSize, answers_of_run, held_out_answers
from chiqpm.experiments.conformal.sets import measure_sets
from chiqpm.experiments.finished_run import FinishedRun, open_run
from chiqpm.experiments.keeping import kept
from chiqpm.experiments.outcome import Context, Interval, Outcome, Verdict, mean_interval

HIERARCHICAL = ("branch", "evidence", "path", "level_limited")
FLAT = ("THR", "APS", "RAPS")
_SHOWN = (*HIERARCHICAL, *FLAT, "SAPS", "APS, randomised", "RAPS, randomised")
_TARGET = "0.95"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model whose sets are measured.

    Attributes:
        name: its seed, or for a given run a name of its own.
        seed: of the divisions of its images.
        made_from: JSON-serialisable; everything that its answers depend on.
        answers: makes or reads its answers.
    """

    name: str
    seed: int
    made_from: dict[str, Any]
    answers: Callable[[], HeldOut]


def models(context: Context) -> tuple[list[Model], int]:
    """The given runs, or three models of few birds, so that they err and sets matter; and the number of divisions."""
    splits = 5 if context.reduced else 100
    if context.runs:
        return [_given(run, context.seed) for run in map(open_run, context.runs)], splits
    size, per_class, seeds = ModelSize(), 16, tuple(context.seed + number for number in (101, 102, 103))
    if context.reduced:
        size, per_class = ModelSize(held_out=6, image_size=64, families=2, search_seconds=1.0), 4
        seeds = seeds[:1]
    return [_of_birds(context, seed, per_class, size) for seed in seeds], splits


def _of_birds(context: Context, seed: int, per_class: int, size: ModelSize) -> Model:
    return Model(
        name=str(seed),
        seed=seed,
        made_from={"seed": seed, "per_class": per_class, "size": asdict(size)},
        answers=partial(held_out_answers, context.shared / f"model-{seed}", seed, per_class, size, quiet=context.quiet),
    )


def _given(run: FinishedRun, seed: int) -> Model:
    made_from = {"run": run.key, "seed": seed}
    return Model(name=f"run {run.key}", seed=seed, made_from=made_from, answers=partial(answers_of_run, run, seed))


def run(context: Context) -> Outcome:
    """Compare the sets of all scores over random halves of each model's images.

    Raises:
        ChiqpmError: a given run whose classes have no known attributes, by which classes are alike.
    """
    chosen, splits = models(context)
    measured = {}
    for model in chosen:
        file = context.out / f"sets-{model.name.replace(' ', '-')}.json"
        made_from = {**model.made_from, "splits": splits}
        measured[model.name] = kept(file, made_from, partial(_measure, model, splits))
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
    single = len(measured) == 1
    evidence = (
        "Mean similarity of the classes of a set at 95% coverage, branch minus "
        + "; ".join(
            f"{name} {gain.value:+.3f}" if single else f"{name} {gain.text(sign=True)}" for name, gain in gains.items()
        )
        + "."
    )
    if len(gains) < len(FLAT):
        evidence += " Where a score is missing, it or branch has no set of several classes."
    if single:
        evidence += " One model has no interval, so nothing is shown: give runs of several seeds."
    elif unclear:
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


def _measure(model: Model, splits: int) -> dict[str, Any]:
    return measure_sets(model.answers(), splits=splits, seed=model.seed)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _gain(measured: list[dict[str, Any]], flat: str) -> Interval | None:
    """Coherence per set of `branch` minus that of a flat score, over models that have both."""
    pairs = [[model["scores"][name][_TARGET]["coherence_sets"] for name in ("branch", flat)] for model in measured]
    differences = [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]
    return mean_interval(differences) if differences else None
