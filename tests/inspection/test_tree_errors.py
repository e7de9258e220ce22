"""Errors along the tree, against a plain implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chiqpm.errors import ChiqpmError
from chiqpm.inspection import tree_errors


def plain_level(features_K, own, other):
    """Leading features that two classes share, each sorted by activation, largest first, by index on ties."""
    a, b = (sorted(np.flatnonzero(w), key=lambda k: (-features_K[k], k)) for w in (own, other))
    level = 0
    while level < len(a) and a[level] == b[level]:
        level += 1
    return level


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 40))
def test_levels_and_pairs_agree_with_a_plain_implementation(seed, classes, images):
    generator = np.random.default_rng(seed)
    rows = {tuple(sorted(generator.choice(6, 3, replace=False))) for _ in range(40)}
    weight = np.zeros((classes, 6))
    for c, row in enumerate(sorted(rows)[:classes]):
        weight[c, list(row)] = 1
    features = np.round(np.maximum(0, generator.normal(size=(images, 6))), 1)
    labels = generator.integers(0, classes, images)
    logits = features @ weight.T
    found = tree_errors(features, logits, labels, weight, most_pairs=100)
    predicted = logits.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    assert found.wrong == len(wrong)
    levels = [plain_level(features[i], weight[predicted[i]], weight[labels[i]]) for i in wrong]
    assert list(found.levels) == [levels.count(k) for k in range(3)]
    assert sum(found.levels) == sum(pair.errors for pair in found.pairs) == found.wrong
    assert found.siblings == sum(int(weight[predicted[i]] @ weight[labels[i]]) == 2 for i in wrong)
    if len(wrong):
        assert sum(found.chance) == pytest.approx(1.0)
        assert found.pairs[0].errors == max(pair.errors for pair in found.pairs)
    for pair in found.pairs:
        assert pair.a_as_b == sum(labels[i] == pair.class_a and predicted[i] == pair.class_b for i in wrong)
        assert pair.images == int(np.isin(labels, [pair.class_a, pair.class_b]).sum())


def test_nothing_wrong_is_said_in_words():
    found = tree_errors(np.eye(2), np.eye(2), [0, 1], np.eye(2))
    assert found.sentence() == "No prediction of 2 is wrong."
    assert found.to_dict()["pairs"] == ()


@pytest.mark.parametrize(
    ("features", "logits", "labels"),
    [
        (np.ones((2, 2)), np.ones((2, 2)), [0]),
        (np.ones((0, 2)), np.ones((0, 2)), []),
        (np.ones((3, 2)), np.ones(2), [0]),
    ],
)
def test_shapes_that_do_not_fit(features, logits, labels):
    with pytest.raises(ChiqpmError, match="at least one image"):
        tree_errors(features, logits, labels, np.eye(2))
