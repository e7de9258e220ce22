"""The command that tests the method's claims: `experiment`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from chiqpm.cli.common import Common, write, write_json


@dataclass(frozen=True, kw_only=True)
class RunExperiment(Common):
    """Test a claim of the method, on the built-in birds or on runs of your own: a table and a verdict.

    Without a name: list the experiments.
    """

    name: Annotated[Positional[str | None], arg(metavar="NAME")] = None
    """The experiment; leave it out for a list."""
    out: Path = Path("runs/experiments")
    """Folder for what is made; the experiment gets a folder of its own in it and goes on where it was interrupted."""
    runs: Annotated[tuple[Path, ...], arg(name="run", metavar="[RUN ...]")] = ()
    """Finished runs, of any data, to measure instead of the built-in birds. sanity and shift measure one; grounding and
    tradeoffs train variants of one on its images; coherence and conditional-coverage measure several, of several
    seeds."""
    reduced: bool = False
    """A small version for tests, which takes a minute and whose numbers mean nothing."""
    seed: int = 0
    """Seed of images, training and draws."""

    def run(self) -> None:
        """Measure and show."""
        from chiqpm.experiments.registry import EXPERIMENTS, find_experiment

        if self.name is None:
            if self.json:
                write_json([vars(experiment) for experiment in EXPERIMENTS.values()])
                return
            for experiment in EXPERIMENTS.values():
                write(f"{experiment.name:<22}about {experiment.minutes:>2} min   {experiment.question}")
            return
        experiment = find_experiment(self.name)
        from chiqpm.experiments.outcome import Context
        from chiqpm.experiments.running import result_text, run_experiment

        context = Context(
            out=self.out / self.name,
            reduced=self.reduced,
            seed=self.seed,
            runs=self.runs,
            quiet=self.quiet,
        )
        result = run_experiment(experiment, context)
        if self.json:
            write_json(result)
        else:
            write(result_text(result))
            write(f"\nAll values: {context.out / 'result.json'}")
