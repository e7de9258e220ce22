"""Which images are shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chiqpm.errors import ChiqpmError
from chiqpm.inference import Answers
from chiqpm.inspection import choose_images


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 4))
def test_choices_are_what_they_are_called(seed, images, each):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(images, 5)).astype(np.float32)
    labels = np.where(generator.random(images) < 0.6, logits.argmax(axis=1), generator.integers(0, 5, images))
    answers = Answers(features_NK=logits, labels_N=labels, logits_NC=logits)
    sets = [logits >= logits.max(axis=1, keepdims=True) - gap for gap in (0.1, 0.6)]
    chosen = choose_images(answers, sets, [0.8, 0.95], each=each)
    for kind in ("right", "uncertain", "wrong"):
        places = [choice.place for choice in chosen if choice.kind == kind]
        assert len(places) == len(set(places)) <= each
    for choice in chosen:
        size = sets[[0.8, 0.95].index(choice.coverage)][choice.place].sum()
        right = answers.predicted_N[choice.place] == labels[choice.place]
        assert right == (choice.kind != "wrong")
        if choice.kind == "right":
            assert size == 1
        if choice.kind == "uncertain":
            assert size > 1
    wrong = int((answers.predicted_N != labels).sum())
    assert sum(choice.kind == "wrong" for choice in chosen) == min(each, wrong)


def test_different_classes_come_first():
    labels = np.array([0, 0, 0, 1, 2])
    logits = np.eye(3)[labels] * np.array([[5], [4], [3], [2], [1]])
    answers = Answers(features_NK=logits, labels_N=labels, logits_NC=logits)
    chosen = choose_images(answers, [np.eye(3, dtype=bool)[labels]], [0.9], each=4)
    assert [choice.place for choice in chosen] == [0, 3, 4, 1]


def test_sets_that_do_not_belong_to_the_answers():
    answers = Answers(features_NK=np.eye(2), labels_N=np.array([0, 1]), logits_NC=np.eye(2))
    with pytest.raises(ChiqpmError, match="for each coverage"):
        choose_images(answers, [np.ones((3, 2), dtype=bool)], [0.9])
    with pytest.raises(ChiqpmError, match="for each coverage"):
        choose_images(answers, [], [])
