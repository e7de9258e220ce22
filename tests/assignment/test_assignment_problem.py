"""Validation, objective, feasibility and files of the problem."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chiqpm.assignment import AssignmentProblem, check_preconditions, solve
from chiqpm.errors import ChiqpmError


def make(seed=0, *, features=6, classes=4, kept=4, per_class=2, density=0.5, **options):
    generator = np.random.default_rng(seed)
    redundancy = np.triu(generator.random((features, features)), 1)
    return AssignmentProblem(
        options.pop("similarity", generator.normal(size=(features, classes))),
        options.pop("redundancy", redundancy),
        options.pop("bias", generator.normal(size=features)),
        kept,
        per_class,
        density,
        **options,
    )


GOOD = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]])


def test_objective_is_the_sum_of_its_terms():
    problem = make(threshold=0.3, class_weight_C=[1, 2, 1, 1])
    selection, weight = np.array([0, 2, 3, 5]), GOOD
    expected = problem.bias_F[selection].sum()
    for c in range(4):
        for k, f in enumerate(selection):
            expected += 1000 / (2 * 4) * [1, 2, 1, 1][c] * problem.similarity_FC[f, c] * weight[c, k]
    upper = np.triu(problem.redundancy_FF, 1)
    low, high = upper[upper > 0].min(), upper.max()
    for i, f in enumerate(selection):
        for g in selection[i + 1 :]:
            if upper[f, g] >= 0.3:
                expected -= (upper[f, g] - low) / (high - low)
    assert problem.objective(selection, weight) == pytest.approx(expected)


def test_symmetric_and_upper_triangular_redundancy_are_the_same_problem():
    upper = np.triu(np.random.default_rng(0).random((6, 6)))
    symmetric = upper + np.triu(upper, 1).T
    first, second = make(redundancy=upper), make(redundancy=symmetric)
    assert np.array_equal(first.penalty_FF, second.penalty_FF)
    assert first.threshold == second.threshold


def test_equal_or_no_redundancy_costs_nothing():
    assert not make(redundancy=np.zeros((6, 6))).penalty_FF.any()
    assert not make(redundancy=np.ones((6, 6))).penalty_FF.any()
    assert not make(redundancy=-np.ones((6, 6))).penalty_FF.any()


@pytest.mark.parametrize(
    ("selection", "weight", "said"),
    [
        ([0, 0, 1, 2], GOOD, "twice"),
        ([0, 1, 2, 5], GOOD, "forbidden"),
        ([0, 1, 2, 3], GOOD * 2, "binary"),
        ([0, 1, 2, 3], np.array([[1, 1, 1, 0], *GOOD[1:]]), "class 0 uses 3"),
        ([0, 1, 2, 3], np.array([GOOD[1], *GOOD[1:]]), "classes 0 and 1"),
        ([0, 1, 3, 4], GOOD, "required feature 2"),
    ],
)
def test_check_names_what_is_broken(selection, weight, said):
    problem = make(pairs=[(0, 1)], forbidden_features=[5], required=[(3, 2)])
    assert any(said in violation for violation in problem.check(np.array(selection), weight).violations)


def test_check_names_broken_pairs():
    problem = make(pairs=[(0, 3), (1, 0)])
    feasibility = problem.check(np.arange(4), GOOD)
    assert feasibility.pair_violations == ((0, 3),)
    assert not feasibility.feasible
    assert make(pairs=[(0, 1)]).check(np.arange(4), GOOD).feasible


@pytest.mark.parametrize(
    ("selection", "weight"),
    [
        ([0, 1, 2], GOOD),
        ([0.0, 1.0, 2.0, 3.0], GOOD),
        ([0, 1, 2, 6], GOOD),
        ([-1, 1, 2, 3], GOOD),
        ([0, 1, 2, 3], GOOD.T[:3]),
    ],
)
def test_wrong_shapes_are_refused(selection, weight):
    with pytest.raises(ChiqpmError, match="received"):
        make().check(np.array(selection), weight)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"similarity": np.zeros(6)}, "2 axes"),
        ({"redundancy": np.zeros((5, 5))}, r"\(6, 6\)"),
        ({"bias": np.zeros(5)}, r"\(6,\)"),
        ({"bias": np.full(6, np.nan)}, "finite"),
        ({"redundancy": np.arange(36.0).reshape(6, 6)}, "symmetric"),
        ({"threshold": float("nan")}, "threshold"),
        ({"class_weight_C": [1, 1, 1, 0]}, "positive"),
        ({"pairs": [(0, 4)]}, "0 to 3"),
        ({"pairs": [(1, 1)]}, "different"),
        ({"pairs": [0, 1]}, r"\(P, 2\)"),
        ({"pairs": [(0.5, 1.0)]}, r"\(P, 2\)"),
        ({"forbidden_features": [6]}, "0 to 5"),
        ({"forbidden_features": [0, 1, 2]}, "only 3"),
        ({"required": [(0, 1, 2)]}, "pairs"),
        ({"required": [(0, 1)], "forbidden_features": [1]}, "requires feature 1"),
        ({"required": [(0, 0), (0, 1), (0, 2)]}, "requires 3 features"),
        ({"required": [(0, 0), (0, 1), (1, 0), (1, 1)]}, "Classes 0 and 1"),
        ({"required": [(c, c + k) for c in range(4) for k in (0, 1)]}, "5 different features"),
    ],
)
def test_wrong_inputs_are_refused(options, said):
    with pytest.raises(ChiqpmError, match=said):
        make(**options)


@pytest.mark.parametrize(
    "options", [{"bias": np.array(["a"] * 6)}, {"forbidden_features": [0.5]}, {"required": [(True, 1)]}]
)
def test_wrong_types_are_refused(options):
    with pytest.raises(TypeError):
        make(**options)


def test_dead_features_are_counted(caplog):
    similarity = np.random.default_rng(0).normal(size=(6, 4))
    similarity[[1, 4]] = 0
    problem = make(similarity=similarity)
    solve(problem, effort=0.01)
    assert "2 of 6 features are dead" in caplog.text
    assert problem.allowed_F.tolist() == [True, False, True, True, False, True]
    similarity[2] = 0
    with pytest.raises(ChiqpmError, match="only 3 of 6 can be: 3 are dead"):
        make(similarity=similarity)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((6, 1, 4, 2, 0.5), "2 classes"),
        ((6, 4, 4, 0, 0.5), "at least 1"),
        ((6, 4, 4, 4, 0.5), "smaller than kept"),
        ((3, 4, 4, 2, 0.5), "exceed"),
        ((6, 4, 4, 2, 1.5), r"\[0, 1\]"),
        ((6, 4, 4, 2, float("nan")), r"\[0, 1\]"),
        ((6, 7, 4, 2, 0.5), "only 6"),
    ],
)
def test_preconditions(sizes, said):
    with pytest.raises(ChiqpmError, match=said):
        check_preconditions(*sizes)


@pytest.mark.parametrize("sizes", [(6.0, 4, 4, 2, 0.5), (6, 4, True, 2, 0.5), (6, 4, 4, 2, "x"), (6, 4, 4, 2, True)])
def test_preconditions_want_numbers(sizes):
    with pytest.raises(TypeError):
        check_preconditions(*sizes)


def test_files(tmp_path):
    problem = make(forbidden_features=[5], required=[(0, 1)], class_weight_C=[1, 2, 3, 4], pairs=[(2, 1)])
    problem.save(tmp_path / "problem.npz")
    again = AssignmentProblem.load(tmp_path / "problem.npz")
    for name, value in vars(problem).items():
        assert np.array_equal(value, getattr(again, name)), name


def test_files_that_hold_no_problem(tmp_path):
    with pytest.raises(FileNotFoundError):
        AssignmentProblem.load(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    problem = make()
    problem.save(tmp_path / "bad.npz")
    with np.load(tmp_path / "bad.npz") as file:
        stored = {**file, "bias_F": np.full(6, np.inf)}
    np.savez(tmp_path / "bad.npz", **stored)
    for name in ("text.npz", "other.npz", "bad.npz"):
        with pytest.raises(ChiqpmError, match=name):
            AssignmentProblem.load(tmp_path / name)


@given(share=st.floats(0, 1, exclude_max=True), mask=st.integers(0, 255))
def test_files_that_are_damaged_are_named(tmp_path_factory, share, mask):
    """Cut short (mask 0) or with a byte changed anywhere: refused, or what was saved."""
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    problem = make()
    problem.save(path)
    content = bytearray(path.read_bytes())
    place = int(share * len(content))
    content[place] ^= mask
    path.write_bytes(content if mask else content[:place])
    try:
        again = AssignmentProblem.load(path)
    except ChiqpmError as error:
        assert str(path) in str(error)
    else:
        assert mask
        for name, value in vars(problem).items():
            assert np.array_equal(value, getattr(again, name)), name
