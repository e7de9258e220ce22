"""Does the polysemanticity warning find features that stand for two things, and spare those that don't?

Two features of a run are merged into one that fires where either does: what the warning must find. The features
themselves tell how often it speaks up otherwise (some of them may be right).

    python -m chiqpm.experiments.polysemanticity RUN [--pairs 100]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chiqpm.classifier import load
from chiqpm.errors import ChiqpmError
from chiqpm.explain import Observations
from chiqpm.explain.polysemanticity import polysemanticity
from chiqpm.run_explanation import read_observations


@dataclass(frozen=True)
class PolysemanticityResult:
    """Shares of features with a warning.

    Attributes:
        merged: among merged pairs of features.
        pairs: how many such pairs.
        single: among the run's own features.
        features: how many of these.
    """

    merged: float
    pairs: int
    single: float
    features: int


def measure_polysemanticity(observations: Observations, *, pairs: int = 100, seed: int = 0) -> PolysemanticityResult:
    """Merge features pairwise and count warnings, without knowing any attributes.

    Args:
        observations: from a pass over training images.
        pairs: how many pairs of features are drawn.
        seed: of the drawing.
    """
    generator = np.random.default_rng(seed)
    count = len(observations.top_KT)
    chosen = [generator.choice(count, 2, replace=False).tolist() for _ in range(pairs)]
    merged = [_warned(_merge(observations, first, second), 0) for first, second in chosen]
    single = [_warned(observations, k) for k in range(count)]
    return PolysemanticityResult(float(np.mean(merged)), pairs, float(np.mean(single)), count)


def _warned(observations: Observations, feature: int) -> bool:
    names = [""] * len(observations.count_C)
    nothing = np.zeros((len(names), 0), dtype=bool)
    return polysemanticity(observations, feature, names, (), nothing) is not None


def _merge(observations: Observations, first: int, second: int) -> Observations:
    """Observations of one feature, with the strongest half of either's top images, each on the scale of its own."""
    half = observations.top_KT.shape[1] // 2
    both = [first, second]
    context_KTK = np.delete(observations.top_context_KTK[both][:, :half], second, axis=2)
    # The merged feature itself stands where the first one was; `polysemanticity` leaves its column out.
    context_TK = np.roll(context_KTK.reshape(-1, context_KTK.shape[2]), -(first - (second < first)), axis=1)
    return replace(
        observations,
        top_KT=observations.top_KT[both][:, :half].reshape(1, -1),
        top_label_KT=observations.top_label_KT[both][:, :half].reshape(1, -1),
        top_context_KTK=context_TK[None],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(prog="python -m chiqpm.experiments.polysemanticity", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    observations = read_observations(options.run, load(options.run, device="cpu").model)
    if observations is None:
        raise ChiqpmError(f"{options.run} has no observations of its model; train it again with this version")
    found = measure_polysemanticity(observations, pairs=options.pairs, seed=options.seed)
    sys.stdout.write(
        f"warned of {found.merged:.0%} of {found.pairs} merged pairs of features, and of {found.single:.0%} of the "
        f"{found.features} features themselves\n"
    )


if __name__ == "__main__":
    main()
