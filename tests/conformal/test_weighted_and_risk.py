"""Coverage under a known shift, and bounds on the cost of missed classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chiqpm.conformal import THR, ConformalPredictor, HierarchicalScore, SmallCalibrationWarning
from chiqpm.conformal.risk import RiskControlPredictor
from chiqpm.conformal.weighted import WeightedPredictor
from chiqpm.errors import ChiqpmError


def shifted(seed, night, num_images=300):
    """Images of which a share is hard; hard ones are told by their group."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(5, size=num_images)
    hard = generator.random(num_images) < night
    logits = generator.normal(size=(num_images, 5)) + np.where(hard, 0.7, 4.0)[:, None] * np.eye(5)[labels]
    return logits, labels, hard


def test_equal_weights_are_no_weights():
    logits, labels, _ = shifted(0, 0.3)
    for size in (19, 100):
        plain = ConformalPredictor(THR()).calibrate(logits[:size], labels[:size])
        weighted = WeightedPredictor(THR()).calibrate(logits[:size], labels[:size], weights_M=np.full(size, 3.0))
        assert weighted.effective_images == pytest.approx(size)
        for coverage in (0.5, 0.88, 0.9, 0.95):
            np.testing.assert_array_equal(
                weighted.predict_set(logits, coverage=coverage, weights_B=np.full(300, 3.0)),
                plain.predict_set(logits, coverage=coverage),
            )


def test_weights_restore_the_coverage_that_a_shift_takes():
    plain, weighted = [], []
    for seed in range(60):
        logits, labels, hard = shifted(seed, 0.1)
        new_logits, new_labels, new_hard = shifted(seed + 1000, 0.5)
        ratio = {True: 0.5 / 0.1, False: 0.5 / 0.9}
        weights, new_weights = (np.array([ratio[bool(h)] for h in hards]) for hards in (hard, new_hard))
        rows = np.arange(300)
        one = ConformalPredictor(THR()).calibrate(logits, labels)
        two = WeightedPredictor(THR()).calibrate(logits, labels, weights_M=torch.from_numpy(weights))
        plain.append(one.predict_set(new_logits, coverage=0.8)[rows, new_labels].mean())
        sets = two.predict_set(torch.from_numpy(new_logits), coverage=0.8, weights_B=new_weights)
        weighted.append(sets.numpy()[rows, new_labels].mean())
        assert two.effective_images < 200
    assert np.mean(plain) < 0.74
    assert 0.78 <= np.mean(weighted) <= 0.84


def test_a_heavy_test_image_gets_all_classes_and_a_warning():
    logits, labels, _ = shifted(1, 0.3)
    predictor = WeightedPredictor(THR()).calibrate(logits, labels, weights_M=np.ones(300))
    weights = np.where(np.arange(300) < 2, 1000.0, 1.0)
    with pytest.warns(SmallCalibrationWarning, match="of 2 image"):
        sets = predictor.predict_set(logits, coverage=0.9, weights_B=weights)
    assert sets[:2].all() and not sets[2:].all()


def test_costs_of_one_are_coverage():
    logits, labels, _ = shifted(2, 0.3)
    risky = RiskControlPredictor(THR(), np.ones(5)).calibrate(logits[:150], labels[:150])
    plain = ConformalPredictor(THR()).calibrate(logits[:150], labels[:150])
    for coverage in (0.5, 0.88, 0.9, 0.95):
        assert risky.threshold(1 - coverage) == plain.threshold(coverage).value
        np.testing.assert_array_equal(
            risky.predict_set(logits, risk=1 - coverage), plain.predict_set(logits, coverage=coverage)
        )


@pytest.mark.parametrize("ties", [False, True])
def test_the_expected_cost_is_at_most_the_risk(ties):
    cost = torch.tensor([5.0, 1.0, 1.0, 0.0, 0.5])
    totals = []
    for seed in range(150):
        logits, labels, _ = shifted(seed, 0.6)
        logits = np.round(logits) if ties else logits
        predictor = RiskControlPredictor(THR(), cost).calibrate(logits[:150], labels[:150])
        sets = predictor.predict_set(torch.from_numpy(logits[150:]), risk=0.3).numpy()
        missed = ~sets[np.arange(150), labels[150:]]
        totals.append((cost.numpy()[labels[150:]] * missed).mean())
    assert np.mean(totals) <= 0.3 + 0.015
    assert np.mean(totals) >= 0.2


def test_too_few_images_for_the_risk_say_how_many_are_needed():
    logits, labels, _ = shifted(3, 0.3)
    predictor = RiskControlPredictor(THR(), [2, 0, 0, 0, 0]).calibrate(logits[:38], labels[:38])
    with pytest.warns(SmallCalibrationWarning, match=r"38 calibration .* At least 39 "):
        assert predictor.predict_set(logits, risk=0.05).all()
    predictor.calibrate(logits[:39], labels[:39])
    assert np.isfinite(predictor.threshold(0.05))


def test_states_make_the_same_sets_again():
    logits, labels, hard = shifted(4, 0.3)
    weights = np.where(hard, 2.0, 0.5)
    weighted = WeightedPredictor(THR()).calibrate(logits, labels, weights_M=weights)
    copy = WeightedPredictor.from_state(weighted.state())
    np.testing.assert_array_equal(
        copy.predict_set(logits, coverage=0.9, weights_B=weights),
        weighted.predict_set(logits, coverage=0.9, weights_B=weights),
    )
    risky = RiskControlPredictor(THR(), [5, 1, 1, 0, 1]).calibrate(logits, labels)
    again = RiskControlPredictor.from_state(risky.state())
    np.testing.assert_array_equal(again.predict_set(logits, risk=0.2), risky.predict_set(logits, risk=0.2))
    plain = ConformalPredictor(THR()).calibrate(logits, labels).state()
    for kind in (WeightedPredictor, RiskControlPredictor):
        with pytest.raises(ChiqpmError, match=f"no state of a {kind.__name__}"):
            kind.from_state(plain)
    spoilt = risky.state()
    spoilt["arrays"]["calibration_costs_M"] = np.zeros(3)
    with pytest.raises(ChiqpmError, match="don't fit"):
        RiskControlPredictor.from_state(spoilt)


def test_wrong_input_is_named():
    logits, labels, _ = shifted(5, 0.3)
    family = HierarchicalScore(np.eye(5), "level_limited")
    for make in (lambda: WeightedPredictor(family), lambda: RiskControlPredictor(family, np.ones(5))):
        with pytest.raises(ChiqpmError, match="fixed level"):
            make()
    weighted = WeightedPredictor(THR())
    for call in (lambda: weighted.predict_set(logits, coverage=0.9, weights_B=np.ones(300)), weighted.state):
        with pytest.raises(ChiqpmError, match="isn't calibrated"):
            call()
    for weights, message in [
        (np.ones(3), "one number per image"),
        (np.full(300, -1.0), "not negative"),
        (np.full(300, np.nan), "finite"),
        (np.zeros(300), "above 0"),
    ]:
        with pytest.raises(ChiqpmError, match=message):
            weighted.calibrate(logits, labels, weights_M=weights)
    for cost in (np.zeros(5), -np.ones(5), np.ones((5, 1)), np.full(5, np.inf)):
        with pytest.raises(ChiqpmError, match="cost_C must be one finite number"):
            RiskControlPredictor(THR(), cost)
    with pytest.raises(ChiqpmError, match="one cost per class, 5"):
        RiskControlPredictor(HierarchicalScore(np.eye(5)), np.ones(4))
    risky = RiskControlPredictor(THR(), np.ones(5))
    for call in (lambda: risky.threshold(0.1), risky.state):
        with pytest.raises(ChiqpmError, match="isn't calibrated"):
            call()
    for risk in (0, -1, float("nan"), float("inf"), "low"):
        with pytest.raises(ChiqpmError, match="risk must be"):
            risky.threshold(risk)
    with pytest.raises(ChiqpmError, match="5 are expected"):
        risky.calibrate(logits[:, :4], labels)
