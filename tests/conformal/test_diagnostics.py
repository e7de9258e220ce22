"""Coverage diagnostics against counts by hand and exact laws."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chiqpm.conformal.diagnostics import diagnose
from chiqpm.conformal.intervals import clopper_pearson, coverage_band
from chiqpm.errors import ChiqpmError


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.floats(0.5, 0.99), st.data())
def test_clopper_pearson_inverts_the_binomial_test(trials, confidence, data):
    hits = data.draw(st.integers(0, trials))
    rate = clopper_pearson(hits, trials, confidence)
    tail = (1 - confidence) / 2
    assert (rate.hits, rate.trials, rate.value) == (hits, trials, hits / trials)
    assert (rate.low == 0) == (hits == 0)
    assert (rate.high == 1) == (hits == trials)
    if hits:
        assert stats.binom.sf(hits - 1, trials, rate.low) == pytest.approx(tail, rel=1e-6)
    if hits < trials:
        assert stats.binom.cdf(hits, trials, rate.high) == pytest.approx(tail, rel=1e-6)


def test_an_interval_without_an_image_says_nothing():
    rate = clopper_pearson(0, 0)
    assert np.isnan(rate.value) and (rate.low, rate.high) == (0.0, 1.0)


def test_the_band_holds_the_coverage_of_simulated_uniform_scores():
    generator = np.random.default_rng(0)
    inside = 0
    low, high = coverage_band(49, 60, 0.8, confidence=0.9)
    for _ in range(1000):
        threshold = np.sort(generator.random(49))[39]
        inside += low <= (generator.random(60) <= threshold).mean() <= high
    assert 0.87 <= inside / 1000 <= 0.97
    assert coverage_band(8, 60, 0.9) == (1.0, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: clopper_pearson(5, 4),
        lambda: clopper_pearson(1, 4, confidence=1.0),
        lambda: coverage_band(0, 4, 0.9),
        lambda: coverage_band(4, 0, 0.9),
        lambda: coverage_band(4, 4, 0.9, confidence=0.0),
        lambda: coverage_band(4, 4, 1.0),
    ],
)
def test_numbers_out_of_range_are_refused(call):
    with pytest.raises(ChiqpmError, match="must"):
        call()


def example():
    """60 images of 3 classes: class 0 always covered, class 1 half, class 2 never; sizes 1, 2 and 0."""
    labels = np.repeat([0, 1, 2], 20)
    sets = np.zeros((60, 3), bool)
    sets[:20, 0] = True
    sets[20:40, 0] = True
    sets[20:30, 1] = True
    sets[30:40, 2] = True
    return sets, labels


def test_every_part_is_counted():
    sets, labels = example()
    logits = np.where(np.eye(3, dtype=bool)[labels], 1.0, 0.0)
    logits[40:] = [2.0, 1.0, 0.0]
    result = diagnose(
        sets,
        labels,
        coverage=0.9,
        logits_BC=logits,
        levels_B=labels,
        groups={"camera": ["b", "a"] * 30, "night": np.arange(60) >= 40},
    )
    assert result.coverage.hits == 30 and result.coverage.trials == 60
    assert result.mean_size == pytest.approx(1.0) and result.median_size == 1.0
    assert result.empty.hits == 20 and result.full.hits == 0
    assert result.size_histogram == {0: 20, 1: 20, 2: 20}
    assert {k: v.value for k, v in result.by["class"].items()} == {"0": 1.0, "1": 0.5, "2": 0.0}
    assert {k: v.value for k, v in result.by["size"].items()} == {"0": 0.0, "1": 1.0, "2": 0.5}
    assert {k: v.trials for k, v in result.by["difficulty"].items()} == {"1": 40, "3": 20}
    assert set(result.by["level"]) == {"0", "1", "2"}
    assert {k: v.value for k, v in result.by["camera"].items()} == {"a": 0.5, "b": 0.5}
    assert result.by["night"]["True"].value == 0.0
    assert result.coverage_gap == pytest.approx(100 * (0.1 + 0.4 + 0.9) / 3)
    assert result.size_stratified_violation == pytest.approx(0.4)
    assert result.worst.coverage.value == 0.0 and result.worst.suspicious
    assert "asked for: 90.0%" in result.sentence() and "more than chance explains" in result.sentence()
    json.dumps(result.to_dict())


def test_chance_is_called_chance_and_small_slices_are_not_judged():
    sets, labels = example()
    sets[:] = True
    sets[:2, 0] = False
    result = diagnose(torch.from_numpy(sets), torch.from_numpy(labels), coverage=0.9)
    assert "may be chance" in result.sentence()
    assert result.full.hits == 58
    alone = diagnose(sets, labels, coverage=0.9, min_count=61)
    assert alone.worst is None and alone.size_stratified_violation == 0.0
    assert "least often" not in alone.sentence()


def test_wrong_input_is_named():
    sets, labels = example()
    with pytest.raises(TypeError, match="booleans"):
        diagnose(sets.astype(int), labels, coverage=0.9)
    with pytest.raises(ChiqpmError, match="at least one image"):
        diagnose(sets[:0], labels[:0], coverage=0.9)
    with pytest.raises(ChiqpmError, match="shape of the sets"):
        diagnose(sets, labels, coverage=0.9, logits_BC=np.zeros((60, 4)))
    with pytest.raises(ChiqpmError, match="levels must have one value"):
        diagnose(sets, labels, coverage=0.9, levels_B=labels[1:])
    with pytest.raises(ChiqpmError, match="group 'camera' must have one value"):
        diagnose(sets, labels, coverage=0.9, groups={"camera": [1]})
    for name in ("class", "level"):
        with pytest.raises(ChiqpmError, match="another name"):
            diagnose(sets, labels, coverage=0.9, groups={name: labels})
    with pytest.raises(ChiqpmError, match="strictly between"):
        diagnose(sets, labels, coverage=1.0)
    with pytest.raises(ChiqpmError, match=r"0\.\.2"):
        diagnose(sets, labels + 1, coverage=0.9)
