"""Answers for held-out images: of models of the built-in birds that leave room for sets, and of given runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.config import AssignmentConfig, DataConfig, FitConfig
from chiqpm.data.birds import BirdsConfig, make_taxonomy, write_birds
from chiqpm.experiments.finished_run import FinishedRun
from chiqpm.files import read_npz, write_npz
from chiqpm.inference import Answers
from chiqpm.metrics import class_similarity
from chiqpm.pipeline import fit
from chiqpm.progress import steps
from chiqpm.quickstart import IMAGE_SIZE


@dataclass(frozen=True)
class HeldOut:
    """A trained model's answers for images that it has not seen, in random order.

    Attributes:
        logits_NC: logits.
        features_NK: features of the last layer.
        labels_N: true classes.
        weight_CK: binary assignment.
        similarity_CC: cosine similarity of the classes' attributes; None where none are known.
        family_C: family of each species, its superclass; None where none are known.
    """

    logits_NC: NDArray[np.float32]
    features_NK: NDArray[np.float32]
    labels_N: NDArray[np.int64]
    weight_CK: NDArray[np.float32]
    similarity_CC: NDArray[np.float64] | None
    family_C: NDArray[np.int64] | None

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy."""
        return float((self.logits_NC.argmax(axis=1) == self.labels_N).mean())


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """What a model of the experiment is made from."""

    held_out: int = 30
    """Images of each species in the calibration part, and as many in the test part."""
    image_size: int = IMAGE_SIZE
    """Side of the images in pixels."""
    families: int = 8
    """Families of three genera of two species."""
    search_seconds: float = 20.0
    """Limit for the search of the assignment."""


def held_out_answers(out: Path, seed: int, per_class: int, size: ModelSize, *, quiet: bool = True) -> HeldOut:
    """Train a model on few birds and let it answer for many others.

    The answers are written to `out/answers.npz`; where that file is, nothing is trained.

    Args:
        out: run directory.
        seed: of the birds, the training and the order of the answers.
        per_class: training images of each species: few, so that the model errs and its sets matter.
        size: of the data.
        quiet: show no progress bars.
    """
    file, birds = out / "answers.npz", BirdsConfig(seed=seed, image_size=size.image_size, families=size.families)
    if not file.exists():
        write_npz(file, _train(out, birds, per_class, size, quiet=quiet))
    taxonomy = make_taxonomy(birds)
    return HeldOut(**read_npz(file), similarity_CC=class_similarity(taxonomy.attributes_CA), family_C=taxonomy.family_C)


def _train(out: Path, birds: BirdsConfig, per_class: int, size: ModelSize, *, quiet: bool) -> dict[str, NDArray[Any]]:
    drawing = steps("drawing birds", quiet=quiet)
    counts = {"train": per_class, "calibration": size.held_out, "test": size.held_out}
    write_birds(out / "birds", config=birds, progress=drawing, **counts)
    options = FitConfig(
        data=DataConfig(image_size=size.image_size, find_duplicates=False),
        assignment=AssignmentConfig(time_limit=size.search_seconds),
        seed=birds.seed,
    )
    classifier = fit(out / "birds", out, config=options, quiet=quiet)
    return {**_pooled(out, birds.seed), "weight_CK": classifier.model.weight_CK.cpu().numpy()}


def answers_of_run(run: FinishedRun, seed: int) -> HeldOut:
    """Return the answers of a finished run for its calibration and test images.

    Args:
        run: of any data.
        seed: of the order of the answers.
    """
    return HeldOut(**_pooled(run.out, seed), weight_CK=run.weight_CK, similarity_CC=run.similarity_CC, family_C=None)


def _pooled(out: Path, seed: int) -> dict[str, NDArray[Any]]:
    parts = [Answers.read(out / f"{part}_answers.npz") for part in ("calibration", "test")]
    order = np.random.default_rng(seed).permutation(sum(len(part.labels_N) for part in parts))
    return {
        name: np.concatenate([getattr(part, name) for part in parts])[order]
        for name in ("logits_NC", "features_NK", "labels_N")
    }
