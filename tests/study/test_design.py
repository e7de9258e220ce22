"""Randomisation and counterbalancing of the study."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.errors import ChiqpmError
from chiqpm.study import ARMS, make_plans
from chiqpm.study.design import CELLS

PRACTICE = ["p0", "p1", "p2"]


def strata(count):
    return {f"i{number}": "wrong" if number % 3 == 0 else "single" for number in range(count)}


@given(st.integers(1, 8), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_after_18_readers_everything_is_balanced(thirds, seed):
    plans = make_plans(strata(3 * thirds), PRACTICE, CELLS, seed)
    seen, places, practice = Counter(), Counter(), Counter()
    for plan in plans:
        shown = [item for block in plan.blocks for item in block.trials]
        assert sorted(shown) == sorted(strata(3 * thirds))
        for place, block in enumerate(plan.blocks):
            assert len(block.trials) == thirds
            places[block.arm, place] += 1
            practice[block.arm, block.practice] += 1
            seen.update((item, block.arm, place) for item in block.trials)
    assert set(places.values()) == {6}
    assert set(practice.values()) == {6}
    assert set(seen.values()) == {2} and len(seen) == 3 * thirds * 9


@given(st.integers(1, 10), st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_groups_are_balanced_over_the_strata(thirds, seed):
    given_strata = strata(3 * thirds)
    (plan,) = make_plans(given_strata, PRACTICE, 1, seed)
    wrong = [sum(given_strata[item] == "wrong" for item in block.trials) for block in plan.blocks]
    assert max(wrong) - min(wrong) <= 1


def test_a_seed_gives_the_same_plans_and_another_one_others():
    first, again, other = (make_plans(strata(18), PRACTICE, 20, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert make_plans(strata(18), PRACTICE, 40, 0)[:20] == first
    assert first[0].blocks[0].trials != first[18].blocks[0].trials, "the order is drawn for each reader"
    assert [block.arm for block in first[0].blocks] == list(ARMS)


@pytest.mark.parametrize(
    ("items", "practice", "readers", "words"),
    [
        (4, PRACTICE, 1, "multiple of 3"),
        (0, PRACTICE, 1, "multiple of 3"),
        (3, PRACTICE[:2], 1, "practice"),
        (3, ["i0", "p1", "p2"], 1, "practice"),
        (3, PRACTICE, 0, "readers"),
    ],
)
def test_what_cannot_be_balanced_is_refused(items, practice, readers, words):
    with pytest.raises(ChiqpmError, match=words):
        make_plans(strata(items), practice, readers, 0)
