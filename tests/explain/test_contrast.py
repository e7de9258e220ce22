"""The contrast of two classes as a value."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from chiqpm.errors import ChiqpmError
from chiqpm.explain import contrast

WEIGHT = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0], [0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
NAMES = ["wren", "robin", "jay", "copy"]


def test_siblings_differ_in_one_feature() -> None:
    found = contrast(WEIGHT, 0, 1, NAMES, feature_names=["", "", "eye", "tail", "", ""])
    assert [f.index for f in found.shared] == [0, 1]
    assert [f.label for f in found.only_a] == ["f2 eye"]
    assert [f.label for f in found.only_b] == ["f3 tail"]
    assert found.sentence() == (
        "wren and robin share 2 of 3 features; only wren has feature 2 (eye), only robin has feature 3 (tail)."
    )
    assert json.loads(json.dumps(found.to_dict()))["sentence"] == found.sentence()


def test_classes_that_share_nothing_or_everything() -> None:
    assert contrast(WEIGHT, 0, 2, NAMES).sentence() == (
        "wren and jay share no feature; only wren has features 0, 1 and 2, only jay has features 3, 4 and 5."
    )
    assert contrast(WEIGHT, 0, 3, NAMES).sentence() == "wren and copy use the same features: nothing separates them."


def test_classes_of_different_size() -> None:
    found = contrast([[1, 1, 0], [1, 0, 0]], 0, 1, ["wren", "robin"])
    assert found.sentence() == "wren and robin share 1 of 2 features; only wren has feature 1."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_CK": [1, 0]}, "shape"),
        ({"weight_CK": 0.3 * WEIGHT}, "binary"),
        ({"class_a": 1}, "received class 1 twice"),
        ({"class_a": -1}, r"class_a must be a class index in \[0, 4\), received -1"),
        ({"class_b": 4}, "class_b"),
        ({"class_names": ["wren"]}, "4 class names"),
        ({"feature_names": ["eye"]}, "6 feature names"),
    ],
)
def test_wrong_inputs(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"weight_CK": WEIGHT, "class_a": 0, "class_b": 1, "class_names": NAMES}
    with pytest.raises(ChiqpmError, match=message):
        contrast(**{**given, **changes})


def test_the_text_names_every_feature() -> None:
    found = contrast([[1, 1, 0], [1, 0, 1]], 0, 1, ["wren", "robin"], feature_names=["", "eye", ""])
    assert found.text().splitlines() == [
        found.sentence(),
        "Shared: feature 0",
        "Only wren: feature 1 (eye)",
        "Only robin: feature 2",
    ]
    assert "Shared: none" in contrast([[1, 0], [0, 1]], 0, 1, ["wren", "robin"]).text()
