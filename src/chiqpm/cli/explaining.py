"""Commands that draw what a classifier saw: `explain`, `compare`."""

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
    device: str = "auto"
    """Where to compute."""

    def run(self) -> None:
        """Draw and describe."""
        from chiqpm.classifier import load
        from chiqpm.gallery import read_examples

        classifier = load(self.model, device=self.device)
        prediction = classifier.predict(self.image, self.coverage)
        prediction.save_figure(self.out, examples=read_examples(self.model))
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
    data: Path | None = None
    """The folder of images, where it has moved since the run."""

    def run(self) -> None:
        """Draw and describe."""
        from chiqpm.gallery import compare_in_run

        values = compare_in_run(self.model, self.first, self.second, self.out, data_folder=self.data)
        if self.json:
            write_json({"figure": str(self.out), **values.to_dict()})
        else:
            write(values.sentence())
            write(f"\nFigure: {self.out}")
