"""The one training loop, for the dense and the sparse stage."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from chiqpm.config import OptimiserConfig
from chiqpm.errors import ChiqpmError
from chiqpm.model import Output
from chiqpm.progress import bar
from chiqpm.training.batches import Batches
from chiqpm.training.checkpoint import load_state, read_position, save_state

logger = logging.getLogger(__name__)
Loss = Callable[[Output, torch.Tensor, int], torch.Tensor]


class TrainingDivergedError(ChiqpmError):
    """The loss or a weight is no longer finite; the last good checkpoint is kept."""


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch came to."""

    epoch: int
    loss: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """One round of training: what is trained, on what, how.

    Attributes:
        name: how the stage is called in progress bars, messages and checkpoints.
        model: its parameters with `requires_grad` are trained.
        forward: from a batch of inputs to the model's output.
        batches: the training data.
        loss: from output, labels and the epoch within the round to a scalar.
        optimiser: learning rates, schedule, batch size.
        head_parameters: parameters that get the head's learning rate.
        epochs: passes over the data.
        first_epoch: epochs of earlier rounds, so that each round sees other batches.
        lr_factor: factor on both learning rates.
        seed: seed of dropout.
        device: where the model is.
    """

    name: str
    model: nn.Module
    forward: Callable[[torch.Tensor], Output]
    batches: Batches
    loss: Loss
    optimiser: OptimiserConfig
    head_parameters: Iterable[nn.Parameter]
    epochs: int
    device: torch.device
    first_epoch: int = 0
    lr_factor: float = 1.0
    seed: int = 0


def run(training: Training, *, checkpoint: Path | None = None, key: str = "", quiet: bool = True) -> list[EpochRecord]:
    """Train, with a checkpoint after every epoch, and resume from one that belongs to the same training.

    Args:
        training: what to do.
        checkpoint: file that holds the state between epochs; None keeps none.
        key: digest of all that determines this training; a checkpoint with another key is not used.
        quiet: show no progress bar.

    Returns:
        One record per epoch, those before the resumption included.

    Raises:
        TrainingDivergedError: the loss or a weight became infinite or not a number.
    """
    optimiser = build_optimiser(training)
    steps = len(training.batches)
    schedule = _schedule(training, steps)
    records: list[EpochRecord] = []
    position = read_position(checkpoint) if checkpoint is not None else None
    if checkpoint is not None and position is not None and position["key"] == key:
        load_state(checkpoint, training.model, optimiser)
        records = [EpochRecord(**record) for record in position["records"]]
        logger.info("%s: resuming after epoch %d of %d", training.name, len(records), training.epochs)
    progress = bar(training.epochs * steps, training.name, quiet=quiet, initial=len(records) * steps)
    try:
        for epoch in range(len(records), training.epochs):
            records.append(_train_epoch(training, epoch, optimiser, schedule, progress))
            if checkpoint is not None:
                position = {"key": key, "records": [vars(record) for record in records]}
                save_state(checkpoint, training.model, optimiser, position)
    except TrainingDivergedError as error:
        kept = (
            f"the state after epoch {len(records)} is kept in {checkpoint}"
            if checkpoint and records
            else "no epoch was complete"
        )
        raise TrainingDivergedError(f"{error}; {kept}. Lower the learning rates of this stage.") from None
    finally:
        progress.close()
    return records


def build_optimiser(training: Training) -> torch.optim.Optimizer:
    """Return the optimiser with one group for the backbone and one for the head."""
    config = training.optimiser
    head = {id(parameter) for parameter in training.head_parameters}
    trained = [parameter for parameter in training.model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if id(p) not in head], "initial_lr": config.lr * training.lr_factor},
        {"params": [p for p in trained if id(p) in head], "initial_lr": config.head_lr * training.lr_factor},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ChiqpmError(f"{training.name}: nothing to train; unfreeze a part of the backbone or add a head")
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def _schedule(training: Training, steps: int) -> Callable[[int], float]:
    config, total = training.optimiser, training.epochs * steps
    warm_up = min(steps, max(1, total // 20))

    def cosine(step: int) -> float:
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))

    def in_steps(step: int) -> float:
        return float(config.step_factor ** (step // steps // config.step_epochs))

    return cosine if config.schedule == "cosine" else in_steps


def _train_epoch(
    training: Training,
    epoch: int,
    optimiser: torch.optim.Optimizer,
    schedule: Callable[[int], float],
    progress: Any,
) -> EpochRecord:
    training.model.train()
    overall = training.first_epoch + epoch
    torch.manual_seed(training.seed * 1_000_003 + overall)
    loss_sum, correct, seen = 0.0, 0, 0
    for step, (inputs, labels) in enumerate(training.batches.epoch(overall)):
        inputs_B, labels_B = inputs.to(training.device), labels.to(training.device)
        output = training.forward(inputs_B)
        loss = training.loss(output, labels_B, epoch)
        value = loss.item()
        if not math.isfinite(value):
            place = f"epoch {epoch + 1} of {training.epochs}, step {step + 1} of {len(training.batches)}"
            raise TrainingDivergedError(f"the loss of the {training.name} stage became {value} at {place}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * schedule(epoch * len(training.batches) + step)
        optimiser.step()
        loss_sum += value * len(labels)
        correct += int((output.logits.argmax(dim=1) == labels_B).sum())
        seen += len(labels)
        progress.update()
        progress.set_postfix_str(f"loss {loss_sum / seen:.3f}, accuracy {correct / seen:.3f}", refresh=False)
    if not all(bool(p.isfinite().all()) for p in training.model.parameters()):
        raise TrainingDivergedError(f"a weight of the {training.name} stage is not finite after epoch {epoch + 1}")
    return EpochRecord(overall + 1, loss_sum / seen, correct / seen)
