"""Explanations as values: what they hold, in which order, and that they survive JSON."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from chiqpm.errors import ChiqpmError
from chiqpm.explain import Explanation, explain_sample
from chiqpm.explain.drawing import draw_explanation
from chiqpm.markup.environment import environment
from chiqpm.markup.tree import class_mark, tree_steps

WEIGHT = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 0, 1, 1, 0], [0, 0, 1, 1, 1]])
FEATURES = np.array([3.0, 2.0, 1.0, 0.5, 4.0])
NAMES = ("wren", "robin", "jay", "finch")


def explain(**changes: Any) -> Explanation:
    given: dict[str, Any] = {
        "features_K": FEATURES,
        "maps_KHW": np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3),
        "logits_C": [9.0, 5.0, 4.0, 3.0],
        "weight_CK": WEIGHT,
        "set_C": [True, True, True, False],
        "active_mean_K": [3.0, 4.0, 2.0, 1.0, 1.0],
        "class_names": NAMES,
        "coverage": 0.9,
        **changes,
    }
    return explain_sample(**given)


def test_a_feature_that_is_more_active_than_usual_says_so() -> None:
    """Only what can't show more than all, opacity and bars, ends at 1."""
    found = explain(active_mean_K=[1.5, 1.0, 2.0, 1.0, 1.0])
    assert [feature.strength for feature in found.features] == [2.0, 2.0, 0.5]
    assert "feature 0: activation 3.00, 2.00 times its usual strength" in found.text()
    assert found.to_dict()["uses"][0]["strength"] == 2.0
    figure = draw_explanation(found, np.zeros((20, 20, 3), np.uint8))
    figure.draw_without_rendering()
    assert "3.00, 2.00× usual" in [text.get_text() for text in figure.findobj(Text)]
    template = environment().from_string('{% from "tree.html" import tree %}{{ tree(steps, leaf) }}')
    page = template.render(steps=tree_steps(found, ("",) * 3), leaf=class_mark(found, found.predicted))
    assert page.count("2.00× usual") == 2 and page.count("width:100%") == 2 and "width:50%" in page


def test_a_small_tree_by_hand() -> None:
    found = explain(feature_names=["eye", "beak", "", "tail", "leg"], true_class=1)
    assert (found.predicted, found.predicted_name, found.true_class) == (0, "wren", 1)
    assert [feature.index for feature in found.features] == [0, 1, 2]
    assert [feature.strength for feature in found.features] == [1.0, 0.5, 0.5]
    assert [feature.label for feature in found.features] == ["f0 eye", "f1 beak", "f2"]
    assert found.features[0].peak == (0.75, 5 / 6)
    assert found.classes_left == (4, 3, 2, 1)
    assert [(b.level, b.leaving.index, b.classes, b.in_set) for b in found.branches] == [
        (0, 4, (3,), ()),
        (1, 2, (2,), (2,)),
        (2, 3, (1,), (1,)),
    ]
    assert [b.classes for b in found.leaving_at(1)] == [(2,)]
    assert found.set_classes == (0, 1, 2)
    assert [r.class_index for r in found.rivals] == [1, 2]
    assert [(f.index, f.strength) for f in found.rivals[0].own] == [(3, 0.5)]
    assert [f.index for f in found.rivals[0].missing] == [2]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(2, 40),
    per_class=st.integers(1, 5),
    set_size=st.integers(0, 40),
)
def test_every_class_has_one_place_in_the_tree(
    cases: SimpleNamespace, seed: int, classes: int, per_class: int, set_size: int
) -> None:
    found = cases.sample(min(classes, per_class + 3), per_class, set_size, seed=seed)
    count, n = len(found.class_names), len(found.features)
    leaving = [c for branch in found.branches for c in branch.classes]
    assert sorted([*leaving, found.predicted]) == list(range(count))
    assert sorted([c for b in found.branches for c in b.in_set]) == sorted(r.class_index for r in found.rivals)
    assert (found.classes_left[0], found.classes_left[-1], len(found.classes_left)) == (count, 1, n + 1)
    for level in range(n):
        gone = sum(len(b.classes) for b in found.leaving_at(level))
        assert found.classes_left[level] - found.classes_left[level + 1] == gone
    activations = [f.activation for f in found.features]
    assert activations == sorted(activations, reverse=True)
    levels = [r.level for r in found.rivals]
    assert levels == sorted(levels, reverse=True)
    assert all(len(r.own) == len(r.missing) >= 1 and r.level + len(r.missing) <= n for r in found.rivals)
    again = Explanation.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    assert all(np.array_equal(a.map_HW, b.map_HW) for a, b in zip(again.features, found.features, strict=True))


def test_scores_decide_the_order_of_the_set() -> None:
    assert explain(scores_C=[0.0, 0.5, 0.2, np.inf]).set_classes == (0, 2, 1)
    assert explain(scores_C=[0.0, 0.0, 0.0, 0.0]).set_classes == (0, 1, 2)


def test_the_prediction_is_the_first_largest_logit() -> None:
    assert explain(logits_C=[1.0, 2.0, 2.0, 0.0]).predicted == 1


def test_a_set_may_leave_the_prediction_out_or_be_empty() -> None:
    assert explain(set_C=[False, True, False, False]).set_classes == (1,)
    assert explain(set_C=np.zeros(4, dtype=bool)).set_classes == ()


def test_tensors_give_the_same_values() -> None:
    tensors = explain(
        features_K=torch.tensor(FEATURES, requires_grad=True),
        weight_CK=torch.from_numpy(WEIGHT).float(),
        set_C=torch.tensor([True, True, True, False]),
    )
    assert tensors == explain()


def test_maps_are_copies_that_cannot_be_changed() -> None:
    source = np.ones((5, 2, 3), dtype=np.float32)
    found = explain(maps_KHW=source)
    source[:] = 0.0
    assert found.features[0].map_HW.min() == 1.0
    with pytest.raises(ValueError, match="read-only"):
        found.features[0].map_HW[0, 0] = 2.0
    assert "map_HW" not in found.to_dict(maps=False)["features"][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features_K": FEATURES[:4]}, r"the features must have shape \(5\), received \(4,\)"),
        ({"features_K": [np.nan, 1, 1, 1, 1]}, "the features must hold finite numbers"),
        ({"maps_KHW": np.ones((5, 2))}, r"the maps must have shape \(5, H, W\), received \(5, 2\)"),
        ({"maps_KHW": np.ones((5, 0, 2))}, "there must be maps"),
        ({"maps_KHW": np.ones((4, 2, 2))}, "the maps"),
        ({"logits_C": [1.0, 2.0]}, "the logits must have shape"),
        ({"weight_CK": [1, 0, 1]}, r"the weight must have shape \(C, K\)"),
        ({"weight_CK": 0.5 * WEIGHT}, "binary"),
        (
            {"weight_CK": [[1, 1, 1, 0, 0], *WEIGHT[1:].tolist()[:2], [1, 1, 1, 0, 0]]},
            "'wren' and 'finch' use the same",
        ),
        ({"set_C": [True]}, "the set must have shape"),
        ({"active_mean_K": [1.0]}, "the active means must have shape"),
        ({"class_names": ["a", "b"]}, "4 class names are needed, received 2"),
        ({"class_names": "wren"}, "4 class names"),
        ({"feature_names": ["eye"]}, "5 feature names are needed, received 1"),
        ({"coverage": 1.0}, "strictly between 0 and 1, received 1.0"),
        ({"true_class": 4}, r"the true class must be a class index in \[0, 4\), received 4"),
        ({"scores_C": [0.0]}, r"the scores must have shape \(4,\), received \(1,\)"),
    ],
)
def test_wrong_inputs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ChiqpmError, match=message):
        explain(**changes)


def test_an_explanation_of_200_classes_is_quick(cases: SimpleNamespace) -> None:
    weight, maps = cases.assignment(200, 50, 5), cases.maps(50)
    features = np.random.default_rng(0).random(50)
    names = [str(c) for c in range(200)]
    times = []
    for _ in range(3):
        start = time.process_time()
        explain_sample(
            features,
            maps,
            features @ weight.T,
            weight,
            np.ones(200),
            active_mean_K=features,
            class_names=names,
            coverage=0.9,
        )
        times.append(time.process_time() - start)
    assert min(times) < 0.03
