"""From a feature map to one number: the mean of all its cells, or of its largest ones."""

from __future__ import annotations

import torch

from chiqpm.errors import ChiqpmError


def pool_maps(maps_BFHW: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    """Average the largest cells of every map.

    With `share` 1 this is global average pooling, as published. With a smaller share a feature scores by its best
    evidence rather than by the area that it covers.

    Args:
        maps_BFHW: feature maps (B, F, H, W).
        share: share of the H·W cells that are averaged, in (0, 1]; at least one cell is.

    Returns:
        Pooled features (B, F), in float32 or, like the maps, more.

    Raises:
        ChiqpmError: the share is outside (0, 1].

    >>> pool_maps(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]])).item()
    2.0
    >>> pool_maps(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]]), share=0.5).item()
    3.5
    """
    check_share(share)
    if share == 1.0:
        return maps_BFHW.mean(dim=(2, 3), dtype=at_least_float32(maps_BFHW))
    cells, position, _ = flat_cells(maps_BFHW)
    count = max(1, round(share * cells.shape[position]))
    largest = cells.topk(count, dim=position, sorted=False).values
    return largest.mean(dim=position, dtype=at_least_float32(maps_BFHW))


def at_least_float32(values: torch.Tensor) -> torch.dtype:
    """Return the type to sum values in: their own, but float32 for half precision."""
    return torch.promote_types(values.dtype, torch.float32)


def flat_cells(maps_BFHW: torch.Tensor) -> tuple[torch.Tensor, int, int]:
    """View maps with one axis for their H·W cells, in the order in which they lie in memory.

    Maps in channels-last order, whose convolutions are faster on CPUs, would otherwise be copied, and so would their
    gradients: that costs as much as the convolutions.

    Returns:
        The cells, (B, H·W, F) for maps in channels-last order, else (B, F, H·W); the axis of the cells; the axis of
        the features.
    """
    if maps_BFHW.is_contiguous() or not maps_BFHW.is_contiguous(memory_format=torch.channels_last):
        return maps_BFHW.flatten(2), 2, 1
    return maps_BFHW.permute(0, 2, 3, 1).flatten(1, 2), 1, 2


def check_share(share: float) -> None:
    """Raise ChiqpmError unless 0 < share <= 1."""
    if not 0.0 < share <= 1.0:
        raise ChiqpmError(f"the pooled share of a map must lie in (0, 1], received {share}; 1 averages all cells")
