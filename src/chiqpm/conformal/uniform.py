"""Uniform draws from the caller's generator, for randomised scores and ties."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch

from chiqpm.conformal.scores import Score
from chiqpm.errors import ChiqpmError

Generator: TypeAlias = "torch.Generator | np.random.Generator"


def draw(generator: Generator | None, num_images: int, score: Score) -> torch.Tensor | None:
    """Return one draw from [0, 1) for each image, float64 on the CPU; None for a score that isn't randomised.

    Raises:
        TypeError: not a generator.
        ChiqpmError: a randomised score without a generator.
    """
    if not score.randomized:
        return None
    if generator is None:
        raise ChiqpmError(f"{score!r} draws a number for each image; pass generator=numpy.random.default_rng(seed).")
    return uniforms(generator, num_images)


def uniforms(generator: Generator, num_images: int) -> torch.Tensor:
    """Return one draw from [0, 1) for each image, float64 on the CPU."""
    if isinstance(generator, np.random.Generator):
        return torch.from_numpy(generator.random(num_images))
    if isinstance(generator, torch.Generator):
        return torch.rand(num_images, generator=generator, dtype=torch.float64, device=generator.device).cpu()
    raise TypeError(f"generator must be a numpy.random.Generator or a torch.Generator; got {type(generator).__name__}.")
