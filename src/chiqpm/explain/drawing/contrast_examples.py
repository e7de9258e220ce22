"""The example images of a class in a contrast, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError
from chiqpm.explain.drawing.heat import Layer, panel_image
from chiqpm.explain.inputs import finite_array
from chiqpm.explain.saliency import strength
from chiqpm.explain.values import Feature

_MOST = 4


@dataclass(frozen=True)
class Example:
    """One image with what the model saw in it.

    Attributes:
        image: its pixels at the resolution of a panel.
        maps_KHW: the feature maps.
        activation_K: the activations, where they are known.
        strength_K: relative to the active means, 0 or more; all 1 where they aren't known.
    """

    image: NDArray[np.uint8]
    maps_KHW: NDArray[Any]
    activation_K: NDArray[Any] | None
    strength_K: NDArray[Any]

    def layers(self, features: Sequence[Feature]) -> list[Layer]:
        """Return what a panel with these features shows."""
        return [Layer(f.index, self.maps_KHW[f.index], float(self.strength_K[f.index])) for f in features]

    def caption(self, features: Sequence[Feature]) -> str:
        """Return the values of the only feature, or "" where there are none or several."""
        if len(features) != 1 or self.activation_K is None:
            return ""
        index = features[0].index
        return f"{self.activation_K[index]:.2f}, {self.strength_K[index]:.2f}× usual"


def class_examples(
    name: str, images: Sequence[Any], maps: Any, *, features: Any, active_mean_K: Any, num_features: int
) -> list[Example]:
    """Check a class's images, maps (B, K, H, W) and, where given, activations (B, K) against each other.

    Args:
        name: the class's name, for messages.
        images: one to four images.
        maps: the feature maps.
        features: the activations, or None.
        active_mean_K: the active means, or None.
        num_features: how many features the maps must have at least.

    Raises:
        ChiqpmError: they don't fit.
    """
    if not 1 <= len(images) <= _MOST:
        raise ChiqpmError(f"a contrast shows 1 to {_MOST} images of a class, received {len(images)} of {name}")
    maps_BKHW = finite_array(maps, f"the maps of {name}", (len(images), "K", "H", "W"))
    kept = maps_BKHW.shape[1]
    if kept < num_features:
        raise ChiqpmError(f"the maps of {name} have {kept} features, but the contrast uses feature {num_features - 1}")
    pixels = [panel_image(image) for image in images]
    if features is None:
        return [Example(p, maps_KHW, None, np.ones(kept)) for p, maps_KHW in zip(pixels, maps_BKHW, strict=True)]
    features_BK = finite_array(features, f"the features of {name}", (len(images), kept))
    means = finite_array(active_mean_K, "the active means", (kept,))
    strengths = [[strength(float(f), float(m)) for f, m in zip(row, means, strict=True)] for row in features_BK]
    return [
        Example(p, maps_KHW, features_K, np.array(row))
        for p, maps_KHW, features_K, row in zip(pixels, maps_BKHW, features_BK, strengths, strict=True)
    ]
