"""Every method against brute force, on random small problems and with every way of steering."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.assignment import AssignmentProblem, solve
from chiqpm.errors import ChiqpmError

PACKAGES = {"search": "numba", "highs": "highspy", "scip": "pyscipopt", "gurobi": "gurobipy"}
METHODS = [
    pytest.param(method, marks=pytest.mark.skipif(find_spec(package) is None, reason=f"{package} isn't installed"))
    for method, package in PACKAGES.items()
]
STEERING = {
    "forbid": {"forbidden_features": [0, 2]},
    "require": {"required": [(0, 2), (3, 2), (3, 5)]},
    "fix a row": {"required": [(1, 0), (1, 3), (1, 6)]},
    "weigh classes": {"class_weight_C": [1.0, 5.0, 0.2, 1.0, 2.0]},
    "give pairs": {"pairs": [(0, 1), (1, 2), (0, 2), (3, 4)]},
    "together": {
        "forbidden_features": [6],
        "required": [(2, 0), (4, 1)],
        "class_weight_C": [3.0, 1.0, 1.0, 0.5, 1.0],
        "pairs": [(0, 4), (2, 4)],
    },
}


def steered(seed, **options):
    generator = np.random.default_rng(seed)
    redundancy = np.triu(generator.random((7, 7)), 1)
    bias = 0.3 * generator.normal(size=7)
    return AssignmentProblem(generator.normal(size=(7, 5)), redundancy, bias, 5, 3, 0.4, threshold=0.3, **options)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_random_problems(brute_force, random_problem, method, seed):
    problem = random_problem(seed)
    optimum = brute_force(problem)
    if not np.isfinite(optimum) and method != "search":
        with pytest.raises(ChiqpmError, match="proved"):
            solve(problem, method=method)
        return
    found = solve(problem, method=method, effort=0.05, seed=seed)
    feasibility = problem.check(found.selection_K, found.weight_CK)
    assert not feasibility.violations
    assert found.objective == pytest.approx(problem.objective(found.selection_K, found.weight_CK), abs=1e-9)
    if np.isfinite(optimum):
        assert feasibility.feasible
        assert found.objective == pytest.approx(optimum, abs=1e-6)
        assert found.bound >= optimum - 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wish", STEERING)
def test_steering(brute_force, method, wish):
    problem = steered(3, **STEERING[wish])
    optimum = brute_force(problem)
    assert np.isfinite(optimum)
    found = solve(problem, method=method, effort=0.05)
    assert problem.check(found.selection_K, found.weight_CK).feasible
    assert found.objective == pytest.approx(optimum, abs=1e-6)
    assert found.bound >= optimum - 1e-6
    uses = [set(found.selection_K[row == 1].tolist()) for row in found.weight_CK]
    assert not set(problem.forbidden_features) & set(found.selection_K.tolist())
    assert all(f in uses[c] for c, f in problem.required)
    assert all(len(uses[c] & uses[d]) == 2 for c, d in problem.pairs)


@pytest.mark.parametrize("wish", STEERING)
def test_steering_changes_the_answer(brute_force, wish):
    assert brute_force(steered(3, **STEERING[wish])) != pytest.approx(brute_force(steered(3)), abs=1e-6)


def test_cp_sat_agrees(brute_force, tmp_path):
    """In a process of its own: CP-SAT can't be loaded beside HiGHS."""
    pytest.importorskip("highspy")
    if find_spec("ortools") is None:
        pytest.skip("ortools isn't installed")
    for i, options in enumerate(STEERING.values()):
        steered(3, **options).save(tmp_path / f"{i}.npz")
    script = (
        "import sys; from chiqpm.assignment import AssignmentProblem, solvers\n"
        "from chiqpm.assignment.exact import solve_exactly\n"
        "from chiqpm.experiments.solver.cpsat import run_cpsat\n"
        "solvers.RUNNERS['cpsat'] = run_cpsat\n"
        "for path in sys.argv[1:]:\n"
        "    problem = AssignmentProblem.load(path)\n"
        "    found = solve_exactly(problem, time_limit=60, solver='cpsat')\n"
        "    assert problem.check(found.selection_K, found.weight_CK).feasible\n"
        "    print(problem.objective(found.selection_K, found.weight_CK), found.bound)\n"
    )
    paths = [str(tmp_path / f"{i}.npz") for i in range(len(STEERING))]
    answer = subprocess.run([sys.executable, "-c", script, *paths], check=True, capture_output=True, text=True)
    for line, options in zip(answer.stdout.splitlines(), STEERING.values(), strict=True):
        objective, bound = map(float, line.split())
        optimum = brute_force(steered(3, **options))
        assert objective == pytest.approx(optimum, abs=1e-3)
        assert bound >= optimum - 1e-6
