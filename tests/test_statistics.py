"""The constants of the quadratic problem against recorded values, plain formulas, and splits into parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.errors import ChiqpmError
from chiqpm.pivots import pivot_similarity, separation
from chiqpm.statistics import FeatureStatistics, locality_bias, redundancy


def measured(maps, labels, classes, pooling="mean", batch=7):
    statistics = FeatureStatistics(maps.shape[1], classes, pooling=pooling)
    for start in range(0, len(maps), batch):
        statistics.update(torch.as_tensor(maps[start : start + batch]), torch.as_tensor(labels[start : start + batch]))
    return statistics


def test_similarity_and_redundancy_match_the_published_ones(golden):
    recorded = golden("constants_A_R")
    found = measured(recorded["features"][:, :, None, None], recorded["labels"], 6).compute()
    np.testing.assert_allclose(found.similarity_FC, recorded["A_norm"], atol=2e-6)
    published = np.triu(recorded["R_for_qp"], 1)
    np.testing.assert_allclose(found.redundancy_FF, published / published.max(), atol=1e-5)
    np.testing.assert_allclose(redundancy(recorded["A_norm"]), published / published.max(), atol=1e-12)


def test_a_dead_feature_has_a_zero_row_and_is_counted(golden):
    recorded = golden("constants_A_R")
    features, dead = recorded["features"].copy(), int(recorded["dead_feature_index"])
    features[:, dead] = 0.7
    statistics = measured(features[:, :, None, None], recorded["labels"], 6)
    with pytest.warns(UserWarning, match="1 of 20 features never vary"):
        found = statistics.compute()
    assert not found.similarity_FC[dead].any()
    alive = np.arange(20) != dead
    published = recorded["A_raw_with_dead_feature"][alive]
    np.testing.assert_allclose(found.similarity_FC[alive], published / np.abs(published).max(), atol=2e-6)


def test_locality_bias_matches_the_published_one(golden):
    recorded = golden("locality_bias_N128")
    maps = recorded["maps"].astype(np.float32)
    statistics = measured(maps, np.arange(128) % 2, 2)
    np.testing.assert_allclose(statistics.locality_F / 128, recorded["loc_raw_reference"], rtol=1e-5)
    np.testing.assert_allclose(statistics.edge_F, recorded["edge_raw"], rtol=1e-5)
    np.testing.assert_allclose(statistics.compute().bias_F, recorded["b"], atol=1e-6)


def test_bias_stays_in_its_range_and_survives_constants(golden):
    recorded = golden("remove_outliers_and_scale")
    for number in range(3):
        values = recorded[f"in{number}"].astype(np.float64)
        bias = locality_bias(values, np.zeros_like(values))
        assert np.abs(bias).max() == pytest.approx(np.sqrt(10) / 10)
    assert not locality_bias(np.full(5, 3.0), np.full(5, 2.0)).any()
    mostly_constant = np.r_[np.zeros(20), 1.0, 2.0]
    assert np.isfinite(locality_bias(mostly_constant, mostly_constant)).all()


@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 5), st.sampled_from(["mean", 0.3]))
@settings(max_examples=25, deadline=None)
def test_constants_are_the_plain_formulas(seed, classes, features, pooling):
    generator = np.random.default_rng(seed)
    count = 6 * classes
    maps = np.maximum(generator.normal(size=(count, features, 3, 4)), 0).astype(np.float32)
    labels = np.arange(count) % classes
    found = measured(maps, labels, classes, pooling).compute()
    cells = np.sort(maps.reshape(count, features, 12).astype(np.float64), axis=2)
    pooled = cells.mean(axis=2) if pooling == "mean" else cells[:, :, -4:].mean(axis=2)
    raw = np.array([[np.corrcoef(pooled[:, f], labels == c)[0, 1] for c in range(classes)] for f in range(features)])
    np.testing.assert_allclose(found.similarity_FC, raw / np.abs(raw).max(), atol=1e-5)
    np.testing.assert_allclose(found.mean_F, pooled.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.std_F, pooled.std(axis=0), rtol=1e-4)
    by_class = [pooled[labels == c] for c in range(classes)]
    np.testing.assert_allclose(found.class_mean_FC, np.stack([p.mean(axis=0) for p in by_class], axis=1), rtol=1e-5)
    variance = np.stack([p.var(axis=0) for p in by_class], axis=1)
    np.testing.assert_allclose(found.class_variance_FC, variance, rtol=1e-4, atol=1e-7)
    assert found.redundancy_FF.min() >= 0
    assert not np.tril(found.redundancy_FF).any()


def test_parts_counted_apart_merge_into_the_same_result():
    generator = np.random.default_rng(0)
    maps = np.maximum(generator.normal(size=(40, 6, 5, 5)), 0).astype(np.float32)
    labels = np.arange(40) % 4
    whole = measured(maps, labels, 4)
    parts = measured(maps[::2], labels[::2], 4)
    parts.merge(measured(maps[1::2], labels[1::2], 4))
    for name, value in vars(whole.compute()).items():
        np.testing.assert_allclose(vars(parts.compute())[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_grid_without_inner_cells_is_all_border():
    statistics = FeatureStatistics(1, 2)
    statistics.update(torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 0, 1]))
    assert statistics.edge_F[0] == pytest.approx(-4)


def test_samples_without_activation_have_no_share():
    statistics = FeatureStatistics(2, 2)
    statistics.update(torch.zeros(3, 2, 4, 4), torch.tensor([0, 1, 0]))
    assert not statistics.locality_F.any()
    assert not statistics.edge_F.any()


def test_wrong_inputs_are_named():
    with pytest.raises(ChiqpmError, match="at least 1 feature"):
        FeatureStatistics(0, 2)
    with pytest.raises(ChiqpmError, match="pooling must be"):
        FeatureStatistics(2, 2, pooling="max")
    with pytest.raises(ChiqpmError, match="share"):
        FeatureStatistics(2, 2, pooling=1.5)
    statistics = FeatureStatistics(2, 2)
    with pytest.raises(ChiqpmError, match="maps must be"):
        statistics.update(torch.rand(3, 4, 2, 2), torch.tensor([0, 1, 0]))
    with pytest.raises(ChiqpmError, match="labels must be"):
        statistics.update(torch.rand(3, 2, 2, 2), torch.tensor([0, 1]))
    with pytest.raises(ChiqpmError, match=r"labels must lie in \[0, 2\)"):
        statistics.update(torch.rand(3, 2, 2, 2), torch.tensor([0, 1, 2]))
    with pytest.raises(ChiqpmError, match="not finite"):
        statistics.update(torch.full((2, 2, 2, 2), torch.nan), torch.tensor([0, 1]))
    with pytest.raises(ChiqpmError, match="can't merge"):
        statistics.merge(FeatureStatistics(3, 2))
    statistics.update(torch.rand(3, 2, 2, 2), torch.tensor([0, 0, 0]))
    with pytest.raises(ChiqpmError, match="1 of 2 classes have no image"):
        statistics.compute()


def test_pivots_prefer_what_separates_a_pair():
    generator = np.random.default_rng(0)
    maps = np.maximum(generator.normal(1, 0.1, size=(60, 3, 1, 1)), 0).astype(np.float32)
    labels = np.arange(60) % 3
    maps[labels == 0, 1] += 2
    found = measured(maps, labels, 3).compute()
    separated = separation(found, [(0, 1), (1, 2)])
    assert separated.shape == (3, 2)
    assert separated[:, 0].argmax() == 1
    assert np.abs(separated).max() == pytest.approx(1)
    changed = pivot_similarity(found.similarity_FC, separated, [(0, 1), (1, 2)], weight=2.0)
    np.testing.assert_allclose(changed[:, 0] - found.similarity_FC[:, 0], 2 * separated[:, 0])
    np.testing.assert_allclose(changed[:, 1] - found.similarity_FC[:, 1], 2 * (separated[:, 1] - separated[:, 0]))
    np.testing.assert_array_equal(
        pivot_similarity(found.similarity_FC, separated, [(0, 1), (1, 2)], 0.0), found.similarity_FC
    )
    with pytest.raises(ChiqpmError, match="negative"):
        pivot_similarity(found.similarity_FC, separated, [(0, 1), (1, 2)], -1.0)
    with pytest.raises(ChiqpmError, match="separation must be"):
        pivot_similarity(found.similarity_FC, separated, [(0, 1)], 1.0)
