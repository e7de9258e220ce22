"""Named starting points for a run's configuration: the laptop's, and the published recipes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

from chiqpm.config import (
    AssignmentConfig,
    BackboneConfig,
    CalibrationConfig,
    DataConfig,
    DatasetName,
    DenseConfig,
    FineTuneConfig,
    FitConfig,
    OptimiserConfig,
)
from chiqpm.errors import ChiqpmError

PresetName = Literal[
    "default",
    "paper",
    "paper-lite0",
    "cub-resnet50",
    "cub-resnet34",
    "cub-inception",
    "cub-swin",
    "cub-cropped-resnet50",
    "cub-resnet50-qpm",
    "travelingbirds-resnet50",
    "cars-resnet50",
    "aircraft-resnet50",
    "imagenet-resnet50",
    "imagenet-resnet50-qpm",
    "dinov2-frozen",
    "cub-dinov2-frozen",
]
PRESETS: tuple[str, ...] = get_args(PresetName)


def preset(name: str) -> FitConfig:
    """Return a configuration by name; `describe_presets` has a line on each.

    The published recipes are those of arXiv 2511.20779 with its ImageNet-pretrained backbones, normalised as their
    weights want it. They ask for their data set (`data.dataset`), so that another one is refused; with
    `--dataset auto` a recipe takes any images.

    Raises:
        ChiqpmError: there is no such preset.

    >>> preset("paper").finetune.rounds
    (10, 10, 10, 40)
    """
    if name not in _PRESETS:
        raise ChiqpmError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    return _PRESETS[name].make()


def describe_presets() -> str:
    """Return a line on each preset: its name, and what it is for."""
    return "\n".join(f"{name}: {_PRESETS[name].line}" for name in PRESETS)


RESNET50, RESNET34 = "resnet50.tv_in1k", "resnet34.tv_in1k"
"""The ImageNet weights that the published results start from."""


def _fine_grained(
    dataset: DatasetName = "auto", *, backbone: str = RESNET50, stride: int | None = 8, boxes: bool = False
) -> FitConfig:
    """Return the published recipe for fine-grained data."""
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
    return FitConfig(
        data=DataConfig(
            dataset=dataset,
            image_size=224,
            resize="squash" if boxes else "crop",
            crop_to_box=boxes,
            augmentation="paper",
        ),
        backbone=BackboneConfig(name=backbone, output_stride=stride, cut=None, head_channels=None, frozen=None),
        dense=DenseConfig(epochs=150, optimiser=dense, diversity_weight=0.196, dropout=0.2, pooled_share=1.0),
        assignment=AssignmentConfig(kept_features=50, features_per_class=5, pair_density=0.5, pivot_weight=0.0),
        finetune=FineTuneConfig(
            rounds=(10, 10, 10, 40),
            round_decay=0.9,
            optimiser=_fine_tuning(lr=1e-4, batch_size=16),
            grounding_weight=3.0,
            grounding_epochs=30,
            dropout=0.1,
        ),
        calibration=CalibrationConfig(score="level_limited"),
    )


def _fine_tuning(*, lr: float, batch_size: int) -> OptimiserConfig:
    return OptimiserConfig(
        name="sgd",
        lr=lr,
        head_lr=lr,
        momentum=0.95,
        weight_decay=5e-4,
        schedule="step",
        step_epochs=10,
        step_factor=0.4,
        batch_size=batch_size,
    )


def _imagenet() -> FitConfig:
    """Return the published recipe for ImageNet: the pretrained model is the dense one, with its own strides."""
    base = _fine_grained("imagenet", stride=None)
    return replace(
        base,
        data=DataConfig(
            dataset="imagenet",
            image_size=224,
            resize="crop",
            centre_share=0.875,
            augmentation="imagenet",
            check_images=False,
        ),
        dense=replace(base.dense, epochs=0),
        assignment=replace(base.assignment, time_limit=300.0, proof_seconds=300.0),
        finetune=replace(base.finetune, optimiser=_fine_tuning(lr=1.28e-4, batch_size=64)),
    )


def _qpm(base: FitConfig) -> FitConfig:
    """Return the recipe of QPM (arXiv 2502.20130): no ReLU, no grounding loss, no similar pairs, one round."""
    return replace(
        base,
        assignment=replace(base.assignment, pair_density=0.0),
        finetune=replace(base.finetune, rounds=(40,), grounding_weight=0.0, grounding_epochs=0, rectify=False),
        # Features can be negative, so there is no tree to climb.
        calibration=CalibrationConfig(score="thr"),
    )


def _paper_on_a_laptop() -> FitConfig:
    default, paper = FitConfig(), _fine_grained()
    return replace(
        default,
        dense=replace(default.dense, pooled_share=paper.dense.pooled_share),
        assignment=paper.assignment,
        finetune=replace(default.finetune, rounds=(1, 1, 1, 3), grounding_weight=3.0, grounding_epochs=2),
        calibration=paper.calibration,
    )


def _frozen_dinov2(dataset: DatasetName = "auto") -> FitConfig:
    """Return the laptop's options on the cached patch features of a frozen DINOv2 with registers."""
    default = FitConfig()
    backbone = BackboneConfig(name="vit_small_patch14_reg4_dinov2", frozen="all", head_channels=512, cut=None)
    return replace(default, data=replace(default.data, dataset=dataset), backbone=backbone)


class _Preset(NamedTuple):
    line: str
    make: Callable[[], FitConfig]


_PRESETS: dict[str, _Preset] = {
    "default": _Preset("for a laptop: this package's extensions on EfficientNet-Lite0", FitConfig),
    "paper": _Preset("the published recipe for fine-grained data, on any images", _fine_grained),
    "paper-lite0": _Preset("the published method on the laptop's backbone and epochs", _paper_on_a_laptop),
    "cub-resnet50": _Preset("published: ResNet50 on CUB-200-2011", lambda: _fine_grained("cub")),
    "cub-resnet34": _Preset("published: ResNet34 on CUB-200-2011", lambda: _fine_grained("cub", backbone=RESNET34)),
    "cub-inception": _Preset(
        "published: Inception-v3 on CUB-200-2011, its own strides",
        lambda: _fine_grained("cub", backbone="inception_v3.tv_in1k", stride=None),
    ),
    "cub-swin": _Preset(
        "published: Swin on CUB-200-2011 (Swin-S)",
        lambda: _fine_grained("cub", backbone="swin_small_patch4_window7_224.ms_in1k", stride=None),
    ),
    "cub-cropped-resnet50": _Preset(
        "published: ResNet50 on CUB-200-2011 cut to its boxes", lambda: _fine_grained("cub", boxes=True)
    ),
    "cub-resnet50-qpm": _Preset("QPM: ResNet50 on CUB-200-2011", lambda: _qpm(_fine_grained("cub"))),
    "travelingbirds-resnet50": _Preset(
        "published: ResNet50 on TravelingBirds", lambda: _fine_grained("travelingbirds")
    ),
    "cars-resnet50": _Preset("published: ResNet50 on Stanford Cars", lambda: _fine_grained("cars")),
    "aircraft-resnet50": _Preset(
        "the same recipe: ResNet50 on FGVC-Aircraft (variants)", lambda: _fine_grained("aircraft")
    ),
    "imagenet-resnet50": _Preset("published: ResNet50 on ImageNet-1K", _imagenet),
    "imagenet-resnet50-qpm": _Preset("QPM: ResNet50 on ImageNet-1K", lambda: _qpm(_imagenet())),
    "dinov2-frozen": _Preset("without a GPU: a small head on cached DINOv2 features, on any images", _frozen_dinov2),
    "cub-dinov2-frozen": _Preset("the same on CUB-200-2011", lambda: _frozen_dinov2("cub")),
}
