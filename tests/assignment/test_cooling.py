import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chiqpm.assignment import annealer
from chiqpm.assignment.annealer import _cooling


@given(st.integers(0, 60_000_000), st.floats(0.02, 2.0), st.floats(0.001, 0.01))
def test_with_time_enough_all_steps_are_done_while_it_cools_from_hot_to_cold(steps, hot, cold):
    parts = list(_cooling(steps, hot, cold, math.inf))
    assert sum(part for part, _, _ in parts) == steps
    if parts:
        assert parts[0][1] == hot
        assert parts[-1][2] == pytest.approx(cold)
    assert all(warm > cool for _, warm, cool in parts)
    assert all(former[2] == pytest.approx(latter[1]) for former, latter in itertools.pairwise(parts))


@given(st.integers(1, 60_000_000))
def test_the_clock_is_looked_at_often_in_annealings_of_any_length(steps):
    sizes = [part for part, _, _ in _cooling(steps, 1.0, 0.1, math.inf)]
    assert max(sizes) <= 200_000
    assert len(sizes) >= min(steps, 11)


def test_where_the_time_is_short_it_cools_with_the_clock(monkeypatch):
    now = iter(itertools.count(0.0, 1.0))
    monkeypatch.setattr(annealer.time, "monotonic", lambda: next(now))
    parts = list(_cooling(1_000_000_000, 1.0, 0.01, 4.0))
    assert len(parts) == 4
    assert [warm for _, warm, _ in parts] == pytest.approx([0.01 ** (i / 4) for i in range(4)])
    assert list(_cooling(1000, 1.0, 0.1, 0.0)) != []
