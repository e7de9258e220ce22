"""The method's claims, each as a measurement that anybody can repeat on the built-in synthetic birds."""

from chiqpm.experiments.grounding import GroundingResult, measure_grounding

__all__ = ["GroundingResult", "measure_grounding"]
