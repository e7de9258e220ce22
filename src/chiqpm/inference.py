"""A model's answers for many images, in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset

from chiqpm.devices import send_images
from chiqpm.errors import DamagedFileError
from chiqpm.files import read_npz
from chiqpm.model import Output
from chiqpm.processes import Processes
from chiqpm.progress import bar
from chiqpm.training.batches import in_order

if TYPE_CHECKING:
    from typing_extensions import Self

BATCH_SIZE = 16
"""Small, because on CPUs the activations of a larger batch fall out of the cache, which halves the speed."""

TEST_ANSWERS = "test_answers.npz"
"""File of a run with the answers for its test images."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What a model sees in N images; 4K + 8 bytes an image.

    Attributes:
        features_NK: features, as the last layer sees them.
        labels_N: true classes.
    """

    features_NK: NDArray[np.float32]
    labels_N: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write_npz(path, vars(features))` wrote.

        Raises:
            FileNotFoundError: no such file.
            DamagedFileError: it is cut short, or holds something else.
        """
        arrays = read_npz(path)
        names = [field.name for field in fields(cls)]
        found = {name: arrays[name] for name in names if name in arrays}
        fitting = all(values.ndim == len(name.rpartition("_")[2]) for name, values in found.items())
        if len(found) < len(names) or not fitting or len({len(values) for values in found.values()}) != 1:
            raise DamagedFileError(f"{path} is damaged: it doesn't hold {', '.join(names)} of the same images")
        return cls(**found)


@dataclass(frozen=True, kw_only=True)
class Answers(Features):
    """What a model says of N images; 4(C + K) + 8 bytes an image.

    Attributes:
        logits_NC: logits.
        features_NK: features, as the last layer sees them.
        labels_N: true classes.
    """

    logits_NC: NDArray[np.float32]

    @property
    def predicted_N(self) -> NDArray[np.int64]:  # noqa: N802 - axis letters
        """Predicted classes, the lowest index on ties."""
        predicted_N: NDArray[np.int64] = self.logits_NC.argmax(axis=1)
        return predicted_N

    @property
    def accuracy(self) -> float:
        """Share of the images whose predicted class is the true one."""
        return float((self.predicted_N == self.labels_N).mean())


Kept = TypeVar("Kept", bound=Features)


class RowStore:
    """Rows of an array that come batch by batch.

    They are written in place: small arrays that stay, between large ones that go, would leave holes that nothing fits
    into, and the memory would grow by the size of the images.

    Args:
        most: how many rows there can be.
    """

    def __init__(self, most: int) -> None:
        self.most, self.count = most, 0
        self._rows: NDArray[Any] | None = None

    def add(self, rows: NDArray[Any]) -> None:
        """Take in the next rows."""
        if self._rows is None:
            self._rows = np.empty((self.most, *rows.shape[1:]), rows.dtype)
        self._rows[self.count : self.count + len(rows)] = rows
        self.count += len(rows)

    @property
    def rows(self) -> NDArray[Any] | None:
        """Those that came; None if none did."""
        return None if self._rows is None else self._rows[: self.count]


def answer(
    model: nn.Module,
    dataset: Dataset[Any],
    *,
    device: torch.device,
    description: str = "evaluating",
    workers: int | None = None,
    quiet: bool = True,
    each: Callable[[Output, torch.Tensor], None] | None = None,
    processes: Processes | None = None,
) -> Answers:
    """Run a model over a data set.

    Args:
        model: `DenseClassifier` or `CHiQPM`; it is left in evaluation mode.
        dataset: yields (image, label, index).
        device: where the model is.
        description: label of the progress bar.
        workers: loading processes; None chooses.
        quiet: show no progress bar.
        each: called with the output and the labels of every batch, for what needs the maps; in each process with its
            own batches.
        processes: those that divide the images among them; all get all answers.

    Returns:
        Logits, features and labels of all images, in their order.
    """
    with torch.inference_mode():
        batches = outputs(model, dataset, device=device, workers=workers, processes=processes)
        total = len(dataset)  # type: ignore[arg-type]
        return gather(batches, total, Answers, description=description, quiet=quiet, each=each, processes=processes)


def accuracy(
    model: nn.Module,
    dataset: Dataset[Any],
    *,
    device: torch.device,
    description: str = "evaluating",
    workers: int | None = None,
    quiet: bool = True,
    processes: Processes | None = None,
) -> float:
    """Return the share of the images whose predicted class is the true one; arguments as for `answer`.

    Nothing is kept of the images.
    """
    correct, total = 0, len(dataset)  # type: ignore[arg-type]
    with torch.inference_mode(), bar(total, description, quiet=quiet) as progress:
        for output, labels in outputs(model, dataset, device=device, workers=workers, processes=processes):
            correct += int((output.logits.argmax(dim=1).cpu() == labels).sum())
            progress.update(len(labels) * (1 if processes is None else processes.count))
    hits = np.array([correct])
    return float(hits[0] if processes is None else processes.add_array(hits)[0]) / total


def outputs(
    model: nn.Module,
    dataset: Dataset[Any],
    *,
    device: torch.device,
    workers: int | None = None,
    processes: Processes | None = None,
) -> Iterable[tuple[Output, torch.Tensor]]:
    """Yield a model's outputs for a data set, and the labels, batch by batch; of several processes each has its own."""
    model.eval()
    rows_N = None if processes is None else processes.own_rows(len(dataset), BATCH_SIZE)  # type: ignore[arg-type]
    for images, labels in in_order(dataset, BATCH_SIZE, workers, rows_N):
        yield model(send_images(images, device)), labels


def gather(
    batches: Iterable[tuple[Output, torch.Tensor]],
    total: int,
    kind: type[Kept],
    *,
    description: str,
    quiet: bool = True,
    each: Callable[[Output, torch.Tensor], None] | None = None,
    processes: Processes | None = None,
) -> Kept:
    """Collect outputs and labels, batch by batch, without their maps.

    Args:
        batches: output and labels of each batch.
        total: number of images, for the progress bar.
        kind: what to keep: `Answers`, or `Features`, which doesn't grow with the number of classes.
        description: label of the progress bar.
        quiet: show no progress bar.
        each: called with every batch.
        processes: whose batches these are together, in the order of the processes.
    """
    stores = {field.name: RowStore(total) for field in fields(kind)}
    quiet = quiet or (processes is not None and not processes.is_main)
    with bar(total, description, quiet=quiet) as progress:
        for output, labels in batches:
            values = {"logits_NC": output.logits, "features_NK": output.features, "labels_N": labels}
            for name, store in stores.items():
                store.add(values[name].cpu().numpy())
            if each is not None:
                each(output, labels)
            progress.update(len(labels) * (1 if processes is None else processes.count))
    own = {name: store.rows for name, store in stores.items()}
    if processes is not None:
        own = {name: processes.collect(rows) for name, rows in own.items()}
    return kind(**own)  # type: ignore[arg-type]
