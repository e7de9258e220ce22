"""The compiled moves keep every array of a state true, and every pair satisfied."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.assignment import AssignmentProblem
from chiqpm.assignment.annealer import Annealer
from chiqpm.assignment.renewal import renew
from chiqpm.assignment.repair import repair
from chiqpm.assignment.rows import anneal_rows, polish_slot, restore_rows, save_rows
from chiqpm.assignment.search import Search
from chiqpm.assignment.spectrum import NegativePart


def searched(seed, classes=14, **options):
    generator = np.random.default_rng(seed)
    redundancy = np.triu(np.maximum(generator.normal(size=(30, 30)), 0), 1)
    similarity = generator.normal(size=(30, classes))
    # Classes in clusters, so that the pairs form triangles and larger cliques.
    similarity += 2.0 * np.repeat(generator.normal(size=(30, classes // 7 + 1)), 7, axis=1)[:, :classes]
    problem = AssignmentProblem(similarity, redundancy, np.zeros(30), 12, 4, 1.0, **options)
    search = Search(
        problem,
        seed=seed,
        deadline=float("inf"),
        effort=0.02,
        separation_FP=np.empty((30, 0)),
        progress=lambda fraction, objective: None,
    )
    search.run()
    return problem, search.annealer.state, search.satisfied_pairs()


def assert_true(problem, state, satisfied):
    has = np.zeros_like(state.has_CK)
    np.put_along_axis(has, state.rows_CN, True, axis=1)
    assert np.array_equal(has, state.has_CK)
    assert np.array_equal(np.bitwise_xor.reduce(state.key_K[state.rows_CN], axis=1), state.hash_C)
    buckets = np.bincount(
        (state.hash_C & np.uint64(len(state.bucket) - 1)).astype(np.int64), minlength=len(state.bucket)
    )
    assert np.array_equal(buckets, state.bucket)
    assert np.allclose(state.value_CK, problem.gain_FC[state.selection_K].T)
    assert np.allclose(state.redundancy_F, problem.penalty_FF[state.selection_K].sum(axis=0))
    feasibility = problem.check(state.selection_K, state.has_CK.astype(int))
    assert not feasibility.violations
    broken = set(feasibility.pair_violations)
    assert not broken & {(int(c), int(d)) for c, d in satisfied}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_moves_keep_a_state_true_and_report_what_they_gain(seed):
    problem, state, satisfied = searched(seed, required=[(3, 5)] if seed % 2 else [])
    assert_true(problem, state, satisfied)
    rows, regions = state.rows(), state.regions()
    before = state.objective
    gain = anneal_rows(2000, 1.0, 0.1, state.random, rows)
    assert state.objective == pytest.approx(before + gain)
    assert_true(problem, state, satisfied)
    before = state.objective
    if len(regions.grouped):
        gain = renew(300, 6, 3.0, 0.3, 2.0, state.random, regions, rows)
        assert state.objective == pytest.approx(before + gain)
        assert_true(problem, state, satisfied)
    save_rows(rows)
    before = state.objective
    rows.changed_C[:] = True
    gain = polish_slot(2, state.random, rows)
    assert gain >= 0
    assert state.objective == pytest.approx(before + gain)
    restore_rows(rows)
    assert state.objective == pytest.approx(before)
    assert_true(problem, state, satisfied)


def test_negative_part_follows_a_changing_matrix():
    generator = np.random.default_rng(0)
    vectors = np.linalg.qr(generator.normal(size=(200, 200)))[0]
    values = np.concatenate([-np.linspace(1, 2, 15), np.linspace(0.5, 3, 185)])
    part = NegativePart()
    for step in range(4):
        noise = generator.normal(size=(200, 200)) * 1e-3 * step
        matrix = ((vectors * values) @ vectors.T + noise + noise.T).astype(np.float32)
        exact, basis = np.linalg.eigh(matrix.astype(float))
        expected = (basis * np.maximum(-exact, 0)) @ basis.T
        assert np.abs(part(matrix) - expected).max() < 1e-2
        assert part.basis is not None


def recounted(problem, state):
    pairs_P2 = problem.pairs
    shared_P = (state.has_CK[pairs_P2[:, 0]] & state.has_CK[pairs_P2[:, 1]]).sum(axis=1)
    return int(np.abs(shared_P - (problem.features_per_class - 1)).sum())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 1.0]))
def test_repair_keeps_rows_distinct_and_required_slots_and_counts_what_is_violated(seed, jumps):
    generator = np.random.default_rng(seed)
    required = [(3, 5), (3, 8), (9, 5)] if seed % 2 else []
    problem = AssignmentProblem(
        generator.normal(size=(30, 14)), np.zeros((30, 30)), np.zeros(30), 12, 4, 1.0, required=required
    )
    annealer = Annealer(problem, seed=seed, deadline=float("inf"), separation_FP=np.empty((30, 0)))
    state = annealer.state
    state.set_pairs(problem.pairs)
    for steps in (1, 20, 5000):
        left = repair(steps, 1.0, 0.2, 0.2, jumps, state.random, problem.pairs, state.rows())
        assert left == recounted(problem, state)
        assert_true(problem, state, [])


def test_pairs_that_exchanges_alone_leave_violated_are_cleared_by_jumps():
    generator = np.random.default_rng(0)
    similarity = generator.normal(size=(60, 8)) @ generator.normal(size=(8, 80))
    problem = AssignmentProblem(similarity, np.zeros((60, 60)), np.zeros(60), 30, 5, 1.0)
    annealer = Annealer(problem, seed=0, deadline=float("inf"), separation_FP=np.empty((60, 0)))
    assert not annealer.repair(attempts=1)
    assert annealer.jumping
    assert annealer.repair(attempts=1)
    assert recounted(problem, annealer.state) == 0
