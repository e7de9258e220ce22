"""Every method against brute force, and the behaviour of the search."""

from __future__ import annotations

import signal
import threading
import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.assignment import AssignmentProblem, solve
from chiqpm.assignment.bound import certify, evaluate
from chiqpm.assignment.exact import is_quick
from chiqpm.assignment.prices import ClassPrices
from chiqpm.errors import ChiqpmError


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_every_method_finds_the_optimum_of_tiny_problems(brute_force, random_problem, seed):
    problem = random_problem(seed)
    optimum = brute_force(problem)
    found = solve(problem, effort=0.05, seed=seed)
    feasibility = problem.check(found.selection_K, found.weight_CK)
    assert not feasibility.violations
    assert found.objective == pytest.approx(problem.objective(found.selection_K, found.weight_CK))
    if np.isfinite(optimum):
        assert feasibility.feasible
        assert found.objective == pytest.approx(optimum, abs=1e-6)
        assert found.bound >= optimum - 1e-6
        exact = solve(problem, method="highs")
        assert exact.objective == pytest.approx(optimum, abs=1e-6)
        assert certify(problem, iterations=12).bound >= optimum
    else:
        assert [pair.classes for pair in found.dropped] == list(feasibility.pair_violations)
        assert all("proved" in pair.reason for pair in found.dropped)
        with pytest.raises(ChiqpmError, match="proved"):
            solve(problem, method="highs")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_wishes_are_kept(brute_force, random_problem, seed):
    generator = np.random.default_rng(seed)
    plain = random_problem(seed)
    features = generator.permutation(plain.num_features)
    required = [(int(generator.integers(plain.num_classes)), int(features[0]))]
    forbidden = [int(features[1])] if plain.num_features > plain.kept_features else []
    weight = generator.uniform(0.5, 2, plain.num_classes)
    problem = random_problem(seed, required=required, forbidden_features=forbidden, class_weight_C=weight)
    optimum = brute_force(problem)
    found = solve(problem, effort=0.05, seed=seed)
    assert not problem.check(found.selection_K, found.weight_CK).violations
    if np.isfinite(optimum):
        assert found.objective == pytest.approx(optimum, abs=1e-6)


def test_search_is_feasible_repeatable_and_better_than_its_start(large):
    problem = large()
    first, second = solve(problem, effort=0.1, seed=3), solve(problem, effort=0.1, seed=3)
    assert np.array_equal(first.weight_CK, second.weight_CK)
    assert np.array_equal(first.selection_K, second.selection_K)
    assert problem.check(first.selection_K, first.weight_CK).feasible
    assert first.pairs_satisfied == len(problem.pairs) == 15
    assert (np.diff(first.selection_K) > 0).all()
    assert first.weight_CK.dtype == np.uint8
    assert first.bound == float("inf")
    assert solve(problem, effort=0.3, seed=3).objective > first.objective - 1.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_answer_depends_on_the_seed_and_not_on_how_often_it_is_reported(large, monkeypatch, seed):
    problem = large()
    answers = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr("chiqpm.assignment.search._REPORT_SECONDS", seconds)
        answers.append(solve(problem, effort=0.15, seed=seed))
    assert answers[0].objective == answers[1].objective
    assert np.array_equal(answers[0].weight_CK, answers[1].weight_CK)


def test_a_fixed_row_stays_fixed_in_the_search(large):
    required = [(7, f) for f in (3, 9, 20, 41)]
    problem = large(required=required, forbidden_features=[0, 1])
    found = solve(problem, effort=0.05)
    assert set(found.selection_K[found.weight_CK[7] == 1]) == {3, 9, 20, 41}
    assert not {0, 1} & set(found.selection_K.tolist())


def test_given_pairs_replace_the_nearest(large):
    chain = [(c, c + 1) for c in range(29)]
    problem = large(pairs=chain)
    found = solve(problem, effort=0.05)
    assert found.pairs_satisfied == 29


def test_a_clique_of_classes_that_is_too_large_is_reported(large):
    clique = list(combinations(range(10), 2))
    problem = large(pairs=clique, kept=8)
    found = solve(problem, effort=0.02, time_limit=3)
    assert 0 < len(found.dropped) < len(clique)
    assert found.pairs_satisfied + len(found.dropped) == len(clique)
    assert "no assignment was found" in found.dropped[0].reason


def test_contradicting_rows_are_named(large):
    required = [(0, f) for f in (0, 1, 2, 3)] + [(1, f) for f in (4, 5, 6, 7)]
    found = solve(large(required=required, pairs=[(0, 1)]), effort=0.02)
    assert found.dropped[0].classes == (0, 1)
    assert "8 different features" in found.dropped[0].reason


def test_time_limit_and_progress(large):
    seen = []
    found = solve(large(), effort=1000, time_limit=1.0, progress=seen.append)
    assert found.seconds < 20
    assert seen and 0 < seen[-1].fraction <= 1
    assert max(report.objective for report in seen) <= found.objective + 1e-9


def test_interruption_returns_the_best_so_far(large):
    def stop(_report):
        raise KeyboardInterrupt

    problem = large()
    found = solve(problem, progress=stop)
    assert found.interrupted
    assert problem.check(found.selection_K, found.weight_CK).feasible


def test_separation_is_rewarded(large):
    problem = large()
    separation = np.zeros((60, len(problem.pairs)))
    separation[5] = -1.0
    without = solve(problem, effort=0.05)
    rewarded = solve(problem, effort=0.05, separation_FP=separation, separation_weight=1e3)
    assert 5 in rewarded.selection_K
    assert 5 not in without.selection_K or rewarded.objective <= without.objective + 5
    assert rewarded.objective == pytest.approx(problem.objective(rewarded.selection_K, rewarded.weight_CK))


def test_tight_problem_uses_every_combination():
    generator = np.random.default_rng(0)
    problem = AssignmentProblem(generator.normal(size=(30, 20)), np.zeros((30, 30)), np.zeros(30), 6, 3, 0.0)
    found = solve(problem, effort=0.05)
    assert problem.check(found.selection_K, found.weight_CK).feasible


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "magic"}, "method"),
        ({"time_limit": 0}, "time_limit"),
        ({"gap": -1}, "gap"),
        ({"gap": float("nan")}, "gap"),
        ({"effort": 0}, "effort"),
        ({"separation_FP": np.zeros((3, 3))}, "separation_FP"),
        ({"separation_FP": np.zeros((60, 15)), "separation_weight": -1}, "separation_weight"),
    ],
)
def test_wrong_arguments_are_refused(large, options, said):
    with pytest.raises(ChiqpmError, match=said):
        solve(large(), **options)


def test_highs_says_when_it_had_no_time(large):
    with pytest.raises(ChiqpmError, match="no feasible assignment within"):
        solve(large(features=200, classes=100, kept=40), method="highs", time_limit=0.05)


def test_certificate_of_a_solve_holds_and_can_be_recomputed_in_higher_precision(large):
    problem = large()
    found = solve(problem, effort=0.2, certify=True, gap=0.001)
    assert found.objective <= found.bound < found.objective * 1.25

    for core_size, iterations in ((40, 40), (25, 60), (60, 20)):
        proof = certify(problem, core_size=core_size, iterations=iterations, guess_K=found.selection_K)
        assert proof.bound >= found.objective
        parts = {k: getattr(proof, k) for k in ("prices", "core_N", "multiplier_N", "nonnegative_NN")}
        assert evaluate(problem, **parts).bound == proof.bound
        assert proof.bound >= _recompute(problem, proof) > proof.bound - 1e-6


def test_features_outside_the_core_are_bounded_too(large):
    problem = large()
    whole = certify(problem, iterations=100)
    few = np.argsort(-whole.multiplier_N)[:20]
    parts = {"multiplier_N": whole.multiplier_N[few], "nonnegative_NN": whole.nonnegative_NN[np.ix_(few, few)]}
    proven = evaluate(problem, prices=whole.prices, core_N=whole.core_N[few], **parts)
    assert proven.bound > whole.bound
    assert len(proven.others_M) and not np.isin(proven.others_M, whole.core_N[few]).any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_any_multipliers_prove_a_bound(brute_force, random_problem, seed):
    problem, generator = random_problem(seed), np.random.default_rng(seed)
    optimum = brute_force(problem)
    prices = ClassPrices(problem.gain_FC, problem.pairs, problem.features_per_class, problem.kept_features)
    prices.class_C += generator.normal(size=problem.num_classes)
    prices.pair_P *= generator.uniform(0, 20, len(prices.pair_P))
    prices.split_FP = prices.pair_P * generator.random(prices.split_FP.shape)
    core_N = generator.permutation(problem.num_features)[: int(generator.integers(1, problem.num_features + 1))]
    size = len(core_N)
    proven = evaluate(
        problem,
        prices=prices,
        core_N=core_N,
        multiplier_N=generator.normal(size=size),
        nonnegative_NN=np.float32(0.2) * generator.random((size, size), dtype=np.float32),
    )
    assert proven.bound >= optimum


def test_certificate_stops_at_its_target_and_its_deadline(large):
    problem = large()
    seen = []
    certify(problem, iterations=50, target=1e9, progress=lambda *report: seen.append(report))
    assert len(seen) == 1
    certify(problem, iterations=50, deadline=0.0, progress=lambda *report: seen.append(report))
    assert len(seen) == 2


def _recompute(problem, proof):
    """The proven bound in extended precision: the smallest t for which t I - M has a Cholesky factor, by bisection."""
    exact = np.longdouble
    prices, kept = proof.prices, problem.kept_features
    assert (prices.pair_P >= 0).all() and (proof.nonnegative_NN >= 0).all()
    total = prices.gain_FC.T.astype(exact) - prices.class_C[:, None]
    for p, (c, d) in enumerate(prices.pairs):
        split = prices.split_FP[:, p].astype(exact)
        assert ((split >= 0) & (split <= prices.pair_P[p])).all()
        total[c] += split
        total[d] += exact(prices.pair_P[p]) - split
    worth = np.maximum(total, 0).sum(axis=0) + problem.bias_F
    y, core_N = proof.multiplier_N.astype(exact), proof.core_N
    matrix = (proof.nonnegative_NN.astype(exact) + proof.nonnegative_NN.T) / 2 + (y[:, None] + y) / (2 * kept)
    matrix -= problem.penalty_FF[np.ix_(core_N, core_N)].astype(exact) / 2
    matrix[np.diag_indices(len(y))] += worth[core_N] - y
    low, high = -np.abs(matrix).sum(), np.abs(matrix).sum()
    for _ in range(70):
        middle = (low + high) / 2
        low, high = (low, middle) if _has_cholesky(middle * np.eye(len(y), dtype=exact) - matrix) else (middle, high)
    constant = prices.per_class * prices.class_C.astype(exact).sum()
    constant -= (prices.per_class - 1) * prices.pair_P.astype(exact).sum()
    excess = [exact(0)] * kept
    for f in np.setdiff1d(np.flatnonzero(problem.allowed_F), core_N):
        adds = np.sort(np.maximum(y / kept - problem.penalty_FF[f, core_N].astype(exact), 0))[::-1]
        excess.append(max(worth[f] + adds[: kept - 1].sum() - high, exact(0)))
    return constant + kept * high + np.sort(excess)[::-1][:kept].sum()


def _has_cholesky(matrix):
    matrix = matrix.copy()
    for i in range(len(matrix)):
        if not matrix[i, i] > 0:
            return False
        column = matrix[i + 1 :, i] / np.sqrt(matrix[i, i])
        matrix[i + 1 :, i + 1 :] -= np.outer(column, column)
    return True


def test_a_middling_problem_is_proven_to_the_end(large):
    problem = large(features=34, classes=14, kept=10)
    assert not is_quick(problem)
    found = solve(problem, effort=0.2, certify=True)
    assert found.gap < 1e-6
    assert found.bound <= certify(problem).bound
    exact = solve(problem, method="highs")
    assert found.objective == pytest.approx(exact.objective, abs=1e-6)


def test_a_gap_that_is_reached_ends_the_proof(large):
    problem = large(features=34, classes=14, kept=10)
    began = time.monotonic()
    found = solve(problem, effort=0.2, certify=True, gap=0.5)
    assert 0 < found.gap <= 0.5
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("method", ["highs", "search"])
def test_interruption_does_not_wait_for_the_time_limit(large, method):
    # Large enough that no exact solver proves it in the limit, small enough that one tries.
    problem = large(features=80, classes=48, kept=20)
    solve(problem, effort=0.01)  # compiled
    timer = threading.Timer(4.0, signal.raise_signal, [signal.SIGINT])
    began = time.monotonic()
    timer.start()
    if method == "highs":
        with pytest.raises(KeyboardInterrupt):
            solve(problem, method=method, time_limit=100)
    else:
        found = solve(problem, effort=0.02, certify=True, time_limit=100)
        assert found.interrupted
        assert problem.check(found.selection_K, found.weight_CK).feasible
        assert found.bound >= found.objective
    assert time.monotonic() - began < 30
