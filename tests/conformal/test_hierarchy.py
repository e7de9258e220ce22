"""The tree quantities against a plain loop over images, classes and features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.conformal import ConformalPredictor, HierarchicalScore, class_paths, tree
from chiqpm.conformal.hierarchy import branches
from chiqpm.conformal.scoring import scored_tree
from chiqpm.errors import ChiqpmError


def assignment(generator, num_classes, num_features, per_class):
    weight = np.zeros((num_classes, num_features))
    for row in weight:
        row[generator.choice(num_features, per_class, replace=False)] = 1
    return weight


def plain(features, weight, predicted):
    """The definition, one image and class at a time."""
    num_images, num_classes = len(features), len(weight)
    shared = np.zeros((num_images, num_classes), int)
    leaving = np.full((num_images, num_classes), -1)
    paths = np.zeros((num_images, num_classes, int(weight[0].sum())), int)
    for i, row in enumerate(features):
        for c in range(num_classes):
            paths[i, c] = sorted(np.flatnonzero(weight[c]), key=lambda f: (-row[f], f))
        for c in range(num_classes):
            agree = paths[i, c] == paths[i, predicted[i]]
            shared[i, c] = len(agree) if agree.all() else int(agree.argmin())
            if not agree.all():
                leaving[i, c] = paths[i, c, shared[i, c]]
    return paths, shared, leaving


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_features=st.sampled_from([1, 2, 7, 24, 25, 53, 54, 130]),
    per_class=st.integers(1, 6),
    levels=st.sampled_from([2, 4, 1000]),
)
def test_tree_is_the_definition_with_ties_and_beyond_one_machine_word(seed, num_features, per_class, levels):
    generator = np.random.default_rng(seed)
    per_class = min(per_class, num_features)
    weight = assignment(generator, 9, num_features, per_class)
    features = generator.integers(0, levels, size=(6, num_features)) / 2.0
    predicted = generator.integers(0, 9, size=6)
    paths, shared, leaving = plain(features, weight, predicted)
    found = tree(features, weight, predicted)
    np.testing.assert_array_equal(found.shared_BC, shared)
    np.testing.assert_array_equal(found.leaving_BC, leaving)
    np.testing.assert_array_equal(found.predicted_B, predicted)
    np.testing.assert_array_equal(found.order_BK, np.argsort(-features, axis=1, kind="stable"))
    np.testing.assert_array_equal(class_paths(features, weight), paths)
    np.testing.assert_array_equal(class_paths(features, weight, np.array([3, 0])), paths[:, [3, 0]])


def test_some_classes_alone_agree_with_all_classes():
    generator = np.random.default_rng(0)
    weight = torch.from_numpy(assignment(generator, 20, 60, 4))
    features = torch.from_numpy(generator.integers(0, 5, size=(8, 60)).astype(np.float32))
    predicted = torch.arange(8)
    whole = branches(features, weight, predicted)
    some = torch.from_numpy(generator.integers(0, 20, size=(8, 3)))
    part = branches(features, weight, predicted, some)
    for name in ("shared_BC", "leaving_BC", "leaving_activation_BC"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name).gather(1, some))


def test_no_class_leaves_the_path_it_shares_to_the_end():
    features = np.array([[0.5, 2.0, 1.0]])
    weight = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1]])
    found = tree(features, weight, np.array([1]))
    assert found.shared_BC.tolist() == [[2, 2, 1]]
    assert found.leaving_BC.tolist() == [[-1, -1, 2]]


def test_the_result_is_of_the_kind_of_the_features():
    features, weight = torch.rand(3, 4, requires_grad=True), np.eye(4)[:2] + np.eye(4)[2:]
    found = tree(features, weight, torch.tensor([0, 1, 0]))
    assert isinstance(found.shared_BC, torch.Tensor)
    assert isinstance(tree(features.detach().numpy(), weight, np.array([0, 1, 0])).shared_BC, np.ndarray)
    assert isinstance(class_paths(features, torch.from_numpy(weight)), torch.Tensor)


@pytest.mark.parametrize(
    "weight", [np.eye(3) * 2, np.array([[1, 1, 0], [1, 0, 0]]), np.zeros((2, 3)), np.zeros((0, 3))]
)
def test_a_weight_that_is_no_assignment_is_refused(weight):
    with pytest.raises(ChiqpmError):
        tree(np.ones((1, 3)), weight, np.array([0]))


@pytest.mark.parametrize(
    ("features", "predicted", "error"),
    [
        (np.ones((2, 4)), [0, 0], ChiqpmError),
        (np.ones(3), [0], ChiqpmError),
        (np.ones((2, 3)), [0], ChiqpmError),
        (np.ones((2, 3)), [0, 3], ChiqpmError),
        (np.ones((2, 3)), [0, -1], ChiqpmError),
        (np.ones((2, 3)), [0.0, 1.0], TypeError),
        (np.full((2, 3), np.nan), [0, 1], ChiqpmError),
        (np.array([["a", "b", "c"]]), [0], TypeError),
        (torch.ones(1, 3, dtype=torch.complex64), [0], TypeError),
    ],
)
def test_bad_input_is_named(features, predicted, error):
    with pytest.raises(error, match=r"feature|predicted"):
        tree(features, np.eye(3), predicted)


def test_empty_batches_work():
    found = tree(np.ones((0, 3)), np.eye(3), np.zeros(0, int))
    assert found.shared_BC.shape == (0, 3)
    assert class_paths(np.ones((0, 3)), np.eye(3)).shape == (0, 3, 1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["branch", "evidence", "path", "level_limited"]),
    depth=st.integers(1, 3),
    features=st.sampled_from([5, 60]),
    torch_arrays=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_scores_and_tree_in_one_pass_are_those_of_two(seed, kind, depth, features, torch_arrays, dtype):
    generator = np.random.default_rng(seed)
    classes, images = int(generator.integers(2, 12)), int(generator.integers(0, 7))
    weight = np.zeros((classes, features))
    for row in weight:
        row[generator.choice(features, 3, replace=False)] = 1
    score = HierarchicalScore(
        weight, kind, level=1 if kind == "level_limited" else None, depth=depth if kind == "branch" else 1
    )
    # Whole numbers, so that there are ties.
    activations = generator.integers(0, 4, size=(images, features)).astype(dtype)
    logits = activations @ weight.T.astype(dtype)
    given_arrays = (torch.from_numpy(logits), torch.from_numpy(activations)) if torch_arrays else (logits, activations)
    scores, found = scored_tree(score, *given_arrays)
    wanted = ConformalPredictor(score).scores(*given_arrays)
    assert type(scores) is type(wanted) is type(found.shared_BC)
    np.testing.assert_array_equal(np.asarray(scores), np.asarray(wanted))
    alone = tree(activations, weight, logits.argmax(axis=1))
    for name in ("predicted_B", "order_BK", "shared_BC", "leaving_BC"):
        np.testing.assert_array_equal(np.asarray(getattr(found, name)), getattr(alone, name))


def test_one_pass_is_refused_where_a_class_has_no_score_of_its_own():
    score = HierarchicalScore(np.eye(3), "level_limited")
    with pytest.raises(ChiqpmError, match="chooses its level"):
        scored_tree(score, np.ones((1, 3)), np.ones((1, 3)))
    with pytest.raises(ChiqpmError, match="finite"):
        scored_tree(HierarchicalScore(np.eye(3)), np.ones((1, 3)), np.full((1, 3), np.nan))
