"""Warnings appear exactly where they must."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from chiqpm.conformal import diagnose
from chiqpm.inference import Answers
from chiqpm.inspection import findings


def titles(found):
    return [finding.title for finding in found]


def answers(features, labels, weight=None):
    features = np.asarray(features, dtype=np.float32)
    logits = features if weight is None else features @ np.asarray(weight, dtype=np.float32).T
    return Answers(features_NK=features, labels_N=np.asarray(labels), logits_NC=logits)


def test_a_calibration_set_that_cannot_give_the_coverage_is_serious():
    (found,) = findings.calibration_findings(8, 0.9)
    assert found.serious
    assert "at least 9" in found.remedy


@pytest.mark.parametrize(("count", "warned"), [(20, True), (60, True), (480, False), (5000, False)])
def test_a_small_calibration_set_is_noted(count, warned):
    assert titles(findings.calibration_findings(count, 0.9)) == (["Small calibration set"] if warned else [])


def test_the_stated_range_is_that_of_the_beta_distribution():
    (found,) = findings.calibration_findings(30, 0.9)
    low, high = stats.beta.ppf([0.025, 0.975], 28, 3)
    assert f"{low:.3f} and {high:.3f}" in found.detail


def test_the_number_of_images_that_is_recommended_silences_the_warning():
    (found,) = findings.calibration_findings(30, 0.9)
    wanted = int(found.remedy.split()[1])
    assert findings.calibration_findings(wanted, 0.9) == []


def test_a_class_that_is_never_covered_is_found_and_named():
    labels = np.repeat(np.arange(3), 40)
    sets = np.eye(3, dtype=bool)[labels]
    sets[labels == 1] = [True, False, False]
    diagnostics = diagnose(sets, labels, coverage=0.6)
    assert findings.under_covered(diagnostics) == [1]
    (found,) = findings.coverage_findings(diagnostics, ["a", "b", "c"])
    assert "b (0 of 40)" in found.detail


def test_sets_that_break_the_promise_as_a_whole_are_serious():
    labels = np.zeros(200, dtype=np.int64)
    sets = np.zeros((200, 2), dtype=bool)
    sets[:120, 0] = True
    found = findings.coverage_findings(diagnose(sets, labels, coverage=0.9), ["a", "b"])
    assert titles(found)[0] == "The sets hold the truth less often than asked for"
    assert titles(found)[-1] == "Empty sets"


def test_sets_that_keep_the_promise_give_no_warning():
    labels = np.arange(300) % 3
    sets = np.eye(3, dtype=bool)[labels]
    sets[:30] = np.roll(sets[:30], 1, axis=1)
    assert findings.coverage_findings(diagnose(sets, labels, coverage=0.9), ["a", "b", "c"]) == []


def test_accuracy_lost_and_collapsed_predictions():
    labels = np.arange(40) % 8
    collapsed = answers(np.eye(8)[np.zeros(40, dtype=int)], labels)
    found = findings.accuracy_findings(0.9, collapsed)
    assert titles(found) == ["The sparse model lost accuracy", "The predictions have collapsed"]
    assert findings.accuracy_findings(0.9, answers(np.eye(8)[labels], labels)) == []
    assert findings.accuracy_findings(None, answers(np.eye(8)[labels], labels)) == []


def test_dead_and_identical_features():
    generator = np.random.default_rng(0)
    features = np.maximum(0, generator.normal(size=(100, 5)))
    features[:, 2] = 0
    features[:, 4] = 3 * features[:, 1]
    found = findings.feature_findings(answers(features, np.zeros(100, dtype=int)))
    assert titles(found) == ["Dead features", "Features that say the same"]
    assert "f2" in found[0].detail
    assert "f1 and f4" in found[1].detail
    # A dead feature says nothing, so it says the same as no other.
    assert findings.collapsed_pairs(np.zeros((4, 3))) == []


def test_the_same_pictures_in_several_parts():
    assert findings.split_findings([]) == []
    assert "2 pairs" in findings.split_findings([{}, {}])[0].detail
