"""How the inner loops are compiled, and their random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile a function on its first call, and keep the machine code on disk where there is a place for it.

    Sums may be reordered, so that they run in vector registers; `contract` and `reassoc` keep infinities intact. The
    interpreter's lock is released, so that two searches, or a search and a proof, run side by side in threads.
    """
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        return cast(_F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # numba finds neither a writable package folder nor a writable user cache
        return cast(_F, numba.njit(**options)(function))


@compiled
def uniform(random: Any) -> Any:  # pragma: no cover - compiled
    """Next number of the splitmix64 generator whose state is `random[0]`, in [0, 1)."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def gumbel(random: Any) -> Any:  # pragma: no cover - compiled
    """Next number with the standard Gumbel distribution: the largest sum of value and noise is a draw by exp(value)."""
    return -np.log(-np.log(uniform(random) + 1e-300) + 1e-300)
