"""The flat scores against their published definitions, one image and class at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.conformal import APS, RAPS, SAPS, THR, Margin, TopK
from chiqpm.errors import ChiqpmError


def definition(name, p, u):
    """Scores of the classes with probabilities p; equal ones are one step, with the rank of the last."""
    result = []
    for own in p:
        above, tied, rank = p[p > own].sum(), p[p == own].sum(), (p >= own).sum()
        others = np.delete(p, int(np.flatnonzero(p == own)[0]))
        result.append(
            {
                "thr": -np.log(own),
                "aps": above + u * tied,
                "raps": above + u * tied + 0.1 * max(0, rank - 2),
                "saps": u * own if rank == 1 else p.max() + (rank - 2 + u) * 0.3,
                "topk": rank - 1 + u,
                "margin": others.max() - own,
            }[name]
        )
    return np.array(result)


def make(name, randomized):
    return {
        "thr": THR,
        "aps": lambda: APS(randomized),
        "raps": lambda: RAPS(0.1, 2, randomized),
        "saps": lambda: SAPS(0.3, randomized),
        "topk": lambda: TopK(randomized),
        "margin": Margin,
    }[name]()


@pytest.mark.parametrize("randomized", [False, True])
@pytest.mark.parametrize("name", ["thr", "aps", "raps", "saps", "topk", "margin"])
@settings(max_examples=10, deadline=None)
@given(logits=st.lists(st.integers(-12, 4), min_size=2, max_size=7), u=st.floats(0, 1, exclude_max=True))
def test_a_score_is_its_definition(name, randomized, logits, u):
    logits = torch.tensor([logits, logits[::-1]], dtype=torch.float64) / 2
    score = make(name, randomized)
    ours = score.class_scores(logits, None, torch.tensor([u, u], dtype=torch.float64))
    p = np.exp(logits.numpy())
    # Rounded, so that equal logits have equal probabilities whatever their place in the sum.
    p = np.round(p / np.array([[row.sum()] for row in p]), 14)
    expected = [definition(name, row, u if score.randomized else 1.0) for row in p]
    np.testing.assert_allclose(ours, expected, atol=1e-9, rtol=1e-6)


def test_probabilities_that_round_to_zero_keep_their_order():
    logits = torch.tensor([[0.0, -200.0, -300.0, -250.0]])
    assert THR().class_scores(logits).argsort(dim=1).tolist() == [[0, 1, 3, 2]]
    assert TopK().class_scores(logits).tolist() == [[1, 2, 4, 3]]


def test_one_class_alone_is_scored():
    logits = torch.zeros(2, 1)
    for name in ("thr", "aps", "raps", "saps", "topk", "margin"):
        assert make(name, False).class_scores(logits).shape == (2, 1)


def test_wrong_options_are_refused():
    with pytest.raises(ChiqpmError, match="penalty"):
        RAPS(penalty=-0.1)
    with pytest.raises(ChiqpmError, match="k_reg=-1"):
        RAPS(k_reg=-1)
    with pytest.raises(ChiqpmError, match="above 0"):
        SAPS(weight=0.0)
    with pytest.raises(ChiqpmError, match="uniform_B"):
        APS(randomized=True).class_scores(torch.zeros(1, 3))


def test_a_score_is_shown_as_the_call_that_makes_it():
    assert repr(RAPS(0.1, 2)) == "RAPS(penalty=0.1, k_reg=2, randomized=False)"
    assert repr(THR()) == "THR()"
