"""Every number that a run can hold has a meaning."""

from __future__ import annotations

import pytest

from chiqpm.cli.table import MEANINGS as IN_THE_TERMINAL
from chiqpm.inspection.meanings import certificate_sentence, meaning


@pytest.mark.parametrize("key", [*IN_THE_TERMINAL, "sid@5", "sid@3"])
def test_what_the_terminal_explains_the_report_explains(key):
    found = meaning(key)
    assert found.words
    assert found.reach
    assert (found.better == "none") == ("control" in IN_THE_TERMINAL.get(key, ""))
    assert ("lower" in IN_THE_TERMINAL.get(key, "")) == (found.better == "lower")


def test_nothing_is_claimed_of_an_unknown_number():
    assert meaning("new_number").better == "none"
    assert meaning("new_number").name == "New number"


@pytest.mark.parametrize(
    ("gap", "words"),
    [(None, "not known"), (0.0, "proven to be the best"), (0.0123, "by more than 1.2%: that is proven")],
)
def test_the_certificate_in_words(gap, words):
    assert words in certificate_sentence({"gap": gap}, {"kept": 50, "per_class": 5})
