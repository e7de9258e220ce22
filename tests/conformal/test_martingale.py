"""The monitor: false alarms as promised, true ones soon."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from chiqpm.conformal.martingale import ExchangeabilityMonitor
from chiqpm.errors import ChiqpmError


@pytest.mark.parametrize("levels", [None, 2])
def test_false_alarms_are_as_rare_as_promised(levels):
    generator, alarms = np.random.default_rng(0), 0
    for seed in range(150):
        scores = generator.normal(size=260)
        scores = scores if levels is None else np.floor(scores * levels)
        alarms += ExchangeabilityMonitor(scores[:60], false_alarm=0.1, seed=seed).update(scores[60:]).alarm
    assert alarms <= 150 * 0.1 + 3 * np.sqrt(150 * 0.1 * 0.9)


@pytest.mark.parametrize("shift", [1.0, -1.0])
def test_a_shift_is_noticed_soon_and_where_it_began(shift):
    generator = np.random.default_rng(1)
    monitor = ExchangeabilityMonitor(torch.from_numpy(generator.normal(size=300)), false_alarm=0.01, seed=0)
    monitor.update(generator.normal(size=100))
    assert not monitor.alarm
    monitor.update(shift + generator.normal(size=150))
    assert 100 < monitor.alarm_at < 250
    assert monitor.log10_capital >= 2


def test_a_restored_monitor_goes_on_as_if_nothing_had_happened():
    generator = np.random.default_rng(2)
    scores = np.floor(generator.normal(size=200) * 3)
    whole = ExchangeabilityMonitor(scores[:50], seed=3).update(scores[50:])
    first = ExchangeabilityMonitor(scores[:50], seed=3).update(scores[50:120])
    second = ExchangeabilityMonitor.from_state(json.loads(json.dumps(first.state()))).update(scores[120:])
    assert second.state() == whole.state()


@pytest.mark.parametrize(
    "call",
    [
        lambda: ExchangeabilityMonitor(np.zeros(3), false_alarm=0, seed=0),
        lambda: ExchangeabilityMonitor(np.zeros(3), jump=0, seed=0),
        lambda: ExchangeabilityMonitor(np.zeros(0), seed=0),
        lambda: ExchangeabilityMonitor(np.zeros((3, 1)), seed=0),
        lambda: ExchangeabilityMonitor(np.array([np.nan]), seed=0),
        lambda: ExchangeabilityMonitor(np.zeros(3), seed=0).update([np.nan]),
        lambda: ExchangeabilityMonitor.from_state({}),
        lambda: ExchangeabilityMonitor.from_state({"format": 1}),
    ],
)
def test_wrong_input_is_named(call):
    with pytest.raises(ChiqpmError):
        call()
