"""What identifies a classifier: the bytes of its weights and of its calibration, however they are stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from chiqpm.conformal import ConformalPredictor


def fingerprint(model: nn.Module, predictor: ConformalPredictor | None = None) -> str:
    """Return a SHA-256 of a model's tensors and, if there is one, of its calibrated predictor.

    Equal fingerprints mean equal predictions on the same device; numbers that were measured with one belong to it
    alone.
    """
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    if predictor is not None:
        state = predictor.state()
        arrays = state.pop("arrays")
        total.update(json.dumps(state, sort_keys=True).encode())
        for name, values in sorted(arrays.items()):
            total.update(f"{name} {values.dtype} {values.shape}".encode())
            total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


def numbers_of(
    metrics: Mapping[str, Any], model: nn.Module, predictor: ConformalPredictor | None
) -> dict[str, Any] | None:
    """Return those of the measured numbers that are this classifier's.

    Args:
        metrics: what a `metrics.json` holds.
        model: the classifier's.
        predictor: its calibrated prediction sets, or None.

    Returns:
        All; or, where it was calibrated anew since, all but those of the prediction sets; or None, where the weights
        are others, or nobody knows.
    """
    if metrics.get("classifier") == fingerprint(model, predictor):
        return dict(metrics)
    if metrics.get("weights") != fingerprint(model):
        return None
    rest = {
        name: value for name, value in metrics.items() if name not in ("classifier", "calibration_score", "coverage")
    }
    if isinstance(rest.get("images"), dict):
        rest["images"] = {part: count for part, count in rest["images"].items() if part != "calibration"}
    return rest
