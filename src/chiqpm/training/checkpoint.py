"""A training state on disk: weights, optimiser and position, without pickles."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from chiqpm.files import write_atomic

logger = logging.getLogger(__name__)


def save_state(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, position: dict[str, Any]) -> None:
    """Write weights, buffers, optimiser state and position atomically.

    Args:
        path: the checkpoint file.
        model: its parameters and buffers are stored.
        optimiser: its tensors are stored; hyper-parameters are not, they come from the configuration.
        position: JSON-serialisable; says where in the training this is, and of which training.
    """
    tensors = {f"model.{name}": value.detach().contiguous().cpu() for name, value in model.state_dict().items()}
    scalars: dict[str, dict[str, float]] = {}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimiser.{index}.{name}"] = value.detach().contiguous().cpu()
            elif value is not None:
                scalars.setdefault(str(index), {})[name] = value
    metadata = {"position": json.dumps(position), "optimiser": json.dumps(scalars)}
    data = save(tensors, metadata=metadata)
    write_atomic(path, lambda file: file.write(data))


def read_position(path: Path) -> dict[str, Any] | None:
    """Return the position of a checkpoint; None when there is none or it can't be read (which is logged)."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads(file.metadata()["position"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        logger.warning("the checkpoint %s can't be read and is ignored: %s", path, error)
        return None


def load_state(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> None:
    """Put the stored weights, and the optimiser's state when one is given, in place."""
    weights: dict[str, torch.Tensor] = {}
    states: dict[int, dict[str, Any]] = {}
    with safe_open(path, framework="pt") as file:
        for index, scalars in json.loads(file.metadata()["optimiser"]).items():
            states[int(index)] = dict(scalars)
        for key in file.keys():  # noqa: SIM118 - not a mapping
            kind, name = key.split(".", 1)
            if kind == "model":
                weights[name] = file.get_tensor(key)
            else:
                parameter, part = name.split(".", 1)
                states.setdefault(int(parameter), {})[part] = file.get_tensor(key)
    model.load_state_dict(weights)
    if optimiser is not None:
        optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
