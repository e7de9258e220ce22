"""The two limits below which simple means must stay, so that only the parts tell the species apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from chiqpm.data.birds import BirdsConfig, SyntheticBirds


def pictures(split: str, per_class: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    birds = SyntheticBirds(BirdsConfig(image_size=size), split, per_class)  # type: ignore[arg-type]
    stacked = np.stack([np.asarray(birds.render(i, masks=False).image) for i in range(len(birds))])
    return stacked, birds.labels_N


def accuracy(
    train: tuple[NDArray[np.float64], NDArray[np.int64]], test: tuple[NDArray[np.float64], NDArray[np.int64]]
) -> float:
    scaler = StandardScaler().fit(train[0])
    # One thread: several ones only wait for each other where the processors are shared.
    with threadpool_limits(1):
        model = LogisticRegression(C=0.02, max_iter=500, tol=1e-2).fit(scaler.transform(train[0]), train[1])
    return float(model.score(scaler.transform(test[0]), test[1]))


def histograms(images_NHWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    bins = (images_NHWC // 64) @ np.array([16, 4, 1], dtype=np.uint8)
    return np.sqrt([np.bincount(image.ravel(), minlength=64) / image.size for image in bins])


def test_colour_histograms_do_not_tell_the_species() -> None:
    train, test = pictures("train", 10, 64), pictures("test", 5, 64)
    assert accuracy((histograms(train[0]), train[1]), (histograms(test[0]), test[1])) < 0.15


@pytest.mark.slow
def test_frozen_pretrained_features_do_not_suffice() -> None:
    import torch

    from chiqpm.backbone import build_backbone
    from chiqpm.config import BackboneConfig
    from chiqpm.inference import BATCH_SIZE

    backbone = build_backbone(BackboneConfig(cut=None, head_channels=None, frozen=None), image_size=160).eval()
    mean, std = np.array(backbone.mean, np.float32), np.array(backbone.std, np.float32)

    def features(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        pooled = []
        for start in range(0, len(images), BATCH_SIZE):
            batch = (images[start : start + BATCH_SIZE] / np.float32(255) - mean) / std
            inputs = torch.from_numpy(batch).permute(0, 3, 1, 2)  # channels last, as the pictures are
            with torch.inference_mode():
                pooled.append(backbone(inputs).mean(dim=(2, 3)).double().numpy())
        return np.concatenate(pooled)

    train, test = pictures("train", 40, 160), pictures("test", 10, 160)
    assert accuracy((histograms(train[0]), train[1]), (histograms(test[0]), test[1])) < 0.15
    train_features = features(train[0])
    assert train_features.shape == (1920, 1280)
    assert accuracy((train_features, train[1]), (features(test[0]), test[1])) < 0.70
