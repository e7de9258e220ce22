"""Start from a dense model that was trained elsewhere."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from chiqpm.errors import ChiqpmError
from chiqpm.model import DenseClassifier

CLASSIFIERS = ("classifier", "fc", "head.fc", "head")
"""Where timm's models keep their last linear layer."""


def load_dense_checkpoint(model: DenseClassifier, path: Path) -> None:
    """Put the weights of a checkpoint into a dense classifier, in place.

    Two kinds are understood: a `DenseClassifier` of this package (`dense.safetensors` of a run), and a timm model with
    the same architecture and number of classes. Nothing in the file is executed: safetensors, or a torch file that
    holds tensors only.

    Args:
        model: built for the same backbone and number of classes.
        path: the file.

    Raises:
        FileNotFoundError: no such file.
        ChiqpmError: not a file of weights, or weights that don't fit; names the first that don't.
    """
    state = _read(path)
    if any(name.startswith("backbone.") for name in state):
        _load(model, state, path, allow_extra=False)
        return
    if getattr(model.backbone, "head", None) is not None:
        raise ChiqpmError(
            f"{path} holds a plain timm model, which has no new 1×1 convolution; use it with "
            "--backbone.head-channels None (and --backbone.cut None)"
        )
    name = next((name for name in CLASSIFIERS if f"{name}.weight" in state), None)
    if name is None:
        raise ChiqpmError(f"{path} has no classifier among its weights (looked for {', '.join(CLASSIFIERS)})")
    last = {"classifier.weight": state[f"{name}.weight"], "classifier.bias": state[f"{name}.bias"]}
    trunk = {f"backbone.trunk.{key}": value for key, value in state.items() if not key.startswith(f"{name}.")}
    _load(model, {**trunk, **last}, path, allow_extra=True)


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no dense checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ChiqpmError(
            f"{path} can't be read as weights ({str(error).splitlines()[0]}); "
            "save the model's state_dict as safetensors"
        ) from None
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ChiqpmError(f"{path} holds no state_dict; save model.state_dict()")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _load(model: DenseClassifier, state: Mapping[str, torch.Tensor], path: Path, *, allow_extra: bool) -> None:
    own = model.state_dict()
    for name, value in own.items():
        if name not in state:
            raise ChiqpmError(f"{path} lacks the weight {name}; was it made with the same --backbone options?")
        if name == "classifier.weight" and len(state[name]) != len(value):
            raise ChiqpmError(
                f"{path} was trained for {len(state[name])} classes, the data have {len(value)}; use the data that it "
                "was trained on, or train the dense stage (leave out --dense-checkpoint)"
            )
        if state[name].shape != value.shape:
            raise ChiqpmError(
                f"{path}: {name} has shape {tuple(state[name].shape)}, this model needs {tuple(value.shape)}; "
                "the backbone or the number of classes differs"
            )
    extra = sorted(set(state) - set(own))
    if extra and not allow_extra:
        raise ChiqpmError(f"{path} has weights that this model lacks: {', '.join(extra[:3])}; the backbone differs")
    model.load_state_dict({name: state[name] for name in own})
