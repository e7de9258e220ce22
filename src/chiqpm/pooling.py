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
        Pooled features (B, F).

    Raises:
        ChiqpmError: the share is outside (0, 1].

    >>> pool_maps(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]])).item()
    2.0
    >>> pool_maps(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]]), share=0.5).item()
    3.5
    """
    check_share(share)
    if share == 1.0:
        return maps_BFHW.mean(dim=(2, 3))
    cells_BFP = maps_BFHW.flatten(2)
    count = max(1, round(share * cells_BFP.shape[-1]))
    return cells_BFP.topk(count, dim=-1, sorted=False).values.mean(dim=-1)


def check_share(share: float) -> None:
    """Raise ChiqpmError unless 0 < share <= 1."""
    if not 0.0 < share <= 1.0:
        raise ChiqpmError(f"the pooled share of a map must lie in (0, 1], received {share}; 1 averages all cells")
