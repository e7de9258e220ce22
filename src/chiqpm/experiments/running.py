"""Run an experiment and write down what came of it, with what made it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chiqpm.errors import ChiqpmError
from chiqpm.experiments.keeping import as_plain
from chiqpm.experiments.outcome import Context
from chiqpm.experiments.registry import Experiment
from chiqpm.files import write_json
from chiqpm.provenance import describe_environment, machine_words

if TYPE_CHECKING:
    from chiqpm.experiments.finished_run import FinishedRun

RESULT, _SPENT = "result.json", "spent.json"
_SHOWN = ("chiqpm", "python", "torch", "numpy")


def run_experiment(experiment: Experiment, context: Context) -> dict[str, Any]:
    """Run an experiment and write `result.json` into its folder.

    Returns:
        What the file holds: the question, the verdict, the table, all values, and what made them.

    Raises:
        ChiqpmError: the experiment can't measure given runs, or not so many.
        FileNotFoundError: there is no such run.
    """
    if context.runs and not experiment.runs:
        raise ChiqpmError(f"the experiment {experiment.name} makes its own models; leave --run out")
    if len(context.runs) > experiment.runs:
        raise ChiqpmError(f"the experiment {experiment.name} takes one run; {len(context.runs)} are given")
    context.out.mkdir(parents=True, exist_ok=True)
    with _clock(context.out / _SPENT):
        outcome = experiment.run(context)
    environment = describe_environment()
    result = {
        "experiment": experiment.name,
        "question": experiment.question,
        "verdict": {**vars(outcome.verdict), "line": outcome.verdict.line()},
        "table": {"columns": list(outcome.columns), "rows": [list(row) for row in outcome.rows]},
        "notes": [*outcome.notes, *_about_run(context)],
        "values": outcome.values,
        "made": {
            "command": _command(experiment, context),
            "reduced": context.reduced,
            "seed": context.seed,
            "versions": {"python": environment["python"], **environment["packages"]},
            "machine": machine_words(environment),
            "date": environment["date"],
            "seconds": _spent(context.out / _SPENT),
        },
    }
    plain: dict[str, Any] = as_plain(result)
    write_json(context.out / RESULT, plain)
    return plain


def _about_run(context: Context) -> list[str]:
    if not context.runs:
        return []
    from chiqpm.experiments.finished_run import open_run

    return [
        f"Measured on {len(context.runs)} given run{'s' * (len(context.runs) > 1)} (`--run`): "
        + "; ".join(_about(run) for run in map(open_run, context.runs))
        + "."
    ]


def _about(run: FinishedRun) -> str:
    images = run.metrics["images"]
    return (
        f"{run.metrics['classes']} classes, {images['train']:,} training images, backbone {run.options.backbone.name}, "
        f"seed {run.options.seed}" + (", built-in birds" if run.is_birds else "")
    )


@contextmanager
def _clock(file: Path) -> Iterator[None]:
    """Add the time that passes to that of earlier, interrupted calls."""
    before, start = _spent(file), time.monotonic()
    try:
        yield
    finally:
        write_json(file, {"seconds": round(before + time.monotonic() - start, 1)})


def _spent(file: Path) -> float:
    return float(json.loads(file.read_text(encoding="utf-8"))["seconds"]) if file.exists() else 0.0


def result_text(result: Mapping[str, Any]) -> str:
    """Write a result for a terminal: table, notes and verdict."""
    rows = [result["table"]["columns"], *result["table"]["rows"]]
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [_aligned(row, widths) for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    size = ["REDUCED size: these numbers mean nothing."] if result["made"]["reduced"] else []
    return "\n".join([result["question"], "", *lines, "", *result["notes"], *size, result["verdict"]["line"]])


def result_markdown(result: Mapping[str, Any]) -> str:
    """Write a result for a page of the documentation: verdict, table, notes and what made them."""
    made, table, verdict = result["made"], result["table"], result["verdict"]
    columns = table["columns"]
    lines = [
        f"**{verdict['claim']}** {'Holds' if verdict['holds'] else 'Does not hold'}. {verdict['evidence']}",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'|'.join(':---' if place == 0 else '---:' for place in range(len(columns)))}|",
        *(f"| {' | '.join(_cell(value) for value in row)} |" for row in table["rows"]),
        *(f"\n{note}" for note in result["notes"]),
        "",
        f"Measured on {made['date'][:10]} by `{made['command']}` in {made['seconds'] / 60:.0f} minutes, all calls "
        f"together, on {made['machine']}; "
        + ", ".join(f"{name} {made['versions'][name]}" for name in _SHOWN)
        + f"; seed {made['seed']}."
        + (" **Reduced size: these numbers mean nothing.**" if made["reduced"] else ""),
    ]
    return "\n".join(lines)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if not place else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _command(experiment: Experiment, context: Context) -> str:
    words = ["chiqpm experiment", experiment.name, f"--seed {context.seed}"]
    words += [f"--run {' '.join(['RUN'] * len(context.runs))}"] if context.runs else []
    return " ".join(words + (["--reduced"] if context.reduced else []))
