"""A model's answers for many images, in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset

from chiqpm.model import Output
from chiqpm.progress import bar
from chiqpm.training.batches import in_order

BATCH_SIZE = 16
"""Small, because on CPUs the activations of a larger batch fall out of the cache, which halves the speed."""


@dataclass(frozen=True)
class Answers:
    """What a model says of N images.

    Attributes:
        logits_NC: logits.
        features_NK: features, as the last layer sees them.
        labels_N: true classes.
    """

    logits_NC: NDArray[np.float32]
    features_NK: NDArray[np.float32]
    labels_N: NDArray[np.int64]

    @property
    def predicted_N(self) -> NDArray[np.int64]:  # noqa: N802 - axis letters
        """Predicted classes, the lowest index on ties."""
        predicted_N: NDArray[np.int64] = self.logits_NC.argmax(axis=1)
        return predicted_N

    @property
    def accuracy(self) -> float:
        """Share of the images whose predicted class is the true one."""
        return float((self.predicted_N == self.labels_N).mean())


def answer(
    model: nn.Module,
    dataset: Dataset[Any],
    *,
    device: torch.device,
    description: str = "evaluating",
    workers: int | None = None,
    quiet: bool = True,
    each: Callable[[Output, torch.Tensor], None] | None = None,
) -> Answers:
    """Run a model over a data set.

    Args:
        model: `DenseClassifier` or `CHiQPM`; it is left in evaluation mode.
        dataset: yields (image, label, index).
        device: where the model is.
        description: label of the progress bar.
        workers: loading processes; None chooses.
        quiet: show no progress bar.
        each: called with the output and the labels of every batch, for what needs the maps.

    Returns:
        Logits, features and labels of all images, in their order.
    """
    model.eval()
    with torch.inference_mode():
        batches = (
            (model(images.to(device, memory_format=torch.channels_last)), labels)
            for images, labels in in_order(dataset, BATCH_SIZE, workers)
        )
        return gather(batches, len(dataset), description=description, quiet=quiet, each=each)  # type: ignore[arg-type]


def gather(
    batches: Iterable[tuple[Output, torch.Tensor]],
    total: int,
    *,
    description: str,
    quiet: bool = True,
    each: Callable[[Output, torch.Tensor], None] | None = None,
) -> Answers:
    """Collect outputs and labels, batch by batch, without their maps.

    Args:
        batches: output and labels of each batch.
        total: number of images, for the progress bar.
        description: label of the progress bar.
        quiet: show no progress bar.
        each: called with every batch.
    """
    parts: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]] = []
    with bar(total, description, quiet=quiet) as progress:
        for output, labels in batches:
            parts.append((output.logits.cpu().numpy(), output.features.cpu().numpy(), labels.numpy()))
            if each is not None:
                each(output, labels)
            progress.update(len(labels))
    logits, features, labels_N = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Answers(logits, features, labels_N)
