"""The built-in birds of an experiment, and the run that it measures: a given one, or one that is trained and kept."""

from __future__ import annotations

from pathlib import Path

from chiqpm.config import AssignmentConfig, DataConfig, DenseConfig, FineTuneConfig, FitConfig, OptimiserConfig
from chiqpm.data.birds import BirdsConfig, write_birds
from chiqpm.experiments.finished_run import FinishedRun, open_run
from chiqpm.experiments.outcome import Context
from chiqpm.pipeline import fit
from chiqpm.progress import steps
from chiqpm.quickstart import IMAGE_SIZE


def birds_and_options(context: Context) -> tuple[BirdsConfig, dict[str, int], FitConfig]:
    """Return which birds an experiment draws, how many of each species, and how it trains."""
    if context.reduced:
        birds = BirdsConfig(families=2, genera=1, siblings=2, image_size=64, seed=context.seed)
        few = OptimiserConfig(batch_size=8)
        options = FitConfig(
            data=DataConfig(image_size=64, find_duplicates=False),
            dense=DenseConfig(epochs=3, optimiser=few),
            assignment=AssignmentConfig(kept_features=6, features_per_class=2, time_limit=1.0),
            finetune=FineTuneConfig(rounds=(3,), grounding_epochs=3, optimiser=few),
            seed=context.seed,
            cached_views=1,
            workers=0,
        )
        return birds, {"train": 8, "calibration": 6, "test": 6}, options
    options = FitConfig(data=DataConfig(image_size=IMAGE_SIZE, find_duplicates=False), seed=context.seed)
    return BirdsConfig(image_size=IMAGE_SIZE, seed=context.seed), {"train": 40, "calibration": 10, "test": 10}, options


def draw_birds(context: Context) -> tuple[Path, FitConfig]:
    """Write the birds of an experiment, where they aren't there yet, and return their folder and the options."""
    birds, counts, options = birds_and_options(context)
    folder = context.shared / f"birds-{context.seed}"
    processes = 1 if context.reduced else None
    progress = steps("drawing birds", quiet=context.quiet)
    write_birds(folder, config=birds, processes=processes, progress=progress, **counts)
    return folder, options


def run_to_measure(context: Context) -> FinishedRun:
    """Open the run that the context gives, or train the default one on the birds.

    Raises:
        FileNotFoundError: there is no such run, or its images are gone.
    """
    if context.runs:
        return open_run(context.runs[0])
    folder, options = draw_birds(context)
    out = context.shared / f"run-{context.seed}"
    fit(folder, out, config=options, quiet=context.quiet)
    return open_run(out)
