"""From a picture to the tensor that the model sees, for evaluation and for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torchvision.transforms import v2

from chiqpm.data.frame import to_square
from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from chiqpm.config import DataConfig

Transform = Callable[[Image.Image], torch.Tensor]

_JITTER_PIXELS = 4
# Principal components of the RGB values of ImageNet's training pictures, one eigenvector a column.
_EIGENVALUES = (0.2175, 0.0188, 0.0045)
_EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


class ToSquare:
    """Lay a picture into the model's square (see `chiqpm.data.geometry`); borders get the mean colour."""

    def __init__(self, config: DataConfig, fill: tuple[int, int, int]) -> None:
        self.config = config
        self.fill = fill

    def __call__(self, image: Image.Image) -> Image.Image:
        """The picture in the square."""
        return to_square(self.config, image, self.fill)


class Lighting:
    """Move all pixels along the principal axes of ImageNet's colours, by normal draws (Krizhevsky et al. 2012, 4.1).

    Args:
        std: Standard deviation of the draws, which the eigenvalues of the colours' covariance multiply.
    """

    def __init__(self, std: float) -> None:
        self.std = std

    def __call__(self, image_3HW: torch.Tensor) -> torch.Tensor:
        """The picture (3, H, W), values about 0..1, with another light."""
        draws = torch.randn(3) * self.std * torch.tensor(_EIGENVALUES)
        return image_3HW + (torch.tensor(_EIGENVECTORS) @ draws)[:, None, None]


def evaluation_transform(config: DataConfig, mean: Sequence[float], std: Sequence[float]) -> Transform:
    """The one way in which pictures are shown to a model that isn't being trained.

    Args:
        config: `image_size` and `resize` are used.
        mean: What the backbone expects to be subtracted from each colour, for values in 0..1.
        std: What it expects them to be divided by.

    Returns:
        A function from an RGB image to a float tensor (3, S, S), S = `image_size`; it can be pickled.

    Raises:
        ChiqpmError: A mean or standard deviation that can't be used.
    """
    return _compose([_to_square(config, mean), *_to_tensor(mean, std)])


def training_transform(config: DataConfig, mean: Sequence[float], std: Sequence[float]) -> Transform:
    """`evaluation_transform` with random changes of the picture, drawn from torch's global generator.

    "light" cuts out 75% to 100% of the square, mirrors at random and changes brightness, contrast and
    saturation by up to 15%. "paper" is the recipe of arXiv 2511.20779 for fine-grained data: a random crop with 4
    pixels of padding (along the long side too for `resize="crop"`; none for "squash"), mirroring, colour jitter of
    0.1, TrivialAugmentWide. "imagenet" is its recipe for ImageNet: a random resized crop of the whole picture,
    mirroring, colour jitter of 0.1, PCA lighting of 0.05 (Krizhevsky et al. 2012). "none" changes nothing.
    `flip=False` never mirrors.

    Args:
        config: `image_size`, `resize`, `augmentation` and `flip` are used.
        mean: As for `evaluation_transform`.
        std: As for `evaluation_transform`.

    Returns:
        A function from an RGB image to a float tensor (3, S, S); it can be pickled.

    Raises:
        ChiqpmError: An unknown augmentation, or a mean or standard deviation that can't be used.
    """
    square = _to_square(config, mean)
    mirror: list[Any] = [v2.RandomHorizontalFlip()] if config.flip else []
    if config.augmentation == "none":
        steps: list[Any] = [square]
    elif config.augmentation == "light":
        crop = v2.RandomResizedCrop(config.image_size, scale=(0.75, 1.0), ratio=(0.95, 1 / 0.95))
        steps = [square, crop, *mirror, v2.ColorJitter(0.15, 0.15, 0.15)]
    elif config.augmentation == "paper":
        steps = [
            *_published_crop(config, square),
            *mirror,
            v2.ColorJitter(0.1, 0.1, 0.1),
            v2.TrivialAugmentWide(),
        ]
    elif config.augmentation == "imagenet":
        steps = [v2.RandomResizedCrop(config.image_size), *mirror, v2.ColorJitter(0.1, 0.1, 0.1)]
        *scaled, normalise = _to_tensor(mean, std)
        return _compose([*steps, *scaled, Lighting(0.05), normalise])
    else:
        raise ChiqpmError(f"augmentation must be none, light, paper or imagenet; received {config.augmentation!r}")
    return _compose([*steps, *_to_tensor(mean, std)])


def _published_crop(config: DataConfig, square: ToSquare) -> list[Any]:
    side = config.image_size
    if config.resize == "squash":
        return [square]
    first = v2.Resize(side) if config.resize == "crop" else square
    return [first, v2.RandomCrop(side, padding=_JITTER_PIXELS, fill=square.fill)]


def _to_square(config: DataConfig, mean: Sequence[float]) -> ToSquare:
    if config.image_size < 1:
        raise ChiqpmError(f"image_size must be 1 or more; received {config.image_size}")
    if config.resize not in ("squash", "crop", "pad"):
        raise ChiqpmError(f"resize must be squash, crop or pad; received {config.resize!r}")
    if len(mean) != 3:
        raise ChiqpmError(f"mean must have one value per colour (3); received {len(mean)}")
    red, green, blue = (min(255, max(0, round(255 * value))) for value in mean)
    return ToSquare(config, (red, green, blue))


def _to_tensor(mean: Sequence[float], std: Sequence[float]) -> list[Any]:
    if len(std) != 3 or min(std) <= 0:
        raise ChiqpmError(f"std must have one positive value per colour (3); received {tuple(std)}")
    return [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]


def _compose(steps: list[Any]) -> Transform:
    composed: Transform = v2.Compose(steps)
    return composed
