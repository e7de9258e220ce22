"""A training state on disk: weights, optimiser and position, without pickles; the newest and one before.

A state is written beside its place, flushed and renamed; the one it replaces stays as `NAME.previous.safetensors`.
Where the newest can't be read, that is named and the one before is used.
"""

from __future__ import annotations

import base64
import json
import logging
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from chiqpm.files import sync_folder, write_atomic

logger = logging.getLogger(__name__)


class Checkpoint:
    """The state of one training on disk.

    Args:
        path: the file of the newest state; its folder must exist.
        key: digest of all that determines the training; a state with another key is not used.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self._is_damaged = False
        self.previous = path.with_name(f"{path.stem}.previous{path.suffix}")

    def save(self, model: nn.Module, optimiser: torch.optim.Optimizer, position: dict[str, Any]) -> None:
        """Write the state; the one that was the newest is kept.

        Args:
            model: its parameters and buffers are stored.
            optimiser: its tensors are stored; hyper-parameters are not, they come from the configuration.
            position: JSON-serialisable; says where in the training this is.

        Raises:
            OSError: the disk is full or read-only; what stood there before still does.
        """
        data = _serialise(model, optimiser, {"key": self.key, **position})
        write_atomic(self.path, lambda file: file.write(data), keep=None if self._is_damaged else self.previous)
        self._is_damaged = False

    def load(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Put the newest state that is whole and belongs to this training in place.

        Returns:
            Its position, or None where there is no such state; then nothing has changed.
        """
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                tensors, scalars, position = _read(path)
            except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
                logger.warning("the checkpoint %s can't be read and is ignored: %s", path, error)
                self._is_damaged |= path == self.path
                continue
            if position["key"] == self.key:
                _restore(model, optimiser, tensors, scalars)
                return position
        return None


def drop_checkpoints(folder: Path, stage: str) -> None:
    """Delete the states of a finished stage, and what a killed process left of one half written."""
    for pattern in (f"{stage}*.safetensors", f".{stage}*"):
        for file in folder.glob(pattern):
            file.unlink()
    sync_folder(folder)


def random_state() -> dict[str, str]:
    """Return the state of torch's generators as text."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {name: base64.b64encode(state.numpy().tobytes()).decode("ascii") for name, state in states.items()}


def set_random_state(states: dict[str, str]) -> None:
    """Give torch's generators the state of `random_state`."""
    for name, text in states.items():
        state = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
        if name == "cpu":
            torch.set_rng_state(state)
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(state)


def _serialise(model: nn.Module, optimiser: torch.optim.Optimizer, position: dict[str, Any]) -> bytes:
    tensors = {f"model.{name}": value.detach().contiguous().cpu() for name, value in model.state_dict().items()}
    scalars: dict[str, dict[str, float]] = {}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimiser.{index}.{name}"] = value.detach().contiguous().cpu()
            elif value is not None:
                scalars.setdefault(str(index), {})[name] = value
    metadata = {
        "position": json.dumps(position),
        "optimiser": json.dumps(scalars),
    }
    return save(tensors, metadata={**metadata, "checksum": _checksum(tensors, metadata)})


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, float]], dict[str, Any]]:
    """Return tensors, the optimiser's scalars and the position of a state that is what was written."""
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if metadata["checksum"] != _checksum(tensors, metadata):
        raise ValueError("its content is not what was written")
    return tensors, json.loads(metadata["optimiser"]), json.loads(metadata["position"])


def _checksum(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> str:
    total = 0
    for name in ("position", "optimiser"):
        total = zlib.crc32(metadata[name].encode(), total)
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, zlib.crc32(name.encode(), total))
    return str(total)


def _restore(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    tensors: dict[str, torch.Tensor],
    scalars: dict[str, dict[str, float]],
) -> None:
    weights: dict[str, torch.Tensor] = {}
    states: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in scalars.items()}
    for key, tensor in tensors.items():
        kind, name = key.split(".", 1)
        if kind == "model":
            weights[name] = tensor
        else:
            parameter, part = name.split(".", 1)
            states.setdefault(int(parameter), {})[part] = tensor
    model.load_state_dict(weights)
    optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
