"""Contrastiveness, active mean and the mixture they share."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, trapezoid
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from chiqpm.metrics import Mixtures, active_mean, contrastiveness, fit_mixtures, overlap_coefficient

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "metrics_features.npz")


def mixtures(mean: list[float], deviation: list[float]) -> Mixtures:
    return Mixtures(weight_K2=np.full((1, 2), 0.5), mean_K2=np.array([mean]), variance_K2=np.array([deviation]) ** 2)


def plain_log_likelihood(x: np.ndarray, weight: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> float:
    densities = [w * norm.pdf(x, m, np.sqrt(v)) for w, m, v in zip(weight, mean, variance, strict=True)]
    return float(np.log(sum(densities)).mean())


def test_contrastiveness_golden() -> None:
    assert contrastiveness(GOLDEN["features"], 0) == pytest.approx(float(GOLDEN["contrastiveness"]), rel=1e-5)


def test_overlap_golden() -> None:
    published = Mixtures(weight_K2=GOLDEN["gmm_weights"], mean_K2=GOLDEN["gmm_means"], variance_K2=GOLDEN["gmm_vars"])
    expected = GOLDEN["gmm_overlap_from_params"]
    assert overlap_coefficient(published) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert overlap_coefficient(fit_mixtures(GOLDEN["features"], 0)) == pytest.approx(expected, rel=1e-4, abs=1e-15)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_active_mean_golden(seed: int) -> None:
    assert active_mean(GOLDEN["features"], seed) == pytest.approx(GOLDEN["active_mean"], rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 3), st.floats(0.1, 3))
def test_overlap_is_the_area_under_both_densities(m: float, n: float, s: float, t: float) -> None:
    value = overlap_coefficient(mixtures([m, n], [s, t]))[0]
    grid = np.linspace(-30, 30, 60001)
    smaller = np.minimum(norm.pdf(grid, m, s), norm.pdf(grid, n, t))
    assert value == pytest.approx(trapezoid(smaller, grid), abs=1e-5)
    assert overlap_coefficient(mixtures([n, m], [t, s]))[0] == pytest.approx(value, abs=1e-12)


def test_overlap_by_quadrature_of_a_spike_and_a_wide_component() -> None:
    value = overlap_coefficient(mixtures([0.0, 1.5], [1e-3, 0.9]))[0]
    parts = [(-0.1, -0.01), (-0.01, 0.0), (0.0, 0.01), (0.01, 0.1)]
    area = sum(quad(lambda x: min(norm.pdf(x, 0, 1e-3), norm.pdf(x, 1.5, 0.9)), *part)[0] for part in parts)
    assert value == pytest.approx(area, rel=1e-4)


@pytest.mark.parametrize(
    ("mean", "deviation", "expected"),
    [
        ([1.0, 1.0], [0.5, 0.5], 1.0),
        ([0.0, 2.0], [1.0, 1.0], 2 * norm.cdf(-1)),
        ([0.0, 2.0], [1.0, 1.0 + 1e-12], 2 * norm.cdf(-1)),
        ([0.0, 1e-9], [1.0, 1.0], 1.0),
        ([0.0, 1.0], [1e-3, 1e-3], 0.0),
        ([0.0, 0.0], [1e-3, 1e3], 0.0),
    ],
)
def test_overlap_at_the_edges(mean: list[float], deviation: list[float], expected: float) -> None:
    assert overlap_coefficient(mixtures(mean, deviation))[0] == pytest.approx(expected, abs=1e-5)


def test_mixture_finds_known_components() -> None:
    rng = np.random.default_rng(0)
    active = rng.random((20000, 3)) < np.array([0.3, 0.1, 0.02])
    values = np.where(active, rng.normal([3, 5, 4], 0.5, active.shape), rng.normal(0, [0.5, 0.2, 0.1], active.shape))
    result = fit_mixtures(values, 0)
    assert result.mean_K2 == pytest.approx(np.array([[0, 3], [0, 5], [0, 4]]), abs=0.06)
    assert result.weight_K2[:, 1] == pytest.approx([0.3, 0.1, 0.02], abs=0.01)
    assert np.sqrt(result.variance_K2[:, 0]) == pytest.approx([0.5, 0.2, 0.1], rel=0.03)


@pytest.mark.parametrize("samples", [300, 20000])
def test_mixture_is_as_likely_as_a_plain_one(samples: int) -> None:
    rng = np.random.default_rng(1)
    silent = rng.normal(-0.4, 1, samples)
    values = np.stack(
        [
            np.maximum(silent, 0),
            np.where(silent > 0.6, silent + 2, 0.3 * silent),
            rng.gamma(0.7, size=samples),
        ],
        axis=1,
    )
    result = fit_mixtures(values, 0)
    for k, x in enumerate(values.T):
        plain = GaussianMixture(2, n_init=2, random_state=0, tol=1e-6, max_iter=500).fit(x[:, None])
        ours = plain_log_likelihood(x, result.weight_K2[k], result.mean_K2[k], result.variance_K2[k])
        assert ours >= plain.score(x[:, None]) - 1e-3


def test_grouped_values_give_the_mixture_of_all_values() -> None:
    rng = np.random.default_rng(2)
    few = np.maximum(rng.normal(-0.2, 1, (4000, 2)), 0)
    many = np.tile(few, (5, 1))
    assert contrastiveness(many, 0) == pytest.approx(contrastiveness(few, 0), abs=1e-5)
    assert active_mean(many, 0) == pytest.approx(active_mean(few, 0), rel=1e-4)


def test_a_bell_curve_has_no_contrast() -> None:
    values = np.random.default_rng(3).normal(size=(3000, 10))
    assert contrastiveness(values, 0) < 0.75
    assert contrastiveness(np.where(values > 0, 3, 0) + 0.1 * values, 0) > 0.999


def test_constant_and_dead_features_have_no_contrast() -> None:
    values = np.zeros((50, 2))
    values[:, 1] = 3.7
    assert contrastiveness(values, 0) == 0
    assert active_mean(values, 0) == pytest.approx([0, 3.7])


def test_one_active_image_counts_as_active() -> None:
    values = np.zeros((5000, 1))
    values[17] = 2.0
    assert active_mean(values, 0) == pytest.approx([2.0])
    assert contrastiveness(values, 0) == pytest.approx(1)


def test_two_samples() -> None:
    assert fit_mixtures(np.array([[0.0], [1.0]]), 0).mean_K2 == pytest.approx(np.array([[0, 1]]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-50, 50))
def test_mixture_properties(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.maximum(rng.normal(size=(rng.integers(2, 60), 3)), 0)
    result = fit_mixtures(values, seed)
    assert result.weight_K2.sum(axis=1) == pytest.approx(np.ones(3))
    assert (np.diff(result.mean_K2) >= 0).all() and (result.variance_K2 >= 1e-6).all()
    assert (result.mean_K2 >= values.min(axis=0)[:, None] - 1e-9).all()
    assert (result.mean_K2 <= values.max(axis=0)[:, None] + 1e-9).all()
    again = fit_mixtures(values, seed)
    assert (again.mean_K2 == result.mean_K2).all() and (again.variance_K2 == result.variance_K2).all()
    mean = (result.weight_K2 * result.mean_K2).sum(axis=1)
    assert mean == pytest.approx(values.mean(axis=0), abs=1e-9)
    assert 0 <= contrastiveness(values + shift, seed) <= 1


def test_many_samples_are_fast() -> None:
    rng = np.random.default_rng(0)
    values = np.maximum(rng.normal(-0.5, 1, (60000, 10)), 0)
    start = time.process_time()
    contrastiveness(values, 0)
    assert time.process_time() - start < 5
