"""The promise itself: coverage over many exchangeable splits, against its exact law.

The set holds the truth when the true class's score is admitted, which other tests tie to `predict_set`;
splitting the scores of the true classes therefore simulates whole calibrations at no cost.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from chiqpm.conformal import (
    APS,
    RAPS,
    SAPS,
    THR,
    ConformalPredictor,
    HierarchicalScore,
    Margin,
    SmallCalibrationWarning,
    TopK,
    coverage_band,
    find_threshold,
)

SPLITS = 250


def population(kind, seed=0):
    """Features, logits, labels and assignment of 240 images."""
    generator = np.random.default_rng(seed)
    num_classes = 200 if kind == "many classes" else 12
    weight = np.zeros((num_classes, 30))
    for row, like in zip(weight[::2], weight[1::2], strict=True):
        chosen = generator.choice(30, 6, replace=False)
        row[chosen[:5]] = 1
        like[chosen[1:]] = 1
    labels = generator.integers(num_classes, size=240)
    features = np.maximum(0, generator.normal(size=(240, 30)) - 0.3 + 1.3 * weight[labels])
    if kind == "ties":
        features = np.floor(features)
        features[::5] = 0
    features = features.astype(np.float32)
    return features, features @ weight.T.astype(np.float32), labels, weight


def scores_of(weight):
    hierarchical = [HierarchicalScore(weight, kind) for kind in ("path", "evidence", "level_limited", "branch")]
    hierarchical.append(HierarchicalScore(weight, "level_limited", level=1))
    flat = [THR(), APS(), RAPS(), SAPS(), TopK(), Margin()]
    return [*hierarchical, *flat, *(score(randomized=True) for score in (APS, RAPS, SAPS, TopK))]


def mean_coverage(own_VM, num_calibration, coverage, generator, splits=SPLITS):
    """Mean share of admitted true classes over random splits, by the predictor's own thresholds."""
    covered = 0.0
    for _ in range(splits):
        order = generator.permutation(own_VM.shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallCalibrationWarning)
            threshold = find_threshold(np.sort(own_VM[:, order[:num_calibration]], axis=1), coverage)
        test_VN = torch.from_numpy(own_VM[:, order[num_calibration:]])
        covered += threshold.admits(dict(enumerate(test_VN))).double().mean().item()
    return covered / splits


@pytest.mark.parametrize("num_calibration", [10, 50, 160])
@pytest.mark.parametrize("kind", ["plain", "ties", "many classes"])
def test_no_score_covers_less_than_its_exact_law_allows(kind, num_calibration):
    features, logits, labels, weight = population(kind)
    generator = np.random.default_rng(1)
    for score in scores_of(weight):
        own_VM = score.label_scores(
            torch.from_numpy(logits),
            torch.from_numpy(labels),
            torch.from_numpy(features),
            torch.from_numpy(generator.random(240, dtype=np.float32)),
        ).numpy()
        tie_free = own_VM.shape[0] == 1 and len(np.unique(own_VM[0])) == 240 and np.isfinite(own_VM).all()
        assert tie_free or not (score.randomized and kind == "plain")
        for coverage in (0.5, 0.8, 0.9, 0.99):
            low, high = coverage_band(num_calibration, 240 - num_calibration, coverage, 1 - 2e-6, splits=SPLITS)
            mean = mean_coverage(own_VM, num_calibration, coverage, generator)
            assert mean >= low - 1e-9, (score, coverage)
            if tie_free:
                assert mean <= high + 1e-9, (score, coverage)


def test_the_published_rule_fails_the_same_check():
    features, logits, labels, weight = population("plain")
    logits = logits + 8 * np.eye(12, dtype=np.float32)[labels]
    score = HierarchicalScore(weight, "level_limited")
    own_VM = score.label_scores(*(torch.from_numpy(a) for a in (logits, labels, features))).numpy()
    generator, covered = np.random.default_rng(2), 0.0
    for _ in range(100):
        order = generator.permutation(240)
        calibration, test = own_VM[:, order[:120]], own_VM[:, order[120:]]
        frequency = np.isfinite(calibration[1:]).mean(axis=1)
        level = int((frequency >= 0.9).cumprod().sum())
        published = np.where(np.isfinite(calibration[level]), calibration[level], 0)
        threshold = np.quantile(published, min(1, 121 * 0.9 / 120))
        covered += (np.where(np.isfinite(test[level]), test[level], 0) < threshold).mean() / 100
    assert covered == 0
    assert mean_coverage(own_VM, 120, 0.9, generator, 100) >= coverage_band(120, 120, 0.9, 1 - 2e-6, splits=100)[0]


def test_p_values_of_the_truth_are_super_uniform():
    features, logits, labels, weight = population("ties")
    generator = np.random.default_rng(3)
    for score in (HierarchicalScore(weight), HierarchicalScore(weight, "evidence"), THR(), APS()):
        predictor, values = ConformalPredictor(score), []
        for _ in range(60):
            order = generator.permutation(240)
            first, second = order[:120], order[120:]
            predictor.calibrate(logits[first], labels[first], features[first])
            p_values = predictor.p_values(logits[second], features[second])
            values.append(p_values[np.arange(120), labels[second]])
        for u in (0.05, 0.1, 0.3, 0.5, 0.8):
            assert np.mean(np.concatenate(values) <= u) <= u + 0.02


def test_smoothing_makes_the_coverage_exact_despite_ties():
    features, logits, labels, weight = population("ties")
    generator = np.random.default_rng(4)
    for score in (HierarchicalScore(weight, "path"), TopK()):
        predictor = ConformalPredictor(score)
        plain, smooth, splits = 0.0, 0.0, 120
        for _ in range(splits):
            order = generator.permutation(240)
            first, second = order[:60], order[60:]
            predictor.calibrate(logits[first], labels[first], features[first])
            images = (logits[second], features[second])
            sets = predictor.predict_set(*images, coverage=0.6)
            exact = predictor.predict_set(*images, coverage=0.6, smoothing=generator)
            assert not (exact & ~sets).any()
            plain += sets[np.arange(180), labels[second]].mean() / splits
            smooth += exact[np.arange(180), labels[second]].mean() / splits
        assert plain > 0.62
        assert abs(smooth - 0.6) < 0.02
