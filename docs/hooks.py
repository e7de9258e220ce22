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


def _result(name: str) -> str:
    from chiqpm.experiments.registry import find_experiment
    from chiqpm.experiments.running import result_markdown

    experiment = find_experiment(name)
    file = RESULTS / f"{name}.json"
    if not file.exists():
        return f"{experiment.question}\n\n*Not measured in full yet; `chiqpm experiment {name}` measures it.*"
    result = json.loads(file.read_text(encoding="utf-8"))
    pictures = [
        f"![{experiment.question}](experiments/{file.name})" for file in sorted(RESULTS.glob(f"{name}.[ps][vn]g"))
    ]
    parts = [result["question"], result_markdown(result), *pictures, f"[All values](experiments/{name}.json)"]
    return "\n\n".join(parts)
