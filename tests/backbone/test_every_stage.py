"""Every stage of the method on members of every family of backbones, with random weights, for a few steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import chiqpm
from chiqpm.backbone import build_backbone
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
from chiqpm.conformal import SmallCalibrationWarning
from chiqpm.pipeline import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(f"ignore::{SmallCalibrationWarning.__module__}.SmallCalibrationWarning"),
    # Random weights have some.
    pytest.mark.filterwarnings("ignore:.*features never vary over the training images"),
]

OPTIMISER = OptimiserConfig(name="sgd", lr=1e-3, head_lr=1e-3, weight_decay=0.0, batch_size=4)
# Name, side of the images, side of the maps, number of features, options.
FAMILIES = [
    ("resnet18", 32, 4, 512, {"output_stride": 8}),
    ("resnet34", 32, 4, 512, {"output_stride": 8}),
    ("resnet50", 32, 4, 2048, {"output_stride": 8}),
    ("convnext_atto", 64, 2, 320, {}),
    ("efficientnet_b0", 64, 2, 1280, {}),
    ("mobilenetv3_small_050", 64, 2, 288, {}),
    ("inception_v3", 80, 1, 2048, {}),
    ("swin_tiny_patch4_window7_224", 64, 2, 768, {}),
    ("vit_tiny_patch16_224", 64, 4, 192, {}),
    ("vit_small_patch14_reg4_dinov2", 56, 4, 24, {"frozen": "all", "head_channels": 24}),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for part, count in (("train", 2), ("calibration", 1), ("test", 1)):
        for label in range(4):
            folder = root / part / "abcd"[label]
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 200, (48, 48, 3), dtype=np.uint8)
                pixels[:, :, label % 3] += np.uint8(20 * label)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.fixture
def _settled(monkeypatch):
    """Batch norm that needs one step, not hundreds, to know the activations of random weights."""

    def build(*arguments, **options):
        backbone = build_backbone(*arguments, **options)
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        return backbone

    monkeypatch.setattr("chiqpm.pipeline.build_backbone", build)


@pytest.mark.usefixtures("_settled")
@pytest.mark.parametrize(
    ("name", "size", "cells", "features", "options"), FAMILIES, ids=[f"{row[0]}-{len(row[4])}" for row in FAMILIES]
)
def test_every_stage(images, tmp_path, name, size, cells, features, options):
    config = FitConfig(
        data=DataConfig(image_size=size, find_duplicates=False),
        backbone=BackboneConfig(name=name, pretrained=False, **options),
        dense=DenseConfig(epochs=1, optimiser=OPTIMISER),
        assignment=AssignmentConfig(kept_features=8, features_per_class=3, time_limit=0.5, proof_seconds=0.5),
        finetune=FineTuneConfig(rounds=(1,), grounding_epochs=1, optimiser=OPTIMISER),
        calibration=CalibrationConfig(coverage=0.7, targets=(0.7,)),
        cached_views=1,
        device="cpu",
        workers=0,
    )
    run = Run(images, tmp_path / "run", config)
    assert (run.backbone.num_features, run.backbone.grid) == (features, (cells, cells))
    run.split()
    before = run._new_dense().state_dict()
    dense = run.dense()
    after = load_file(tmp_path / "run" / "dense.safetensors")
    moved = {key.split(".")[0] for key, value in after.items() if not torch.equal(value, before[key])}
    assert moved == {"backbone", "classifier"}
    if config.backbone.frozen == "all":
        assert all(torch.equal(value, before[key]) for key, value in after.items() if ".trunk." in key)
    run.calibrate(run.fine_tune(run.assign(run.measure(dense))))
    with np.load(tmp_path / "run" / "statistics.npz") as statistics:
        assert statistics["similarity_FC"].shape == (features, 4)
        assert all(np.isfinite(statistics[key]).all() for key in statistics.files)
    classifier = chiqpm.load(tmp_path / "run", device="cpu")
    prediction = classifier.predict(next((images / "test").rglob("*.png")), coverage=0.7)
    assert prediction.label in prediction.prediction_set
    output = classifier.model(torch.zeros(2, 3, size, size))
    assert output.maps.shape == (2, 8, cells, cells)
    assert output.maps.min() >= 0 and output.features.min() >= 0


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_the_published_change_of_strides(name):
    config = BackboneConfig(name=name, pretrained=False, output_stride=8)
    backbone = build_backbone(config, image_size=224).eval()
    with torch.inference_mode():
        assert backbone(torch.zeros(1, 3, 224, 224)).shape == (1, backbone.num_features, 28, 28)
