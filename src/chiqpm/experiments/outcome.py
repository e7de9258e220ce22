"""What an experiment is given and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A value with its 95% confidence interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 3, *, sign: bool = False) -> str:
        """Write it as `value (low to high)`."""
        form = f"{'+' if sign else ''}.{digits}f"
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where and how an experiment runs.

    Attributes:
        out: its folder; finished parts in it are not measured again.
        reduced: a small version for tests, whose numbers mean nothing.
        seed: of data, training and draws.
        runs: finished runs to measure; none: the experiment trains what it needs on the built-in birds.
        quiet: show no progress bars.
    """

    out: Path
    reduced: bool = False
    seed: int = 0
    runs: tuple[Path, ...] = ()
    quiet: bool = True

    @property
    def shared(self) -> Path:
        """Folder beside the experiment's own for models that several experiments measure."""
        return self.out.parent / f"shared{'-reduced' if self.reduced else ''}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a claim holds.

    Attributes:
        claim: what is claimed.
        holds: whether it does, here.
        evidence: the numbers that say so, with intervals, in a sentence.
    """

    claim: str
    holds: bool
    evidence: str

    def line(self) -> str:
        """Return the verdict as one line."""
        return f"VERDICT: {'holds' if self.holds else 'DOES NOT HOLD'}: {self.claim} {self.evidence}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of an experiment.

    Attributes:
        verdict: about the main claim.
        columns: headings of the table.
        rows: its cells: text, numbers or None.
        values: everything else that was measured, JSON-serialisable.
        notes: how to read the table, and where we lose.
    """

    verdict: Verdict
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    values: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean of independent values with Student's t interval; of a single one, an interval without ends."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, -np.inf, np.inf)
    reach = float(stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return Interval(mean, mean - reach, mean + reach)
