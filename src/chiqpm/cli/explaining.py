"""Commands that draw what a classifier saw and what it is made of: `explain`, `compare`, `features`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from chiqpm.cli.common import Common, write, write_json


@dataclass(frozen=True, kw_only=True)
class Explain(Common):
    """Explain the prediction for an image: the picture with its features, the tree and the set."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory."""
    image: Annotated[Positional[Path], arg(metavar="IMAGE")]
    """The picture."""
    out: Path = Path("explanation.png")
    """The figure: .png, .svg or .pdf."""
    coverage: float | None = None
    """Probability with which the set contains the truth; by default that of the run."""
    width: float = 10.0
    """Width of the page in inches; below 6.5 in one column, for phones."""
    device: str = "auto"
    """Where to compute."""

    def run(self) -> None:
        """Draw and describe."""
        from chiqpm.classifier import load
        from chiqpm.gallery import read_examples

        classifier = load(self.model, device=self.device)
        prediction = classifier.predict(self.image, self.coverage)
        prediction.save_figure(self.out, examples=read_examples(self.model), width=self.width)
        if self.json:
            write_json({"figure": str(self.out), **prediction.to_dict()})
        else:
            write(prediction.explanation.text())
            write(f"\nFigure: {self.out}")


@dataclass(frozen=True, kw_only=True)
class Compare(Common):
    """Show what two classes share and what separates them."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory."""
    first: Annotated[Positional[str], arg(metavar="CLASS")]
    """A class."""
    second: Annotated[Positional[str], arg(metavar="CLASS")]
    """Another class."""
    out: Path = Path("contrast.png")
    """The figure: .png, .svg or .pdf."""
    width: float = 10.0
    """Width of the page in inches; below 6.5 a class shows one of its own features only, for phones."""
    data: Path | None = None
    """The folder of images, where it has moved since the run."""

    def run(self) -> None:
        """Draw and describe."""
        from chiqpm.gallery import compare_in_run

        values = compare_in_run(self.model, self.first, self.second, self.out, data_folder=self.data, width=self.width)
        if self.json:
            write_json({"figure": str(self.out), **values.to_dict()})
        else:
            write(values.sentence())
            write(f"\nFigure: {self.out}")


@dataclass(frozen=True, kw_only=True)
class Features(Common):
    """Draw the class tree, the nearest pairs, and a page for every feature: where it fires, and whether to trust it."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory."""
    out: Path | None = None
    """A folder for the pictures, features.json and features.txt; by default `features` in the run directory."""
    only: tuple[int, ...] = ()
    """Numbers of the features that get a page; by default all."""
    width: float = 10.0
    """Width of the pages in inches; below 6.5 in one column, for phones."""
    data: Path | None = None
    """The folder of images, where it has moved since the run."""
    device: str = "auto"
    """Where to compute."""

    def run(self) -> None:
        """Draw and name the files."""
        from chiqpm.feature_gallery import draw_features

        files = draw_features(
            self.model,
            self.out,
            features=self.only or None,
            data_folder=self.data,
            device=self.device,
            width=self.width,
            quiet=self.quiet,
        )
        if self.json:
            write_json({"files": [str(file) for file in files]})
        else:
            write(
                f"{len(files)} files in {files[0].parent}: model.png, pairs.png, a page for each feature, features.txt"
            )
