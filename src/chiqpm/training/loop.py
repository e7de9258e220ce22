"""The one training loop, for the dense and the sparse stage."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from chiqpm.config import OptimiserConfig
from chiqpm.errors import ChiqpmError
from chiqpm.model import CHiQPM, DenseClassifier
from chiqpm.processes import Processes
from chiqpm.progress import bar
from chiqpm.training.batch_norm import BatchCounts, synchronise_batch_norm
from chiqpm.training.batches import Batches
from chiqpm.training.checkpoint import Checkpoint, random_state, set_random_state
from chiqpm.training.dropout import shared_dropout
from chiqpm.training.optimiser import build_optimiser, build_schedule
from chiqpm.training.share import Batch, Share
from chiqpm.training.step import Forward, Loss, Stepper, StepResult

logger = logging.getLogger(__name__)


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
        cached: the batches hold activations of the frozen part of the backbone, not images.
        batches: the training data.
        loss: from output, labels and the epoch within the round to a scalar.
        optimiser: learning rates, schedule, batch size.
        head_parameters: parameters that get the head's learning rate.
        epochs: passes over the data.
        processes: those that train together, and the device.
        first_epoch: epochs of earlier rounds, so that each round sees other batches.
        lr_factor: factor on both learning rates.
        seed: seed of dropout.
    """

    name: str
    model: DenseClassifier | CHiQPM
    cached: bool
    batches: Batches
    loss: Loss
    optimiser: OptimiserConfig
    head_parameters: Iterable[nn.Parameter]
    epochs: int
    processes: Processes
    first_epoch: int = 0
    lr_factor: float = 1.0
    seed: int = 0


@dataclass
class _Position:
    """How far a round has come; what a checkpoint holds besides the tensors."""

    records: list[EpochRecord] = field(default_factory=list)
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0

    def add(self, result: StepResult) -> None:
        self.step += 1
        self.loss_sum += result.loss * result.images
        self.correct += result.correct
        self.seen += result.images

    def finish_epoch(self, number: int) -> EpochRecord:
        record = EpochRecord(number, self.loss_sum / self.seen, self.correct / self.seen)
        self.records.append(record)
        self.step, self.loss_sum, self.correct, self.seen = 0, 0.0, 0, 0
        return record


def run(training: Training, *, checkpoint: Path | None = None, key: str = "", quiet: bool = True) -> list[EpochRecord]:
    """Train, with a checkpoint now and then and after every epoch, and resume from one of the same training.

    A resumed training sees the same batches and draws the same random numbers as one that was never interrupted. That
    also holds with another number of processes, up to rounding.

    Args:
        training: what to do.
        checkpoint: file that holds the newest state; None keeps none.
        key: digest of all that determines this training; a checkpoint with another key is not used.
        quiet: show no progress bar.

    Returns:
        One record per epoch, those before the resumption included.

    Raises:
        TrainingDivergedError: the loss or a weight became infinite or not a number, be it by an epoch's last step.
        ChiqpmError: fewer images than processes, nothing to train, or processes that don't see the same files.
    """
    processes = training.processes
    share = Share(processes.rank, processes.count, processes.compute.accumulation)
    share.check(training.batches.images // len(training.batches))
    if processes.count > 1 and processes.compute.sync_batch_norm:
        synchronise_batch_norm(training.model, processes.device)
    with shared_dropout(training.model) as dropouts, BatchCounts(training.model) as counts:
        optimiser = build_optimiser(
            training.model,
            training.head_parameters,
            training.optimiser,
            lr_factor=training.lr_factor,
            name=training.name,
        )
        kept = None if checkpoint is None else Checkpoint(checkpoint, key)
        # The states are read before the network is wrapped, which may copy them to other processes.
        found = None if kept is None else kept.load(training.model, optimiser)
        _check_agreement(found, processes, checkpoint)
        stepper = Stepper(
            Forward(training.model, training.loss, cached=training.cached),
            optimiser,
            processes,
            dropouts=dropouts,
            accumulation=share.accumulation,
            counts=counts,
        )
        try:
            records = _Round(training, share, stepper, kept).run(found, quiet=quiet)
        finally:
            processes.accelerator.free_memory()
    processes.align(training.model)
    return records


def _check_agreement(found: dict[str, Any] | None, processes: Processes, checkpoint: Path | None) -> None:
    """Refuse processes that would go on from different places: they would wait for each other for ever."""
    own = None if found is None else (len(found["records"]), found["step"])
    of_main = processes.on_main(lambda: own)
    if own != of_main:
        raise ChiqpmError(
            f"process {processes.rank} does not find the state in {checkpoint} that the main process finds; all "
            "processes, on whatever machines, need the same run directory (--out)"
        )


class _Round:
    """The epochs of one round and its checkpoints."""

    def __init__(self, training: Training, share: Share, stepper: Stepper, checkpoint: Checkpoint | None) -> None:
        self.training, self.share, self.stepper, self.checkpoint = training, share, stepper, checkpoint
        self.processes = training.processes
        self.steps = len(training.batches)
        self.schedule = build_schedule(training.optimiser, epochs=training.epochs, steps=self.steps)
        self.position = _Position()
        self.random: dict[str, str] | None = None
        self.saved_at = time.monotonic()

    def run(self, found: dict[str, Any] | None, *, quiet: bool) -> list[EpochRecord]:
        training = self.training
        if found is not None:
            self._resume(found)
        position = self.position
        done = len(position.records) * self.steps + position.step
        quiet = quiet or not self.processes.is_main
        progress = bar(training.epochs * self.steps, training.name, quiet=quiet, initial=done)
        try:
            for epoch in range(len(position.records), training.epochs):
                self._epoch(epoch, progress)
                self._save()
        except TrainingDivergedError as error:
            kept = (
                f"the state after epoch {len(position.records)} is kept in {self.checkpoint.path}"
                if self.checkpoint and position.records
                else "no epoch was complete"
            )
            raise TrainingDivergedError(f"{error}; {kept}. Lower the learning rates of this stage.") from None
        finally:
            progress.close()
        return position.records

    def _epoch(self, epoch: int, progress: Any) -> None:
        training, position = self.training, self.position
        training.model.train()
        overall = training.first_epoch + epoch
        torch.manual_seed(training.seed * 1_000_003 + overall)
        parts = training.batches.epoch(overall, share=self.share, first=position.step)
        while position.step < self.steps:
            step_parts: Iterator[Batch] = islice(parts, self.share.accumulation)
            if self.random is not None:
                # Starting to load draws from torch's generator, so the old state comes after the first part.
                first = next(step_parts)
                set_random_state(self.random)
                self.random = None
                step_parts = iter([first, *step_parts])
            self._step(epoch, step_parts)
            progress.update()
            text = f"loss {position.loss_sum / position.seen:.3f}, accuracy {position.correct / position.seen:.3f}"
            progress.set_postfix_str(text, refresh=False)
            if position.step < self.steps and self._is_time():
                self._save()
        parts.close()
        self._check(epoch)
        record = position.finish_epoch(overall + 1)
        values = {f"{training.name}/epoch loss": record.loss, f"{training.name}/epoch accuracy": record.accuracy}
        self.processes.log(values, step=(epoch + 1) * self.steps)

    def _check(self, epoch: int) -> None:
        """Refuse what an epoch's last step has spoilt: its own loss was computed before it."""
        name = self.training.name
        if not all(bool(p.isfinite().all()) for p in self.training.model.parameters()):
            raise TrainingDivergedError(f"a weight of the {name} stage is not finite after epoch {epoch + 1}")
        loss = self.stepper.evaluate(epoch)
        if not math.isfinite(loss):
            raise TrainingDivergedError(f"the loss of the {name} stage became {loss} after epoch {epoch + 1}")

    def _step(self, epoch: int, parts: Iterable[Batch]) -> None:
        training, position = self.training, self.position
        number = epoch * self.steps + position.step
        result = self.stepper.step(parts, epoch, self.schedule(number))
        if not math.isfinite(result.loss):
            place = f"epoch {epoch + 1} of {training.epochs}, step {position.step + 1} of {self.steps}"
            raise TrainingDivergedError(f"the loss of the {training.name} stage became {result.loss} at {place}")
        position.add(result)
        values = {f"{training.name}/loss": result.loss, f"{training.name}/accuracy": result.correct / result.images}
        self.processes.log(values, step=number + 1)

    def _is_time(self) -> bool:
        return time.monotonic() - self.saved_at >= self.processes.compute.checkpoint_seconds

    def _save(self) -> None:
        """Keep the state; a disk that is full or gone costs this checkpoint, not the training."""
        self.saved_at = time.monotonic()
        if self.checkpoint is None or not self.processes.is_main:
            return
        position = self.position
        scaler = self.processes.accelerator.scaler
        state = {
            **vars(position),
            "records": [vars(record) for record in position.records],
            "random": random_state(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        try:
            self.checkpoint.save(self.training.model, self.stepper.optimiser, state)
        except OSError as error:
            logger.warning("the state of the training can't be kept (%s); the training goes on", error)

    def _resume(self, found: dict[str, Any]) -> None:
        records = [EpochRecord(**record) for record in found["records"]]
        sums = {name: found[name] for name in ("step", "loss_sum", "correct", "seen")}
        self.position = _Position(records=records, **sums)
        self.random = found["random"] if self.position.step else None
        scaler = self.processes.accelerator.scaler
        if scaler is not None and found["scaler"] is not None:
            scaler.load_state_dict(found["scaler"])
        after = f", step {self.position.step}" if self.position.step else ""
        logger.info(
            "%s: resuming after epoch %d%s of %d", self.training.name, len(records), after, self.training.epochs
        )
