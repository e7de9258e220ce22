"""One step of the optimiser, over the parts of a batch and over all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import nn

from chiqpm.model import CHiQPM, DenseClassifier, Output
from chiqpm.processes import Processes
from chiqpm.training.batch_norm import BatchCounts
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
    """A network and its loss, as the training runs them: mixed precision ends at the maps, head and loss get float32.

    The loss belongs in here because the maps, which it needs, are large: whatever leaves a network in half precision
    is copied to float32.

    Args:
        model: the network.
        loss: from output, labels and the epoch within the round to the mean over images.
        cached: inputs are activations of the frozen part of the backbone, not images.
    """

    def __init__(self, model: DenseClassifier | CHiQPM, loss: Loss, *, cached: bool) -> None:
        super().__init__()
        self.model, self.loss, self.cached = model, loss, cached
        # Compiled, it would be compiled anew when the number of the epoch changes; it is a few calls on whole maps.
        self._judge_plainly = torch.compiler.disable(self._judge)  # type: ignore[no-untyped-call]

    def forward(self, inputs: torch.Tensor, labels_B: torch.Tensor, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean loss of a batch, and the number of its images whose predicted class is the true one."""
        backbone = self.model.backbone
        maps_BFHW: torch.Tensor = backbone.forward_trainable(inputs) if self.cached else backbone(inputs)  # type: ignore[operator]
        with torch.autocast(inputs.device.type, enabled=False):
            output = self.model.head(maps_BFHW)
        found: tuple[torch.Tensor, torch.Tensor] = self._judge_plainly(output, labels_B, epoch)
        return found

    def _judge(self, output: Output, labels_B: torch.Tensor, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(labels_B.device.type, enabled=False):
            loss = self.loss(output, labels_B, epoch)
        return loss, (output.logits.argmax(dim=1) == labels_B).sum()


class Stepper:
    """Takes steps.

    Args:
        forward: the network and its loss.
        optimiser: over its parameters.
        processes: those that train together.
        dropouts: the head's, told which rows of the batch they see.
        accumulation: parts of the batch for this process.
        counts: of the batches that its batch norms have seen.
    """

    def __init__(
        self,
        forward: Forward,
        optimiser: torch.optim.Optimizer,
        processes: Processes,
        *,
        dropouts: Iterable[SharedDropout],
        accumulation: int,
        counts: BatchCounts,
    ) -> None:
        self.processes, self.accumulation, self.counts = processes, accumulation, counts
        accelerator = processes.accelerator
        self.exact = Forward(forward.model, forward.loss, cached=forward.cached)
        # accelerate changes `forward` itself, which then computes in mixed precision.
        self.forward = accelerator.prepare(forward)
        # Its optimisers are there for the scaled gradients of fp16; without them a step asks less of the host.
        self.optimiser = optimiser if accelerator.scaler is None else accelerator.prepare(optimiser)
        self.dropouts = list(dropouts)
        self._newest: Batch | None = None

    def step(self, parts: Iterable[Batch], epoch: int, lr_factor: float) -> StepResult:
        """Take a step along the gradient of the mean loss over the whole batch.

        The losses are means over images. Each part counts by its share of the batch's images, and what the processes
        then average is multiplied by their number: uneven parts count as they should. The loss is read after the step
        only, so that a GPU has work meanwhile; if it isn't finite, the step may have spoilt the weights.

        Args:
            parts: of the batch, as many as `accumulation`.
            epoch: within the round.
            lr_factor: factor on both learning rates.
        """
        sums, total = self._backward(parts, epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * lr_factor
        self.optimiser.step()
        loss, hits = self.processes.add(sums).tolist()
        return StepResult(loss, round(hits), total)

    def _backward(self, parts: Iterable[Batch], epoch: int) -> tuple[torch.Tensor, int]:
        """Compute the gradient; returns loss and hits of this process, and the images of the whole batch."""
        accelerator, device = self.processes.accelerator, self.processes.device
        self.optimiser.zero_grad(set_to_none=True)
        sums: list[torch.Tensor] = []
        total = 0
        for dropout in self.dropouts:
            dropout.begin_batch()
        for number, part in enumerate(parts):
            is_last, total = number == self.accumulation - 1, part.rows.total
            inputs = part.inputs.to(device, memory_format=memory_layout(part.inputs), non_blocking=True)
            labels_B = part.labels.to(device, non_blocking=True)
            for dropout in self.dropouts:
                dropout.rows = part.rows
            with nullcontext() if is_last else accelerator.no_sync(self.forward):
                loss, correct = self.forward(inputs, labels_B, epoch)
                self.counts.add()
                weighted = _times(loss, len(labels_B) / total)
                # accelerate divides by a number of its own, which `accelerate launch` may set.
                factor = self.processes.count * accelerator.gradient_accumulation_steps
                accelerator.backward(_times(weighted, factor))
            self._newest = part
            sums.append(torch.stack([weighted.detach(), correct]))
        return sums[0] if len(sums) == 1 else torch.stack(sums).sum(dim=0), total

    def evaluate(self, epoch: int) -> float:
        """Return the mean loss of the parts that were computed last, as the model is now, in evaluation mode.

        It is computed in float32 and leaves the running statistics alone, as whoever uses the model will.
        """
        part, device = self._newest, self.processes.device
        assert part is not None, "a step comes first"
        self.exact.eval()
        with torch.inference_mode():
            loss, _ = self.exact(part.inputs.to(device), part.labels.to(device), epoch)
        return float(self.processes.add(loss)) / self.processes.count


def _times(value: torch.Tensor, factor: float) -> torch.Tensor:
    return value if factor == 1 else value * factor
