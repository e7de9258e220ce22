"""Commands that measure a classifier or watch it: `calibrate`, `evaluate`, `monitor`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from chiqpm.cli.common import Common, show, write, write_json
from chiqpm.errors import ChiqpmError


@dataclass(frozen=True, kw_only=True)
class Calibrate(Common):
    """Calibrate a fitted classifier on other images, without training: DIR/<class>/*.jpg."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory, or the name of a model on the Hugging Face Hub, `owner/name` (which needs --out)."""
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

        count = recalibrate(self.model, self.images, self.out, score=self.score, quiet=self.quiet)
        out = self.out or self.model
        if self.json:
            write_json({"folder": str(out), "calibration_images": count})
        else:
            write(f"Calibrated on {count} images; the classifier is in {out}")


@dataclass(frozen=True, kw_only=True)
class Evaluate(Common):
    """Show the numbers of a run, or measure it on other labelled images."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory, or the name of a model on the Hugging Face Hub, `owner/name`."""
    images: Path | None = None
    """Other labelled images, DIR/<class>/*.jpg; without it the run's own test images count."""

    def run(self) -> None:
        """Measure and show."""
        if self.images is None:
            from chiqpm.evaluation import kept_numbers

            numbers = kept_numbers(self.model)
            try:
                show(numbers, self.model, as_json=self.json)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ChiqpmError(f"the metrics.json of {self.model} is damaged ({error!r})") from None
            return
        from chiqpm.recalibration import measure_elsewhere

        show(measure_elsewhere(self.model, self.images, quiet=self.quiet), None, as_json=self.json)


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
