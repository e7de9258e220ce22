"""Are a run's explanations faithful? Deletion and insertion, changed parts, randomised parameters; all with controls.

python -m chiqpm.experiments.faithfulness RUN [--images 10] [--out faithfulness.json]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.classifier import Classifier, load
from chiqpm.data import ImageTable
from chiqpm.data.birds import is_birds, open_birds
from chiqpm.experiments.part_changes import PartChanges, measure_part_changes
from chiqpm.experiments.perturbation import PerturbationResult, measure_perturbation
from chiqpm.experiments.randomisation import RandomisationResult, measure_randomisation
from chiqpm.files import write_json
from chiqpm.run_explanation import open_run_table

RANDOMISATION_IMAGES = 8


@dataclass(frozen=True)
class Faithfulness:
    """What was measured on a sample of a run's test images.

    Attributes:
        images: how many images deletion and insertion looked at, one of each of so many classes as far as there are.
        perturbation: deletion and insertion by maps and by two orders that know nothing.
        randomisation: similarity of maps as the model forgets.
        parts: reactions to changed parts; None for other data than the built-in birds.
    """

    images: int
    perturbation: PerturbationResult
    randomisation: RandomisationResult
    parts: PartChanges | None

    def sentences(self) -> tuple[str, ...]:
        """Say what was found, a sentence for each measurement, every number beside its control."""
        deletion, insertion = self.perturbation.deletion, self.perturbation.insertion
        last = self.randomisation.depths[-1]
        found = [
            "Deleting what the maps point at leaves the predicted class a mean probability of "
            f"{_area(deletion, 'map')}; in random order {_area(deletion, 'random')}, from the centre "
            f"{_area(deletion, 'centre')} ({self.images} images; smaller is better).",
            f"Showing only what the maps point at gives it {_area(insertion, 'map')}; in random order "
            f"{_area(insertion, 'random')}, from the centre {_area(insertion, 'centre')} (larger is better).",
            f"With all weights of the backbone shuffled, maps correlate {last.similarity:.2f} with the trained ones; "
            f"maps of different images {self.randomisation.unrelated:.2f} ({self.randomisation.images} images; 1 would "
            "mean that maps show the image, not the model).",
        ]
        if self.parts is not None and self.parts.swapped is not None:
            swap = self.parts.swapped
            found.append(
                "With the separating part swapped for the sibling's, the own feature falls and the sibling's rises in "
                f"{swap.faithful:.0%} of {swap.samples} images (another part changed: {swap.control_faithful:.0%}), "
                f"and the prediction becomes the sibling in {swap.flip_rate:.0%} ({swap.control_flip_rate:.0%})."
            )
        if self.parts is not None and self.parts.removed is not None:
            gone = self.parts.removed
            found.append(
                f"With the separating part removed, its feature keeps {gone.kept_activation:.0%} of its activation in "
                f"{gone.samples} images (another part removed: {gone.control_kept_activation:.0%}), and the prediction "
                f"changes in {gone.prediction_changes:.0%} ({gone.control_prediction_changes:.0%})."
            )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "images": self.images,
            "perturbation": self.perturbation.to_dict(),
            "randomisation": self.randomisation.to_dict(),
            "parts": None if self.parts is None else self.parts.to_dict(),
            "sentences": list(self.sentences()),
        }


def measure_faithfulness(
    run: Path, *, data_folder: Path | None = None, device: str = "auto", images: int = 10, seed: int = 0
) -> Faithfulness:
    """Measure how faithful a run's explanations are, on a stratified sample of its test images.

    Args:
        run: the run directory.
        data_folder: the folder of images, where it has moved since the run.
        device: where to compute.
        images: how many test images deletion and insertion look at (28 forward passes each); twice as many birds are
            rendered again (5 times each), and the randomisation looks at 8 at most.
        seed: of the sample and of the controls.

    Raises:
        FileNotFoundError: the run isn't finished, or its images are gone.
    """
    classifier = load(run, device=device)
    table = open_run_table(run, data_folder)
    rows = stratified(table, table.indices("test"), max(2, images), seed)
    batch = _load(classifier, table, rows)
    return Faithfulness(
        images=len(rows),
        perturbation=measure_perturbation(classifier.model, batch, active_mean_K=classifier.active_mean_K, seed=seed),
        randomisation=measure_randomisation(classifier.model, batch[:RANDOMISATION_IMAGES], seed=seed),
        parts=_parts(classifier, table.root, 2 * images, seed),
    )


def stratified(table: ImageTable, rows_N: NDArray[np.int64], images: int, seed: int) -> NDArray[np.int64]:
    """Draw so many rows, as evenly as possible from all classes, ascending."""
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(rows_N)
    labels_N = table.labels_N[shuffled]
    # How many of its class come before each image, then the class by chance.
    turn_N = np.array([int((labels_N[:i] == label).sum()) for i, label in enumerate(labels_N)], dtype=np.int64)
    order_C = generator.permutation(len(table.classes))
    chosen = np.lexsort((order_C[labels_N], turn_N))[:images]
    return np.sort(shuffled[chosen])


def _load(classifier: Classifier, table: ImageTable, rows: NDArray[np.int64]) -> torch.Tensor:
    limit = classifier.data_config.max_pixels
    pictures = [table.load(row, max_pixels=limit) for row in rows.tolist()]
    return torch.stack([classifier.transform(picture) for picture in pictures]).to(classifier.device)


def _parts(classifier: Classifier, folder: Path, images: int, seed: int) -> PartChanges | None:
    if not is_birds(folder):
        return None
    _, _, test = open_birds(folder)
    if test.class_names != classifier.class_names:
        return None
    return measure_part_changes(classifier, test, images=images, seed=seed)


def _area(curves: dict[str, Any], name: str) -> str:
    return f"{curves[name].auc:.2f} ± {curves[name].standard_error:.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(prog="python -m chiqpm.experiments.faithfulness", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args(arguments)
    found = measure_faithfulness(options.run, data_folder=options.data, images=options.images, seed=options.seed)
    if options.out is not None:
        write_json(options.out, found.to_dict())
    sys.stdout.write("\n".join(found.sentences()) + "\n")


if __name__ == "__main__":
    main()
