"""Measure what prediction sets promise, cost and look like, on birds, on hard made-up images, and by the clock.

    python -m chiqpm.experiments.conformal --out runs/conformal [--reduced]

Models are trained once; every finished measurement is kept and not repeated. The folder then has conformal.json with
all values and conformal.md with their tables.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from chiqpm.experiments.conformal.models import HeldOut, ModelSize, held_out_answers
from chiqpm.experiments.conformal.populations import Population, of_model, synthetic, with_ties
from chiqpm.experiments.conformal.sets import measure_sets
from chiqpm.experiments.conformal.speed import measure_speed
from chiqpm.experiments.conformal.tables import markdown
from chiqpm.experiments.conformal.validity import measure_validity
from chiqpm.experiments.keeping import kept
from chiqpm.files import write_json, write_text


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much is measured."""

    models: tuple[tuple[int, int], ...] = ((101, 16), (102, 16), (103, 16), (101, 12))
    """Seed and training images of each species, of the models that are reported; settings were chosen on other models
    (seeds 100 and 104, 12 images). So few images, because a model that hardly errs has sets of one class."""
    size: ModelSize = field(default_factory=ModelSize)
    """What else the models are made from."""
    validity_splits: int = 1000
    """Divisions for the mean coverage."""
    tiny: tuple[int, ...] = (10, 50)
    """Tiny calibration sets, besides half of the images."""
    synthetic: tuple[tuple[int, int], ...] = ((200, 2000), (1000, 3000))
    """Classes and images of the made-up populations."""
    confidence: float = 1 - 1e-5
    """Of each band of coverage, so high because there are more than a thousand of them."""
    set_splits: int = 100
    """Divisions for size, coherence and conditional coverage."""
    speed: tuple[int, int] = (50_000, 1_000)
    """Images and classes for time and memory."""
    timed: tuple[str, ...] = ("branch", "branch, depth 2", "evidence", "path", "level_limited", "THR", "APS")
    """Scores that are timed."""


REDUCED = Options(
    models=((101, 4),),
    size=ModelSize(held_out=6, image_size=64, families=2, search_seconds=1.0),
    validity_splits=30,
    tiny=(10,),
    synthetic=((20, 200),),
    set_splits=5,
    speed=(3_000, 1_000),
    timed=("branch",),
)


def measure(out: Path, options: Options, *, quiet: bool = True) -> dict[str, Any]:
    """Measure everything that the folder does not have yet.

    Args:
        out: folder of the models and the results.
        options: how much is measured.
        quiet: show no progress bars.

    Returns:
        What `conformal.json` holds.
    """
    out.mkdir(parents=True, exist_ok=True)
    model = cache(partial(_model, out, options.size, quiet=quiet))
    first = options.models[0]
    populations: dict[str, Callable[[], Population]] = {
        "birds": lambda: of_model(model(*first)),
        "birds with ties and without features": lambda: with_ties(model(*first)),
    }
    for classes, images in options.synthetic:
        populations[f"{classes} made-up classes"] = partial(synthetic, classes, images, seed=first[0])
    validity = {}
    made_from: dict[str, Any]
    for name, make in populations.items():
        made_from = {"population": name, "model": first, "size": asdict(options.size), "tiny": options.tiny}
        made_from |= {"splits": options.validity_splits, "confidence": options.confidence}
        file = out / f"validity-{name.replace(' ', '-')}.json"
        validity[name] = kept(file, made_from, partial(_validity, make, options, first[0]))
    sets, speed = {}, {}
    for seed, per_class in options.models:
        made_from = {"model": [seed, per_class], "size": asdict(options.size), "splits": options.set_splits}
        measured = partial(_sets, partial(model, seed, per_class), seed, options.set_splits)
        sets[f"{seed}-{per_class}"] = kept(out / f"sets-{seed}-{per_class}.json", made_from, measured)
    for name in options.timed:
        made_from = {"score": name, "size": options.speed}
        speed[name] = kept(
            out / f"speed-{name.replace(', ', '-').replace(' ', '-')}.json",
            made_from,
            partial(measure_speed, name, *options.speed),
        )
    result = {"options": asdict(options), "validity": validity, "sets": sets, "speed": speed}
    plain: dict[str, Any] = json.loads(json.dumps(result))
    write_json(out / "conformal.json", plain)
    write_text(out / "conformal.md", markdown(plain))
    return plain


def _model(out: Path, size: ModelSize, seed: int, per_class: int, *, quiet: bool) -> HeldOut:
    return held_out_answers(out / f"model-{seed}-{per_class}", seed, per_class, size, quiet=quiet)


def _sets(model: Callable[[], HeldOut], seed: int, splits: int) -> dict[str, Any]:
    return measure_sets(model(), splits=splits, seed=seed)


def _validity(make: Callable[[], Population], options: Options, seed: int) -> dict[str, Any]:
    population = make()
    return measure_validity(
        population,
        calibration_sizes=(*options.tiny, len(population.labels_N) // 2),
        splits=options.validity_splits,
        seed=seed,
        confidence=options.confidence,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(prog="python -m chiqpm.experiments.conformal", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/conformal"))
    parser.add_argument("--reduced", action="store_true", help="a small version that takes a minute")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    measure(options.out, REDUCED if options.reduced else Options(), quiet=False)
    sys.stdout.write(f"{options.out / 'conformal.md'}\n")


if __name__ == "__main__":
    main()
