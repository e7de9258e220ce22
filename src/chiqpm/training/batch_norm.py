"""Batch norm over the batch of all processes, so that several train as one would with the whole batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn


def synchronise_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Return a module whose batch norms share their statistics; parameters, buffers and their names stay.

    Args:
        module: changed in place, but for itself being a batch norm.
        device: on a GPU torch's own `SyncBatchNorm` is used, which needs one.
    """
    if device.type == "cuda":
        return convert_sync_batchnorm(module)  # type: ignore[no-any-return,no-untyped-call]
    if isinstance(module, _GlobalBatchNorm):
        return module
    if isinstance(module, nn.BatchNorm2d) and module.track_running_stats and module.momentum is not None:
        return _GlobalBatchNorm(module)
    for name, child in module.named_children():
        setattr(module, name, synchronise_batch_norm(child, device))
    return module


class _GlobalBatchNorm(nn.BatchNorm2d):
    """Batch norm whose mean and variance are those of all processes together; in evaluation nothing differs."""

    def __init__(self, plain: nn.BatchNorm2d) -> None:
        super().__init__(plain.num_features, plain.eps, plain.momentum, affine=False, device="meta")
        self.affine = plain.affine
        self.weight, self.bias = plain.weight, plain.bias
        self.running_mean, self.running_var = plain.running_mean, plain.running_var
        self.num_batches_tracked = plain.num_batches_tracked
        # timm's batch norms carry the dropout and the activation that follow them.
        self.drop, self.act = getattr(plain, "drop", nn.Identity()), getattr(plain, "act", nn.Identity())
        self.train(plain.training)

    def forward(self, maps_BFHW: torch.Tensor) -> torch.Tensor:
        """Normalise (B, F, H, W)."""
        if not self.training:
            return self.act(self.drop(super().forward(maps_BFHW)))  # type: ignore[no-any-return]
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        # Two passes: the mean of squares minus the square of the mean would lose digits. In float32, as torch does it.
        given, maps_BFHW = maps_BFHW.dtype, maps_BFHW.float()
        sums = torch.cat([maps_BFHW.sum(dim=(0, 2, 3)), maps_BFHW.new_tensor([maps_BFHW[:, 0].numel()])])
        total = _Sum.apply(sums)
        count = float(total[-1].detach())
        mean_F = total[:-1] / count
        centred = maps_BFHW - mean_F[:, None, None]
        variance_F = _Sum.apply(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean_F, self.momentum)
            self.running_var.lerp_(variance_F * (count / max(1.0, count - 1)), self.momentum)
        scaled = centred * (variance_F + self.eps).rsqrt()[:, None, None]
        if self.affine:
            scaled = torch.addcmul(self.bias[:, None, None], scaled, self.weight[:, None, None])
        return self.act(self.drop(scaled.to(given)))  # type: ignore[no-any-return]


class _Sum(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of the gradients."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class BatchCounts:
    """Counts the batches of all batch norms at once, for the time of a training.

    Each counts its own, by a kernel of its own: a step of ResNet50 has 53 of them, and is bound by their number on a
    GPU. The counts are still theirs, in every state that is kept; only their forward pass doesn't see them.

    Args:
        model: whose batch norms; where the count determines how they average, it is left to them.
    """

    def __init__(self, model: nn.Module) -> None:
        self.norms = [
            module
            for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            and not isinstance(module, (nn.SyncBatchNorm, _GlobalBatchNorm))
            and module.momentum is not None
            and module._buffers.get("num_batches_tracked") is not None
        ]

    def __enter__(self) -> BatchCounts:
        for norm in self.norms:
            norm.__dict__["num_batches_tracked"] = None
        return self

    def __exit__(self, *error: object) -> None:
        for norm in self.norms:
            del norm.__dict__["num_batches_tracked"]

    def add(self) -> None:
        """Count a batch in those that learn."""
        found = (norm._buffers["num_batches_tracked"] for norm in self.norms if norm.training)
        counts = [count for count in found if count is not None]
        if counts:
            torch._foreach_add_(counts, 1)
