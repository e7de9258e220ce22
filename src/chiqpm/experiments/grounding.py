"""Do features sit on parts, and does the one that separates two siblings follow what separates them?

Measured on the built-in synthetic birds, whose parts are known and which can be rendered again with one attribute
exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from chiqpm import metrics
from chiqpm.classifier import Classifier
from chiqpm.data.birds import ATTRIBUTE_PART, ATTRIBUTE_VALUES, PARTS, BirdImage, SyntheticBirds, open_birds
from chiqpm.errors import ChiqpmError
from chiqpm.inference import BATCH_SIZE
from chiqpm.loading import affordable_workers, count_cores, load_batches
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
    images_per_class: int | None = None,
    seed: int = 0,
    quiet: bool = True,
) -> GroundingResult:
    """Measure part grounding and the faithfulness of pivots on the synthetic birds.

    Args:
        classifier: trained on the birds of that folder.
        folder: as `chiqpm birds` wrote it; its calibration images choose each feature's part and attribute, its test
            images are scored.
        images_per_class: calibration images, and test images, of each species that are looked at; None takes all.
        seed: of the controls.
        quiet: show no progress bar.

    Raises:
        ChiqpmError: the folder holds no synthetic birds, or other species than the classifier knows.
    """
    _, calibration, test = open_birds(folder)
    seen_rows, rows = (_first_rows(birds, images_per_class) for birds in (calibration, test))
    if classifier.class_names != test.class_names:
        raise ChiqpmError(f"the species in {folder} are not the classes of this classifier")
    weight_CK = classifier.model.weight_CK.cpu().numpy().astype(bool)
    seen = _look(classifier, calibration, seen_rows, "parts of calibration images", quiet=quiet)
    parts_K = metrics.modal_parts(seen.peaks, seen.masks, seen.features > 0)
    looked = _look(classifier, test, rows, "parts of test images", quiet=quiet)
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
        seen.features,
        attributes_CA[calibration.labels_N[seen_rows]],
        looked.features,
        attributes_CA[test.labels_N[rows]],
    )
    pairs = paired_siblings(test, weight_CK)
    # Of the images of species with a paired sibling, those that are classified correctly.
    labels = test.labels_N[rows]
    places = np.flatnonzero((looked.predicted == labels) & np.isin(labels, list(pairs)))
    if places.size:
        pivots = _pivots(
            classifier,
            test,
            pairs,
            weight_CK=weight_CK,
            rows=rows[places],
            before=looked.features[places],
            seed=seed,
            quiet=quiet,
        )
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


class _Renders(Dataset[BirdImage]):
    """Birds rendered on demand, each with changed attributes or none."""

    def __init__(
        self, birds: SyntheticBirds, wanted: Sequence[tuple[int, Mapping[str, str] | None]], *, masks: bool
    ) -> None:
        self.birds, self.wanted, self.masks = birds, wanted, masks

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, index: int) -> BirdImage:
        row, change = self.wanted[index]
        return self.birds.render(row, change, masks=self.masks)


def _rendered(renders: _Renders, description: str, *, quiet: bool) -> Iterator[list[BirdImage]]:
    order = [np.arange(start, min(start + BATCH_SIZE, len(renders))) for start in range(0, len(renders), BATCH_SIZE)]
    # Drawing a bird takes about as long as classifying it.
    workers = affordable_workers(count_cores() // 2, len(renders))
    batches = load_batches(renders, order, workers=workers, collate=list)
    yield from track(batches, description, quiet=quiet, total=len(order))


def _first_rows(birds: SyntheticBirds, per_class: int | None) -> NDArray[np.int64]:
    """Rows of the first few birds of each species."""
    labels_N = birds.labels_N
    return np.sort(np.concatenate([np.flatnonzero(labels_N == label)[:per_class] for label in np.unique(labels_N)]))


def _look(
    classifier: Classifier, birds: SyntheticBirds, rows: NDArray[np.int64], description: str, *, quiet: bool
) -> _Seen:
    features, predicted, peaks, masks, objects = [], [], [], [], []
    renders = _Renders(birds, [(row, None) for row in rows.tolist()], masks=True)
    for batch in _rendered(renders, description, quiet=quiet):
        logits, features_BK, maps = classifier.outputs([render.image for render in batch])
        features.append(features_BK)
        predicted.append(logits.argmax(axis=1))
        peaks.append(metrics.map_peaks(maps))
        masks.append(np.stack([[render.part_masks[part] for part in PARTS] for render in batch]))
        objects.append(np.stack([render.object_mask for render in batch]))
    return _Seen(
        np.concatenate(features),
        np.concatenate(predicted),
        np.concatenate(peaks),
        np.concatenate(masks),
        np.concatenate(objects),
    )


def paired_siblings(birds: SyntheticBirds, weight_CK: NDArray[np.bool_]) -> dict[int, tuple[int, str]]:
    """Return class -> (sibling, separating attribute), both ways, for siblings whose features differ in exactly one."""
    found: dict[int, tuple[int, str]] = {}
    for first, second, attribute in birds.taxonomy.sibling_pairs():
        if (weight_CK[first] & ~weight_CK[second]).sum() == 1:
            found.setdefault(first, (second, attribute))
            found.setdefault(second, (first, attribute))
    return found


def _pivots(
    classifier: Classifier,
    birds: SyntheticBirds,
    pairs: Mapping[int, tuple[int, str]],
    *,
    weight_CK: NDArray[np.bool_],
    rows: NDArray[np.int64],
    before: NDArray[np.float32],
    seed: int,
    quiet: bool,
) -> metrics.PivotFaithfulness:
    labels_N = birds.labels_N
    generator = np.random.default_rng(seed)
    changes: dict[str, list[tuple[int, Mapping[str, str] | None]]] = {"swapped": [], "control": []}
    for row in rows.tolist():
        sibling, attribute = pairs[int(labels_N[row])]
        changes["swapped"].append((row, {attribute: birds.taxonomy.species[sibling][attribute]}))
        changes["control"].append((row, other_part(birds, row, attribute, generator)))
    features, predicted = {}, {}
    for name, wanted in changes.items():
        batches = _rendered(_Renders(birds, wanted, masks=False), f"{name} attributes", quiet=quiet)
        outputs = [classifier.outputs([render.image for render in batch])[:2] for batch in batches]
        features[name] = np.concatenate([features_BK for _, features_BK in outputs])
        predicted[name] = np.concatenate([logits_BC.argmax(axis=1) for logits_BC, _ in outputs])
    own_N = labels_N[rows]
    sibling_N = np.array([pairs[int(label)][0] for label in own_N])
    return metrics.pivot_faithfulness(
        before=before,
        swapped=features["swapped"],
        control=features["control"],
        own_pivot=(weight_CK[own_N] & ~weight_CK[sibling_N]).argmax(axis=1),
        sibling_pivot=(weight_CK[sibling_N] & ~weight_CK[own_N]).argmax(axis=1),
        sibling=sibling_N,
        swapped_predicted=predicted["swapped"],
        control_predicted=predicted["control"],
    )


def other_part(birds: SyntheticBirds, row: int, attribute: str, generator: np.random.Generator) -> dict[str, str]:
    """Draw another value for an attribute of another part than the given attribute's."""
    species = birds.species(row)
    others = [name for name, part in ATTRIBUTE_PART.items() if part != ATTRIBUTE_PART[attribute]]
    other = others[int(generator.integers(len(others)))]
    values = [value for value in ATTRIBUTE_VALUES[other] if value != species[other]]
    return {other: values[int(generator.integers(len(values)))]}
