"""Does the search for features scale to ImageNet's size, in time and memory?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from chiqpm.errors import ChiqpmError
from chiqpm.experiments.outcome import Context, Outcome, Verdict
from chiqpm.experiments.solver.__main__ import main as measure_suite
from chiqpm.experiments.solver.suites import IMAGENET

_LAPTOP_MB, _MINUTES = 16_000, 10
PUBLISHED_MB = 250_000
"""Memory that the published solver is reported to need on ImageNet, more than (arXiv 2511.20779)."""


def run(context: Context) -> Outcome:
    """Measure the solver's scaling suite and ImageNet's classes, each job in a process of its own."""
    file = context.out / "jobs.json"
    given = ["--out", str(file), "--cache", str(context.out / "instances")]
    notes = []
    for suite in ("reduced",) if context.reduced else ("scaling", "imagenet"):
        try:
            measure_suite(["--suite", suite, *given])
        except ChiqpmError as error:
            notes.append(f"Left out: {error}")
    return summarise(list(json.loads(file.read_text(encoding="utf-8")).values()), notes)


def summarise(jobs: Sequence[dict[str, Any]], notes: Sequence[str] = ()) -> Outcome:
    """Say what the jobs of a suite took.

    Args:
        jobs: as `python -m chiqpm.experiments.solver` measures them.
        notes: what could not be measured.
    """
    solved = [job for job in jobs if "failure" not in job]
    failed = [job["instance"] for job in jobs if "failure" in job]
    short = [job for job in solved if job["satisfied"] < job["pairs"]]
    imagenet = [job for job in solved if job["instance"] in IMAGENET]
    evidence = "; ".join(
        f"{job['instance']}: {job['satisfied']} of {job['pairs']} pairs, {job['took']:.0f} s, {job['peak_mb']:,} MB, "
        f"{PUBLISHED_MB / job['peak_mb']:,.0f} times less than the published 250 GB and more"
        for job in imagenet
    )
    evidence += (
        f". All {len(solved)} instances: {max(job['took'] for job in solved):.0f} s and "
        f"{max(job['peak_mb'] for job in solved):,} MB at most."
    )
    if short:
        lacking = (f"{job['instance']} {job['satisfied']} of {job['pairs']}" for job in short)
        evidence += f" Not every pair: {', '.join(lacking)}."
    if failed:
        evidence += f" Failed: {', '.join(failed)}."
    fits = all(job["peak_mb"] < _LAPTOP_MB and job["took"] < 60 * _MINUTES for job in imagenet)
    return Outcome(
        verdict=Verdict(
            claim=f"The search finds features for ImageNet's 1,000 classes, with every pair, in less than {_MINUTES} "
            f"minutes and {_LAPTOP_MB // 1000} GB.",
            holds=bool(imagenet) and fits and not failed and not any(job in short for job in imagenet),
            evidence=evidence.lstrip(". "),
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
                round(job["took"], 1) if "took" in job else None,
                job.get("peak_mb"),
            ]
            for job in jobs
        ],
        values={"jobs": list(jobs)},
        notes=[
            "Each job is a process of its own, so its peak memory is its own. random-FxC-K-rho: random weights with 40 "
            "common directions, 60 seconds at most; whether all pairs of these can hold is not known. 1280x1000, "
            "2048x1000: ImageNet classifiers of EfficientNet-Lite0, and of Lite0 and Lite1 together; K 50, n 5.",
            *notes,
        ],
    )
