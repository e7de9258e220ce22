"""What candidates are predicted to be worth, which are listed, and the exact search among few features."""

from __future__ import annotations

import numpy as np
import pytest

from chiqpm.assignment import annealer as annealing
from chiqpm.assignment import solve
from chiqpm.assignment.annealer import Annealer
from chiqpm.assignment.elite import is_small, mix_exactly
from chiqpm.assignment.problem import AssignmentProblem
from chiqpm.assignment.rows import polish_slot, restore_rows
from chiqpm.assignment.selection_moves import empty_slot, fill_slot


def annealed(problem, separation=None, steps=200):
    separation_FP = np.empty((problem.num_features, 0)) if separation is None else separation
    annealer = Annealer(problem, seed=0, deadline=float("inf"), separation_FP=separation_FP)
    annealer.repair()
    annealer.anneal_rows()
    annealer.anneal_selection(steps, 0.1, 0.02, seconds=float("inf"))
    return annealer


def test_predicted_worth_is_what_an_exchange_brings():
    generator = np.random.default_rng(4)
    problem = AssignmentProblem(
        generator.normal(size=(40, 12)), np.zeros((40, 40)), generator.normal(size=40), 15, 4, 0.0
    )
    annealer = annealed(problem)
    state, features = annealer.state, annealer.features(annealer.candidate_M)
    rows, regions = state.rows(), state.regions()
    before = state.objective
    for k in (0, 7, 14):
        old = int(state.selection_K[k])
        _, present = empty_slot(k, state.random, features, regions, rows)
        for m, f in enumerate(features.candidate_M.tolist()):
            if features.chosen_F[f]:
                continue
            predicted = features.score_M[m] + problem.bias_F[f] - present
            kept = state.rows_CN.copy()
            fill_slot(k, f, rows, features)
            rows.changed_C[:] = True
            polish_slot(k, state.random, rows)
            state.selection_K[k] = f
            # Without pairs only distinctness, which the prediction leaves out, can make it too optimistic.
            assert state.objective - before <= predicted + 1e-3
            assert state.objective - before == pytest.approx(predicted, abs=2.0)
            state.selection_K[k] = old
            fill_slot(k, -1, rows, features)
            saved = rows.saved_CN.copy()
            rows.saved_CN[:] = kept
            restore_rows(rows)
            rows.saved_CN[:] = saved
        fill_slot(k, old, rows, features)
        restore_rows(rows)
        assert state.objective == pytest.approx(before)


def test_the_short_list_holds_the_selected_and_the_best(large, monkeypatch):
    monkeypatch.setattr(annealing, "_SHORT_LIST", 10)
    problem = large()
    annealer = annealed(problem)
    state = annealer.state
    before = state.objective
    listed = annealer.shortlist()
    assert len(listed.candidate_M) == 10 + problem.kept_features
    assert set(state.selection_K.tolist()) <= set(listed.candidate_M.tolist())
    assert state.objective == pytest.approx(before)
    monkeypatch.setattr(annealing, "_SHORT_LIST", 100)
    assert len(annealer.shortlist().candidate_M) == problem.num_features


def test_a_short_list_serves_a_large_problem(large, monkeypatch):
    monkeypatch.setattr(annealing, "_LISTED_STEPS", 64)
    monkeypatch.setattr(annealing, "_SHORT_LIST", 12)
    problem = large(features=200)
    found = solve(problem, effort=0.02)
    assert problem.check(found.selection_K, found.weight_CK).feasible


def test_mixing_exactly_is_optimal_among_the_features_and_keeps_slots(large):
    problem = large(features=40, classes=16, kept=12, required=[(7, f) for f in (3, 9, 20, 31)])
    assert is_small(problem)
    annealer = annealed(problem, steps=64)
    selection_K, rows_CN = annealer.state.snapshot()
    listed = np.union1d(selection_K, [0, 8, 16, 24])
    found = mix_exactly(problem, listed, selection_K, rows_CN, float("inf"))
    assert found is not None
    chosen_K, slots_CN = found
    assert set(chosen_K.tolist()) <= set(listed.tolist())
    stays = np.isin(selection_K, chosen_K)
    assert np.array_equal(chosen_K[stays], selection_K[stays])
    before = annealer.state.objective
    annealer.state.set_solution(chosen_K, slots_CN)
    assert annealer.state.objective >= before - 1e-6
    assert problem.check(chosen_K, annealer.state.has_CK.astype(int)).feasible
    alone = AssignmentProblem(
        problem.similarity_FC,
        problem.redundancy_FF,
        problem.bias_F,
        12,
        4,
        0.5,
        threshold=problem.threshold,
        pairs=problem.pairs,
        required=problem.required,
        forbidden_features=sorted(set(range(40)) - set(listed.tolist())),
    )
    exact = solve(alone, method="highs")
    assert annealer.state.objective == pytest.approx(exact.objective, abs=1e-5)


def test_mixing_gives_up_where_the_pairs_cant_hold(large):
    clique = [(c, d) for c in range(10) for d in range(c)]
    problem = large(pairs=clique, kept=8)
    annealer = annealed(problem, steps=64)
    selection_K, rows_CN = annealer.state.snapshot()
    assert mix_exactly(problem, np.sort(selection_K), selection_K, rows_CN, float("inf")) is None


def test_which_problems_are_small(large):
    assert not is_small(large(features=12, kept=8))
    assert not is_small(large(kept=30, classes=10))
    assert not is_small(large(pair_meaning="count"))
