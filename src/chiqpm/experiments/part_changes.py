"""Built-in birds rendered again with a part exchanged or removed: does the separating feature follow?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chiqpm import metrics
from chiqpm.classifier import Classifier
from chiqpm.data.birds import ATTRIBUTE_PART, PARTS, SyntheticBirds
from chiqpm.experiments.grounding import other_part, paired_siblings

_VISIBLE = 20
"""Pixels of a part that must be visible for its removal to say anything."""


@dataclass(frozen=True)
class PartChanges:
    """Reactions to the part that separates two siblings.

    Attributes:
        swapped: its attribute became the sibling's; None where no image qualifies, or it wasn't asked for.
        removed: the part was removed; None where no image qualifies.
    """

    swapped: metrics.PivotFaithfulness | None
    removed: metrics.PartRemoval | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def measure_part_changes(
    classifier: Classifier, birds: SyntheticBirds, *, images: int = 12, seed: int = 0, swap: bool = True
) -> PartChanges:
    """Swap and remove the separating part in birds of siblings that share all features but one.

    Only birds count that are classified correctly; a removal only where the part is visible and the feature active.

    Args:
        classifier: trained on these species.
        birds: images that it was not trained on.
        images: how many are looked at, spread evenly over the species that have such a sibling.
        seed: of the controls.
        swap: also exchange the part, not only remove it.
    """
    weight_CK = classifier.model.weight_CK.cpu().numpy().astype(bool)
    pairs = paired_siblings(birds, weight_CK)
    generator = np.random.default_rng(seed)
    rows = _spread(birds.labels_N, sorted(pairs), images, generator)
    if not rows:
        return PartChanges(None, None)
    originals = [birds.render(row) for row in rows]
    before, predicted_N = _answers(classifier, [render.image for render in originals])
    right = [number for number, row in enumerate(rows) if predicted_N[number] == birds.labels_N[row]]
    if not right:
        return PartChanges(None, None)
    rows, before, predicted_N = [rows[n] for n in right], before[right], predicted_N[right]
    own_N = birds.labels_N[rows]
    sibling_N = np.array([pairs[int(label)][0] for label in own_N])
    attributes = [pairs[int(label)][1] for label in own_N]
    own_pivot_N = (weight_CK[own_N] & ~weight_CK[sibling_N]).argmax(axis=1)
    others = [other_part(birds, row, a, generator) for row, a in zip(rows, attributes, strict=True)]
    reaction = None
    if swap:
        swaps = [{a: birds.taxonomy.species[int(s)][a]} for a, s in zip(attributes, sibling_N, strict=True)]
        swapped, swapped_N = _answers(classifier, [_render(birds, row, c) for row, c in zip(rows, swaps, strict=True)])
        control, control_N = _answers(classifier, [_render(birds, row, c) for row, c in zip(rows, others, strict=True)])
        reaction = metrics.pivot_faithfulness(
            before=before,
            swapped=swapped,
            control=control,
            own_pivot=own_pivot_N,
            sibling_pivot=(weight_CK[sibling_N] & ~weight_CK[own_N]).argmax(axis=1),
            sibling=sibling_N,
            swapped_predicted=swapped_N,
            control_predicted=control_N,
        )
    parts = [ATTRIBUTE_PART[attribute] for attribute in attributes]
    masks = [originals[number].part_masks for number in right]
    usable = [n for n, part in enumerate(parts) if masks[n][part].sum() >= _VISIBLE and before[n, own_pivot_N[n]] > 0]
    if not usable:
        return PartChanges(reaction, None)
    elsewhere = [_another(parts[n], masks[n], generator) for n in usable]
    removed, removed_N = _answers(
        classifier, [birds.render(rows[n], remove=parts[n], masks=False).image for n in usable]
    )
    kept, kept_N = _answers(
        classifier,
        [birds.render(rows[n], remove=part, masks=False).image for n, part in zip(usable, elsewhere, strict=True)],
    )
    return PartChanges(
        reaction,
        metrics.part_removal(
            before=before[usable],
            removed=removed,
            control=kept,
            feature=own_pivot_N[usable],
            predicted=predicted_N[usable],
            removed_predicted=removed_N,
            control_predicted=kept_N,
        ),
    )


def _spread(
    labels_N: NDArray[np.int64], classes: Sequence[int], images: int, generator: np.random.Generator
) -> list[int]:
    """Rows of so many images, as evenly as possible from the classes."""
    order = generator.permutation(np.array(classes, dtype=np.int64)).tolist()
    rows_of = {label: np.flatnonzero(labels_N == label).tolist() for label in order}
    deepest = max(map(len, rows_of.values()), default=0)
    found = [rows_of[label][depth] for depth in range(deepest) for label in order if depth < len(rows_of[label])]
    return sorted(found[:images])


def _another(part: str, masks: dict[str, NDArray[np.bool_]], generator: np.random.Generator) -> str:
    """Draw another part that is visible."""
    visible = [other for other in PARTS if other != part and masks[other].sum() >= _VISIBLE]
    return visible[int(generator.integers(len(visible)))] if visible else part


def _render(birds: SyntheticBirds, row: int, changes: dict[str, str]) -> Image.Image:
    return birds.render(row, changes, masks=False).image


def _answers(classifier: Classifier, pictures: Sequence[Image.Image]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (N, K) and predicted classes (N,)."""
    parts = [classifier.outputs(pictures[start : start + 16]) for start in range(0, len(pictures), 16)]
    features = np.concatenate([features_BK for _, features_BK, _ in parts])
    return features, np.concatenate([logits_BC.argmax(axis=1) for logits_BC, _, _ in parts])
