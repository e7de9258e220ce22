"""The main job on the built-in data: draw synthetic birds, fit, measure grounding."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from chiqpm.config import DataConfig, FitConfig
from chiqpm.data.birds import BirdsConfig, write_birds
from chiqpm.data.birds.workers import child_environment
from chiqpm.experiments.grounding import measure_grounding
from chiqpm.files import read_json, write_json
from chiqpm.pipeline import fit
from chiqpm.progress import steps

IMAGE_SIZE = 160

_COMPILE = """
import numpy as np
from chiqpm.assignment import AssignmentProblem, solve
similarity = np.random.default_rng(0).normal(size=(30, 20))
solve(AssignmentProblem(similarity, np.zeros((30, 30)), np.zeros(30), 10, 3, 0.5), effort=0.01)
"""


@contextmanager
def _search_compiled_aside() -> Iterator[None]:
    """Have another process compile the search for features, into numba's cache on disk, while birds are drawn.

    That is needed once per installation. Where it fails, or isn't done in time, the search compiles itself.
    """
    other = subprocess.Popen(
        [sys.executable, "-c", _COMPILE],
        env=child_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        other.kill()
        other.wait()


def quickstart(
    out: Path,
    *,
    seed: int = 0,
    per_class: int = 40,
    config: FitConfig | None = None,
    grounding_per_class: int | None = 5,
    quiet: bool = True,
) -> dict[str, Any]:
    """Run the whole method on synthetic birds.

    Args:
        out: run directory; the images go into `out/birds`.
        seed: of the images and of the training.
        per_class: training images of each species; a quarter as many calibrate, and as many test.
        config: options; None takes the defaults at the birds' own image size.
        grounding_per_class: calibration and test images of each species on which grounding is measured; None takes all.
        quiet: show no progress bars.

    Returns:
        The run's metrics with the grounding measured on re-rendered birds, which is also written to `grounding.json`.
    """
    folder = out / "birds"
    held_out = max(1, per_class // 4)
    if config is None:
        # Duplicates can't occur in drawn images, so they are not looked for.
        config = FitConfig(data=DataConfig(image_size=IMAGE_SIZE, find_duplicates=False))
    with _search_compiled_aside():
        write_birds(
            folder,
            config=BirdsConfig(seed=seed, image_size=IMAGE_SIZE),
            train=per_class,
            calibration=held_out,
            test=held_out,
            progress=steps("drawing birds", quiet=quiet),
        )
        classifier = fit(folder, out, config=replace(config, seed=seed), quiet=quiet)
    metrics: dict[str, Any] = read_json(out / "metrics.json")
    measured = measure_grounding(classifier, folder, images_per_class=grounding_per_class, seed=seed, quiet=quiet)
    grounding = measured.to_dict()
    write_json(out / "grounding.json", grounding)
    return {**metrics, "grounding": grounding, "synthetic": True}
