"""Named starting points for a run's configuration."""

from __future__ import annotations

from dataclasses import replace

from chiqpm.config import (
    AssignmentConfig,
    BackboneConfig,
    CalibrationConfig,
    DataConfig,
    DenseConfig,
    FineTuneConfig,
    FitConfig,
    OptimiserConfig,
)
from chiqpm.errors import ChiqpmError

PRESETS = ("default", "paper", "paper-lite0")


def preset(name: str) -> FitConfig:
    """Return a configuration by name.

    Args:
        name: "default": made for a laptop, with this package's extensions; "paper": the published recipe of
            arXiv 2511.20779 for fine-grained data (ResNet50, 28×28 maps, 150 + 70 epochs, batch 16), which wants a GPU;
            "paper-lite0": the published method without the extensions, on the laptop's backbone and in as many epochs
            as "default", so that the two can be compared.

    Raises:
        ChiqpmError: there is no such preset.

    >>> preset("paper").finetune.rounds
    (10, 10, 10, 40)
    """
    if name == "default":
        return FitConfig()
    if name == "paper":
        return _paper()
    if name == "paper-lite0":
        return _paper_on_a_laptop()
    raise ChiqpmError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")


def _paper() -> FitConfig:
    dense = OptimiserConfig(
        name="sgd",
        lr=0.005,
        head_lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        step_epochs=30,
        step_factor=0.4,
        batch_size=16,
    )
    finetune = OptimiserConfig(
        name="sgd",
        lr=1e-4,
        head_lr=1e-4,
        momentum=0.95,
        weight_decay=5e-4,
        schedule="step",
        step_epochs=10,
        step_factor=0.4,
        batch_size=16,
    )
    return FitConfig(
        data=DataConfig(image_size=224, resize="crop", augmentation="paper"),
        backbone=BackboneConfig(name="resnet50", output_stride=8, cut=None, head_channels=None, frozen=None),
        dense=DenseConfig(epochs=150, optimiser=dense, dropout=0.2, pooled_share=1.0),
        assignment=AssignmentConfig(pivot_weight=0.0),
        finetune=FineTuneConfig(rounds=(10, 10, 10, 40), optimiser=finetune, grounding_weight=3.0, grounding_epochs=30),
        calibration=CalibrationConfig(score="level_limited"),
    )


def _paper_on_a_laptop() -> FitConfig:
    default, paper = FitConfig(), _paper()
    return replace(
        default,
        dense=replace(default.dense, pooled_share=paper.dense.pooled_share),
        assignment=paper.assignment,
        finetune=replace(default.finetune, rounds=(1, 1, 1, 3), grounding_weight=3.0, grounding_epochs=2),
        calibration=paper.calibration,
    )
