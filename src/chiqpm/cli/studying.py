"""Commands of a user study: `study RUN`, `study serve`, `study analyse`, `study simulate`, `study power`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Union

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from chiqpm.cli.common import Common, write, write_json
from chiqpm.study_options import StudyOptions

_ACTIONS = ("make", "serve", "analyse", "simulate", "power")


@dataclass(frozen=True, kw_only=True)
class Make(Common):
    """Make a randomised web questionnaire of a run's test images: one page, which needs no network."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory."""
    out: Path = Path("study")
    """Folder of the study: index.html for the readers, study.json with the truths for you."""
    data: Path | None = None
    """The folder of images, where it has moved since the run."""
    device: str = "auto"
    """Where to compute."""
    options: Annotated[StudyOptions, arg(name="")] = field(default_factory=StudyOptions)
    """All other options."""

    def run(self) -> None:
        """Make the study."""
        from chiqpm.study.making import make_study

        key = make_study(
            self.model, self.out, self.options, data_folder=self.data, device=self.device, quiet=self.quiet
        )
        page = self.out / "index.html"
        if self.json:
            write_json({"page": str(page), "study": key.study, "images": len(key.items), "sessions": len(key.plans)})
        else:
            write(f"Page for the readers: {page} (study {key.study}; give each reader a number from 1).")
            write(f"Next: chiqpm study serve {self.out}, or send the page and collect the downloaded files.")


@dataclass(frozen=True, kw_only=True)
class Serve(Common):
    """Serve a study to readers and collect their answers as CSV files."""

    study: Annotated[Positional[Path], arg(metavar="STUDY")]
    """Folder of the study."""
    host: str = "127.0.0.1"
    """Address to listen at; the default can be reached from this machine only. There is no encryption."""
    port: int = 8420
    """Port; 0 takes any free one."""

    def run(self) -> None:
        """Serve until interrupted."""
        from chiqpm.study.server import StudyServer

        with StudyServer(self.study, host=self.host, port=self.port) as server:
            if self.json:
                write_json({"url": server.url, "answers": str(server.answers)})
            else:
                write(f"Readers: {server.url}    answers: {server.answers}    stop with Ctrl-C")
            server.serve_forever()


@dataclass(frozen=True, kw_only=True)
class Analyse(Common):
    """Analyse answers: accuracy, time, confidence and trust by kind of help, with permutation tests."""

    answers: Annotated[Positional[tuple[Path, ...]], arg(metavar="CSV")]
    """Answer files of the readers."""
    study: Path = Path("study")
    """Folder of the study, for its study.json."""
    confidence: float = 0.95
    """Confidence of the intervals."""
    resamples: int = 9999
    """Permutations that are drawn where there are too many to go through."""
    seed: int = 0
    """Seed of the permutations."""

    def run(self) -> None:
        """Analyse and show."""
        from chiqpm.study import analyse, read_answers
        from chiqpm.study.key import read_key
        from chiqpm.study.tables import analysis_table

        result = analyse(
            read_answers(self.answers),
            read_key(self.study),
            confidence=self.confidence,
            resamples=self.resamples,
            seed=self.seed,
        )
        if self.json:
            write_json(result.to_dict())
        else:
            write(analysis_table(result))


@dataclass(frozen=True, kw_only=True)
class Simulate(Common):
    """Write answers of SIMULATED readers, to try the analysis on; they say nothing about people."""

    study: Annotated[Positional[Path], arg(metavar="STUDY")]
    """Folder of the study."""
    out: Path = Path("simulated-answers.csv")
    """The file to write."""
    readers: int = 18
    """Number of simulated readers."""
    seed: int = 0
    """Seed of the readers."""

    def run(self) -> None:
        """Simulate and write."""
        from chiqpm.study import simulate_answers, write_answers
        from chiqpm.study.key import read_key

        answers = simulate_answers(read_key(self.study), self.readers, seed=self.seed)
        write_answers(self.out, answers)
        if self.json:
            write_json({"answers": str(self.out), "readers": self.readers, "simulated": True})
        else:
            write(f"Wrote answers of {self.readers} SIMULATED readers to {self.out}")


@dataclass(frozen=True, kw_only=True)
class Power(Common):
    """Say how many readers a study needs, by simulating it with SIMULATED readers."""

    readers: tuple[int, ...] = (12, 18, 24, 36, 54)
    """Numbers of readers."""
    effects: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15)
    """Differences in a typical reader's accuracy, hierarchical minus flat; 0 gives the rate of false findings."""
    trials: int = 18
    """Images that each reader judges, in all three arms together."""
    baseline: float = 0.7
    """A typical reader's accuracy with flat sets."""
    unaided: float = 0.6
    """A typical reader's accuracy without help."""
    reader_sd: float = 0.5
    """Standard deviation of the readers' log-odds."""
    item_sd: float = 0.7
    """Standard deviation of the images' log-odds."""
    slope_sd: float = 0.25
    """Standard deviation, over readers, of the log-odds that a kind of help gives."""
    level: float = 0.05
    """Level of the corrected test."""
    studies: int = 500
    """Simulated studies for each number."""
    seed: int = 0
    """Seed of the simulation."""

    def run(self) -> None:
        """Simulate and show."""
        from chiqpm.study import ReaderModel, power
        from chiqpm.study.tables import power_table

        model = ReaderModel(
            accuracy={"none": self.unaided, "flat": self.baseline, "hierarchical": self.baseline},
            reader_sd=self.reader_sd,
            item_sd=self.item_sd,
            slope_sd=self.slope_sd,
        )
        rows = power(
            self.readers,
            self.effects,
            trials=self.trials,
            model=model,
            level=self.level,
            studies=self.studies,
            seed=self.seed,
        )
        if self.json:
            write_json({"simulated": True, "rows": [asdict(row) for row in rows]})
        else:
            write(power_table(rows))


@dataclass(frozen=True, kw_only=True)
class Study:
    """Test with readers whether explanations help: `study RUN` makes a questionnaire, the others run and analyse it."""

    action: OmitSubcommandPrefixes[
        Union[  # noqa: UP007 - tyro reads it
            Annotated[Make, subcommand("make")],
            Annotated[Serve, subcommand("serve")],
            Annotated[Analyse, subcommand("analyse")],
            Annotated[Simulate, subcommand("simulate")],
            Annotated[Power, subcommand("power")],
        ]
    ]
    """What to do."""

    @property
    def quiet(self) -> bool:
        """Whether to show no progress."""
        return self.action.quiet

    def run(self) -> None:
        """Do it."""
        self.action.run()


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `study RUN` written as `study make RUN`.

    >>> spelled_out(["study", "runs/mine", "--out", "study"])
    ['study', 'make', 'runs/mine', '--out', 'study']
    """
    given = list(arguments)
    if len(given) > 1 and given[0] == "study" and given[1] not in (*_ACTIONS, "-h", "--help"):
        given.insert(1, "make")
    return given
