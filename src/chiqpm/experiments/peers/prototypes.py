"""A small ProtoPNet (Chen et al., 2019, "This looks like that") on the dense model's frozen maps."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

_DIMENSIONS = 64
_BATCH = 64


class Prototypes(nn.Module):
    """Each class has a few prototypes: places of training images, compared with every place of an image.

    A 1×1 convolution shrinks the maps; the similarity of a place and a prototype is log((d² + 1) / (d² + 1e-4)) of
    their distance d; a class's logit is the sum of its prototypes' largest similarities, minus half of the others'.

    Args:
        num_features: F of the maps.
        num_classes: C.
        per_class: prototypes of each class.
    """

    owner_PC: torch.Tensor

    def __init__(self, num_features: int, num_classes: int, per_class: int) -> None:
        super().__init__()
        self.shrink = nn.Sequential(
            nn.Conv2d(num_features, _DIMENSIONS, 1), nn.ReLU(), nn.Conv2d(_DIMENSIONS, _DIMENSIONS, 1), nn.Sigmoid()
        )
        self.prototypes_PD = nn.Parameter(torch.rand(num_classes * per_class, _DIMENSIONS))
        self.register_buffer("owner_PC", torch.eye(num_classes).repeat_interleave(per_class, dim=0))

    def distances(self, maps_BFHW: torch.Tensor) -> torch.Tensor:
        """Return squared distances (B, P, H, W) of all places from all prototypes."""
        places = self.shrink(maps_BFHW)
        flat = places.flatten(2).transpose(1, 2)
        squared = torch.cdist(flat, self.prototypes_PD[None]).square()
        return squared.transpose(1, 2).reshape(len(places), -1, *places.shape[2:])

    def similarities(self, distances: torch.Tensor) -> torch.Tensor:
        """Return the similarity for squared distances."""
        return torch.log((distances + 1) / (distances + 1e-4))

    def logits(self, pooled_BP: torch.Tensor) -> torch.Tensor:
        """Return logits (B, C) for the largest similarity of each prototype."""
        return pooled_BP @ (1.5 * self.owner_PC - 0.5)


def fit_prototypes(
    maps_NFHW: NDArray[np.float16],
    labels_N: NDArray[np.int64],
    num_classes: int,
    *,
    per_class: int = 5,
    epochs: int = 15,
    seed: int = 0,
) -> Prototypes:
    """Train, then move every prototype to the nearest place of its class's training images.

    The learning rate was chosen on calibration images, where the last layer that is fitted next did best.
    """
    torch.manual_seed(seed)
    model = Prototypes(maps_NFHW.shape[1], num_classes, per_class)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        for rows in np.array_split(generator.permutation(len(labels_N)), -(-len(labels_N) // _BATCH)):
            maps = torch.from_numpy(maps_NFHW[rows]).float()
            labels = torch.from_numpy(labels_N[rows])
            nearest = model.distances(maps).flatten(2).amin(dim=2)
            own = model.owner_PC.T[labels] > 0
            cluster = nearest.masked_fill(~own, torch.inf).amin(dim=1).mean()
            separation = nearest.masked_fill(own, torch.inf).amin(dim=1).mean()
            entropy = F.cross_entropy(model.logits(model.similarities(nearest)), labels)
            loss = entropy + 0.8 * cluster - 0.08 * separation
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
    _push(model.eval(), maps_NFHW, labels_N)
    return model


def activations(model: Prototypes, maps_NFHW: NDArray[np.float16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return largest similarities (N, P) and similarity maps (N, P, H, W)."""
    found: list[tuple[NDArray[np.float32], ...]] = []
    with torch.inference_mode():
        for start in range(0, len(maps_NFHW), _BATCH):
            similar = model.similarities(model.distances(torch.from_numpy(maps_NFHW[start : start + _BATCH]).float()))
            found.append((similar.flatten(2).amax(dim=2).numpy(), similar.numpy()))
    pooled, maps = (np.concatenate(column) for column in zip(*found, strict=True))
    return pooled, maps


@torch.inference_mode()
def _push(model: Prototypes, maps_NFHW: NDArray[np.float16], labels_N: NDArray[np.int64]) -> None:
    owner_P = model.owner_PC.argmax(dim=1).numpy()
    for label in np.unique(labels_N):
        maps = torch.from_numpy(maps_NFHW[labels_N == label]).float()
        places = model.shrink(maps).permute(0, 2, 3, 1).flatten(0, 2)
        for prototype in np.flatnonzero(owner_P == label):
            nearest = (places - model.prototypes_PD[prototype]).square().sum(dim=1).argmin()
            model.prototypes_PD[prototype] = places[nearest]
