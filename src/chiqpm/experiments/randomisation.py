"""Do maps change when the model forgets what it learned, layer by layer from the last to the first?"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from chiqpm import metrics
from chiqpm.errors import ChiqpmError
from chiqpm.model import CHiQPM


@dataclass(frozen=True)
class RandomisedDepth:
    """Maps after all layers from the last one down to some depth were randomised.

    Attributes:
        layers: how many weight tensors of the backbone were randomised.
        share: their share of all.
        similarity: mean rank correlation with the trained model's maps.
        standard_error: of this mean, over images.
    """

    layers: int
    share: float
    similarity: float
    standard_error: float


@dataclass(frozen=True)
class RandomisationResult:
    """Similarity of maps against depth.

    Attributes:
        depths: from few layers to all; the trained model itself would have similarity 1.
        unrelated: mean rank correlation of a feature's maps in different images: what is left where two maps have
            nothing to do with each other.
        images: number of images.
    """

    depths: tuple[RandomisedDepth, ...]
    unrelated: float
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def measure_randomisation(
    model: CHiQPM, images_N3YX: torch.Tensor, *, steps: int = 5, seed: int = 0
) -> RandomisationResult:
    """Randomise the backbone's weights in a cascade and compare the maps (Adebayo et al., NeurIPS 2018).

    A tensor is randomised by permuting its entries, which keeps their distribution. The maps compared are those of the
    features of the class that the trained model predicts.

    Args:
        model: the classifier; it is left as it is.
        images_N3YX: images as the model takes them, on its device; at least 2.
        steps: in how many steps the layers are randomised, from the last one alone to all of them; at least 2.
        seed: of the permutations.

    Raises:
        ChiqpmError: fewer than 2 images or steps.
    """
    if len(images_N3YX) < 2 or steps < 2:
        raise ChiqpmError(f"2 images and 2 steps are needed at least, received {len(images_N3YX)} and {steps}")
    forgetful = deepcopy(model).eval()
    layers = [p for p in forgetful.backbone.parameters() if p.ndim > 1]
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        trained = model(images_N3YX)
    own_NK = model.weight_CK[trained.logits.argmax(dim=1)].cpu().numpy().astype(bool)
    maps = trained.maps.cpu().numpy()
    shifted = metrics.map_similarity(maps, np.roll(maps, 1, axis=0))
    depths, done = [], 0
    for until in np.unique(np.linspace(1, len(layers), steps).round().astype(int)).tolist():
        for layer in layers[len(layers) - until : len(layers) - done]:
            _permute(layer, generator)
        done = until
        with torch.inference_mode():
            changed = forgetful(images_N3YX).maps.float().cpu().numpy()
        similarity_N = _own_mean(metrics.map_similarity(maps, np.nan_to_num(changed)), own_NK)
        error = float(similarity_N.std(ddof=1) / np.sqrt(len(similarity_N)))
        depths.append(RandomisedDepth(until, until / len(layers), float(similarity_N.mean()), error))
    return RandomisationResult(tuple(depths), float(_own_mean(shifted, own_NK).mean()), len(images_N3YX))


def _own_mean(similarity_NK: np.ndarray[Any, Any], own_NK: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Mean over the features of the predicted class, (N,)."""
    return np.asarray((similarity_NK * own_NK).sum(axis=1) / np.maximum(own_NK.sum(axis=1), 1))


@torch.no_grad()
def _permute(layer: torch.nn.Parameter, generator: torch.Generator) -> None:
    order = torch.randperm(layer.numel(), generator=generator).to(layer.device)
    layer.copy_(layer.flatten()[order].view_as(layer))
