"""p-values and sets against crepes."""

from __future__ import annotations

import numpy as np
import pytest

from chiqpm.conformal import THR, ConformalPredictor, Margin, MondrianPredictor

crepes = pytest.importorskip("crepes")

extras = pytest.importorskip("crepes.extras")


def probabilities(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(THR(), extras.hinge), (Margin(), extras.margin)], ids=["hinge", "margin"]
)
def test_p_values_and_sets_agree(problem, ours, theirs):
    first, labels, second, _ = problem
    other = crepes.ConformalClassifier().fit(theirs(probabilities(first), np.arange(7), labels))
    scores = theirs(probabilities(second))
    predictor = ConformalPredictor(ours).calibrate(first, labels)
    np.testing.assert_allclose(predictor.p_values(second), other.predict_p(scores, smoothing=False), rtol=1e-12)
    for coverage in (0.5, 0.8, 0.9, 0.95):
        expected = other.predict_set(scores, confidence=coverage, smoothing=False).astype(bool)
        p_values = predictor.p_values(second)
        sets = predictor.predict_set(second, coverage=coverage)
        # They admit a p-value of exactly 1 - coverage, which is allowed, and loses nothing by being left out.
        np.testing.assert_array_equal(sets, expected & (p_values > 1 - coverage + 1e-12))


def test_thresholds_by_group_agree(problem):
    first, labels, second, _ = problem
    generator = np.random.default_rng(0)
    groups, others = generator.integers(2, size=len(first)), generator.integers(2, size=len(second))
    other = crepes.ConformalClassifier().fit(extras.hinge(probabilities(first), np.arange(7), labels), bins=groups)
    expected = other.predict_set(extras.hinge(probabilities(second)), bins=others, confidence=0.87, smoothing=False)
    predictor = MondrianPredictor(THR(), "group").calibrate(first, labels, groups_M=groups)
    sets = predictor.predict_set(second, coverage=0.87, groups_B=others)
    np.testing.assert_array_equal(sets, expected.astype(bool))
