"""The experiments by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from chiqpm.errors import ChiqpmError
from chiqpm.experiments.outcome import Context, Outcome

_MANY = 100


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A claim of the method and how it is tested.

    Attributes:
        name: what it is called on the command line.
        question: what it asks.
        module: holds `run(context)`; imported when the experiment runs.
        minutes: how long the full size takes on two cores, about; all go on where they were interrupted.
        runs: how many finished runs it can be given, at most.
    """

    name: str
    question: str
    module: str
    minutes: int
    runs: int = 0

    def run(self, context: Context) -> Outcome:
        """Measure."""
        outcome: Outcome = import_module(f"chiqpm.experiments.{self.module}").run(context)
        return outcome


_ALL = (
    Experiment(
        name="sanity",
        question="Does default training give contrastive features and every requested pair, without a known failure?",
        module="sanity",
        minutes=4,
        runs=1,
    ),
    Experiment(
        name="grounding",
        question="What do the grounding loss, the ReLU, beta and lambda do for features that sit on parts?",
        module="ablation",
        minutes=18,
        runs=1,
    ),
    Experiment(
        name="coherence",
        question="Are the classes of a hierarchical set more alike than those of APS, RAPS and THR?",
        module="coherence",
        minutes=11,
        runs=_MANY,
    ),
    Experiment(
        name="solver",
        question="Does the search for features scale to ImageNet's size in time and memory?",
        module="scalability",
        minutes=8,
    ),
    Experiment(
        name="tradeoffs",
        question="What do rho, n and K cost in accuracy, and what do they bring in interpretability?",
        module="tradeoffs",
        minutes=23,
        runs=1,
    ),
    Experiment(
        name="conditional-coverage",
        question="Does coverage hold where sets may leave the path only below a level, and for every class?",
        module="conditional",
        minutes=12,
        runs=_MANY,
    ),
    Experiment(
        name="shift",
        question="Does the monitor raise an alarm when images change so much that the sets lose their coverage?",
        module="shift",
        minutes=3,
        runs=1,
    ),
    Experiment(
        name="peers",
        question="How does CHiQPM compare with other models that explain themselves, on the same data?",
        module="peers",
        minutes=7,
    ),
)
EXPERIMENTS = {experiment.name: experiment for experiment in _ALL}


def find_experiment(name: str) -> Experiment:
    """Return an experiment by name.

    Raises:
        ChiqpmError: there is none of that name.

    >>> find_experiment("sanity").minutes
    4
    """
    if name not in EXPERIMENTS:
        raise ChiqpmError(f"unknown experiment {name!r}; there are {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
