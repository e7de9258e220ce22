"""Deletion and insertion, part removal and similarity of maps, against plain second implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from chiqpm.errors import ChiqpmError
from chiqpm.metrics import map_similarity, part_removal, perturbation_curve


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 5))
def test_the_area_is_that_of_the_mean_curve(seed: int, images: int, inner: int) -> None:
    generator = np.random.default_rng(seed)
    fractions = np.array([0.0, *np.sort(generator.uniform(0.01, 0.99, inner)), 1.0])
    scores = generator.random((images, len(fractions)))
    curve = perturbation_curve(fractions, scores)
    assert curve.auc == pytest.approx(
        np.interp(np.linspace(0, 1, 200_001), fractions, scores.mean(axis=0)).mean(), abs=1e-4
    )
    assert 0 <= curve.auc <= 1 and curve.standard_error >= 0 and curve.images == images
    # A curve that is turned round has the same area.
    assert perturbation_curve(1 - fractions[::-1], scores[:, ::-1]).auc == pytest.approx(curve.auc)


@pytest.mark.parametrize("fractions", [[0.0, 0.5], [0.1, 1.0], [0.0, 0.5, 0.5, 1.0], [0.0]])
def test_shares_must_ascend_from_nothing_to_all(fractions: list[float]) -> None:
    with pytest.raises(ChiqpmError, match="must ascend from 0 to 1"):
        perturbation_curve(np.array(fractions), np.ones((2, len(fractions))))


def test_similarity_is_spearmans() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 3, 4, 5, 6)).round(1)
    found = map_similarity(first, second)
    for b in range(3):
        for k in range(4):
            assert found[b, k] == pytest.approx(spearmanr(first[b, k].ravel(), second[b, k].ravel()).statistic)
    assert map_similarity(first, np.exp(3 * first)) == pytest.approx(np.ones((3, 4)))
    assert (map_similarity(first, np.ones_like(first)) == 0).all()
    with pytest.raises(ChiqpmError, match="second has shape"):
        map_similarity(first, second[:, :2])


def removal(**changes):
    values = {
        "before": np.array([[2.0, 0.0], [4.0, 1.0]]),
        "removed": np.array([[0.0, 0.0], [3.0, 9.0]]),
        "control": np.array([[2.0, 0.0], [2.0, 0.0]]),
        "feature": np.array([0, 0]),
        "predicted": np.array([5, 6]),
        "removed_predicted": np.array([5, 7]),
        "control_predicted": np.array([5, 6]),
    }
    return part_removal(**{**values, **changes})


def test_what_a_removed_part_takes_away() -> None:
    found = removal()
    assert (found.samples, found.falls, found.kept_activation, found.prediction_changes) == (2, 0.5, 0.375, 0.5)
    assert (found.control_falls, found.control_kept_activation, found.control_prediction_changes) == (0.0, 0.75, 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature": np.array([0, 1]), "before": np.array([[2.0, 0.0], [4.0, 0.0]])}, "not active in 1 of 2"),
        ({"feature": np.array([0, 2])}, "feature must be between 0 and 1"),
        ({"removed": np.ones((2, 3))}, "removed has shape"),
        ({"control": np.full((2, 2), np.nan)}, "control holds"),
    ],
)
def test_wrong_removals_are_refused(changes, message: str) -> None:
    with pytest.raises(ChiqpmError, match=message):
        removal(**changes)
