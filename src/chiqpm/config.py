"""Everything a run can be told, as frozen dataclasses; they become the command line and `config.yaml`.

This module imports nothing heavy, so that `chiqpm --help` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from tyro.conf import arg

DatasetName = Literal[
    "auto", "folder", "cub", "travelingbirds", "cars", "aircraft", "imagenet", "shards", "huggingface"
]

LITE0_DEFAULTS: dict[str, Any] = {"cut": "blocks.4.0", "head_channels": 512, "frozen": "blocks.3.0"}
"""What `auto` means for the bundled backbone: fast on two cores, with 14×14 maps at 224 pixels."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images are used, how they are split and how they are prepared."""

    dataset: Annotated[DatasetName, arg(aliases=["--dataset"])] = "auto"
    """What the folder is: `auto` looks at its content; `folder` is any image folder; the others are published data sets
    in their original files, WebDataset shards, and a Hugging Face data set that was saved to disk."""
    image_size: int = 224
    """Side of the square image that the model sees, in pixels."""
    resize: Literal["squash", "crop", "pad"] = "squash"
    """How a picture becomes square: squash both sides, resize the short side and crop the centre, or pad."""
    centre_share: float = 1.0
    """Share of the short side that `resize=crop` keeps: 0.875 is the usual Resize(256), CenterCrop(224)."""
    crop_to_box: bool = False
    """Cut every picture to its object's box first, where the data set comes with boxes (CUB, Cars, Aircraft)."""
    aircraft_classes: Literal["variant", "family", "manufacturer"] = "variant"
    """Which of FGVC-Aircraft's three kinds of labels are the classes."""
    augmentation: Literal["none", "light", "paper", "imagenet"] = "light"
    """Training augmentation: none; small shifts, flips and colour; or a published recipe: `paper`, with
    TrivialAugmentWide, for fine-grained data, `imagenet` with random resized crops and PCA lighting."""
    flip: bool = True
    """Mirror training images at random; switch it off where left and right mean something."""
    calibration_fraction: float = 0.15
    """Share of each class kept for calibrating the prediction sets (only where the folder is not split already)."""
    test_fraction: float = 0.15
    """Share of each class kept for the final evaluation (only where the folder is not split already)."""
    calibration_from: Literal["auto", "train", "test"] = "auto"
    """Where calibration images are taken from. `auto`: from the test part of a published data set, whose training part
    then stays whole; from the training images of your own folder."""
    split_seed: int = 0
    """Seed of the split, apart from the seed of the training."""
    groups: Annotated[str | None, arg(aliases=["--groups"])] = None
    """Keep images that belong together on one side of the split: `FILE.csv:COLUMN`, or a regular expression on paths
    whose first bracket names the group."""
    attributes: str | None = None
    """CSV with a row per class and a column per attribute; `attributes.csv` in the data folder is found by itself."""
    bad_images: Literal["skip", "refuse"] = "skip"
    """What to do with files that can't be read as pictures: leave them out and say so, or stop."""
    check_images: bool = True
    """Decode every picture before training; without it broken ones stop the run when they are met, and copies between
    the parts aren't looked for. Millions of pictures take hours to check."""
    max_pixels: int = 100_000_000
    """A picture with more pixels than this is treated as unreadable (a guard against decompression bombs)."""
    find_duplicates: bool = True
    """Look for exact and near duplicates across the parts of the split and report them."""


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The network that turns an image into feature maps."""

    name: Annotated[str, arg(aliases=["--backbone"])] = "lite0"
    """Any timm model name, or `lite0`: EfficientNet-Lite0 with the ImageNet weights that this package installs."""
    pretrained: bool = True
    """Start from pretrained weights (`lite0` has them on disk; timm fetches the others from their hub)."""
    output_stride: int | None = None
    """Image pixels per cell of the last maps, for finer maps than the model's own; None keeps the model's."""
    cut: str | None = "auto"
    """Last part of the trunk that is kept, for instance `blocks.4.0`; None keeps all; `auto` cuts only `lite0`."""
    head_channels: int | Literal["auto"] | None = "auto"
    """Channels of a new 1×1 convolution with batch norm and ReLU on top; None adds none; `auto` adds 512 to `lite0`."""
    frozen: str | None = "auto"
    """Last part of the trunk that stays as it is, for instance `blocks.3.0`, or `all`; None trains everything; `auto`
    freezes the first part of `lite0` only. The activations of the frozen part are computed once and cached."""
    rectify: bool | None = None
    """Put a ReLU on the maps. None: only where the trunk's last maps can be negative (ConvNeXt, Swin, ViT ...)."""

    def resolved(self) -> BackboneConfig:
        """Return the same with every `auto` replaced by what it means for this backbone.

        >>> BackboneConfig(name="resnet18").resolved().cut is None
        True
        """
        meaning = LITE0_DEFAULTS if self.name == "lite0" else dict.fromkeys(LITE0_DEFAULTS)
        changes: dict[str, Any] = {name: value for name, value in meaning.items() if getattr(self, name) == "auto"}
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """How one stage is optimised."""

    name: Literal["adamw", "sgd"] = "adamw"
    """The optimiser."""
    lr: float = 4e-3
    """Learning rate of the backbone."""
    head_lr: float = 4e-3
    """Learning rate of what is new: the 1×1 convolution and the linear classifier."""
    momentum: float = 0.9
    """Momentum (SGD only)."""
    weight_decay: float = 0.05
    """Weight decay."""
    schedule: Literal["cosine", "step"] = "cosine"
    """Cosine to zero after a short warm-up, every step; or a factor every few epochs."""
    step_epochs: int = 30
    """Epochs between two reductions (schedule `step`)."""
    step_factor: float = 0.4
    """Factor of each reduction (schedule `step`)."""
    batch_size: int = 32
    """Images per step, those of all processes together."""


@dataclass(frozen=True, kw_only=True)
class DenseConfig:
    """The dense stage: cross-entropy and the Feature Diversity Loss."""

    epochs: int = 6
    """Passes over the training images; 0 takes the backbone and `--dense-checkpoint` as they are."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """How it is optimised."""
    diversity_weight: float = 0.196
    """beta, the weight of the Feature Diversity Loss, in both stages."""
    label_smoothing: float = 0.0
    """Label smoothing of the cross-entropy, in both stages."""
    dropout: float = 0.2
    """Dropout on the pooled features."""
    pooled_share: float = 0.05
    """Share of each map's largest cells that is averaged to a feature, in both stages; 1 is the published mean."""
    checkpoint: Annotated[str | None, arg(aliases=["--dense-checkpoint"])] = None
    """A dense model trained elsewhere (safetensors, or a state dict of tensors); the dense stage is skipped."""


@dataclass(frozen=True, kw_only=True)
class AssignmentConfig:
    """Which features are kept and which class uses which."""

    kept_features: int = 50
    """K: features kept for all classes together."""
    features_per_class: int = 5
    """n: features that describe one class."""
    pair_density: float = 0.5
    """rho: this share of the number of classes is how many of the most similar pairs differ in exactly one feature."""
    pivot_weight: float = 3.0
    """gamma: how much a class prefers features that separate it from its similar partner; 0 as published."""
    time_limit: float = 20.0
    """Seconds for the search."""
    proof_seconds: float = 10.0
    """Seconds for proving, after the search, how far from the best its answer can be; 0 proves nothing."""
    gap: float = 0.01
    """The proof ends when no other assignment can be better by more than this share."""


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """The sparse stage: the published loss with the Feature Grounding Loss, the assignment fixed."""

    rounds: tuple[int, ...] = (6,)
    """Epochs of each round; every round starts with a new optimiser."""
    round_decay: float = 0.9
    """Factor on the learning rates from one round to the next."""
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(lr=4e-3, head_lr=4e-3))
    """How it is optimised."""
    grounding_weight: float = 1.0
    """lambda, the weight of the Feature Grounding Loss."""
    grounding_epochs: int = 4
    """The Feature Grounding Loss is used in the first epochs of each round, this many."""
    dropout: float = 0.1
    """Dropout on the kept features."""
    dropout_place: Literal["pooled", "normalised"] = "pooled"
    """Dropout before the normalisation, as published, or after it."""
    rectify: bool = True
    """ReLU on the normalised features (CHiQPM); without it, QPM's."""


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """How the prediction sets are calibrated."""

    score: Literal["path", "evidence", "branch", "level_limited", "thr", "margin", "topk", "aps", "raps", "saps"] = (
        "branch"
    )
    """Nonconformity score: the first four follow the explanation's tree, the others are flat."""
    coverage: float = 0.9
    """Coverage of the sets in figures and of `predict` when none is asked for."""
    targets: tuple[float, ...] = (0.88, 0.9, 0.925, 0.95)
    """Coverages that the evaluation reports."""


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How the training is computed, watched and kept; what it learns is the same up to rounding."""

    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision of the backbone; heads, losses, statistics and weights stay in float32. fp16 wants a GPU."""
    accumulation: int = 1
    """Parts in which each process computes its share of a batch, one after the other, to save memory."""
    sync_batch_norm: bool = True
    """Several processes share their batch norm's statistics, so that they train as one process with the whole batch."""
    compile: bool = False
    """Compile the network with `torch.compile`: minutes at the start, faster steps on GPUs."""
    deterministic: bool = False
    """Refuse operations whose results differ from run to run (on GPUs; slower)."""
    checkpoint_seconds: float = 300.0
    """Keep the state of the training this often, besides the end of each epoch; 0 keeps it after every step."""
    tracker: str = "auto"
    """Who records losses and accuracies: `auto` (TensorBoard where it is installed, in the run's folder `tracking`),
    `none`, or a tracker of accelerate (`tensorboard`, `wandb`, `mlflow` ...)."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """One run, from images to a calibrated, explained classifier."""

    data: DataConfig = field(default_factory=DataConfig)
    """Images and their split."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The network under the features."""
    dense: DenseConfig = field(default_factory=DenseConfig)
    """First stage."""
    assignment: AssignmentConfig = field(default_factory=AssignmentConfig)
    """Choice of the features."""
    finetune: FineTuneConfig = field(default_factory=FineTuneConfig)
    """Second stage."""
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    """Prediction sets."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Precision, several processes, checkpoints, tracking."""
    seed: int = 0
    """Seed of the training and the search."""
    cached_views: int = 2
    """Augmented versions of each training image whose frozen activations are cached, the plain one included."""
    device: str = "auto"
    """`auto` (CUDA, then Apple's GPU, then CPU), or a torch device."""
    workers: int | None = None
    """Processes that load images; 0 loads in the main process; None chooses by the machine and the number of images."""
