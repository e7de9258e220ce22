"""Against the published rule: equal where that is sound, and not collapsing where it isn't."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from chiqpm.conformal import APS, THR, ConformalPredictor, HierarchicalScore, class_paths

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ["cp_C10_n3", "cp_C10_n5", "cp_C10_n5_allzero", "cp_C10_n5_easy_maxlevel"]


class Case:
    def __init__(self, name):
        self.data = dict(np.load(GOLDEN / f"{name}.npz"))
        self.weight = self.data["weight"]
        self.calibration = self.data["cal_features"].astype(np.float32)
        self.test = self.data["test_features"].astype(np.float32)
        self.calibration_logits = self.calibration @ self.weight.T
        self.test_logits = self.test @ self.weight.T
        self.levels = int(self.weight[0].sum())

    def sets(self, rule):
        return np.unpackbits(self.data[f"{rule}_sets"], axis=2)[:, :, :10].astype(bool)


def interpolated(scores, coverage):
    """The published quantile: linear interpolation, at the share (m + 1) / m of the coverage."""
    m = len(scores)
    return np.quantile(scores, min(1.0, (m + 1) * coverage / m), method="linear")


def published_scores(features, logits, weight, level):
    """The published score of every class, one class and image at a time: 0 outside the subtree."""
    num_classes, per_class = len(weight), int(weight[0].sum())
    scores = np.zeros((len(features), num_classes))
    for i, row in enumerate(features):
        order = [sorted(np.flatnonzero(w), key=lambda f: -row[f]) for w in weight]
        predicted = order[int(np.argmax(logits[i]))]
        for c in range(num_classes):
            shared = 0
            while shared < per_class and order[c][shared] == predicted[shared]:
                shared += 1
            if shared >= level:
                scores[i, c] = -sum(row[f] for f in order[c][level : min(shared + 1, per_class)])
    return scores


def tie_free(features, weight):
    """Images in which no two features that one class uses are equally active."""
    keep = np.ones(len(features), bool)
    for w in weight:
        values = np.sort(features[:, w > 0], axis=1)
        keep &= (np.diff(values, axis=1) > 0).all(axis=1)
    return keep


@pytest.mark.parametrize("name", NAMES)
def test_oracle_reproduces_the_published_implementation(name):
    case = Case(name)
    keep = tie_free(case.test[:40], case.weight)
    for level in range(case.levels + 1):
        scores = published_scores(case.test[:40], case.test_logits[:40], case.weight, level)
        np.testing.assert_allclose(scores[keep], case.data["test_scores_all_levels"][level][keep], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_level_limited_scores_equal_the_published_ones_inside_the_subtree(name):
    case = Case(name)
    predictor = ConformalPredictor(HierarchicalScore(case.weight, "level_limited"))
    for level in range(case.levels + 1):
        ours = predictor.scores(case.test_logits, case.test, variant=level)
        oracle = published_scores(case.test, case.test_logits, case.weight, level)
        inside = np.isfinite(ours)
        np.testing.assert_allclose(ours[inside], oracle[inside], atol=1e-5)
        assert (oracle[~inside] == 0).all()
        keep = tie_free(case.test[:40], case.weight)
        golden = case.data["test_scores_all_levels"][level][keep]
        np.testing.assert_allclose(np.where(inside, ours, 0)[:40][keep], golden, atol=1e-5)


@pytest.mark.parametrize("name", ["cp_C10_n3", "cp_C10_n5"])
def test_sets_are_the_published_ones_up_to_the_quantile_rule(name):
    case = Case(name)
    score = HierarchicalScore(case.weight, "level_limited", level=0)
    predictor = ConformalPredictor(score).calibrate(case.calibration_logits, case.data["cal_labels"], case.calibration)
    labels = case.data["cal_labels"]
    for i, alpha in enumerate(case.data["alphas"]):
        assert case.data["chiqpm_level"][i] == 0
        own = predictor.scores(case.calibration_logits, case.calibration)[np.arange(len(labels)), labels]
        quantile = interpolated(own, 1 - alpha)
        assert quantile == pytest.approx(case.data["chiqpm_qhat"][i], abs=1e-5)
        test_scores = predictor.scores(case.test_logits, case.test)
        keep = tie_free(case.test, case.weight)
        np.testing.assert_array_equal((test_scores < quantile)[keep], case.sets("chiqpm")[i][keep])
        # The two rules differ by less than one rank of the calibration scores.
        assert abs(predictor.threshold(1 - alpha).value - quantile) <= np.diff(np.sort(own)).max()


def test_the_published_rule_collapses_and_ours_does_not():
    case = Case("cp_C10_n5_easy_maxlevel")
    labels = case.data["test_labels"]
    assert (case.data["chiqpm_coverage"] == 0).all()
    assert not case.sets("chiqpm").any()
    for kind in ("path", "evidence", "branch", "level_limited"):
        predictor = ConformalPredictor(HierarchicalScore(case.weight, kind))
        predictor.calibrate(case.calibration_logits, case.data["cal_labels"], case.calibration)
        for alpha in case.data["alphas"]:
            sets = predictor.predict_set(case.test_logits, case.test, coverage=1 - alpha)
            covered = sets[np.arange(len(labels)), labels]
            assert covered.mean() >= 1 - alpha
            assert sets.any(axis=1).all()
            if kind == "level_limited":
                assert predictor.threshold(1 - alpha).variant == case.levels
                np.testing.assert_array_equal(sets.argmax(axis=1), case.test_logits.argmax(axis=1))
                assert (sets.sum(axis=1) == 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_class_paths_equal_the_published_order(name):
    case = Case(name)
    paths = class_paths(case.test[:10], case.weight)
    values = np.take_along_axis(case.test[:10], paths.reshape(10, -1), axis=1).reshape(paths.shape)
    np.testing.assert_array_equal(values.transpose(0, 2, 1), case.data["sorted_values_first10"])
    keep = tie_free(case.test[:10], case.weight)
    np.testing.assert_array_equal(paths.transpose(0, 2, 1)[keep], case.data["sorted_indices_first10"][keep])


@pytest.mark.parametrize("name", NAMES)
def test_thr_sets_equal_the_published_ones(name):
    case = Case(name)
    labels = case.data["cal_labels"]
    predictor = ConformalPredictor(THR())
    scores = 1 - np.exp(-predictor.scores(case.calibration_logits)[np.arange(len(labels)), labels])
    test = 1 - np.exp(-predictor.scores(case.test_logits))
    for i, alpha in enumerate(case.data["alphas"]):
        quantile = interpolated(scores, 1 - alpha)
        assert quantile == pytest.approx(case.data["THR_qhat"][i], abs=1e-5)
        differ = (test <= quantile) != case.sets("THR")[i]
        assert (np.abs(test - quantile)[differ] < 1e-5).all()


def published_aps(logits, share):
    """Collected probability with ties ranked by index; `share` (B, C) of each sorted class's own step."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, axis=1)
    collected = ordered.cumsum(axis=1) - (1 - share) * ordered
    return np.take_along_axis(collected, np.argsort(order, axis=1), axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_aps_is_the_published_one_with_the_published_draws(name):
    case = Case(name)
    labels = case.data["cal_labels"]
    logits = torch.from_numpy(case.calibration_logits)
    score = APS(randomized=True)
    # Equal logits are ranked by index in the published code and treated alike here.
    distinct = np.array([len(np.unique(row)) == len(row) for row in case.calibration_logits])
    assert distinct.sum() >= 20
    for i, alpha in enumerate(case.data["alphas"]):
        draws = case.data["APS_U_cal"][i]
        oracle = published_aps(case.calibration_logits, draws[:, None])
        own = oracle[np.arange(len(labels)), labels]
        quantile = interpolated(own, 1 - alpha)
        assert quantile == pytest.approx(case.data["APS_qhat"][i], abs=1e-5)
        ours = score.class_scores(logits, None, torch.from_numpy(draws)).numpy()
        np.testing.assert_allclose(ours[distinct], oracle[distinct], atol=1e-5)
        # The draws of the test images count the other way round.
        test = published_aps(case.test_logits, 1 - case.data["APS_U_test"][i])
        differ = (test <= quantile) != case.sets("APS")[i]
        assert (np.abs(test - quantile)[differ] < 1e-5).all()
