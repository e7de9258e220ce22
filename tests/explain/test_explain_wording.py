"""Explanations in words."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from chiqpm.errors import ChiqpmError
from chiqpm.explain import Explanation, explain_sample

NAMES = ["wren", "robin", "jay", "finch", "tit", "owl"]
WEIGHT = np.array(
    [
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 0, 0, 1, 1, 0],
        [1, 0, 0, 1, 0, 1],
        [1, 0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1, 1],
    ]
)


def explain(members: list[int], features: list[float] | None = None, coverage: float = 0.9) -> Explanation:
    return explain_sample(
        features or [3.0, 2.0, 1.0, 0.4, 0.2, 0.0],
        np.ones((6, 2, 2)),
        [9.0, 1.0, 0.0, 0.0, 0.0, 0.0],
        WEIGHT,
        np.isin(np.arange(6), members),
        active_mean_K=np.ones(6),
        class_names=NAMES,
        feature_names=["", "", "", "", "crest", ""],
        coverage=coverage,
    )


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([0], "Predicted wren. At 90% no other class remains."),
        (
            [0, 1],
            "Predicted wren. At 90% also robin, which differs from wren only in "
            "feature 3, active here at 0.4 times its usual strength.",
        ),
        (
            [0, 2],
            "Predicted wren. At 90% also jay, which shares 1 of the 3 features of wren and has features 3 "
            "and 4 (crest) instead, active here at 0.4 and 0.2 times their usual strength.",
        ),
        ([0, 5], "Predicted wren. At 90% also owl, which shares no feature with wren."),
        (
            [0, 1, 2],
            "Predicted wren. At 90% also robin and jay. The nearest, robin, differs from wren only in "
            "feature 3, active here at 0.4 times its usual strength.",
        ),
        (
            [0, 1, 2, 3, 4],
            "Predicted wren. At 90% also robin, jay, finch and 1 other class. The nearest, robin, differs "
            "from wren only in feature 3, active here at 0.4 times its usual strength.",
        ),
        (
            [0, 1, 2, 3, 4, 5],
            "Predicted wren. At 90% all 6 classes remain: this image does not tell them apart.",
        ),
        ([], "Predicted wren. At 90% no class remains, not even wren."),
        ([1, 2], "Predicted wren. At 90% wren does not remain, but robin and jay."),
    ],
)
def test_sentences(members: list[int], sentence: str) -> None:
    assert explain(members).sentence() == sentence


def test_features_that_are_not_active() -> None:
    assert explain([0, 1], [3.0, 2.0, 1.0, 0.0, 0.0, 0.0]).sentence().endswith("feature 3, not active here.")
    assert explain([0, 1], [3.0, 2.0, 1.0, 0.01, 0.0, 0.0]).sentence().endswith("feature 3, barely active here.")


def test_the_other_of_two_classes_is_named_rather_than_counted() -> None:
    found = explain_sample(
        [2.0, 1.0, 0.5],
        np.ones((3, 2, 2)),
        [3.0, 2.5],
        [[1, 1, 0], [1, 0, 1]],
        [True, True],
        active_mean_K=np.ones(3),
        class_names=["wren", "robin"],
        coverage=0.925,
    )
    assert found.sentence().startswith("Predicted wren. At 92.5% also robin, which differs")


def test_the_tree_as_text() -> None:
    assert explain([0, 1]).text().splitlines() == [
        explain([0, 1]).sentence(),
        "",
        "Set at 90%: 2 of 6 classes, marked with *.",
        "Path of the prediction from 6 classes, the strongest feature first:",
        "     leave with feature 3, activation 0.40: owl",
        "  1. feature 0: activation 3.00, 3.00 times its usual strength; 5 classes left",
        "     leave with feature 3, activation 0.40: jay; finch",
        "     leave with feature 4 (crest), activation 0.20: tit",
        "  2. feature 1: activation 2.00, 2.00 times its usual strength; 2 classes left",
        "     leave with feature 3, activation 0.40: *robin",
        "  3. feature 2: activation 1.00, 1.00 times its usual strength; 1 class left",
        "Prediction: *wren",
    ]


def test_long_lists_are_summarised_and_count_the_set(cases: SimpleNamespace) -> None:
    found = cases.sample(200, 5, 200, true_class=5)
    text = found.text(max_names=2, max_branches=3)
    assert "True class: Jay-1, band." in text
    assert "more classes (" in text
    assert "of them in the set)" in text
    assert len(text.splitlines()) <= 6 + 5 * 5
    shown = text.count("Jay-") - found.sentence().count("Jay-") - 2
    assert shown <= 5 * 3 * 2
    assert len(found.text(max_names=200, max_branches=50)) > len(text)
    assert cases.sample(200, 5, 1).text(max_names=1, max_branches=1).count("of them in the set") == 0


def test_an_empty_set_in_the_text() -> None:
    assert explain([]).text().endswith("Prediction: wren")


def test_wrong_limits() -> None:
    with pytest.raises(ChiqpmError, match="at least 1, received 0 and 6"):
        explain([0]).text(max_names=0)
