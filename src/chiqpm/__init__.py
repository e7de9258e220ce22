"""chiqpm: image classifiers people can check.

Every class is described by a few of a few dozen shared features, similar classes differ in exactly one of them, and
each prediction comes with a path through those features and a set of classes that contains the truth with the
probability that the user asked for. The method is CHiQPM (Norrenbrock et al., NeurIPS 2025, arXiv 2511.20779).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chiqpm.classifier import Classifier, Prediction, load
    from chiqpm.errors import ChiqpmError
    from chiqpm.pipeline import fit

__version__ = "0.1.0"
__all__ = ["ChiqpmError", "Classifier", "Prediction", "__version__", "fit", "load"]

_HOMES = {
    "ChiqpmError": "chiqpm.errors",
    "Classifier": "chiqpm.classifier",
    "Prediction": "chiqpm.classifier",
    "fit": "chiqpm.pipeline",
    "load": "chiqpm.classifier",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import chiqpm` and `chiqpm --help` stay fast."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'chiqpm' has no attribute {name!r}")
