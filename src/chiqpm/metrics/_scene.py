"""Peaks and the parts they may lie on: checked arrays, and distances in the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, flags, floats

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Scene:
    """What part grounding knows of a set of images."""

    def __init__(
        self, peaks: ArrayOrTensor, masks: ArrayOrTensor, active: ArrayOrTensor, visible: ArrayOrTensor | None
    ) -> None:
        self.active_BK = flags(active, "active", "BK")
        images, features = self.active_BK.shape
        self.peaks_BK2 = floats(peaks, "peaks", "BKD", B=images, K=features, D=2)
        if self.peaks_BK2.min() < 0 or self.peaks_BK2.max() > 1:
            raise ChiqpmError(
                "peaks must lie between 0 and 1, as (y, x) in fractions of the image; received values from "
                f"{self.peaks_BK2.min():g} to {self.peaks_BK2.max():g}."
            )
        self.masks_BPHW = flags(masks, "masks", "BPHW", B=images)
        self.visible_BP: Flags = np.any(self.masks_BPHW, axis=(2, 3))
        if visible is not None:
            self.visible_BP &= flags(visible, "visible", "BP", B=images, P=self.masks_BPHW.shape[1])

    def objects(self, objects: ArrayOrTensor | None) -> Flags:
        """Pixels of the object in each image (B, H, W); those of all visible parts where none are given."""
        images, _, height, width = self.masks_BPHW.shape
        if objects is not None:
            return flags(objects, "objects", "BHW", B=images, H=height, W=width)
        return np.stack([masks[seen].any(axis=0) for masks, seen in zip(self.masks_BPHW, self.visible_BP, strict=True)])

    def distances(self, image: int, part: int, places_N2: Floats) -> Floats:
        """Distance (N,) of places to the nearest pixel centre of a part, in longer sides of the image.

        Infinite where the part isn't visible.
        """
        if not self.visible_BP[image, part]:
            return np.full(len(places_N2), np.inf)
        mask_HW = self.masks_BPHW[image, part]
        sides = np.array(mask_HW.shape) / max(mask_HW.shape)
        distance: Floats = KDTree(pixel_centres(mask_HW) * sides).query(places_N2 * sides)[0]
        return distance


def pixel_centres(mask_HW: Flags) -> Floats:
    """Centres (N, 2) of a mask's pixels, y then x, in fractions of the image."""
    return (np.argwhere(mask_HW) + 0.5) / mask_HW.shape
