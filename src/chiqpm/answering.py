"""What a model computes of a batch where it is, and the CPU gets of it with one wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.conformal import HierarchicalScore
from chiqpm.devices import send_images
from chiqpm.model import CHiQPM

T = TypeVar("T")


class Computed(NamedTuple):
    """What a model computed of B images.

    Attributes:
        logits_BC: logits.
        features_BK: features.
        path_Bn: each prediction's features, the strongest first.
        maps_BnHW: their maps.
    """

    logits_BC: NDArray[np.float32]
    features_BK: NDArray[np.float32]
    path_Bn: NDArray[np.int64]
    maps_BnHW: NDArray[np.float32]


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


def begin(model: CHiQPM, owned: OwnedFeatures, images_B3SS: torch.Tensor) -> Callable[[], Computed]:
    """Have a batch computed; a CUDA GPU goes on with it while this returns.

    Args:
        model: in evaluation mode.
        owned: of its assignment.
        images_B3SS: prepared images, on any device; pinned ones may not change before the result is there.

    Returns:
        What waits for the batch, and, on a CUDA GPU, for nothing that was begun after it.
    """
    device = owned.index_Cn.device
    with torch.inference_mode():
        output = model(send_images(images_B3SS, device))
        path_Bn = _paths(owned.index_Cn, output.logits, output.features)
        rows_B1 = torch.arange(len(path_Bn), device=device)[:, None]
        return _send(output.logits, output.features, path_Bn, output.maps[rows_B1, path_Bn])


def one_behind(items: Iterable[T]) -> Iterator[T]:
    """Yield each item after the next one was made: what was begun goes on meanwhile."""
    before: list[T] = []
    for item in items:
        yield from before
        before = [item]
    yield from before


def _paths(index_Cn: torch.Tensor, logits_BC: torch.Tensor, features_BK: torch.Tensor) -> torch.Tensor:
    """Return the predicted classes' features (B, n), the strongest first, by index on ties."""
    owned_Bn = index_Cn[logits_BC.argmax(dim=1)]
    order_Bn = features_BK.gather(1, owned_Bn).argsort(dim=1, descending=True, stable=True)
    return owned_Bn.gather(1, order_Bn)


def _send(
    logits_BC: torch.Tensor, features_BK: torch.Tensor, path_Bn: torch.Tensor, maps_BnHW: torch.Tensor
) -> Callable[[], Computed]:
    """Send tensors of a device to the CPU, all at once, and return what waits until they are there."""
    device = logits_BC.device
    if device.type == "cpu":
        return lambda: Computed(logits_BC.numpy(), features_BK.numpy(), path_Bn.numpy(), maps_BnHW.numpy())
    # Indices of features are small enough to be exact as floats.
    parts = (logits_BC, features_BK, path_Bn.to(logits_BC.dtype), maps_BnHW)
    flat, shapes = torch.cat([part.flatten() for part in parts]), [part.shape for part in parts]
    if device.type != "cuda":
        return lambda: _take_apart(flat.cpu(), shapes)
    # Whatever is asked of the GPU afterwards comes behind the copy, and the event stands between.
    pinned = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=True)
    pinned.copy_(flat, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record(torch.cuda.current_stream(device))

    def wait() -> Computed:
        arrived.synchronize()
        # Pinned memory is scarce, and answers may be kept.
        return _take_apart(pinned.clone(), shapes)

    return wait


def _take_apart(flat: torch.Tensor, shapes: Sequence[torch.Size]) -> Computed:
    pieces = torch.split(flat, [shape.numel() for shape in shapes])
    logits, features, path, maps = (piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True))
    return Computed(logits.numpy(), features.numpy(), path.long().numpy(), maps.numpy())
