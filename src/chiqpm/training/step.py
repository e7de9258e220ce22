"""One step of the optimiser, over the parts of a batch and over all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import nn

from chiqpm.model import CHiQPM, DenseClassifier, Output
from chiqpm.processes import Processes
from chiqpm.training.batches import memory_layout
from chiqpm.training.dropout import SharedDropout
from chiqpm.training.share import Batch

Loss = Callable[[Output, torch.Tensor, int], torch.Tensor]


class StepResult(NamedTuple):
    """What a step came to, over the whole batch."""

    loss: float
    """Mean over its images."""
    correct: int
    """Images whose predicted class is the true one."""
    images: int
    """Its images."""


class Forward(nn.Module):
    """A network as the training runs it: mixed precision ends at the maps, heads and losses get float32.

    Args:
        model: the network.
        cached: inputs are activations of the frozen part of the backbone, not images.
        mixed: the backbone computes in mixed precision.
    """

    def __init__(self, model: DenseClassifier | CHiQPM, *, cached: bool, mixed: bool = False) -> None:
        super().__init__()
        self.model = model
        self.cached = cached
        self.mixed = mixed

    def forward(self, inputs: torch.Tensor) -> Output:
        """Classify a batch."""
        backbone = self.model.backbone
        maps_BFHW: torch.Tensor = backbone.forward_trainable(inputs) if self.cached else backbone(inputs)  # type: ignore[operator]
        if not self.mixed:
            return self.model.head(maps_BFHW)
        with torch.autocast(inputs.device.type, enabled=False):
            return self.model.head(maps_BFHW.float())


class Stepper:
    """Takes steps.

    Args:
        forward: the network.
        optimiser: over its parameters.
        loss: from output, labels and the epoch within the round to the mean over images.
        processes: those that train together.
        dropouts: the head's, told which rows of the batch they see.
        accumulation: parts of the batch for this process.
    """

    def __init__(
        self,
        forward: Forward,
        optimiser: torch.optim.Optimizer,
        loss: Loss,
        processes: Processes,
        *,
        dropouts: Iterable[SharedDropout],
        accumulation: int,
    ) -> None:
        self.processes, self.loss, self.accumulation = processes, loss, accumulation
        self.model, self.cached = forward.model, forward.cached
        self.forward, self.optimiser = processes.accelerator.prepare(forward, optimiser)
        self.dropouts = list(dropouts)
        self._newest: Batch | None = None

    def backward(self, parts: Iterable[Batch], epoch: int) -> StepResult:
        """Compute the gradient of the mean loss over the whole batch.

        The losses are means over images. Each part counts by its share of the batch's images, and what the processes
        then average is multiplied by their number: uneven parts count as they should.
        """
        accelerator, device = self.processes.accelerator, self.processes.device
        self.optimiser.zero_grad(set_to_none=True)
        sums, total = torch.zeros(2, device=device), 0
        for dropout in self.dropouts:
            dropout.begin_batch()
        for number, part in enumerate(parts):
            is_last, total = number == self.accumulation - 1, part.rows.total
            inputs = part.inputs.to(device, memory_format=memory_layout(part.inputs), non_blocking=True)
            labels_B = part.labels.to(device, non_blocking=True)
            for dropout in self.dropouts:
                dropout.rows = part.rows
            with nullcontext() if is_last else accelerator.no_sync(self.forward):
                output = self.forward(inputs)
                weighted = self.loss(output, labels_B, epoch) * (len(labels_B) / total)
                # accelerate divides by a number of its own, which `accelerate launch` may set.
                accelerator.backward(weighted * (self.processes.count * accelerator.gradient_accumulation_steps))
            self._newest = part
            correct = (output.logits.argmax(dim=1) == labels_B).sum()
            sums += torch.stack([weighted.detach(), correct.float()])
        loss, hits = self.processes.add(sums).tolist()
        return StepResult(loss, round(hits), total)

    def update(self, lr_factor: float) -> None:
        """Take the step, with both learning rates times a factor."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * lr_factor
        self.optimiser.step()

    def evaluate(self, epoch: int) -> float:
        """Return the mean loss of the parts that were computed last, as the model is now, in evaluation mode.

        It is computed in float32 and leaves the running statistics alone, as whoever uses the model will.
        """
        part, device = self._newest, self.processes.device
        assert part is not None, "a step comes first"
        self.model.eval()
        with torch.inference_mode():
            output = Forward(self.model, cached=self.cached)(part.inputs.to(device))
            loss = self.loss(output, part.labels.to(device), epoch)
        return float(self.processes.add(loss)) / self.processes.count
