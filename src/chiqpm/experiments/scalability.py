"""Does the search for features scale to ImageNet's size, in time and memory?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from chiqpm.experiments.outcome import Context, Outcome, Verdict
from chiqpm.experiments.solver.__main__ import main as measure_suite

_IMAGENET, _LAPTOP_MB = 1000, 16_000
PUBLISHED_MB = 250_000
"""Memory that the published solver is reported to need on ImageNet, more than (arXiv 2511.20779)."""


def run(context: Context) -> Outcome:
    """Measure the solver's scaling suite, each job in a process of its own."""
    suite, file = ("reduced" if context.reduced else "scaling"), context.out / "jobs.json"
    measure_suite(["--suite", suite, "--out", str(file), "--cache", str(context.out / "instances")])
    return summarise(list(json.loads(file.read_text(encoding="utf-8")).values()))


def summarise(jobs: Sequence[dict[str, Any]]) -> Outcome:
    """Say what the jobs of a suite took."""
    solved = [job for job in jobs if "failure" not in job]
    failed = [job["instance"] for job in jobs if "failure" in job]
    large = [job for job in solved if job["classes"] >= 100] or solved
    complete = [job for job in large if job["satisfied"] >= job["pairs"]]
    memory, seconds = max(job["peak_mb"] for job in large), max(job["took"] for job in large)
    most = max(job["classes"] for job in large)
    evidence = (
        f"{len(complete)} of {len(large)} instances of 100 classes or more ({most:,} at most) got every pair; at most "
        f"{memory:,} MB and {seconds:.0f} s each, {PUBLISHED_MB / memory:,.0f} times less memory than the published "
        "250 GB and more."
    )
    return Outcome(
        verdict=Verdict(
            claim="The search reaches ImageNet's size, 1,000 classes, on a laptop.",
            holds=not failed and len(complete) == len(large) and memory < _LAPTOP_MB and most >= _IMAGENET,
            evidence=evidence + (f" Failed: {', '.join(failed)}." if failed else ""),
        ),
        columns=["instance", "method", "features", "classes", "pairs", "objective", "seconds", "peak MB"],
        rows=[
            [
                job["instance"],
                job["method"],
                job["features"],
                job["classes"],
                f"{job.get('satisfied', 0)} of {job['pairs']}",
                round(job["objective"], 2) if "objective" in job else None,
                round(job["took"], 1),
                job["peak_mb"],
            ]
            for job in jobs
        ],
        values={"jobs": list(jobs)},
        notes=["Each job is a process of its own, so its peak memory is its own."],
    )
