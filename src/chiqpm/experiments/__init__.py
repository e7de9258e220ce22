"""The method's claims, each as a measurement that anybody can repeat on the built-in synthetic birds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chiqpm.experiments.grounding import GroundingResult, measure_grounding

__all__ = ["GroundingResult", "measure_grounding"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that experiments on arrays alone don't load torch."""
    if name in __all__:
        from chiqpm.experiments import grounding

        return getattr(grounding, name)
    raise AttributeError(f"module 'chiqpm.experiments' has no attribute {name!r}")
