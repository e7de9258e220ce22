"""The optimiser of a round of training, and its learning rates step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from chiqpm.config import OptimiserConfig
from chiqpm.errors import ChiqpmError


def build_optimiser(
    model: nn.Module, head: Iterable[nn.Parameter], config: OptimiserConfig, *, lr_factor: float = 1.0, name: str = ""
) -> torch.optim.Optimizer:
    """Return the optimiser with one group for the backbone and one for the head.

    Args:
        model: its parameters with `requires_grad` are trained.
        head: the parameters that get the head's learning rate.
        config: which optimiser, and its rates.
        lr_factor: factor on both learning rates.
        name: of the stage, for the message.

    Raises:
        ChiqpmError: no parameter trains.
    """
    heads = {id(parameter) for parameter in head}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if id(p) not in heads], "initial_lr": config.lr * lr_factor},
        {"params": [p for p in trained if id(p) in heads], "initial_lr": config.head_lr * lr_factor},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ChiqpmError(f"{name}: nothing to train; unfreeze a part of the backbone or add a head")
    # One kernel for all parameters instead of one for each operation; None is torch's choice, for other devices.
    fused = True if all(parameter.device.type == "cuda" for parameter in trained) else None
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=fused)
    momentum, decay = config.momentum, config.weight_decay
    return torch.optim.SGD(groups, lr=config.lr, momentum=momentum, weight_decay=decay, fused=fused)


def build_schedule(config: OptimiserConfig, *, epochs: int, steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rates at each step.

    Args:
        config: kind of schedule.
        epochs: of the round.
        steps: of an epoch.
    """
    total = epochs * steps
    warm_up = min(steps, max(1, total // 20))

    def cosine(step: int) -> float:
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))

    def in_steps(step: int) -> float:
        return float(config.step_factor ** (step // steps // config.step_epochs))

    return cosine if config.schedule == "cosine" else in_steps
