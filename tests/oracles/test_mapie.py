"""Sets against MAPIE."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from chiqpm.conformal import APS, THR, ConformalPredictor, TopK

mapie = pytest.importorskip("mapie.classification")


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are the logits."""

    def fit(self, inputs, labels):
        self.classes_ = np.unique(labels)
        self.n_features_in_ = inputs.shape[1]
        return self

    def predict_proba(self, inputs):
        shifted = np.exp(inputs - inputs.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    def predict(self, inputs):
        return self.classes_[inputs.argmax(axis=1)]


def their_sets(problem, score, coverage, seed=None, **parameters):
    first, labels, second, _ = problem
    classifier = mapie.SplitConformalClassifier(
        Given().fit(first, labels),
        confidence_level=coverage,
        conformity_score=score,
        prefit=True,
        random_state=seed,
    )
    classifier.conformalize(first, labels)
    return classifier.predict_set(second, conformity_score_params=parameters or None)[1][:, :, 0]


def our_sets(problem, score, coverage):
    first, labels, second, _ = problem
    return ConformalPredictor(score).calibrate(first, labels).predict_set(second, coverage=coverage)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize(("ours", "theirs"), [(THR(), "lac"), (TopK(), "top_k")], ids=["lac", "top_k"])
def test_sets_agree(problem, ours, theirs, coverage):
    np.testing.assert_array_equal(our_sets(problem, ours, coverage), their_sets(problem, theirs, coverage))


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_randomised_aps_sets_are_as_large_on_average(problem, coverage):
    """Theirs is always randomised when calibrating, ours with the same generator on both sides, or on none."""
    first, labels, second, _ = problem
    theirs = [their_sets(problem, "aps", coverage, include_last_label="randomized", seed=seed) for seed in range(20)]
    score, sizes = APS(randomized=True), []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        predictor = ConformalPredictor(score).calibrate(first, labels, generator=generator)
        sizes.append(predictor.predict_set(second, coverage=coverage, generator=generator).sum(axis=1).mean())
    assert np.mean(sizes) == pytest.approx(np.mean([sets.sum(axis=1).mean() for sets in theirs]), abs=0.06)
