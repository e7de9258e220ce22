"""What identifies a classifier: the bytes of its weights and of its calibration, however they are stored."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from torch import nn

from chiqpm.conformal import ConformalPredictor


def fingerprint(model: nn.Module, predictor: ConformalPredictor | None = None) -> str:
    """Return a SHA-256 of a model's tensors and, if there is one, of its calibrated predictor.

    Equal fingerprints mean equal predictions on the same device; numbers that were measured with one belong to it
    alone.
    """
    return with_calibration(hash_weights(model), predictor)


def hash_weights(model: nn.Module) -> hashlib._Hash:
    """Return the running SHA-256 of a model's tensors, for whoever needs both fingerprints: their bytes are many."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total


def with_calibration(weights: hashlib._Hash, predictor: ConformalPredictor | None) -> str:
    """Return the fingerprint of hashed weights and, if there is one, of a calibrated predictor."""
    total = weights.copy()
    if predictor is not None:
        state = predictor.state()
        arrays = state.pop("arrays")
        total.update(json.dumps(state, sort_keys=True).encode())
        for name, values in sorted(arrays.items()):
            total.update(f"{name} {values.dtype} {values.shape}".encode())
            total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()
