"""Runs that differ from the default one in an option or two, and share with it all that they can."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chiqpm import config_file
from chiqpm.config import FitConfig
from chiqpm.experiments.birds_run import draw_birds
from chiqpm.experiments.finished_run import FinishedRun, open_run
from chiqpm.experiments.outcome import Context
from chiqpm.files import digest
from chiqpm.pipeline import Run

_COPIED = ("split.csv", "dense.safetensors", "statistics.npz", "assignment.npz")
_LEDGER = "stages.json"


@dataclass(frozen=True)
class Variant:
    """A named change of options.

    Attributes:
        name: what it is called in tables.
        changes: groups of options as dictionaries, as `chiqpm.fit` takes them.
    """

    name: str
    changes: dict[str, Any]


def train_variants(context: Context, variants: list[Variant]) -> dict[str, FinishedRun]:
    """Train the default run and each variant, or open those that are finished.

    All train on the same images with the same seed: on the built-in birds with default options, or where the context
    gives a run, on its images with its options. The frozen part's activations are computed once for all; a variant
    takes over the dense model, its statistics and the assignment, as far as its options leave them as they are.

    Args:
        context: of the experiment.
        variants: their names must differ; one without changes is the run they all start from.

    Returns:
        Name -> finished run, in the order given.
    """
    if context.runs:
        base = open_run(context.runs[0])
        folder, options, name = base.table.root, base.options, base.key
    else:
        folder, options = draw_birds(context)
        name = str(context.seed)
        base = _train(context, folder, options, context.shared / f"run-{name}", name)
    found: dict[str, FinishedRun] = {}
    for variant in variants:
        changed = config_file.from_dict(config_file.updated(config_file.to_dict(options), variant.changes))
        if changed == options:
            found[variant.name] = base
            continue
        out = context.shared / f"variant-{name}-{digest(config_file.to_dict(changed))[:12]}"
        _take_over(base.out, out)
        found[variant.name] = _train(context, folder, changed, out, name)
    return found


def _train(context: Context, folder: Path, options: FitConfig, out: Path, name: str) -> FinishedRun:
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "metrics.json").exists():
        _share_cache(out, context.shared / f"cache-{name}-{_frozen_key(options)}")
    Run(folder, out, options, quiet=context.quiet).finish()
    return open_run(out)


def _take_over(base: Path, out: Path) -> None:
    """Start a variant with the base's products; its ledger says what made them, so that what differs is done again."""
    if (out / _LEDGER).exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        shutil.copyfile(base / name, out / name)
    ledger = json.loads((base / _LEDGER).read_text(encoding="utf-8"))
    ledger["stages"] = {
        name: stage
        for name, stage in ledger["stages"].items()
        if name in ("split", "dense", "statistics", "assignment")
    }
    (out / _LEDGER).write_text(json.dumps(ledger), encoding="utf-8")


def _share_cache(out: Path, shared: Path) -> None:
    """Let the run keep the frozen part's activations where others find them; the end of a run removes the link only."""
    shared.mkdir(parents=True, exist_ok=True)
    cache = out / "cache"
    if cache.is_dir() and not cache.is_symlink():
        shutil.rmtree(cache)
    if not cache.is_symlink():
        cache.symlink_to(shared.resolve(), target_is_directory=True)


def _frozen_key(options: FitConfig) -> str:
    plain = config_file.to_dict(options)
    return digest([plain["data"], plain["backbone"], plain["cached_views"]])[:8]
