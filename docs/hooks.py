"""Puts results of experiments into the pages that ask for them: `<!-- result: sanity -->`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parent / "benchmarks"
RESULTS = BENCHMARKS / "experiments"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks of a page by tables that are made from the committed result files."""
    markdown = markdown.replace("<!-- claims -->", _claims())
    return re.sub(r"<!-- result: ([a-z-]+) -->", lambda found: _result(found[1]), markdown)


def on_post_page(output: str, **_: Any) -> str:
    """Name the search for screen readers; the theme doesn't."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def _claims() -> str:
    """Make the table of the default configuration over fresh seeds."""
    values = json.loads((BENCHMARKS / "claims.json").read_text(encoding="utf-8"))
    seeds = list(values["seeds"])
    lines = [
        f"| value | {' | '.join(f'seed {seed}' for seed in seeds)} | mean |",
        "|:---|" + "---:|" * (len(seeds) + 1),
    ]
    for name, mean in values["mean"].items():
        cells = [values["seeds"][seed]["summary"][name] for seed in seeds]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(f'{cell:.3f}' for cell in [*cells, mean])} |")
    return "\n".join(lines)


def _earlier(name: str) -> str:
    """Make a section from what other commands measured of the same kind; empty where there is nothing."""
    from chiqpm.experiments import coherence, scalability
    from chiqpm.experiments.running import outcome_markdown

    if name == "coherence":
        values = json.loads((BENCHMARKS / "conformal.json").read_text(encoding="utf-8"))
        models = {key: sets for key, sets in values["sets"].items() if key.endswith("-16")}
        outcome = coherence.summarise(models, values["options"]["set_splits"])
        command, made = "python -m chiqpm.experiments.conformal --out runs/conformal", ["conformal.json"]
    elif name == "solver":
        made = ["scaling.json", "assignment.json"]
        read = (json.loads((BENCHMARKS / file).read_text(encoding="utf-8")) for file in made)
        jobs = [job for values in read for job in values.values()]
        outcome = scalability.summarise([job for job in jobs if job["method"] == "search" and job["classes"] >= 100])
        command = "python -m chiqpm.experiments.solver --suite scaling`, and `--suite benchmark"
    else:
        return ""
    links = ", ".join(f"[{file}]({file})" for file in made)
    return f"{outcome_markdown(outcome)}\n\nMeasured by `{command}`. All values: {links}."


def _result(name: str) -> str:
    from chiqpm.experiments.registry import find_experiment
    from chiqpm.experiments.running import result_markdown

    experiment = find_experiment(name)
    file = RESULTS / f"{name}.json"
    if not file.exists():
        earlier = _earlier(name)
        if earlier:
            return f"{experiment.question}\n\n{earlier}"
        return f"{experiment.question}\n\n*Not measured in full yet; `chiqpm experiment {name}` measures it.*"
    result = json.loads(file.read_text(encoding="utf-8"))
    pictures = [
        f"![{experiment.question}](experiments/{file.name})" for file in sorted(RESULTS.glob(f"{name}.[ps][vn]g"))
    ]
    parts = [result["question"], result_markdown(result), *pictures, f"[All values](experiments/{name}.json)"]
    return "\n\n".join(parts)
