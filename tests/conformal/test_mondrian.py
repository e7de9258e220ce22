"""Thresholds by class, cluster and group."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from chiqpm.conformal import APS, THR, ConformalPredictor, HierarchicalScore, SmallCalibrationWarning
from chiqpm.conformal.clusters import cluster_classes
from chiqpm.conformal.mondrian import MondrianPredictor
from chiqpm.errors import ChiqpmError


def uneven(seed, num_images=600, num_classes=4):
    """Logits whose quality depends on the class and on the group: even classes and group 'day' are easy."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(num_classes, size=num_images)
    groups = generator.choice(["day", "night"], size=num_images)
    strength = np.where(labels % 2 == 0, 4.0, 1.0) * np.where(groups == "day", 1.0, 0.3)
    logits = generator.normal(size=(num_images, num_classes)) + strength[:, None] * np.eye(num_classes)[labels]
    return logits, labels, groups


def test_each_class_has_the_threshold_of_its_own_images():
    logits, labels, _ = uneven(0)
    predictor = MondrianPredictor(THR(), "class").calibrate(logits[:300], labels[:300])
    sets = predictor.predict_set(logits[300:], coverage=0.9)
    values = predictor.thresholds(0.9)
    for c in range(4):
        own = labels[:300] == c
        alone = ConformalPredictor(THR()).calibrate(logits[:300][own], labels[:300][own])
        assert values[str(c)] == alone.threshold(0.9).value
        np.testing.assert_array_equal(sets[:, c], alone.predict_set(logits[300:], coverage=0.9)[:, c])


def test_each_group_has_the_threshold_of_its_own_images():
    logits, labels, groups = uneven(1)
    predictor = MondrianPredictor(APS(), "group").calibrate(logits[:300], labels[:300], groups_M=groups[:300])
    sets = predictor.predict_set(torch.from_numpy(logits[300:]), coverage=0.8, groups_B=groups[300:].tolist())
    assert isinstance(sets, torch.Tensor)
    for name in ("day", "night"):
        own, test = groups[:300] == name, groups[300:] == name
        alone = ConformalPredictor(APS()).calibrate(logits[:300][own], labels[:300][own])
        expected = alone.predict_set(logits[300:][test], coverage=0.8)
        np.testing.assert_array_equal(sets.numpy()[test], expected)
    assert predictor.predict_set(logits[:0], coverage=0.8, groups_B=np.array([], str)).shape == (0, 4)


def test_the_promise_holds_in_every_class_where_one_threshold_breaks_it():
    marginal, conditional = np.zeros(4), np.zeros(4)
    for seed in range(40):
        logits, labels, _ = uneven(seed)
        one = ConformalPredictor(THR()).calibrate(logits[:300], labels[:300])
        many = MondrianPredictor(THR(), "class").calibrate(logits[:300], labels[:300])
        for total, predictor in ((marginal, one), (conditional, many)):
            covered = predictor.predict_set(logits[300:], coverage=0.8)[np.arange(300), labels[300:]]
            total += [covered[labels[300:] == c].mean() / 40 for c in range(4)]
    assert marginal.min() < 0.75
    assert conditional.min() > 0.77 and conditional.max() < 0.85


def test_small_cells_are_pooled_and_unseen_classes_are_in_every_set():
    logits, labels, _ = uneven(2, num_classes=6)
    keep = (labels < 3) | ((labels < 5) & (np.arange(600) < 60))
    predictor = MondrianPredictor(THR(), "class", min_count=30).calibrate(logits[keep], labels[keep])
    assert predictor.pooled == ("3", "4")
    values = predictor.thresholds(0.9)
    assert set(values) == {"0", "1", "2", "pooled"}
    pool = keep & (labels >= 3)
    alone = ConformalPredictor(THR()).calibrate(logits[pool], labels[pool])
    assert values["pooled"] == alone.threshold(0.9).value
    assert predictor.predict_set(logits, coverage=0.9)[:, 5].all()


def test_a_cell_with_too_few_images_is_named():
    logits, labels, groups = uneven(3)
    groups[:12], groups[12:] = "dusk", "day"
    predictor = MondrianPredictor(THR(), "group", min_count=1).calibrate(logits, labels, groups_M=groups)
    with pytest.warns(SmallCalibrationWarning, match=r"12 calibration image\(s\) of group dusk"):
        sets = predictor.predict_set(logits, coverage=0.95, groups_B=groups)
    assert sets[:12].all() and not sets[12:].all()
    predictor = MondrianPredictor(THR(), "group", min_count=15).calibrate(logits, labels, groups_M=groups)
    with pytest.warns(SmallCalibrationWarning, match="1 pooled cell"):
        predictor.thresholds(0.95)


def test_clusters_join_classes_with_alike_scores():
    logits, labels, _ = uneven(4, num_images=3000, num_classes=9)
    keep = (labels != 8) | (np.cumsum(labels == 8) <= 3)
    cells = cluster_classes(THR(), logits[keep][:1500], labels[keep][:1500], num_clusters=2, seed=0)
    assert cells[8] == 0
    assert len(set(cells[0:8:2])) == 1 and len(set(cells[1:8:2])) == 1 and cells[0] != cells[1]
    predictor = MondrianPredictor(THR(), "class", cells_C=cells).calibrate(logits[1500:], labels[1500:])
    assert len(predictor.thresholds(0.9)) == 3
    assert (cluster_classes(THR(), logits[:5], labels[:5], num_clusters=2, seed=0, min_count=50) == 0).all()
    weight = np.eye(9)
    fixed = HierarchicalScore(weight, "level_limited", level=1)
    assert cluster_classes(fixed, logits, labels, np.abs(logits), num_clusters=3, seed=0).max() <= 3


@pytest.mark.parametrize("by", ["class", "group"])
def test_a_saved_predictor_gives_the_same_sets(by, tmp_path):
    logits, labels, groups = uneven(5)
    groups = groups if by == "group" else None
    cells = np.array([0, 1, 1, 0]) if by == "class" else None
    predictor = MondrianPredictor(THR(), by, cells_C=cells).calibrate(logits, labels, groups_M=groups)
    predictor.save(tmp_path / "m.npz")
    copy = MondrianPredictor.load(tmp_path / "m.npz")
    for coverage in (0.5, 0.9):
        np.testing.assert_array_equal(
            copy.predict_set(logits, coverage=coverage, groups_B=groups),
            predictor.predict_set(logits, coverage=coverage, groups_B=groups),
        )
    with pytest.raises(ChiqpmError, match="no state of a MondrianPredictor"):
        MondrianPredictor.from_state(ConformalPredictor(THR()).calibrate(logits, labels).state())
    state = predictor.state()
    state["arrays"]["cell_counts"] = np.array([1])
    with pytest.raises(ChiqpmError, match="don't fit"):
        MondrianPredictor.from_state(state)


def test_wrong_input_is_named():
    logits, labels, groups = uneven(6)
    with pytest.raises(ChiqpmError, match="by must be one of"):
        MondrianPredictor(THR(), "colour")
    with pytest.raises(ChiqpmError, match="fixed level"):
        MondrianPredictor(HierarchicalScore(np.eye(4), "level_limited"), "class")
    with pytest.raises(ChiqpmError, match="fixed level"):
        cluster_classes(HierarchicalScore(np.eye(4), "level_limited"), logits, labels, num_clusters=2, seed=0)
    with pytest.raises(ChiqpmError, match="num_clusters"):
        cluster_classes(THR(), logits, labels, num_clusters=0, seed=0)
    with pytest.raises(ChiqpmError, match="min_count"):
        MondrianPredictor(THR(), "class", min_count=0)
    with pytest.raises(ChiqpmError, match="needs by='class'"):
        MondrianPredictor(THR(), "group", cells_C=[0, 1, 0, 1])
    with pytest.raises(TypeError, match="cells_C must be integers"):
        MondrianPredictor(THR(), "class", cells_C=["a", "b"])
    with pytest.raises(ChiqpmError, match="one cell per class"):
        MondrianPredictor(THR(), "class", cells_C=[0, 1]).calibrate(logits, labels)
    by_class, by_group = MondrianPredictor(THR(), "class"), MondrianPredictor(THR(), "group")
    with pytest.raises(ChiqpmError, match="isn't calibrated"):
        by_class.predict_set(logits, coverage=0.9)
    with pytest.raises(ChiqpmError, match="isn't calibrated"):
        by_class.state()
    with pytest.raises(ChiqpmError, match="use by='group'"):
        by_class.calibrate(logits, labels, groups_M=groups)
    with pytest.raises(ChiqpmError, match="needs the group of each image"):
        by_group.calibrate(logits, labels)
    with pytest.raises(ChiqpmError, match="one value per image"):
        by_group.calibrate(logits, labels, groups_M=torch.zeros(3))
    by_group.calibrate(logits, labels, groups_M=groups)
    with pytest.raises(ChiqpmError, match=r"group 'dusk' has no calibration images.*day, night"):
        by_group.predict_set(logits[:2], coverage=0.9, groups_B=["dusk", "day"])
    with pytest.raises(ChiqpmError, match="strictly between"), warnings.catch_warnings():
        by_group.predict_set(logits, coverage=0.0, groups_B=groups)
