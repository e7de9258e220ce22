"""The folder of a saved classifier: safetensors, JSON and an npz without pickles; reading it runs no code from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from chiqpm.backbone import build_backbone
from chiqpm.conformal import ConformalPredictor, storage
from chiqpm.conformal.hierarchy import check_assignment
from chiqpm.errors import ChiqpmError, DamagedFileError
from chiqpm.files import read_json, write_atomic, write_json
from chiqpm.model import CHiQPM
from chiqpm.sharing.description import Description, read_description
from chiqpm.sharing.fingerprint import hash_weights, with_calibration

WEIGHTS, DESCRIPTION, CALIBRATION = "model.safetensors", "classifier.json", "calibration.npz"
METRICS = "metrics.json"
_MODEL = "model"
"""Key of the calibration that holds the fingerprint of the weights that it was made with."""


@dataclass(frozen=True)
class Saved:
    """What a folder holds.

    Attributes:
        model: the sparse network, on the CPU.
        description: everything else about it.
        predictor: calibrated prediction sets, or None.
        metrics: numbers measured with exactly these weights and this calibration, or None.
    """

    model: CHiQPM
    description: Description
    predictor: ConformalPredictor | None
    metrics: dict[str, Any] | None


def write_folder(
    folder: Path,
    model: nn.Module,
    description: Description,
    predictor: ConformalPredictor | None,
    metrics: Mapping[str, Any] | None,
) -> bool:
    """Write the files of a classifier; each is whole or as it was.

    Returns:
        Whether the metrics were written: only where they were measured with this model and this calibration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hashed = hash_weights(model)
    weights = hashed.hexdigest()
    write_weights(folder / WEIGHTS, model)
    replace(description, weights=weights).write(folder / DESCRIPTION)
    if predictor is None:
        (folder / CALIBRATION).unlink(missing_ok=True)
    else:
        storage.write({**predictor.state(), _MODEL: weights}, folder / CALIBRATION)
    measured = metrics is not None and metrics.get("classifier") == with_calibration(hashed, predictor)
    if measured:
        write_json(folder / METRICS, metrics)
    return measured


def write_weights(path: Path, model: nn.Module) -> None:
    """Write a module's parameters and buffers as safetensors, atomically."""
    content = save({name: value.contiguous().cpu() for name, value in model.state_dict().items()})
    write_atomic(path, lambda file: file.write(content))


def read_folder(folder: Path) -> Saved:
    """Read what `write_folder` wrote; nothing is unpickled, imported by name or fetched.

    Raises:
        FileNotFoundError: no such folder, or no finished classifier in it.
        ChiqpmError: a file is damaged, of a newer format, or doesn't belong to the others; file and key are named.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no finished classifier at {folder}: there is no such folder")
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} holds no finished classifier ({name} is missing); make one with `chiqpm fit`"
            )
    description = read_description(folder / DESCRIPTION)
    weights = _read_weights(folder / WEIGHTS, description)
    try:
        model = _build(description, weights)
    except ChiqpmError as error:
        raise ChiqpmError(f"{folder / DESCRIPTION} can't be used: {error}") from None
    _fill(folder / WEIGHTS, model, weights)
    hashed = hash_weights(model)
    found = hashed.hexdigest()
    if description.weights not in (None, found):
        raise DamagedFileError(
            f"{folder / DESCRIPTION} describes other weights (key 'weights') than those of {WEIGHTS}; the two files "
            "belong to different classifiers: copy or save them together"
        )
    calibration = folder / CALIBRATION
    predictor = _read_calibration(calibration, description, model, found) if calibration.is_file() else None
    return Saved(model, description, predictor, _read_metrics(folder, with_calibration(hashed, predictor)))


def _read_weights(path: Path, description: Description) -> dict[str, torch.Tensor]:
    try:
        weights = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise DamagedFileError(f"{path} is damaged or cut short ({error}); copy or save it again") from None
    shapes = {"selection_K": 1, "weight_CK": 2, "mean_K": 1, "std_K": 1}
    for name, axes in shapes.items():
        if name not in weights or weights[name].ndim != axes:
            found = f"has {weights[name].ndim} axes where {axes} belong" if name in weights else "is missing"
            raise DamagedFileError(f"{path} is no CHiQPM: the tensor {name!r} {found}")
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise DamagedFileError(f"{path}: the tensor {name!r} has values that are not finite; copy or save it again")
    if not bool((weights["std_K"] > 0).all()):
        raise DamagedFileError(f"{path} is no CHiQPM: the tensor 'std_K' has values that are not positive")
    try:
        check_assignment(weights["weight_CK"])
    except ChiqpmError as error:
        raise DamagedFileError(f"{path} is no CHiQPM: the tensor 'weight_CK' can't be used: {error}") from None
    classes, kept = weights["weight_CK"].shape
    if classes != len(description.classes):
        raise DamagedFileError(
            f"{path.with_name(DESCRIPTION)} names {len(description.classes)} classes (key 'classes') where {path.name} "
            f"has {classes} (tensor 'weight_CK'); the two files belong to different classifiers"
        )
    if kept != len(description.active_mean):
        raise DamagedFileError(
            f"{path.with_name(DESCRIPTION)} has {len(description.active_mean)} values (key 'active_mean') where "
            f"{path.name} has {kept} features (tensor 'weight_CK'); the two files belong to different classifiers"
        )
    return weights


def _build(description: Description, weights: dict[str, torch.Tensor]) -> CHiQPM:
    config = replace(description.backbone, pretrained=False)
    if isinstance(config.head_channels, int):
        # Those that no class uses were dropped from the weights.
        config = replace(config, head_channels=min(config.head_channels, len(weights["mean_K"])))
    backbone = build_backbone(config, image_size=description.data.image_size)
    return CHiQPM(
        backbone,
        weights["selection_K"],
        weights["weight_CK"],
        weights["mean_K"],
        weights["std_K"],
        **vars(description.model),
    )


def _fill(path: Path, model: CHiQPM, weights: dict[str, torch.Tensor]) -> None:
    wanted = model.state_dict()
    for name, tensor in wanted.items():
        if name not in weights:
            raise DamagedFileError(f"{path} lacks the tensor {name!r} of the network that {DESCRIPTION} describes")
        if weights[name].shape != tensor.shape:
            raise DamagedFileError(
                f"{path}: the tensor {name!r} has shape {tuple(weights[name].shape)} where the network that "
                f"{DESCRIPTION} describes has {tuple(tensor.shape)}"
            )
    further = sorted(weights.keys() - wanted.keys())
    if further:
        raise DamagedFileError(
            f"{path} has a tensor {further[0]!r} that the network that {DESCRIPTION} describes hasn't"
        )
    model.load_state_dict(weights)


def _read_calibration(path: Path, description: Description, model: CHiQPM, weights: str) -> ConformalPredictor:
    try:
        saved = storage.read(path)
        predictor = ConformalPredictor.from_state(saved)
    except ChiqpmError as error:
        raise DamagedFileError(f"{path} can't be used: {error}") from None
    state = predictor.state()
    if state["num_classes"] != len(description.classes):
        raise DamagedFileError(
            f"{path} was calibrated for {state['num_classes']} classes (key 'num_classes') where {DESCRIPTION} names "
            f"{len(description.classes)} (key 'classes'); delete it and calibrate again with `chiqpm calibrate`"
        )
    weight_CK = state["arrays"].get("weight_CK")
    if weight_CK is not None and not torch.equal(torch.as_tensor(weight_CK).float(), model.weight_CK.cpu()):
        raise DamagedFileError(
            f"{path} was calibrated with another assignment (key 'weight_CK') than that of {WEIGHTS}; delete "
            "it and calibrate again with `chiqpm calibrate`"
        )
    # Earlier versions wrote no such key.
    if saved.get(_MODEL, weights) != weights:
        raise DamagedFileError(
            f"{path} was calibrated with other weights (key {_MODEL!r}) than those of {WEIGHTS}, so its sets would not "
            "hold what they promise; delete it and calibrate again with `chiqpm calibrate`"
        )
    return predictor


def _read_metrics(folder: Path, classifier: str) -> dict[str, Any] | None:
    """Return the numbers of a run if they were measured with the files of this folder."""
    if not (folder / METRICS).is_file():
        return None
    metrics = read_json(folder / METRICS)
    current = isinstance(metrics, dict) and metrics.get("classifier") == classifier
    return metrics if current else None
