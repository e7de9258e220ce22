"""Dropout whose mask for an image doesn't depend on how its batch is divided among processes and parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from chiqpm.training.share import Rows


class SharedDropout(nn.Dropout):
    """`nn.Dropout` that draws the mask of the whole batch and uses its own rows.

    All processes must have the same state of torch's generator. On a CPU, `nn.Dropout` draws the same mask for the
    whole batch, and does it here where the batch is not divided.
    """

    rows: Rows | None = None
    _mask: torch.Tensor | None = None

    def begin_batch(self) -> None:
        """Forget the mask; the next part draws that of its whole batch."""
        self._mask = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Drop entries of (B, ...) in training."""
        rows = self.rows
        whole = rows is None or (rows.total == len(inputs) and inputs.device.type == "cpu")
        if whole or rows is None or not self.training or self.p in (0.0, 1.0):
            return super().forward(inputs)
        if self._mask is None:
            self._mask = inputs.new_empty((rows.total, *inputs.shape[1:])).bernoulli_(1 - self.p)
        own = self._mask[rows.start : rows.start + len(inputs)]
        return inputs * (own / (1 - self.p))


@contextmanager
def shared_dropout(model: nn.Module) -> Iterator[list[SharedDropout]]:
    """Replace the dropout of a model's head for the time of a training; yields what now drops."""
    plain = {name: module for name, module in model.named_children() if type(module) is nn.Dropout}
    shared = {name: SharedDropout(module.p) for name, module in plain.items()}
    try:
        for name, new in shared.items():
            setattr(model, name, new.train(model.training))
        yield list(shared.values())
    finally:
        for name, old in plain.items():
            setattr(model, name, old.train(model.training))
