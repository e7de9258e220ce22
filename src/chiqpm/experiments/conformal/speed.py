"""Time and memory of calibration and prediction on many images of many classes, in a process of its own.

Run as a module, it prints JSON: seconds, and how much the memory of the process grew, at its peak, beyond what
importing torch takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

COVERAGES = (0.8, 0.9, 0.95)


def measure_speed(name: str, num_images: int, num_classes: int) -> dict[str, Any]:
    """Run `main` in a new Python process and return what it measured."""
    command = [sys.executable, "-m", __spec__.name, name, str(num_images), str(num_classes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Make images, calibrate on all of them, predict the sets of all of them at three coverages."""
    import numpy as np
    import torch

    from chiqpm.conformal import ConformalPredictor
    from chiqpm.experiments.conformal.catalogue import all_scores
    from chiqpm.experiments.conformal.populations import synthetic
    from chiqpm.experiments.peak import peak_bytes

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("score")
    parser.add_argument("images", type=int)
    parser.add_argument("classes", type=int)
    options = parser.parse_args(arguments)
    imported = peak_bytes() / 1e9
    images = synthetic(options.classes, options.images, seed=0)
    score = all_scores(images.weight_CK)[options.score]
    given = peak_bytes() / 1e9
    generator = np.random.default_rng(0)
    start = time.perf_counter()
    predictor = ConformalPredictor(score)
    predictor.calibrate(images.logits_NC, images.labels_N, images.features_NK, generator=generator)
    calibrated = time.perf_counter()
    sets = predictor.predict_sets(images.logits_NC, images.features_NK, coverages=COVERAGES, generator=generator)
    end = time.perf_counter()
    result = {
        "calibrate_seconds": calibrated - start,
        "predict_seconds": end - calibrated,
        "imported_gb": imported,
        "inputs_gb": given - imported,
        "work_and_sets_gb": peak_bytes() / 1e9 - given,
        "threads": torch.get_num_threads(),
        "mean_sizes": [float(np.asarray(sets_BC).sum(axis=1).mean()) for sets_BC in sets],
    }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
