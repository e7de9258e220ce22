"""The two stages of the method: dense training, and fine-tuning of the sparse model (arXiv 2511.20779)."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from chiqpm.config import DenseConfig, FineTuneConfig
from chiqpm.losses import (
    check_grounding,
    diversity_of_rows,
    feature_diversity_loss,
    grounding_coefficients,
    grounding_of_rows,
    unit_rows,
)
from chiqpm.model import CHiQPM, DenseClassifier, Output
from chiqpm.processes import Processes
from chiqpm.training.batches import Batches
from chiqpm.training.loop import EpochRecord, Training, run
from chiqpm.training.step import Loss


def dense_loss(model: DenseClassifier, config: DenseConfig) -> Loss:
    """Cross-entropy and Feature Diversity Loss."""

    def loss(output: Output, labels_B: torch.Tensor, epoch: int) -> torch.Tensor:
        entropy = F.cross_entropy(output.logits, labels_B, label_smoothing=config.label_smoothing)
        weight = model.classifier.weight
        return entropy + feature_diversity_loss(output.maps, output.logits, weight, config.diversity_weight)

    return loss


def sparse_loss(model: CHiQPM, dense: DenseConfig, config: FineTuneConfig) -> Loss:
    """Cross-entropy, Feature Diversity Loss and, in the first epochs of a round, Feature Grounding Loss.

    Raises:
        ChiqpmError: a class for which the Feature Grounding Loss is not defined.
    """
    if config.grounding_weight and config.grounding_epochs:
        check_grounding(model.weight_CK)

    # The assignment is fixed, and so is what both losses take from it: `feature_diversity_loss` and
    # `feature_grounding_loss` compute it anew, with a dozen kernels that a step on a GPU would wait for.
    unit_CK = unit_rows(model.weight_CK)
    coefficient_CK = config.grounding_weight * grounding_coefficients(model.weight_CK)

    def loss(output: Output, labels_B: torch.Tensor, epoch: int) -> torch.Tensor:
        total = F.cross_entropy(output.logits, labels_B, label_smoothing=dense.label_smoothing)
        unit_BK = unit_CK[output.logits.detach().argmax(dim=1)]
        total = total + diversity_of_rows(output.maps, unit_BK, dense.diversity_weight)
        if config.grounding_weight and epoch < config.grounding_epochs:
            total = total + grounding_of_rows(output.features, coefficient_CK[labels_B])
        return total

    return loss


def train_dense(
    model: DenseClassifier,
    batches: Batches,
    config: DenseConfig,
    *,
    seed: int,
    cached: bool,
    processes: Processes,
    checkpoint: Path | None = None,
    key: str = "",
    quiet: bool = True,
) -> list[EpochRecord]:
    """Train the dense classifier.

    Args:
        model: trained in place.
        batches: images or, with `cached`, activations of the frozen part of the backbone.
        config: epochs, losses, optimiser.
        seed: seed of dropout.
        cached: what the batches hold.
        processes: those that train together; the model is on their device.
        checkpoint: file for the state of an unfinished training.
        key: digest of all that determines this stage.
        quiet: show no progress bar.

    Returns:
        One record per epoch.

    Raises:
        TrainingDivergedError: loss or weights are no longer finite.
    """
    head = [*_head_parameters(model.backbone), *model.classifier.parameters()]
    training = Training(
        name="dense training",
        model=model,
        cached=cached,
        batches=batches,
        loss=dense_loss(model, config),
        optimiser=config.optimiser,
        head_parameters=head,
        epochs=config.epochs,
        seed=seed,
        processes=processes,
    )
    return run(training, checkpoint=checkpoint, key=key, quiet=quiet)


def fine_tune(
    model: CHiQPM,
    batches: Batches,
    dense: DenseConfig,
    config: FineTuneConfig,
    *,
    seed: int,
    cached: bool,
    processes: Processes,
    checkpoint: Path | None = None,
    key: str = "",
    quiet: bool = True,
) -> list[EpochRecord]:
    """Fine-tune the sparse model in rounds, each with a new optimiser; the assignment stays fixed.

    Args and errors are those of `train_dense`; one checkpoint file per round is kept while the stage runs.
    """
    records: list[EpochRecord] = []
    for number, epochs in enumerate(config.rounds):
        name = "fine-tuning" if len(config.rounds) == 1 else f"fine-tuning round {number + 1}/{len(config.rounds)}"
        training = Training(
            name=name,
            model=model,
            cached=cached,
            batches=batches,
            loss=sparse_loss(model, dense, config),
            optimiser=config.optimiser,
            head_parameters=_head_parameters(model.backbone),
            epochs=epochs,
            first_epoch=dense.epochs + sum(config.rounds[:number]),
            lr_factor=config.round_decay**number,
            seed=seed,
            processes=processes,
        )
        file = checkpoint.with_name(f"{checkpoint.stem}-{number}{checkpoint.suffix}") if checkpoint else None
        records += run(training, checkpoint=file, key=key, quiet=quiet)
    return records


def _head_parameters(backbone: nn.Module) -> list[nn.Parameter]:
    head = getattr(backbone, "head", None)
    return list(head.parameters()) if isinstance(head, nn.Module) else []
