"""Optional solvers, counted pairs, gap targets and proofs beside the search."""

from __future__ import annotations

import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from chiqpm.assignment import AssignmentProblem, sharing_pairs, solve
from chiqpm.assignment.count import rows_with_sharing
from chiqpm.errors import ChiqpmError


def problem_of(seed, features=12, classes=6, kept=6, per_class=3, **options):
    generator = np.random.default_rng(seed)
    redundancy = np.triu(np.maximum(generator.normal(size=(features, features)), 0), 1)
    return AssignmentProblem(
        generator.normal(size=(features, classes)),
        redundancy,
        0.1 * generator.normal(size=features),
        kept,
        per_class,
        0.5,
        **options,
    )


@pytest.mark.parametrize(("method", "package"), [("scip", "pyscipopt"), ("gurobi", "gurobipy")])
def test_optional_solvers_agree_with_highs(method, package):
    pytest.importorskip(package)
    for seed in range(3):
        problem = problem_of(seed)
        expected = solve(problem, method="highs")
        found = solve(problem, method=method)
        assert found.method == method
        assert problem.check(found.selection_K, found.weight_CK).feasible
        assert found.objective == pytest.approx(expected.objective, abs=1e-5)
        assert found.bound >= expected.objective - 1e-5


@pytest.mark.parametrize(("method", "package"), [("scip", "pyscipopt"), ("gurobi", "gurobipy")])
def test_a_missing_solver_is_named(method, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ChiqpmError, match=f"(?i)pip install {package}"):
        solve(problem_of(0), method=method)


def test_gurobis_small_licence_is_explained():
    pytest.importorskip("gurobipy")
    with pytest.raises(ChiqpmError, match="licence doesn't cover"):
        solve(problem_of(0, features=120, classes=20, kept=20), method="gurobi")


def brute_force_count(problem):
    """The optimum of a tiny problem whose pairs are counted."""
    per_class, classes = problem.features_per_class, problem.num_classes
    rows = np.array(
        [
            np.isin(np.arange(problem.kept_features), row)
            for row in combinations(range(problem.kept_features), per_class)
        ]
    )
    best = -np.inf
    choices = list(combinations(range(len(rows)), classes))
    for selection in combinations(range(problem.num_features), problem.kept_features):
        chosen = np.array(selection)
        base = problem.bias_F[chosen].sum() - np.triu(problem.penalty_FF[np.ix_(chosen, chosen)], 1).sum()
        value = problem.gain_FC[chosen].T @ rows.T
        for choice in choices:
            if len(sharing_pairs(rows[list(choice)].astype(int), per_class - 1)) >= problem.pairs_needed:
                row, column = linear_sum_assignment(value[:, choice], maximize=True)
                best = max(best, base + value[:, choice][row, column].sum())
    return best


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_counted_pairs_are_solved_exactly_when_small(seed):
    generator = np.random.default_rng(seed)
    classes = int(generator.integers(2, 5))
    problem = problem_of(seed, features=6, classes=classes, kept=5, per_class=2, pair_meaning="count")
    optimum = brute_force_count(problem)
    for method in ("search", "highs"):
        found = solve(problem, method=method, effort=0.05)
        assert not problem.check(found.selection_K, found.weight_CK).violations
        assert found.objective == pytest.approx(optimum, abs=1e-6)
        assert found.bound >= optimum - 1e-6
        assert found.pairs_satisfied >= problem.pairs_needed


def test_counted_pairs_of_a_larger_problem(tmp_path):
    problem = problem_of(1, features=60, classes=40, kept=20, per_class=4, pair_meaning="count")
    assert problem.pairs_needed == 20 and len(problem.pairs) == 0
    found = solve(problem, effort=0.2)
    assert not problem.check(found.selection_K, found.weight_CK).violations
    assert found.pairs_satisfied >= 20
    forced = solve(problem_of(1, features=60, classes=40, kept=20, per_class=4), effort=0.2)
    assert found.objective > forced.objective
    problem.save(tmp_path / "problem.npz")
    assert AssignmentProblem.load(tmp_path / "problem.npz").pair_meaning == "count"
    apart = np.eye(40, 20, dtype=np.uint8) * 0
    assert any("share all features but one" in text for text in problem.check(found.selection_K, apart).violations)


def test_count_is_refused_where_it_makes_no_sense():
    with pytest.raises(ChiqpmError, match="pair_meaning"):
        problem_of(0, pair_meaning="some")
    with pytest.raises(ChiqpmError, match="leave pairs out"):
        problem_of(0, pair_meaning="count", pairs=[(0, 1)])
    with pytest.raises(ChiqpmError, match="around one common core"):
        rows_with_sharing(np.zeros((30, 8)), np.zeros((30, 8), dtype=bool), 3, 200)
    with pytest.raises(ChiqpmError, match="without required features"):
        rows_with_sharing(
            np.zeros((10, 8)), np.eye(10, 8, dtype=bool) | (np.arange(10) > 7)[:, None] * (np.arange(8) == 0), 3, 6
        )


def test_a_gap_that_is_reached_ends_search_and_proof():
    problem = problem_of(2, features=80, classes=40, kept=20, per_class=4)
    reports = []
    found = solve(problem, certify=True, gap=0.5, effort=30, time_limit=60, progress=reports.append)
    assert found.gap <= 0.5
    assert found.seconds < 30
    assert any(np.isfinite(report.bound) for report in reports)


def test_a_failing_proof_is_not_swallowed(monkeypatch):
    from chiqpm.assignment import run

    def broken(*_, **__):
        raise FloatingPointError("broken")

    monkeypatch.setattr(run, "certify", broken)
    with pytest.raises(FloatingPointError, match="broken"):
        solve(problem_of(2, features=80, classes=40, kept=20, per_class=4), certify=True, effort=0.05)
