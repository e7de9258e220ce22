"""The backbone as a module: a trunk whose first parts may be frozen, an optional head and a ReLU."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from chiqpm.backbone.units import Layout, Unit, resolve, run


class Head(nn.Sequential):
    """A new 1×1 convolution without bias, then batch norm and ReLU; He initialisation, torch's generator."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        convolution = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_in", nonlinearity="relu")
        super().__init__(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


class Backbone(nn.Module):
    """Images (B, 3, S, S), normalised with `mean` and `std`, to feature maps (B, F, H, W).

    `build_backbone` makes one. The trunk's first parts may be frozen: they keep their weights, stay in
    evaluation mode (so the statistics of their batch norm don't move) and give the same
    `forward_frozen(images)` for an image forever, which may therefore be computed once and kept.
    `forward_trainable(forward_frozen(images))` is `forward(images)`, bit for bit.

    Attributes:
        num_features: F, the number of maps.
        grid: (H, W), the cells of a map.
        stride: pixels of the image per cell.
        mean: of the pretrained weights' own normalisation, per colour channel, for images in [0, 1].
        std: likewise.
        unit_names: the parts of the whole trunk, first to last, that `cut` and `frozen` may name.
        head: the new 1×1 convolution with batch norm and ReLU, or None. Its parameters may want a higher
            learning rate.
        rectify: whether a ReLU is put on the maps.
    """

    def __init__(
        self,
        trunk: nn.Module,
        *,
        frozen_units: tuple[Unit, ...],
        trainable_units: tuple[Unit, ...],
        layout: Layout,
        num_prefix_tokens: int,
        head: nn.Sequential | None,
        rectify: bool,
        num_features: int,
        grid: tuple[int, int],
        stride: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        unit_names: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.rectify = rectify
        self.num_features = num_features
        self.grid = grid
        self.stride = stride
        self.mean = mean
        self.std = std
        self.unit_names = unit_names
        self._frozen_units = frozen_units
        self._trainable_units = trainable_units
        self._layout = layout
        self._num_prefix_tokens = num_prefix_tokens
        if frozen_units:
            kept = {id(p) for module in self._trainable_modules() for p in module.parameters()}
            for parameter in trunk.parameters():
                if id(parameter) not in kept:
                    parameter.requires_grad_(False)
        self.train()

    def forward(self, images_B3SS: torch.Tensor) -> torch.Tensor:
        """Return the feature maps (B, F, H, W) of images (B, 3, S, S)."""
        return self.forward_trainable(self.forward_frozen(images_B3SS))

    def forward_frozen(self, images_B3SS: torch.Tensor) -> torch.Tensor:
        """Run the frozen parts alone; without any, the images come back as they are.

        Returns:
            The activations after the last frozen part, in the trunk's own layout, first axis B.
        """
        return run(self.trunk, self._frozen_units, images_B3SS)

    def forward_trainable(self, hidden: torch.Tensor) -> torch.Tensor:
        """Go on from `forward_frozen`'s activations to the feature maps (B, F, H, W)."""
        maps_BFHW = to_maps(
            run(self.trunk, self._trainable_units, hidden), self._layout, self._num_prefix_tokens, self.grid
        )
        if self.head is not None:
            maps_BFHW = self.head(maps_BFHW)
        return torch.relu(maps_BFHW) if self.rectify else maps_BFHW

    def frozen_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that never change."""
        return (parameter for parameter in self.parameters() if not parameter.requires_grad)

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that train, those of `head` among them, last."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def train(self, mode: bool = True) -> Backbone:
        """Switch to training mode, all but the frozen parts, or to evaluation mode."""
        super().train(mode)
        if self._frozen_units:
            self.trunk.eval()
            for module in self._trainable_modules():
                module.train(mode)
        return self

    def _trainable_modules(self) -> Iterator[nn.Module]:
        return (resolve(self.trunk, step) for unit in self._trainable_units for step in unit.steps)


def to_maps(hidden: torch.Tensor, layout: Layout, num_prefix_tokens: int, grid: tuple[int, int]) -> torch.Tensor:
    """Bring a trunk's output to maps (B, F, H, W).

    Args:
        hidden: (B, F, H, W), (B, H, W, F) or tokens (B, P + H·W, F), as `layout` says.
        layout: order of the axes.
        num_prefix_tokens: P, class and register tokens in front of the patches' tokens, left out of the maps.
        grid: (H, W), needed for tokens.
    """
    if layout == "NHWC":
        return hidden.permute(0, 3, 1, 2).contiguous()
    if layout == "NLC":
        return hidden[:, num_prefix_tokens:].transpose(1, 2).reshape(hidden.shape[0], -1, *grid)
    return hidden
