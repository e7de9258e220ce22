"""One look, any coverage: the same answers as a full prediction, without another forward pass."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import chiqpm
from chiqpm.errors import ChiqpmError
from chiqpm.explain import Explanation
from chiqpm.inspection import examine, explain_examined
from chiqpm.inspection.comparison import compare_in_picture
from chiqpm.inspection.downloads import explanation_file


@pytest.fixture(scope="module")
def classifier(small_run):
    return chiqpm.load(small_run, device="cpu")


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 120, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def examined(classifier, picture):
    return examine(classifier, picture)


@pytest.mark.parametrize("coverage", [0.3, 0.8, 0.95])
def test_explanations_are_those_of_a_prediction(classifier, picture, examined, coverage):
    assert explain_examined(classifier, examined, coverage) == classifier.predict(picture, coverage).explanation


def test_moving_the_coverage_runs_no_model(classifier, examined, monkeypatch):
    monkeypatch.setattr(classifier.model, "forward", lambda *_: pytest.fail("a second forward pass"))
    for coverage in (0.5, 0.7, 0.9):
        explain_examined(classifier, examined, coverage)


@given(st.floats(0.01, 0.999), st.floats(0.01, 0.999))
@settings(max_examples=25)
def test_sets_grow_with_the_coverage(classifier, examined, one, other):
    small, large = (
        set(explain_examined(classifier, examined, c).set_classes) for c in (min(one, other), max(one, other))
    )
    assert small <= large


def test_without_calibration_the_prediction_stands_alone(small_run, picture):
    bare = chiqpm.load(small_run, device="cpu")
    bare.predictor = None
    explanation = explain_examined(bare, examine(bare, picture), 0.9)
    assert explanation.set_classes == (explanation.predicted,)


def test_a_coverage_beyond_the_calibration_gives_all_classes_without_a_warning(classifier, examined):
    assert len(explain_examined(classifier, examined, 0.999).set_classes) == 4


def test_two_classes_compared_on_the_picture(classifier, examined):
    found = compare_in_picture(classifier, examined, 0, 1)
    shared, a, b = ([f.index for f in part] for part in (found.shared, found.only_a, found.only_b))
    weight = classifier.model.weight_CK.numpy()
    assert sorted(shared + a) == np.flatnonzero(weight[0]).tolist()
    assert sorted(shared + b) == np.flatnonzero(weight[1]).tolist()
    for feature in (*found.shared, *found.only_a, *found.only_b):
        assert feature.activation == examined.features_K[feature.index]
        assert np.array_equal(feature.map_HW, examined.maps_KHW[feature.index])
    assert "In this picture" in found.sentence()
    with pytest.raises(ChiqpmError, match="two different classes"):
        compare_in_picture(classifier, examined, 2, 2)


def test_files_of_an_explanation(classifier, examined, tmp_path):
    explanation = explain_examined(classifier, examined, 0.8)
    assert Explanation.from_dict(json.loads(explanation_file(explanation, examined, "json"))) == explanation
    svg = explanation_file(explanation, examined, "svg")
    assert explanation.predicted_name.encode() in svg
    (tmp_path / "x.png").write_bytes(explanation_file(explanation, examined, "png"))
    with Image.open(tmp_path / "x.png") as image:
        assert image.width >= 800
        assert image.text["Description"] == explanation.text()
