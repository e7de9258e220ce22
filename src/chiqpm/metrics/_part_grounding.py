"""Part grounding: does a feature point at the same part of the object in every image?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, flags, integers
from chiqpm.metrics._scene import Flags, Floats, Scene, pixel_centres


@dataclass(frozen=True, kw_only=True, eq=False)
class PartGrounding:
    """Share of peaks that lie on their feature's part, and what chance gives; NaN where nothing counts."""

    cases: int
    """Number of pairs of an image and a feature that count."""
    hit: float
    """Share of cases whose peak lies on a visible pixel of the feature's part, or near one."""
    hidden: float
    """Share of cases in whose image the part isn't visible; they can't be hits."""
    other_image: float
    """The same peaks against the part in another image in which the feature is active."""
    random_image: float
    """Random places in the image."""
    random_object: float
    """Random places on the object."""
    hit_K: Floats
    """Share of hits of each feature (K,)."""


def modal_parts(
    peaks: ArrayOrTensor, masks: ArrayOrTensor, active: ArrayOrTensor, *, visible: ArrayOrTensor | None = None
) -> npt.NDArray[np.int64]:
    """The part that is nearest to a feature's peak most often, on images apart from the test images.

    Distance is that to the centre of the part's nearest pixel. On ties the part with the lowest index wins.

    Args:
        peaks: Places (B, K, 2), y then x, in fractions of the image (see `map_peaks`).
        masks: Pixels of each part (B, P, H, W), booleans; one pixel will do where only a point is known.
        active: Whether the feature is active in the image (B, K).
        visible: Whether the part is visible in the image (B, P); by default where its mask has a pixel.

    Returns:
        The part of each feature (K,); -1 for a feature that is never active where a part is visible.

    Raises:
        ChiqpmError: On shapes that don't fit together, or peaks outside [0, 1].
    """
    scene = Scene(peaks, masks, active, visible)
    images, kept = scene.active_BK.shape
    votes_KP = np.zeros((kept, scene.visible_BP.shape[1]), dtype=np.int64)
    for b in range(images):
        features = np.flatnonzero(scene.active_BK[b])
        parts = np.flatnonzero(scene.visible_BP[b])
        if len(features) and len(parts):
            distance = np.stack([scene.distances(int(b), int(part), scene.peaks_BK2[b, features]) for part in parts])
            votes_KP[features, parts[distance.argmin(axis=0)]] += 1
    return np.where(votes_KP.any(axis=1), votes_KP.argmax(axis=1), -1).astype(np.int64)


def part_grounding(
    peaks: ArrayOrTensor,
    masks: ArrayOrTensor,
    active: ArrayOrTensor,
    parts: ArrayOrTensor,
    *,
    explaining: ArrayOrTensor | None = None,
    visible: ArrayOrTensor | None = None,
    objects: ArrayOrTensor | None = None,
    tolerance: float = 0.05,
    seed: int = 0,
) -> PartGrounding:
    """How often the peak of a feature lies on the feature's part, beside three controls.

    A case is an image and a feature that explains its prediction. It is a hit where the peak lies within the
    tolerance of the centre of a visible pixel of the feature's part. The controls show what layout and chance
    alone give: the same peak against the part in another image in which the feature is active, a random place
    in the image and a random place on the object.

    Args:
        peaks: Places (B, K, 2), y then x, in fractions of the image (see `map_peaks`).
        masks: Pixels of each part (B, P, H, W), booleans.
        active: Whether the feature is active in the image (B, K).
        parts: The part of each feature (K,), from `modal_parts` on other images; features with -1 don't
            count.
        explaining: Which features count where they are active (B, K), for instance those assigned to the
            predicted class; by default all.
        visible: Whether the part is visible in the image (B, P); by default where its mask has a pixel.
        objects: Pixels of the object (B, H, W); by default those of all visible parts.
        tolerance: Largest distance of a hit, as a fraction of the image's longer side.
        seed: Seed of the controls.

    Returns:
        The shares of hits.

    Raises:
        ChiqpmError: On shapes that don't fit together, peaks outside [0, 1], a part that doesn't exist or a
            negative tolerance.
        TypeError: If the parts aren't integers.
    """
    scene = Scene(peaks, masks, active, visible)
    images, kept = scene.active_BK.shape
    parts_K = integers(parts, "parts", "K", limit=scene.visible_BP.shape[1], lowest=-1, K=kept)
    objects_BHW = scene.objects(objects)
    counted_BK = scene.active_BK
    if explaining is not None:
        counted_BK = scene.active_BK & flags(explaining, "explaining", "BK", B=images, K=kept)
    if not tolerance >= 0:
        raise ChiqpmError(f"tolerance is {tolerance}; it must be 0 or more, as a fraction of the image's longer side.")

    generator = np.random.default_rng(seed)
    image_N, feature_N = np.nonzero(counted_BK & (parts_K >= 0))
    part_N, peaks_N2 = parts_K[feature_N], scene.peaks_BK2[image_N, feature_N]
    partner_N = _partners(image_N, feature_N, scene.active_BK, generator)
    has_object_B: Flags = np.any(objects_BHW, axis=(1, 2))
    has_object_N = has_object_B[image_N]
    on_object_N2 = np.zeros_like(peaks_N2)
    for b in np.unique(image_N[has_object_N]):
        rows = image_N == b
        on_object_N2[rows] = generator.choice(pixel_centres(objects_BHW[b]), size=int(rows.sum()))

    def hits(images_N: npt.NDArray[np.int64], places_N2: Floats) -> Flags:
        result = np.zeros(len(images_N), dtype=bool)
        for b, part in np.unique(np.stack([images_N, part_N], axis=1), axis=0):
            rows = (images_N == b) & (part_N == part)
            result[rows] = scene.distances(int(b), int(part), places_N2[rows]) <= tolerance
        return result

    hit_N = hits(image_N, peaks_N2)
    count_K = np.bincount(feature_N, minlength=kept)
    return PartGrounding(
        cases=len(image_N),
        hit=_share(hit_N),
        hidden=_share(~scene.visible_BP[image_N, part_N]),
        other_image=_share(hits(np.maximum(partner_N, 0), peaks_N2)[partner_N >= 0]),
        random_image=_share(hits(image_N, generator.random(peaks_N2.shape))),
        random_object=_share(hits(image_N, on_object_N2)[has_object_N]),
        hit_K=np.bincount(feature_N, weights=hit_N, minlength=kept) / np.where(count_K > 0, count_K, np.nan),
    )


def _partners(
    image_N: npt.NDArray[np.int64],
    feature_N: npt.NDArray[np.int64],
    active_BK: Flags,
    generator: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """For each case another image, drawn evenly, in which the feature is active; -1 where there is none."""
    partner_N = np.full(len(image_N), -1, dtype=np.int64)
    for k in np.unique(feature_N):
        images = np.flatnonzero(active_BK[:, k])
        if len(images) > 1:
            rows = feature_N == k
            own = np.searchsorted(images, image_N[rows])
            partner_N[rows] = images[(own + generator.integers(1, len(images), own.shape)) % len(images)]
    return partner_N


def _share(hits: Flags) -> float:
    return float(hits.mean()) if hits.size else float("nan")
