"""The tree on a page: every class is there once, the set in the open, long lists folded."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from chiqpm.explain import explain_sample
from chiqpm.markup.environment import environment, feature_style
from chiqpm.markup.pictures import data_url, heat_picture, panel, place_words
from chiqpm.markup.tree import class_mark, heat_pictures, tree_steps

SPEC = importlib.util.spec_from_file_location("synthetic", Path(__file__).parents[1] / "synthetic_run.py")


@pytest.fixture(scope="module")
def assignment():
    module = importlib.util.module_from_spec(SPEC)
    SPEC.loader.exec_module(module)
    return module.assignment


def explained(assignment, classes, in_set, *, per_class=5, letters=8, true_class=None):
    weight = assignment(classes, 50, per_class)
    generator = np.random.default_rng(classes)
    features = generator.uniform(0, 3, 50)
    members = np.zeros(classes, dtype=bool)
    logits = features @ weight.T
    members[np.argsort(-logits)[:in_set]] = True
    names = [f"{c:04d}".ljust(letters, "x") for c in range(classes)]
    return explain_sample(
        features,
        generator.random((50, 6, 6)),
        logits,
        weight,
        members,
        active_mean_K=np.ones(50),
        class_names=names,
        coverage=0.9,
        true_class=true_class,
    )


@pytest.mark.parametrize("classes", [2, 48, 200, 1000])
@pytest.mark.parametrize("in_set", [1, 2, 40])
@pytest.mark.parametrize("letters", [8, 120])
def test_every_other_class_is_in_the_tree_once(assignment, classes, in_set, letters):
    explanation = explained(assignment, classes, in_set, letters=letters)
    steps = tree_steps(explanation, ("",) * 5)
    marks = [m for s in steps for g in (*s.groups, *s.folded) for m in (*g.shown, *g.folded)]
    assert sorted(mark.index for mark in marks) == sorted(set(range(classes)) - {explanation.predicted})
    assert {m.index for m in marks if m.in_set} == set(explanation.set_classes) - {explanation.predicted}
    assert steps[0].before == classes
    assert sum(step.leaving for step in steps) == classes - 1
    open_names = [m.name for s in steps for g in s.groups for m in g.shown]
    assert len(open_names) <= 5 * 13 * 6
    for step in steps:
        assert step.folded_classes == sum(len(g.shown) + len(g.folded) for g in step.folded)
        if in_set == 2:
            assert not [m for g in step.folded for m in (*g.shown, *g.folded) if m.in_set]


def test_the_true_class_stands_first_in_its_group(assignment):
    base = explained(assignment, 300, 3)
    largest = max((g for s in tree_steps(base, ("",) * 5) for g in s.groups), key=lambda g: len(g.folded))
    truth = largest.folded[-1].index
    steps = tree_steps(explained(assignment, 300, 3, true_class=truth), ("",) * 5)
    firsts = [g.shown[0] for s in steps for g in (*s.groups, *s.folded)]
    assert [mark.index for mark in firsts if mark.is_true] == [truth]


def test_maps_are_the_same_at_every_coverage_and_absent_without_a_picture(assignment):
    explanation = explained(assignment, 48, 2)
    surface = panel(np.full((60, 80, 3), 90, dtype=np.uint8))
    pictures = heat_pictures(explanation, surface)
    assert len(set(pictures)) == 5
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in pictures)
    assert heat_pictures(explanation, None) == ("",) * 5


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3), (2000, 1500)])
def test_pictures_of_any_shape_become_small(size):
    image = np.full((*size, 3), 120, dtype=np.uint8)
    surface = panel(image)
    assert min(surface.shape[:2]) >= 1
    assert max(surface.shape[:2]) <= 400
    assert len(data_url(surface)) < 40_000
    assert len(heat_picture(surface, 3, np.eye(5), 1.0)) < 40_000


def test_a_silent_feature_leaves_the_picture_without_an_outline():
    surface = panel(np.full((100, 100, 3), 120, dtype=np.uint8))
    assert heat_picture(surface, 3, np.eye(5), 0.0) == heat_picture(surface, 7, np.zeros((5, 5)), 1.0)


@pytest.mark.parametrize("index", range(60))
def test_words_on_a_feature_are_legible(index):
    from chiqpm.explain import Feature
    from chiqpm.explain.drawing.colours import rgb

    def luminance(colour):
        linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    style = dict(part.split(":") for part in feature_style(Feature(index, "")).split(";"))
    pair = sorted(map(luminance, style.values()))
    assert pair[1] / pair[0] >= 4.5


def test_templates_escape_and_refuse_what_is_undefined(assignment):
    explanation = explained(assignment, 48, 2)
    template = environment().from_string('{% from "tree.html" import class_mark %}{{ class_mark(mark) }}')
    mark = class_mark(explanation, explanation.predicted)
    assert "✓" in template.render(mark=mark)
    with pytest.raises(Exception, match="undefined"):
        template.render()


def test_places_are_named():
    assert place_words((0.9, 0.5)) == "at the lower middle"
    assert place_words((0.5, 0.99)) == "at the right"
