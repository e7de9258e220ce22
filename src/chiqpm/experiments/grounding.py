"""Do features sit on parts, and does the one that separates two siblings follow what separates them?

Measured on the built-in synthetic birds, whose parts are known and which can be rendered again with one attribute
exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm import metrics
from chiqpm.classifier import Classifier
from chiqpm.data.birds import ATTRIBUTE_PART, ATTRIBUTE_VALUES, PARTS, SyntheticBirds, open_birds
from chiqpm.errors import ChiqpmError
from chiqpm.inference import BATCH_SIZE
from chiqpm.progress import track


@dataclass(frozen=True)
class GroundingResult:
    """Shares of cases, with their controls.

    Attributes:
        peaks: peaks of the features that explain a prediction, against their modal part.
        pivots: reactions to a sibling's attribute; None where no pair of siblings shares n-1 features.
        attribute_auc: mean over features of the best attribute's AUC, chosen on calibration, scored on test images.
        modal_parts: number of features on each part.
        siblings_paired: pairs of siblings that share n-1 features, of all pairs of siblings.
    """

    peaks: metrics.PartGrounding
    pivots: metrics.PivotFaithfulness | None
    attribute_auc: float
    modal_parts: dict[str, int]
    siblings_paired: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        peaks = asdict(self.peaks)
        peaks.pop("hit_K")
        return {
            "peaks": peaks,
            "pivots": None if self.pivots is None else asdict(self.pivots),
            "attribute_auc": self.attribute_auc,
            "modal_parts": self.modal_parts,
            "siblings_paired": list(self.siblings_paired),
        }


def measure_grounding(
    classifier: Classifier,
    folder: str | Path,
    *,
    pivots_per_class: int | None = None,
    seed: int = 0,
    quiet: bool = True,
) -> GroundingResult:
    """Measure part grounding and the faithfulness of pivots on the synthetic birds.

    Args:
        classifier: trained on the birds of that folder.
        folder: as `chiqpm birds` wrote it; its calibration images choose each feature's part and attribute, its test
            images are scored.
        pivots_per_class: test images of each species to render again with an attribute exchanged; None takes all.
        seed: of the controls.
        quiet: show no progress bar.

    Raises:
        ChiqpmError: the folder holds no synthetic birds, or other species than the classifier knows.
    """
    _, calibration, test = open_birds(folder)
    if classifier.class_names != test.class_names:
        raise ChiqpmError(f"the species in {folder} are not the classes of this classifier")
    weight_CK = classifier.model.weight_CK.cpu().numpy().astype(bool)
    seen = _look(classifier, calibration, "parts of calibration images", quiet=quiet)
    parts_K = metrics.modal_parts(seen.peaks, seen.masks, seen.features > 0)
    looked = _look(classifier, test, "parts of test images", quiet=quiet)
    peaks = metrics.part_grounding(
        looked.peaks,
        looked.masks,
        looked.features > 0,
        parts_K,
        explaining=weight_CK[looked.predicted],
        objects=looked.objects,
        seed=seed,
    )
    attributes_CA = test.taxonomy.attributes_CA
    auc = metrics.attribute_auc(
        seen.features, attributes_CA[calibration.labels_N], looked.features, attributes_CA[test.labels_N]
    )
    pairs = _paired_siblings(test, weight_CK)
    rows = _exchangeable(test, looked.predicted, pairs, pivots_per_class)
    if rows:
        pivots = _pivots(classifier, test, looked, pairs, weight_CK=weight_CK, rows=rows, seed=seed, quiet=quiet)
    else:
        pivots = None
    siblings = [(first, second) for first, second, _ in test.taxonomy.sibling_pairs()]
    paired = sum(first in pairs and pairs[first][0] == second for first, second in siblings)
    counts = {part: int((parts_K == index).sum()) for index, part in enumerate(PARTS)}
    return GroundingResult(peaks, pivots, float(auc.mean), counts, (paired, len(siblings)))


@dataclass(frozen=True)
class _Seen:
    features: NDArray[np.float32]
    predicted: NDArray[np.int64]
    peaks: NDArray[np.float64]
    masks: NDArray[np.bool_]
    objects: NDArray[np.bool_]


def _look(classifier: Classifier, birds: SyntheticBirds, description: str, *, quiet: bool) -> _Seen:
    features, predicted, peaks, masks, objects = [], [], [], [], []
    for start in track(range(0, len(birds), BATCH_SIZE), description, quiet=quiet):
        renders = [birds.render(index) for index in range(start, min(start + BATCH_SIZE, len(birds)))]
        logits, features_BK, maps = classifier.outputs([render.image for render in renders])
        features.append(features_BK)
        predicted.append(logits.argmax(axis=1))
        peaks.append(metrics.map_peaks(maps))
        masks.append(np.stack([[render.part_masks[part] for part in PARTS] for render in renders]))
        objects.append(np.stack([render.object_mask for render in renders]))
    return _Seen(*(np.concatenate(column) for column in (features, predicted, peaks, masks, objects)))


def _paired_siblings(birds: SyntheticBirds, weight_CK: NDArray[np.bool_]) -> dict[int, tuple[int, str]]:
    """Return class -> (sibling, separating attribute), both ways, for siblings whose features differ in exactly one."""
    found: dict[int, tuple[int, str]] = {}
    for first, second, attribute in birds.taxonomy.sibling_pairs():
        if (weight_CK[first] & ~weight_CK[second]).sum() == 1:
            found.setdefault(first, (second, attribute))
            found.setdefault(second, (first, attribute))
    return found


def _exchangeable(
    birds: SyntheticBirds, predicted_N: NDArray[np.int64], pairs: Mapping[int, tuple[int, str]], per_class: int | None
) -> list[int]:
    """Correctly classified images of species with a paired sibling, the first few of each species."""
    right = [row for row in range(len(birds)) if predicted_N[row] == birds.labels_N[row]]
    rows: list[int] = []
    for label in pairs:
        rows += [row for row in right if birds.labels_N[row] == label][:per_class]
    return sorted(rows)


def _pivots(
    classifier: Classifier,
    birds: SyntheticBirds,
    seen: _Seen,
    pairs: Mapping[int, tuple[int, str]],
    *,
    weight_CK: NDArray[np.bool_],
    rows: list[int],
    seed: int,
    quiet: bool,
) -> metrics.PivotFaithfulness:
    labels_N = birds.labels_N
    generator = np.random.default_rng(seed)
    outcomes: dict[str, list[NDArray[Any]]] = {
        "swapped": [],
        "control": [],
        "swapped_to": [],
        "control_to": [],
    }
    for start in track(range(0, len(rows), BATCH_SIZE), "exchanging attributes", quiet=quiet):
        swapped, control = [], []
        for row in rows[start : start + BATCH_SIZE]:
            sibling, attribute = pairs[int(labels_N[row])]
            change = {attribute: birds.taxonomy.species[sibling][attribute]}
            swapped.append(birds.render(row, change, masks=False).image)
            control.append(birds.render(row, _other_part(birds, row, attribute, generator), masks=False).image)
        for name, pictures in (("swapped", swapped), ("control", control)):
            logits, features, _ = classifier.outputs(pictures)
            outcomes[name].append(features)
            outcomes[f"{name}_to"].append(logits.argmax(axis=1))
    joined = {name: np.concatenate(values) for name, values in outcomes.items()}
    own_N = labels_N[rows]
    sibling_N = np.array([pairs[int(label)][0] for label in own_N])
    return metrics.pivot_faithfulness(
        before=seen.features[rows],
        swapped=joined["swapped"],
        control=joined["control"],
        own_pivot=(weight_CK[own_N] & ~weight_CK[sibling_N]).argmax(axis=1),
        sibling_pivot=(weight_CK[sibling_N] & ~weight_CK[own_N]).argmax(axis=1),
        sibling=sibling_N,
        swapped_predicted=joined["swapped_to"],
        control_predicted=joined["control_to"],
    )


def _other_part(birds: SyntheticBirds, row: int, attribute: str, generator: np.random.Generator) -> dict[str, str]:
    """Draw another value for an attribute of another part than the given attribute's."""
    species = birds.species(row)
    others = [name for name, part in ATTRIBUTE_PART.items() if part != ATTRIBUTE_PART[attribute]]
    other = others[int(generator.integers(len(others)))]
    values = [value for value in ATTRIBUTE_VALUES[other] if value != species[other]]
    return {other: values[int(generator.integers(len(values)))]}
