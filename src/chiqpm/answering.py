"""What a model computes of a batch where it is, and the CPU gets of it with one wait."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.conformal import HierarchicalScore
from chiqpm.model import CHiQPM


class OwnedFeatures:
    """The features that each class owns, where they are needed.

    Args:
        weight_CK: binary assignment, where the model is.

    Attributes:
        weight_CK: it, on the CPU.
        index_Cn: indices of the n features of each class, where the model is.
    """

    def __init__(self, weight_CK: torch.Tensor) -> None:
        self._source, self._version = weight_CK, _version(weight_CK)
        self.weight_CK: NDArray[np.float32] = weight_CK.cpu().numpy().copy()
        self.index_Cn = weight_CK.nonzero()[:, 1].reshape(len(weight_CK), -1)
        self._score: HierarchicalScore | None = None

    def is_from(self, weight_CK: torch.Tensor) -> bool:
        """Whether the assignment is still that of the model."""
        return weight_CK is self._source and _version(weight_CK) == self._version

    def is_of(self, score: HierarchicalScore) -> bool:
        """Whether a score follows the same assignment."""
        if score is not self._score and np.array_equal(score.weight_CK.numpy(), self.weight_CK):
            self._score = score
        return score is self._score


def _version(tensor: torch.Tensor) -> int:
    """Return a number that grows when a tensor is changed in place; those of the inference mode don't count."""
    return 0 if tensor.is_inference() else tensor._version


def compute(
    model: CHiQPM, owned: OwnedFeatures, images_B3SS: torch.Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return logits (B, C), features (B, K), each prediction's features (B, n), the strongest first, and their maps.

    Args:
        model: in evaluation mode.
        owned: of its assignment.
        images_B3SS: prepared images, on any device.
    """
    device = owned.index_Cn.device
    with torch.inference_mode():
        output = model(images_B3SS.to(device, memory_format=torch.channels_last))
        path_Bn = _paths(owned.index_Cn, output.logits, output.features)
        rows_B1 = torch.arange(len(path_Bn), device=device)[:, None]
        return _fetch(output.logits, output.features, path_Bn, output.maps[rows_B1, path_Bn])


def _paths(index_Cn: torch.Tensor, logits_BC: torch.Tensor, features_BK: torch.Tensor) -> torch.Tensor:
    """Return the predicted classes' features (B, n), the strongest first, by index on ties."""
    owned_Bn = index_Cn[logits_BC.argmax(dim=1)]
    order_Bn = features_BK.gather(1, owned_Bn).argsort(dim=1, descending=True, stable=True)
    return owned_Bn.gather(1, order_Bn)


def _fetch(
    logits_BC: torch.Tensor, features_BK: torch.Tensor, path_Bn: torch.Tensor, maps_BnHW: torch.Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return tensors of a device as arrays, with one wait for all of them."""
    if logits_BC.device.type == "cpu":
        return logits_BC.numpy(), features_BK.numpy(), path_Bn.numpy(), maps_BnHW.numpy()
    # Indices of features are small enough to be exact as floats.
    parts = (logits_BC, features_BK, path_Bn.to(logits_BC.dtype), maps_BnHW)
    flat = torch.cat([part.flatten() for part in parts]).cpu()
    logits, features, path, maps = torch.split(flat, [part.numel() for part in parts])
    return (
        logits.view(logits_BC.shape).numpy(),
        features.view(features_BK.shape).numpy(),
        path.view(path_Bn.shape).long().numpy(),
        maps.view(maps_BnHW.shape).numpy(),
    )
