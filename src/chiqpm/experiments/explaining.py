"""How long one explanation takes beyond the forward pass, and how long its figure takes.

python -m chiqpm.experiments.explaining [--classes 2 48 200 1000] [--repeats 20]
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from chiqpm.conformal import ConformalPredictor, HierarchicalScore
from chiqpm.explain import Explanation, explain_sample, heat_map
from chiqpm.explain.drawing import draw_explanation

FEATURES, PER_CLASS, GRID, PIXELS = 50, 5, 28, 224
CALIBRATION = 2000
MOVES = (0.5, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Timing:
    """Medians over repeats, in milliseconds of one core.

    Attributes:
        classes: C.
        values: set, p-values and explanation from logits, features and maps.
        maps: heat maps of the prediction's features at 224×224 pixels.
        move: the set at another coverage.
        figure: the figure, drawn and written as PNG of 1,500 pixels.
    """

    classes: int
    values: float
    maps: float
    move: float
    figure: float


def measure_explaining(classes: int, *, repeats: int = 20, seed: int = 0) -> Timing:
    """Time explanations of made-up samples: 50 features, 5 of a class, maps of 28×28 cells.

    Args:
        classes: C, at most 2,118,760 (the ways to choose 5 of 50).
        repeats: how often everything is done.
        seed: of the samples.
    """
    generator = np.random.default_rng(seed)
    weight_CK = _assignment(classes, generator)
    labels = generator.integers(classes, size=CALIBRATION + repeats)
    features = np.maximum(0.0, generator.normal(0.0, 0.6, (len(labels), FEATURES)))
    features += weight_CK[labels] * generator.uniform(0.5, 3.0, features.shape)
    logits = features @ weight_CK.T
    predictor = ConformalPredictor(HierarchicalScore(weight_CK, kind="branch"))
    predictor.calibrate(logits[:CALIBRATION], labels[:CALIBRATION], features[:CALIBRATION])
    maps = generator.random((FEATURES, GRID, GRID)).astype(np.float32)
    image = _picture(generator)
    names = [f"class {c}" for c in range(classes)]
    spent: dict[str, list[float]] = {"values": [], "maps": [], "move": [], "figure": []}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        spent[name].append(1e3 * (time.process_time() - start))
        return result

    def explain(row: int) -> Explanation:
        one = slice(row, row + 1)
        return explain_sample(
            features[row],
            maps,
            logits[row],
            weight_CK,
            predictor.predict_set(logits[one], features[one], coverage=0.9)[0],
            active_mean_K=np.full(FEATURES, 2.0),
            class_names=names,
            coverage=0.9,
            scores_C=predictor.scores(logits[one], features[one])[0],
            p_values_C=predictor.p_values(logits[one], features[one])[0],
        )

    def draw(found: Explanation) -> None:
        draw_explanation(found, image).savefig(io.BytesIO(), format="png", pil_kwargs={"compress_level": 2})

    for row in range(CALIBRATION, CALIBRATION + repeats):
        found = timed("values", lambda row=row: explain(row))  # type: ignore[misc]
        timed("maps", lambda found=found: _heat_maps(found))  # type: ignore[misc]
        for coverage in MOVES:
            timed("move", lambda found=found, coverage=coverage: found.at(coverage))  # type: ignore[misc]
        timed("figure", lambda found=found: draw(found))  # type: ignore[misc]
    return Timing(classes, **{name: float(np.median(times)) for name, times in spent.items()})


def _picture(generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """Smooth patches of colour with some sensor noise."""
    patches = generator.integers(40, 216, (7, 7, 3)).astype(np.float32).repeat(PIXELS // 7, axis=0)
    noise = generator.normal(0.0, 4.0, (PIXELS, PIXELS, 3))
    return np.clip(patches.repeat(PIXELS // 7, axis=1) + noise, 0, 255).astype(np.uint8)


def _heat_maps(found: Explanation) -> list[Any]:
    return [
        heat_map(feature.map_HW, (PIXELS, PIXELS), activation=feature.strength, active_mean=1.0)
        for feature in found.features
    ]


def _assignment(classes: int, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    chosen: set[tuple[int, ...]] = set()
    while len(chosen) < classes:
        chosen.add(tuple(sorted(generator.choice(FEATURES, PER_CLASS, replace=False).tolist())))
    weight_CK = np.zeros((classes, FEATURES))
    for c, own in enumerate(sorted(chosen)):
        weight_CK[c, list(own)] = 1
    return weight_CK


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(prog="python -m chiqpm.experiments.explaining", description=__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 48, 200, 1000])
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sys.stdout.write("classes   values ms   maps ms   move ms   figure ms\n")
    for classes in options.classes:
        found = measure_explaining(classes, repeats=options.repeats)
        sys.stdout.write(
            f"{found.classes:>7}{found.values:>12.2f}{found.maps:>10.2f}{found.move:>10.2f}{found.figure:>12.0f}\n"
        )


if __name__ == "__main__":
    main()
