"""Mean shift on a line against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import MeanShift, estimate_bandwidth

from chiqpm.mean_shift import mean_neighbour_distance, mean_shift


def partition(labels):
    """The clusters as sets of places, whatever they are called."""
    return {tuple(np.flatnonzero(labels == label)) for label in np.unique(labels)}


@given(st.integers(0, 10**6), st.integers(7, 60), st.floats(0.05, 3.0))
@settings(max_examples=60, deadline=None)
def test_clusters_are_those_of_scikit_learn(seed, count, spread):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=count) * spread + generator.integers(3, size=count) * 4.0
    column = values[:, None]
    bandwidth = estimate_bandwidth(column)
    assert mean_neighbour_distance(values) == pytest.approx(bandwidth, rel=1e-9)
    expected = MeanShift(bandwidth=bandwidth).fit(column).labels_
    assert partition(mean_shift(values)) == partition(expected)


def test_the_first_cluster_is_the_biggest():
    values = np.concatenate([[9.0, 9.1], np.linspace(0.0, 1.0, 15)])
    assert np.flatnonzero(mean_shift(values) == 0).tolist() == list(range(2, 17))


def test_a_number_that_is_most_of_all_is_the_cluster():
    values = np.array([0.0] * 8 + [1.0, 1e-300])
    assert mean_shift(values)[:8].tolist() == [0] * 8


def test_one_number_is_one_cluster():
    assert mean_shift(np.array([3.0])).tolist() == [0]
