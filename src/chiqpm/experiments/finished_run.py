"""A finished run of any data, as experiments measure it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from chiqpm import config_file
from chiqpm.config import FitConfig
from chiqpm.data import ImageTable
from chiqpm.data.birds import is_birds
from chiqpm.errors import ChiqpmError
from chiqpm.files import digest, read_json, read_npz
from chiqpm.inference import Answers, Features
from chiqpm.metrics import class_similarity
from chiqpm.run_explanation import open_run_images, require_run


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A finished run with its images.

    Attributes:
        out: run directory.
        table: its images with their split.
        metrics: what `metrics.json` holds.
        weight_CK: binary assignment.
        similarity_CC: cosine similarity of the classes' attributes; None where none are known.
    """

    out: Path
    table: ImageTable
    metrics: dict[str, Any]
    weight_CK: NDArray[Any]
    similarity_CC: NDArray[Any] | None

    @property
    def options(self) -> FitConfig:
        """The options that it was trained with."""
        return config_file.read(self.out / "config.yaml")

    @property
    def key(self) -> str:
        """Short name of exactly this model on exactly these images, for what is kept of it."""
        return digest([self.metrics["classifier"], self.metrics["images"]])[:12]

    @property
    def is_birds(self) -> bool:
        """Whether its images are the built-in synthetic birds, which can be rendered again."""
        return is_birds(self.table.root)

    @property
    def birds(self) -> Path:
        """Folder of the built-in birds.

        Raises:
            ChiqpmError: these are other images.
        """
        if not self.is_birds:
            raise ChiqpmError(f"{self.out} was not made on the built-in birds; make one with `chiqpm quickstart`")
        return self.table.root

    def answers(self, part: str) -> Answers:
        """Return the model's answers for the images of `calibration` or `test`."""
        return Answers.read(self.out / f"{part}_answers.npz")

    def training_features(self) -> Features:
        """Return the model's features of the training images."""
        return Features.read(self.out / "train_answers.npz")


def open_run(out: Path) -> FinishedRun:
    """Open a finished run.

    Raises:
        FileNotFoundError: there is no such run, or its images are gone.
        ChiqpmError: its files don't fit together.
    """
    require_run(out, "config.yaml", "metrics.json")
    table, attributes = open_run_images(out)
    return FinishedRun(
        out=out,
        table=table,
        metrics=read_json(out / "metrics.json"),
        weight_CK=read_npz(out / "assignment.npz")["weight_CK"],
        similarity_CC=None if attributes is None else class_similarity(attributes.values_CA),
    )
