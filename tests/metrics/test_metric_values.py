"""Metrics of features and sets against the published values and plain implementations of the formulas."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from chiqpm.metrics import (
    attribute_auc,
    class_independence,
    class_similarity,
    correlation,
    coverage,
    coverage_by_group,
    dependence,
    feature_alignment,
    set_coherence,
    set_hierarchy,
    structural_grounding,
)

GOLDEN = Path(__file__).parent.parent / "golden"
FEATURES = np.load(GOLDEN / "metrics_features.npz")
CLASSES = np.load(GOLDEN / "metrics_grounding_coherence.npz")
few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def random_features(seed: int, samples: int = 40, kept: int = 6) -> np.ndarray:
    return np.maximum(np.random.default_rng(seed).normal(size=(samples, kept)), 0)


# --- class independence ------------------------------------------------------------------------------------


def plain_class_independence(features: np.ndarray, labels: np.ndarray) -> float:
    total = 0.0
    for k in range(features.shape[1]):
        g = features[:, k] - min(features[:, k])
        whole = max(sum(g), 1e-8)
        total += max(sum(g[labels == c]) / whole for c in set(labels.tolist()))
    return 1 - total / features.shape[1]


def test_class_independence_golden() -> None:
    value = class_independence(FEATURES["features"], FEATURES["labels"])
    assert value == pytest.approx(float(FEATURES["class_independence"]), rel=1e-5)
    assert class_independence(torch.from_numpy(FEATURES["features"]), torch.from_numpy(FEATURES["labels"])) == value


@few
@given(seeds)
def test_class_independence_plain(seed: int) -> None:
    features = random_features(seed) - 0.5
    labels = np.random.default_rng(seed).integers(0, 5, len(features))
    value = class_independence(features, labels)
    assert value == pytest.approx(plain_class_independence(features, labels), abs=1e-12)
    assert 0 <= value <= 1
    assert class_independence(features * 3 + 7, labels) == pytest.approx(value, abs=1e-9)


def test_class_independence_extremes() -> None:
    labels = np.repeat(np.arange(4), 5)
    private = np.eye(4)[labels]
    assert class_independence(private, labels) == pytest.approx(0, abs=1e-12)
    assert class_independence(np.full((20, 3), 2.0), labels) == 1
    assert class_independence(private, np.zeros(20, dtype=np.int32)) == pytest.approx(0, abs=1e-12)


# --- correlation -------------------------------------------------------------------------------------------


def test_correlation_golden() -> None:
    assert correlation(FEATURES["features"]) == pytest.approx(float(FEATURES["correlation"]), rel=1e-5)
    assert correlation(torch.from_numpy(FEATURES["features"]).bfloat16()) == pytest.approx(0.565, abs=1e-2)


@few
@given(seeds)
def test_correlation_plain(seed: int) -> None:
    features = random_features(seed) - 0.3
    best = []
    for k in range(features.shape[1]):
        own = features[:, k]
        others = [features[:, j] for j in range(features.shape[1]) if j != k]
        best.append(max(own @ o / np.sqrt(own @ own) / np.sqrt(o @ o) for o in others))
    assert correlation(features) == pytest.approx(np.mean(best), abs=1e-12)
    scale = np.random.default_rng(seed).uniform(0.1, 10, features.shape[1])
    assert correlation(features * scale) == pytest.approx(np.mean(best), abs=1e-12)


def test_correlation_keeps_sign_and_survives_dead_and_extreme_features() -> None:
    x = np.array([1.0, 2.0, 3.0])
    assert correlation(np.stack([x, -x], axis=1)) == pytest.approx(-1)
    assert correlation(np.stack([x, 0 * x], axis=1)) == 0
    assert correlation(np.stack([x * 1e200, x * 1e-200], axis=1)) == pytest.approx(1)


# --- dependence --------------------------------------------------------------------------------------------


def test_dependence_golden() -> None:
    value = dependence(FEATURES["features"], FEATURES["weight"], FEATURES["logits"].argmax(1))
    assert value == pytest.approx(float(FEATURES["dependence"]), rel=1e-5)


@few
@given(seeds)
def test_dependence_plain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, weight = random_features(seed), rng.normal(size=(3, 6))
    predicted = rng.integers(0, 3, len(features))
    features[0] = 0
    shares = []
    for f, c in zip(features, predicted, strict=True):
        parts = [abs(f[k] * weight[c, k]) for k in range(6)]
        if sum(parts) > 0:
            shares.append(max(parts) / sum(parts))
    assert dependence(features, weight, predicted) == pytest.approx(np.mean(shares), abs=1e-12)


def test_dependence_undefined_without_contributions() -> None:
    assert np.isnan(dependence(np.zeros((2, 3)), np.ones((2, 3)), np.array([0, 1])))


# --- feature alignment -------------------------------------------------------------------------------------


@few
@given(seeds)
def test_feature_alignment_plain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = random_features(seed) - 0.2
    features[:, 2] = 4.0
    attributes = rng.random((len(features), 5)) < 0.4
    attributes[:, 0] = True
    attributes[0, 1:] = True
    attributes[1, 1:] = False
    best = []
    for k in range(6):
        f = features[:, k]
        gains = [f[attributes[:, a]].mean() - f[~attributes[:, a]].mean() for a in range(1, 5)]
        level = (f - f.min()).mean()
        best.append(max(gains) / level if level else 0.0)
    assert feature_alignment(features, attributes) == pytest.approx(np.mean(best), abs=1e-12)
    assert feature_alignment(features * 2 + 1, attributes.astype(int)) == pytest.approx(np.mean(best), abs=1e-9)


# --- attribute AUC -----------------------------------------------------------------------------------------


def plain_auc(present: np.ndarray, values: np.ndarray) -> float:
    gap = values[present][:, None] - values[~present]
    return float(((gap > 0) + 0.5 * (gap == 0)).mean())


@few
@given(seeds)
def test_attribute_auc_plain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    train, test = random_features(seed).round(1), random_features(seed + 1, samples=30).round(1)
    train_attributes, test_attributes = rng.random((40, 4)) < 0.5, rng.random((30, 4)) < 0.5
    result = attribute_auc(train, train_attributes, test, test_attributes)
    for k in range(6):
        on_train = [plain_auc(train_attributes[:, a], train[:, k]) for a in range(4)]
        assert on_train[result.attribute_K[k]] == pytest.approx(max(on_train), abs=1e-12)
        a = result.attribute_K[k]
        assert result.auc_K[k] == pytest.approx(plain_auc(test_attributes[:, a], test[:, k]), abs=1e-12)
    assert result.mean == pytest.approx(result.auc_K.mean())


def test_attribute_auc_is_half_for_noise_although_the_best_of_many_is_chosen() -> None:
    rng = np.random.default_rng(0)
    result = attribute_auc(
        rng.normal(size=(60, 40)),
        rng.random((60, 50)) < 0.5,
        rng.normal(size=(400, 40)),
        rng.random((400, 50)) < 0.5,
    )
    assert result.mean == pytest.approx(0.5, abs=0.02)


def test_attribute_auc_ignores_constant_attributes() -> None:
    features = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0]])
    attributes = np.array([[1, 0, 1], [1, 1, 0], [1, 1, 0]], dtype=bool)
    result = attribute_auc(features, attributes, features, attributes)
    assert result.attribute_K.tolist() == [1, 2]
    silent = attribute_auc(features, attributes, features, np.ones((3, 3), dtype=bool))
    assert np.isnan(silent.mean) and np.isnan(silent.auc_K).all()


# --- structural grounding ----------------------------------------------------------------------------------


def test_structural_grounding_golden() -> None:
    value = structural_grounding(CLASSES["weight"], CLASSES["class_sim_gt"])
    assert value == pytest.approx(float(CLASSES["structural_grounding_top50"]), rel=1e-5)


@few
@given(seeds, st.integers(1, 60))
def test_structural_grounding_plain(seed: int, entries: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.random((7, 5)) * (rng.random((7, 5)) < 0.7)
    truth = rng.random((7, 7))
    triples = []
    for c, d in permutations(range(7), 2):
        norms = np.linalg.norm(weight[c]) * np.linalg.norm(weight[d])
        triples.append((truth[c, d], weight[c] @ weight[d] / norms if norms else 0.0))
    triples = sorted(triples, reverse=True)[:entries]
    expected = sum(t[1] for t in triples) / sum(t[0] for t in triples)
    assert structural_grounding(weight, truth, entries) == pytest.approx(expected, abs=1e-12)


@few
@given(seeds, st.integers(1, 40))
def test_structural_grounding_does_not_depend_on_the_order_of_classes(seed: int, entries: int) -> None:
    rng = np.random.default_rng(seed)
    weight = (rng.random((8, 6)) < 0.5).astype(float)
    attributes = np.eye(3)[rng.integers(0, 3, (8, 4))].reshape(8, 12)
    value = structural_grounding(weight, class_similarity(attributes), entries)
    order = rng.permutation(8)
    moved = structural_grounding(weight[order], class_similarity(attributes[order]), entries)
    assert moved == pytest.approx(value, abs=1e-9, nan_ok=True)


def test_structural_grounding_of_the_truth_itself_and_undefined() -> None:
    attributes = np.array([[1.0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]])
    assert structural_grounding(attributes, class_similarity(attributes)) == pytest.approx(1)
    assert np.isnan(structural_grounding(attributes, np.eye(3)))


# --- class similarity --------------------------------------------------------------------------------------


@few
@given(arrays(float, (4, 3), elements=st.floats(-5, 5)))
def test_class_similarity_is_a_cosine(attributes: np.ndarray) -> None:
    value = class_similarity(attributes)
    assert np.allclose(value, value.T) and (np.abs(value) <= 1).all()
    for c, d in permutations(range(4), 2):
        a, b = (row / max(np.abs(row).max(), 1e-300) for row in (attributes[c], attributes[d]))
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        assert value[c, d] == pytest.approx(a @ b / norms if norms else 0.0, abs=1e-9)
    alive = attributes.any(axis=1)
    assert np.allclose(np.diag(value), alive)


# --- set coherence -----------------------------------------------------------------------------------------


def test_set_coherence_golden() -> None:
    result = set_coherence(CLASSES["sets_mask"], CLASSES["class_sim_gt"])
    assert result.pair_pooled == pytest.approx(float(CLASSES["set_coherence"]), rel=1e-5)
    assert result.sets == int((CLASSES["sets_mask"].sum(1) >= 2).sum())


@few
@given(seeds)
def test_set_coherence_plain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets, similarity = rng.random((12, 5)) < 0.5, rng.random((5, 5))
    pooled, means = [], []
    for row in sets:
        pairs = [similarity[c, d] for c, d in permutations(np.flatnonzero(row), 2)]
        pooled += pairs
        means += [np.mean(pairs)] if pairs else []
    result = set_coherence(sets, similarity)
    assert result.sets == len(means)
    if means:
        assert result.pair_pooled == pytest.approx(np.mean(pooled), abs=1e-12)
        assert result.per_set == pytest.approx(np.mean(means), abs=1e-12)


def test_set_coherence_of_singletons_and_many_sets() -> None:
    result = set_coherence(np.eye(3, dtype=bool), np.ones((3, 3)))
    assert np.isnan(result.pair_pooled) and np.isnan(result.per_set) and result.sets == 0
    many = np.random.default_rng(0).random((9000, 4)) < 0.5
    truth = np.random.default_rng(1).random((4, 4))
    halves = [set_coherence(many[:4500], truth), set_coherence(many[4500:], truth)]
    whole = set_coherence(many, truth)
    assert whole.per_set == pytest.approx(sum(h.per_set * h.sets for h in halves) / whole.sets)


def test_set_coherence_leaves_its_input_alone() -> None:
    truth = np.ones((3, 3))
    set_coherence(np.ones((1, 3), dtype=bool), truth)
    assert (truth == 1).all()


# --- coverage ----------------------------------------------------------------------------------------------


@few
@given(seeds)
def test_coverage_plain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets, labels = rng.random((50, 6)) < 0.4, rng.integers(0, 6, 50)
    inside = [bool(row[y]) for row, y in zip(sets, labels, strict=True)]
    report = coverage(torch.from_numpy(sets), torch.from_numpy(labels))
    assert report.samples == 50
    assert report.coverage == pytest.approx(np.mean(inside))
    assert report.mean_size == pytest.approx(np.mean([sum(row) for row in sets]))
    assert report.empty_rate == pytest.approx(np.mean([not any(row) for row in sets]))
    assert sum(row.samples for row in report.by_size) == 50
    for row in report.by_size:
        members = [inside[i] for i in range(50) if sum(sets[i]) == row.group]
        assert row.samples == len(members) and row.coverage == pytest.approx(np.mean(members))
        assert row.interval[0] <= row.coverage <= row.interval[1]
    by_class = coverage_by_group(sets, labels, labels)
    for row in by_class:
        assert row.coverage == pytest.approx(sets[labels == row.group, row.group].mean())


def test_coverage_by_named_group() -> None:
    rows = coverage_by_group(np.eye(3, dtype=bool), np.array([0, 1, 0]), np.array(["b", "a", "b"]))
    assert [(row.group, row.samples, row.coverage) for row in rows] == [("a", 1, 1.0), ("b", 2, 0.5)]


# --- sets in the tree --------------------------------------------------------------------------------------


@few
@given(seeds)
def test_set_hierarchy_plain(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sets = generator.random((9, 7)) < 0.4
    shared, leaving = generator.integers(0, 3, (9, 7)), generator.integers(0, 4, (9, 7))
    superclass, predicted = generator.integers(0, 3, 7), generator.integers(0, 7, 9)
    shared[np.arange(9), predicted], leaving[np.arange(9), predicted] = 3, -1
    found = set_hierarchy(torch.from_numpy(sets), shared, leaving, superclass)
    rows = []
    for chosen, k, left in zip(sets, shared, leaving, strict=True):
        if not chosen.any():
            continue
        branches = {(a, b) for a, b, inside in zip(k, left, chosen, strict=True) if inside}
        outside = {(a, b) for a, b, inside in zip(k, left, chosen, strict=True) if not inside}
        whole = not branches & outside and (3, -1) in branches
        rows.append((len(branches), whole, 3 - k[chosen].min(), len(set(superclass[chosen]))))
    assert found.sets == len(rows)
    means = (found.branches, found.whole, found.climbed, found.superclasses)
    np.testing.assert_allclose(means, np.mean(np.array(rows, dtype=float), axis=0))


def test_set_hierarchy_without_sets_or_superclasses() -> None:
    shared, leaving = np.array([[1, 0]]), np.array([[-1, 0]])
    nothing = set_hierarchy(np.zeros((1, 2)), shared, leaving, np.array([0, 0]))
    assert nothing.sets == 0 and np.isnan(nothing.whole) and np.isnan(nothing.superclasses)
    assert set_hierarchy(np.zeros((1, 2)), shared, leaving).superclasses is None
    assert set_hierarchy(np.ones((1, 2)), shared, leaving).superclasses is None
