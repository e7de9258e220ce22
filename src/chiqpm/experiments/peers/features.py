"""What all peers start from: the dense model's features and maps of the same birds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from chiqpm import config_file
from chiqpm.backbone import build_backbone
from chiqpm.data import read_split
from chiqpm.data.birds import PARTS, SyntheticBirds, open_birds
from chiqpm.data.dataset import ImageDataset
from chiqpm.data.transforms import evaluation_transform
from chiqpm.experiments.finished_run import FinishedRun
from chiqpm.inference import BATCH_SIZE
from chiqpm.model import CHiQPM, DenseClassifier, Output
from chiqpm.progress import track
from chiqpm.training.batches import in_order


@dataclass(frozen=True)
class Part:
    """Images of one part of the data.

    Attributes:
        maps_NFHW: maps of the dense model, half precision.
        features_NF: its pooled features.
        labels_N: true classes.
        masks_NPHW: visible pixels of each part of the bird; None for training images.
        objects_NHW: visible pixels of the bird; None for training images.
    """

    maps_NFHW: NDArray[np.float16]
    features_NF: NDArray[np.float32]
    labels_N: NDArray[np.int64]
    masks_NPHW: NDArray[np.bool_] | None = None
    objects_NHW: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Shared:
    """The three parts, the dense model's linear layer, and the attributes of the species."""

    train: Part
    calibration: Part
    test: Part
    weight_CF: NDArray[np.float32]
    bias_C: NDArray[np.float32]
    attributes_CA: NDArray[np.bool_]


def dense_model(found: FinishedRun) -> tuple[DenseClassifier, Any]:
    """Return a run's dense classifier and its evaluation transform."""
    config = config_file.read(found.out / "config.yaml")
    backbone = build_backbone(config.backbone.resolved(), image_size=config.data.image_size)
    model = DenseClassifier(backbone, len(found.weight_CK), pooled_share=config.dense.pooled_share)
    model.load_state_dict(load_file(found.out / "dense.safetensors"))
    return model.eval(), evaluation_transform(config.data, backbone.mean, backbone.std)


def shared_features(found: FinishedRun, *, quiet: bool) -> Shared:
    """Look at all images with the dense model.

    Args:
        found: a run on the built-in birds.
        quiet: show no progress bar.
    """
    model, transform = dense_model(found)
    table = read_split(found.out / "split.csv", found.birds)
    dataset = ImageDataset(table, table.indices("train"), transform)
    with torch.inference_mode():
        seen = [
            (model(images), labels.numpy())
            for images, labels in track(
                in_order(dataset, BATCH_SIZE, 0), "dense features", quiet=quiet, total=-(-len(dataset) // BATCH_SIZE)
            )
        ]
    train = Part(*_gathered(seen))
    _, calibration, test = open_birds(found.birds)
    weight, bias = (value.detach().numpy() for value in (model.classifier.weight, model.classifier.bias))
    return Shared(
        train,
        _render(model, transform, calibration, quiet=quiet),
        _render(model, transform, test, quiet=quiet),
        weight,
        bias,
        test.taxonomy.attributes_CA.astype(bool),
    )


def look(model: DenseClassifier | CHiQPM, transform: Any, birds: SyntheticBirds) -> Output:
    """Return a model's output for all birds, rendered again."""
    outputs = []
    with torch.inference_mode():
        for start in range(0, len(birds), BATCH_SIZE):
            rows = range(start, min(start + BATCH_SIZE, len(birds)))
            pictures = [birds.render(row, masks=False).image for row in rows]
            outputs.append(model(torch.stack([transform(picture) for picture in pictures])))
    return Output(*(torch.cat(values) for values in zip(*outputs, strict=True)))


def _render(model: DenseClassifier, transform: Any, birds: SyntheticBirds, *, quiet: bool) -> Part:
    seen, masks, objects = [], [], []
    starts = range(0, len(birds), BATCH_SIZE)
    for start in track(starts, "held-out birds", quiet=quiet, total=len(starts)):
        rows = range(start, min(start + BATCH_SIZE, len(birds)))
        renders = [birds.render(row) for row in rows]
        with torch.inference_mode():
            output = model(torch.stack([transform(render.image) for render in renders]))
        seen.append((output, birds.labels_N[start : start + len(rows)]))
        masks.append(np.stack([[render.part_masks[part] for part in PARTS] for render in renders]))
        objects.append(np.stack([render.object_mask for render in renders]))
    return Part(*_gathered(seen), np.concatenate(masks), np.concatenate(objects))


def _gathered(
    seen: list[tuple[Output, NDArray[np.int64]]],
) -> tuple[NDArray[np.float16], NDArray[np.float32], NDArray[np.int64]]:
    maps = np.concatenate([output.maps.half().numpy() for output, _ in seen])
    features = np.concatenate([output.features.numpy() for output, _ in seen])
    return maps, features, np.concatenate([labels for _, labels in seen])
