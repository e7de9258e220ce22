"""The run on the built-in birds that experiments measure: a given one, or one that is trained once and kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from numpy.typing import NDArray

from chiqpm.config import AssignmentConfig, DataConfig, DenseConfig, FineTuneConfig, FitConfig, OptimiserConfig
from chiqpm.data import read_attributes
from chiqpm.data.birds import BirdsConfig, is_birds, write_birds
from chiqpm.errors import ChiqpmError
from chiqpm.experiments.outcome import Context
from chiqpm.files import read_npz
from chiqpm.inference import Answers, Features
from chiqpm.metrics import class_similarity
from chiqpm.pipeline import fit
from chiqpm.progress import steps
from chiqpm.quickstart import IMAGE_SIZE


@dataclass(frozen=True, kw_only=True)
class BirdsRun:
    """A finished run on synthetic birds.

    Attributes:
        out: run directory.
        birds: folder of the images.
        metrics: what `metrics.json` holds.
        weight_CK: binary assignment.
        similarity_CC: cosine similarity of the species' attributes.
    """

    out: Path
    birds: Path
    metrics: dict[str, Any]
    weight_CK: NDArray[Any]
    similarity_CC: NDArray[Any]

    def answers(self, part: str) -> Answers:
        """Return the model's answers for the images of `calibration` or `test`."""
        return Answers(**read_npz(self.out / f"{part}_answers.npz"))

    def training_features(self) -> Features:
        """Return the model's features of the training images."""
        seen = read_npz(self.out / "train_answers.npz")
        return Features(features_NK=seen["features_NK"], labels_N=seen["labels_N"])


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


def birds_run(context: Context) -> BirdsRun:
    """Open the run that the context gives, or train the default one.

    Raises:
        ChiqpmError: the given run was not made on the built-in birds.
        FileNotFoundError: there is no such run, or its images are gone.
    """
    if context.run is None:
        folder, options = draw_birds(context)
        out = context.shared / f"run-{context.seed}"
        fit(folder, out, config=options, quiet=context.quiet)
        return open_birds_run(out)
    return open_birds_run(context.run)


def open_birds_run(out: Path) -> BirdsRun:
    """Open a finished run on synthetic birds.

    Raises:
        ChiqpmError: the run was not made on the built-in birds.
        FileNotFoundError: there is no such run, or its images are gone.
    """
    for name in ("config.yaml", "metrics.json"):
        if not (out / name).exists():
            raise FileNotFoundError(f"{out} is no finished run ({name} is missing)")
    birds = Path(yaml.safe_load((out / "config.yaml").read_text(encoding="utf-8"))["data_folder"])
    if not birds.is_dir():
        raise FileNotFoundError(f"the images of this run are no longer in {birds}")
    if not is_birds(birds):
        raise ChiqpmError(f"{out} was not made on the built-in birds; make one with `chiqpm quickstart`")
    described = json.loads((out / "classifier.json").read_text(encoding="utf-8"))
    attributes = read_attributes(birds / "attributes.csv", described["classes"])
    return BirdsRun(
        out=out,
        birds=birds,
        metrics=json.loads((out / "metrics.json").read_text(encoding="utf-8")),
        weight_CK=read_npz(out / "assignment.npz")["weight_CK"],
        similarity_CC=class_similarity(attributes.values_CA),
    )
