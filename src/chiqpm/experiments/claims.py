"""What the default configuration reaches on synthetic birds, over fresh seeds.

For each seed: new species and images, the quickstart's run, its grounding, a dense model trained for as many epochs as
both stages together, and prediction sets over random divisions of the held-out images.

    python -m chiqpm.experiments.claims --seeds 1 2 3 --out runs/claims [--preset paper-lite0]
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chiqpm.calibration import make_score
from chiqpm.config import DataConfig, FitConfig
from chiqpm.conformal import ConformalPredictor
from chiqpm.evaluation import COMPARED_SCORES
from chiqpm.files import read_npz, write_json
from chiqpm.inference import Answers
from chiqpm.pipeline import Run
from chiqpm.presets import PRESETS, preset
from chiqpm.quickstart import IMAGE_SIZE, quickstart

TARGETS = (0.88, 0.9, 0.925, 0.95)
DIVISIONS = 100


def measure_claims(
    out: Path, seeds: Sequence[int], *, config: FitConfig | None = None, per_class: int = 40, quiet: bool = True
) -> dict[str, Any]:
    """Run the quickstart for each seed and collect what it reaches.

    Args:
        out: folder of the runs; finished ones are reused.
        seeds: of birds and training.
        config: options; None takes the quickstart's.
        per_class: training images of each species.
        quiet: show no progress bars.

    Returns:
        The values of each seed, and their means.
    """
    config = config or FitConfig(data=DataConfig(image_size=IMAGE_SIZE))
    per_seed = {str(seed): _one_seed(out / f"seed-{seed}", seed, config, per_class, quiet=quiet) for seed in seeds}
    summaries = [values["summary"] for values in per_seed.values()]
    names = [name for name in summaries[0] if all(name in summary for summary in summaries)]
    means = {name: float(np.mean([summary[name] for summary in summaries])) for name in names}
    return {"seeds": per_seed, "mean": means}


def _one_seed(out: Path, seed: int, config: FitConfig, per_class: int, *, quiet: bool) -> dict[str, Any]:
    result = quickstart(out, seed=seed, per_class=per_class, config=config, grounding_per_class=None, quiet=quiet)
    baseline = _dense_alone(out, replace(config, seed=seed), quiet=quiet)
    grounding = result["grounding"]
    summary = {
        "dense_same_epochs": baseline,
        "dense_stage": result["accuracy"]["dense"],
        "sparse": result["accuracy"]["sparse"],
        "sparse_over_dense": result["accuracy"]["sparse"] / baseline,
        "contrastiveness": result["interpretability"]["contrastiveness"],
        "sid@5": result["interpretability"]["sid@5"],
        "class_independence": result["interpretability"]["class_independence"],
        "correlation": result["interpretability"]["correlation"],
        "structural_grounding": result["interpretability"]["structural_grounding"],
        "peaks_on_part": grounding["peaks"]["hit"],
        "peaks_other_image": grounding["peaks"]["other_image"],
        "attribute_auc": grounding["attribute_auc"],
        "pairs_forced": result["assignment"]["pairs_forced"],
        "pairs_satisfied": result["assignment"]["pairs_satisfied"],
        "distinct_classes": result["assignment"]["distinct_classes"],
    }
    if grounding["pivots"] is not None:
        reactions = ("flip_rate", "control_flip_rate", "faithful", "control_faithful")
        summary |= {name: grounding["pivots"][name] for name in reactions}
    return {"summary": summary, "sets": random_divisions(out, seed), "siblings_paired": grounding["siblings_paired"]}


def _dense_alone(out: Path, config: FitConfig, *, quiet: bool) -> float:
    """Test accuracy of a dense model that trains as long as both stages together."""
    epochs = config.dense.epochs + sum(config.finetune.rounds)
    run = Run(
        out / "birds", out / "dense-alone", replace(config, dense=replace(config.dense, epochs=epochs)), quiet=quiet
    )
    run.split()
    run.measure(run.dense())
    shutil.rmtree(out / "dense-alone" / "cache", ignore_errors=True)
    return float(read_npz(out / "dense-alone" / "statistics.npz")["dense_test_accuracy"])


def random_divisions(out: Path, seed: int) -> dict[str, Any]:
    """Calibrate and test on random halves of a run's held-out images, a hundred times.

    Args:
        out: a finished run.
        seed: of the divisions.

    Returns:
        score -> target -> mean coverage, standard error of the mean over divisions, mean set size, share of empty sets.
    """
    parts = [Answers.read(out / f"{part}_answers.npz") for part in ("calibration", "test")]
    logits, features, labels = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("logits_NC", "features_NK", "labels_N")
    )
    weight_CK = read_npz(out / "assignment.npz")["weight_CK"]
    half, generator = len(parts[0].labels_N), np.random.default_rng(seed)
    orders = [generator.permutation(len(labels)) for _ in range(DIVISIONS)]
    found: dict[str, Any] = {}
    for name in (*COMPARED_SCORES, "aps"):
        values = np.zeros((len(TARGETS), 3, DIVISIONS))
        for number, order in enumerate(orders):
            first, rest = order[:half], order[half:]
            predictor = ConformalPredictor(make_score(name, weight_CK))
            predictor.calibrate(logits[first], labels[first], features[first])
            sets = predictor.predict_sets(logits[rest], features[rest], coverages=TARGETS)
            for row, sets_NC in enumerate(np.asarray(sets_TNC) for sets_TNC in sets):
                size_N = sets_NC.sum(axis=1)
                covered_N = sets_NC[np.arange(len(rest)), labels[rest]]
                values[row, :, number] = covered_N.mean(), size_N.mean(), (size_N == 0).mean()
        found[name] = {
            f"{target:g}": {
                "coverage": float(values[row, 0].mean()),
                "standard_error": float(values[row, 0].std(ddof=1) / np.sqrt(DIVISIONS)),
                "mean_size": float(values[row, 1].mean()),
                "empty_rate": float(values[row, 2].mean()),
            }
            for row, target in enumerate(TARGETS)
        }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure from the command line and write `claims.json`."""
    parser = argparse.ArgumentParser(prog="python -m chiqpm.experiments.claims", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    parser.add_argument("--preset", choices=PRESETS, default="default")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    config = preset(options.preset)
    config = replace(config, data=replace(config.data, image_size=IMAGE_SIZE))
    result = measure_claims(options.out, options.seeds, config=config, quiet=False)
    write_json(options.out / "claims.json", result)
    sys.stdout.write("\n".join(f"{name:<24}{value:.4f}" for name, value in result["mean"].items()) + "\n")


if __name__ == "__main__":
    main()
