"""The commands, each a frozen dataclass that becomes its options."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from chiqpm.config import FitConfig
from chiqpm.errors import ChiqpmError


def write(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(text + "\n")


def write_json(value: Any) -> None:
    """Write JSON to standard output."""
    write(json.dumps(value, indent=2, ensure_ascii=False))


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command."""

    quiet: bool = False
    """Show no progress bars and no notes."""
    json: bool = False
    """Print JSON, for scripts."""


@dataclass(frozen=True, kw_only=True)
class Quickstart(Common):
    """Train, calibrate, evaluate and explain on the built-in synthetic birds."""

    out: Path = Path("runs/quickstart")
    """The run directory; the images go into its folder `birds`."""
    seed: int = 0
    """Seed of the images and of the training."""
    per_class: int = 40
    """Training images of each of the 48 species."""

    def run(self) -> None:
        """Write the birds, fit, and show what came of it."""
        from chiqpm.quickstart import quickstart

        result = quickstart(self.out, seed=self.seed, per_class=self.per_class, quiet=self.quiet)
        _show(result, self.out, as_json=self.json)


@dataclass(frozen=True, kw_only=True)
class Birds(Common):
    """Write the built-in synthetic birds as an image folder with an attributes CSV."""

    out: Annotated[Positional[Path], arg(metavar="DIR")]
    """The folder to write."""
    seed: int = 0
    """Seed of species and images."""
    train: int = 40
    """Training images of each species."""
    calibration: int = 10
    """Calibration images of each species."""
    test: int = 10
    """Test images of each species."""
    families: int = 8
    """Families of birds."""
    genera: int = 3
    """Genera of each family."""
    siblings: int = 2
    """Species of each genus; they differ in one attribute."""
    image_size: int = 160
    """Side of the images in pixels."""

    def run(self) -> None:
        """Write the folder."""
        from chiqpm.data.birds import BirdsConfig, write_birds
        from chiqpm.progress import steps

        config = BirdsConfig(
            families=self.families,
            genera=self.genera,
            siblings=self.siblings,
            image_size=self.image_size,
            seed=self.seed,
        )
        write_birds(
            self.out,
            config=config,
            train=self.train,
            calibration=self.calibration,
            test=self.test,
            progress=steps("drawing birds", quiet=self.quiet),
        )
        if self.json:
            write_json({"folder": str(self.out), "synthetic": True})
        else:
            write(f"Wrote synthetic birds to {self.out}. Next: chiqpm fit {self.out} --out runs/birds")


@dataclass(frozen=True, kw_only=True)
class Fit(Common):
    """Train, calibrate and evaluate on a folder: DIR/<class>/*.jpg, or DIR/{train,calibration,test}/<class>/*.jpg."""

    data: Annotated[Positional[Path], arg(metavar="DIR")]
    """The folder of images."""
    out: Path
    """The run directory; the same command goes on where an interrupted run stopped."""
    preset: Literal["default", "paper", "paper-lite0"] = "default"
    """Options to start from: for a laptop, the published recipe, or the published method on the laptop's backbone."""
    config: Path | None = None
    """A run's config.yaml to start from instead."""
    options: Annotated[FitConfig, arg(name="")] = field(default_factory=FitConfig)
    """All other options."""

    def run(self) -> None:
        """Fit, and show what came of it."""
        from chiqpm.pipeline import fit

        fit(self.data, self.out, config=self.options, quiet=self.quiet)
        _show(json.loads((self.out / "metrics.json").read_text(encoding="utf-8")), self.out, as_json=self.json)


@dataclass(frozen=True, kw_only=True)
class Calibrate(Common):
    """Calibrate a fitted classifier on other images, without training: DIR/<class>/*.jpg."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory."""
    images: Annotated[Positional[Path], arg(metavar="DIR")]
    """Labelled images that the model was not trained on."""
    out: Path | None = None
    """Where the newly calibrated classifier goes; by default the run itself."""
    score: str | None = None
    """Nonconformity score (path, evidence, branch, level_limited, thr, margin, topk, aps, raps, saps); by default the
    run's."""

    def run(self) -> None:
        """Calibrate and save."""
        from chiqpm.recalibration import recalibrate

        out = self.out or self.model
        count = recalibrate(self.model, self.images, out, score=self.score, quiet=self.quiet)
        if self.json:
            write_json({"folder": str(out), "calibration_images": count})
        else:
            write(f"Calibrated on {count} images; the classifier is in {out}")


@dataclass(frozen=True, kw_only=True)
class Evaluate(Common):
    """Show the numbers of a run, or measure it on other labelled images."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory."""
    images: Path | None = None
    """Other labelled images, DIR/<class>/*.jpg; without it the run's own test images count."""

    def run(self) -> None:
        """Measure and show."""
        if self.images is None:
            file = self.model / "metrics.json"
            if not file.exists():
                raise FileNotFoundError(f"{self.model} has no metrics.json; finish the run with chiqpm fit")
            _show(json.loads(file.read_text(encoding="utf-8")), self.model, as_json=self.json)
            return
        from chiqpm.recalibration import measure_elsewhere

        _show(measure_elsewhere(self.model, self.images, quiet=self.quiet), None, as_json=self.json)


@dataclass(frozen=True, kw_only=True)
class Monitor(Common):
    """Watch a stream of images: coverage over time, and an alarm when they stop looking like the calibration's."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory."""
    stream: Annotated[Positional[Path], arg(metavar="STREAM")]
    """A CSV with a column `path` and perhaps `label`, in the order of time; or a folder of pictures."""
    coverage: float | None = None
    """Coverage of the prediction sets; by default that of the run."""
    false_alarm: float = 0.01
    """Probability of an alarm that is ever raised without a reason."""
    window: int = 100
    """Images for each value of the coverage over time."""
    seed: int = 0
    """Seed of the draws that break ties."""
    state: Path | None = None
    """File that continues an earlier stream, and is written at the end."""
    device: str = "auto"
    """Where to compute."""

    def run(self) -> None:
        """Watch and report."""
        from chiqpm.monitor import monitor

        report = monitor(
            self.model,
            self.stream,
            coverage=self.coverage,
            false_alarm=self.false_alarm,
            window=self.window,
            seed=self.seed,
            state=self.state,
            device=self.device,
            quiet=self.quiet,
        )
        if self.json:
            write_json(report.to_dict())
            return
        for part in report.windows:
            rate = part.coverage
            known = f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})" if rate.trials else "no labels"
            write(f"images {part.first:>6} to {part.last:>6}: coverage {known}, mean set size {part.mean_size:.2f}")
        write(report.sentence())


@dataclass(frozen=True, kw_only=True)
class Predict(Common):
    """Classify images: label, prediction set and the path to it."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory."""
    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE...")]
    """Pictures, or folders of them."""
    coverage: float | None = None
    """Probability with which the set contains the truth; by default that of the run."""
    device: str = "auto"
    """Where to compute."""

    def run(self) -> None:
        """Predict and print."""
        from chiqpm.classifier import load

        classifier = load(self.model, device=self.device)
        for path in list_pictures(self.images):
            prediction = classifier.predict(path, self.coverage)
            if self.json:
                line = json.dumps({"image": str(path), **prediction.to_dict()}, ensure_ascii=False)
                write(line)
            else:
                write(f"{path}: {prediction.explanation.sentence()}")


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


def list_pictures(paths: Sequence[Path]) -> list[Path]:
    """Return pictures in the order given, those of a folder sorted, with subfolders.

    Raises:
        FileNotFoundError: a path doesn't exist.
        ChiqpmError: nothing to classify.
    """
    from chiqpm.data.images import is_image_name

    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no image or folder {path}")
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.is_file() and is_image_name(file.name))
        else:
            found.append(path)
    if not found:
        raise ChiqpmError(f"no pictures in {', '.join(str(path) for path in paths) or 'the arguments'}")
    return found


def _show(result: dict[str, Any], out: Path | None, *, as_json: bool) -> None:
    from chiqpm.cli.table import metrics_table

    if as_json:
        write_json(result)
        return
    write(metrics_table(result))
    figures = sorted((out / "figures").glob("*.png")) if out is not None else []
    if figures:
        write("\nPictures:\n" + "\n".join(f"  {figure}" for figure in figures))
