"""One measurement of the benchmark: an instance, a method and a seed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chiqpm.assignment import AssignmentProblem, solve
from chiqpm.assignment import solvers as exact_solvers
from chiqpm.assignment.bound import certify
from chiqpm.assignment.exact import solve_exactly
from chiqpm.errors import ChiqpmError
from chiqpm.experiments.peak import peak_bytes
from chiqpm.experiments.solver.cpsat import run_cpsat
from chiqpm.experiments.solver.instances import birds_statistics, from_weights, published, random_weights, two_networks
from chiqpm.experiments.solver.instances import classifier_weights as weights_of


def _birds() -> AssignmentProblem:
    statistics = birds_statistics()
    return AssignmentProblem(statistics.similarity_FC, statistics.redundancy_FF, statistics.bias_F, 50, 5, 0.5)


def _random(num_features: int, num_classes: int, kept: int = 50, density: float = 0.5) -> AssignmentProblem:
    return from_weights(random_weights(num_features, num_classes), kept, 5, density)


def _tiny(seed: int) -> AssignmentProblem:
    return from_weights(random_weights(14, 8, seed=seed), 7, 3, 0.5)


INSTANCES: dict[str, Callable[[], AssignmentProblem]] = {
    **{f"tiny-{seed}": lambda seed=seed: _tiny(seed) for seed in range(3)},  # type: ignore[misc]
    **{f"golden-{tag}": lambda tag=tag: published(tag) for tag in ("029", "062", "074")},  # type: ignore[misc]
    "100x30": lambda: from_weights(two_networks(100, 30), 20, 5, 0.5),
    "birds-1280x48": _birds,
    "2048x200": lambda: from_weights(two_networks(2048, 200)),
    "2048x1000": lambda: from_weights(two_networks(2048, 1000)),
    "2048x200-1.0": lambda: from_weights(two_networks(2048, 200), pair_density=1.0),
    "2048x1000-1.0": lambda: from_weights(two_networks(2048, 1000), pair_density=1.0),
    "1280x1000": lambda: from_weights(weights_of("lite0")),
}
"""Named instances."""


@dataclass(frozen=True)
class Job:
    """What is measured."""

    instance: str
    """A name of `INSTANCES`, or ``random-FxC-K-rho``."""
    method: str = "search"
    """A method of `solve`, or ``"cpsat"``."""
    seed: int = 0
    seconds: float = 60.0
    """Time limit."""
    effort: float = 1.0
    certify: bool = False

    @property
    def key(self) -> str:
        """Name of the measurement; a changed job is measured anew."""
        return "/".join(str(value) for value in asdict(self).values())


def load(name: str, cache: Path) -> AssignmentProblem:
    """Build an instance, or read it from the cache of those built before.

    Raises:
        ChiqpmError: there is no such instance.
    """
    path = cache / f"{name}.npz"
    if path.is_file():
        return AssignmentProblem.load(path)
    if name.startswith("random-"):
        sizes, kept, density = name.removeprefix("random-").split("-")
        num_features, num_classes = (int(part) for part in sizes.split("x"))
        problem = _random(num_features, num_classes, int(kept), float(density))
    elif name in INSTANCES:
        problem = INSTANCES[name]()
    else:
        raise ChiqpmError(f"instance must be one of {', '.join(INSTANCES)}, or random-FxC-K-rho; received {name!r}.")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache, suffix=".npz", delete=False) as file:
        problem.save(file.name)
    Path(file.name).replace(path)
    return problem


def describe(job: Job, problem: AssignmentProblem) -> dict[str, Any]:
    """What a result says of its job and the size of its problem."""
    return {
        **asdict(job),
        "features": problem.num_features,
        "classes": problem.num_classes,
        "pairs": problem.pairs_needed,
    }


def measure(job: Job, cache: Path) -> dict[str, Any]:
    """Run one job in this process and say what it took. The moves are compiled before the clock starts."""
    problem = load(job.instance, cache)
    if job.method == "search":  # CP-SAT can't be loaded beside HiGHS, which the warm-up loads
        warm_up = from_weights(random_weights(30, 12), 8, 3, 0.5)
        solve(warm_up, effort=0.001)
        if job.certify:
            certify(warm_up, iterations=1)
    outcome = describe(job, problem)
    began, cpu = time.monotonic(), time.process_time()
    try:
        outcome.update(_cpsat(problem, job) if job.method == "cpsat" else _solve(problem, job))
    except ChiqpmError as error:
        outcome["failure"] = str(error)
    outcome["took"] = round(time.monotonic() - began, 2)
    outcome["cpu"] = round(time.process_time() - cpu, 2)
    outcome["peak_mb"] = round(peak_bytes() / 1024**2)
    return outcome


def _solve(problem: AssignmentProblem, job: Job) -> dict[str, Any]:
    found = solve(
        problem,
        time_limit=job.seconds,
        seed=job.seed,
        method=job.method,  # type: ignore[arg-type]
        effort=job.effort,
        certify=job.certify,
    )
    proven = found.bound if found.bound < float("inf") else None
    return {"objective": found.objective, "bound": proven, "satisfied": found.pairs_satisfied}


def _cpsat(problem: AssignmentProblem, job: Job) -> dict[str, Any]:
    exact_solvers.RUNNERS["cpsat"] = run_cpsat
    found = solve_exactly(problem, time_limit=job.seconds, seed=job.seed, solver="cpsat")
    if found.selection_K is None or found.weight_CK is None:
        return {"failure": "no solution within the limit"}
    feasibility = problem.check(found.selection_K, found.weight_CK)
    satisfied = len(problem.pairs) - len(feasibility.pair_violations)
    objective = problem.objective(found.selection_K, found.weight_CK)
    return {"objective": objective, "bound": found.bound, "satisfied": satisfied}
