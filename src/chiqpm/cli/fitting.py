"""Commands that make a classifier: `quickstart`, `birds`, `fit`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from chiqpm.cli.common import Common, show, write, write_json
from chiqpm.config import FitConfig
from chiqpm.presets import PresetName, describe_presets


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
        show(result, self.out, as_json=self.json)


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
    """Train, calibrate and evaluate on images: class folders, a published data set, or shards of either."""

    data: Annotated[Positional[Path], arg(metavar="DIR")]
    """The folder of images."""
    out: Path
    """The run directory; the same command goes on where an interrupted run stopped."""
    preset: Annotated[PresetName, arg(help=f"Options to start from.\n{describe_presets()}")] = "default"
    """Options to start from."""
    config: Path | None = None
    """A run's config.yaml to start from instead."""
    options: Annotated[FitConfig, arg(name="")] = field(default_factory=FitConfig)
    """All other options."""

    def run(self) -> None:
        """Fit, and show what came of it."""
        from chiqpm.files import read_json
        from chiqpm.pipeline import fit

        fit(self.data, self.out, config=self.options, quiet=self.quiet)
        show(read_json(self.out / "metrics.json"), self.out, as_json=self.json)
