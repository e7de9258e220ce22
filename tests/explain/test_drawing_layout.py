"""Nothing in a figure overlaps, is cut off or leaves the page."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from chiqpm.errors import ChiqpmError
from chiqpm.explain import contrast
from chiqpm.explain.drawing import draw_contrast, draw_explanation, draw_feature, draw_model, draw_pairs


class Case(NamedTuple):
    classes: int
    per_class: int
    set_size: int
    kind: str
    size: tuple[int, int]
    with_examples: bool
    width: float = 10.0


@pytest.mark.parametrize(
    "case",
    [
        Case(2, 3, 1, "plain", (160, 160), True),
        Case(2, 5, 2, "long", (160, 160), False),
        Case(48, 5, 2, "plain", (160, 160), True),
        Case(48, 5, 48, "greek", (300, 90), False),
        Case(48, 3, 0, "cjk", (90, 300), True),
        Case(48, 8, 9, "odd", (8, 8), True),
        Case(200, 8, 200, "one-word", (1, 1), True),
        Case(200, 3, 6, "long", (4, 400), True),
        Case(1000, 5, 3, "plain", (640, 480), False),
        Case(1000, 8, 1000, "long", (160, 160), False),
        Case(48, 5, 2, "plain", (160, 160), True, 4.1),
        Case(48, 8, 48, "one-word", (300, 20), True, 3.0),
        Case(1000, 5, 40, "cjk", (160, 160), False, 4.1),
        Case(200, 5, 9, "long", (160, 160), True, 7.3),
    ],
)
def test_an_explanation_fits_its_page(cases: SimpleNamespace, case: Case) -> None:
    classes, per_class, set_size, kind, size, with_examples, width = case
    found = cases.sample(
        classes,
        per_class,
        set_size,
        class_names=cases.names(kind, classes),
        feature_names=cases.names(kind, max(per_class + 3, 50 if classes > 4 else 0)) if with_examples else None,
        true_class=1 if with_examples else None,
    )
    figure = draw_explanation(
        found,
        cases.picture(1, size),
        examples={c: cases.picture(c, size) for c in found.set_classes[:20:2]} if with_examples else None,
        heading=cases.LONG * 3 if with_examples else "",
        footnote=cases.LONG * 3 if with_examples else "",
        width=width,
    )
    figure.set_dpi(80)
    cases.check_layout(figure)
    figure.set_dpi(150)
    words = " ".join(cases.check_layout(figure))
    assert f"all {classes}" in words


@pytest.mark.parametrize(
    ("per_class", "kind", "other", "width"),
    [
        (3, "plain", 1, 10.0),
        (3, "plain", 7, 4.1),
        (5, "long", 1, 4.1),
        (5, "long", 30, 7.3),
        (8, "odd", 7, 10.0),
        (8, "odd", 30, 4.1),
    ],
)
def test_a_contrast_fits_its_page(cases: SimpleNamespace, per_class: int, kind: str, other: int, width: float) -> None:
    weight, labels = cases.assignment(48, 50, per_class), cases.names(kind, 50)
    found = contrast(weight, 0, other, labels[:48], feature_names=labels if other == 1 else None)
    maps, pictures = cases.maps(50), [cases.picture(1), cases.picture(2, (90, 300))]
    values = np.random.default_rng(0).random((3, 50)) * 3
    options = {"features_a": values[:2], "features_b": values[2:], "active_mean_K": np.full(50, 2.0)}
    figure = draw_contrast(
        found,
        pictures,
        np.stack([maps, maps]),
        pictures[:1],
        maps[None],
        width=width,
        **(options if other != 7 else {}),
    )
    words = " ".join(cases.check_layout(figure))
    assert ("own maximum" in words) == (other == 7)


def test_a_page_fits_into_a_figure_of_the_callers(cases: SimpleNamespace) -> None:
    figure = Figure(figsize=(12, 8), dpi=100)
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2)
    found = cases.sample()
    assert draw_explanation(found, cases.picture(), figure=left) is figure
    assert draw_explanation(found, cases.picture(), figure=right) is figure
    cases.check_layout(figure)
    assert len(figure.findobj(AxesImage)) == 2 * (1 + 5 + 1)


class GlobalCase(NamedTuple):
    classes: int
    kind: str
    size: tuple[int, int]
    width: float


GLOBAL_CASES = [
    GlobalCase(2, "plain", (160, 160), 10.0),
    GlobalCase(2, "long", (160, 160), 4.1),
    GlobalCase(48, "odd", (8, 8), 4.1),
    GlobalCase(48, "one-word", (90, 300), 3.0),
    GlobalCase(200, "cjk", (160, 160), 7.3),
    GlobalCase(1000, "greek", (300, 90), 10.0),
]


@pytest.mark.parametrize("case", GLOBAL_CASES)
def test_a_feature_fits_its_page(cases: SimpleNamespace, case: GlobalCase) -> None:
    features, _ = cases.explained(case.classes, kind=case.kind)
    # The first one has two groups, the last one no image.
    feature = features[{48: 1, 1000: -1}.get(case.classes, 0)]
    images = [cases.picture(number, case.size) for number in range(len(feature.top))]
    figure = draw_feature(feature, images, width=case.width)
    figure.set_dpi(90)
    words = " ".join(cases.check_layout(figure))
    assert f"f{feature.index}" in words
    assert ("May stand for two things" in words) == ("polysemantic" in feature.warnings)
    assert case.classes != 200 or "polysemantic" in feature.warnings
    with pytest.raises(ChiqpmError, match="top images, received"):
        draw_feature(features[0], [cases.picture()] * 99)


@pytest.mark.parametrize("case", GLOBAL_CASES)
def test_a_model_fits_its_page(cases: SimpleNamespace, case: GlobalCase) -> None:
    _, model = cases.explained(case.classes, kind=case.kind)
    figure = draw_model(model, width=case.width)
    figure.set_dpi(90)
    words = cases.check_layout(figure)
    for flagged in model.untrusted:
        assert any(f"⚠ f{flagged.index}" in word for word in words) or "… and more" in " ".join(words)
    assert figure.get_size_inches()[1] < 40


@pytest.mark.parametrize("case", GLOBAL_CASES)
def test_pairs_fit_their_page(cases: SimpleNamespace, case: GlobalCase) -> None:
    _, model = cases.explained(case.classes, kind=case.kind)
    examples = {c: cases.picture(c, case.size) for pair in model.pairs[:4] for c in (pair.class_a, pair.class_b)}
    figure = draw_pairs(model, examples=examples if case.classes != 200 else None, width=case.width)
    figure.set_dpi(90)
    cases.check_layout(figure)
    with pytest.raises(ChiqpmError, match="there is no pair to draw"):
        draw_pairs(model, most=0)


@pytest.mark.parametrize("width", [2.9, float("nan"), float("inf"), -1.0, 1e9])
def test_a_page_of_an_impossible_width_is_refused(cases: SimpleNamespace, width: float) -> None:
    features, model = cases.explained(2)
    for draw in (
        lambda: draw_explanation(cases.sample(), cases.picture(), width=width),
        lambda: draw_feature(features[0], [], width=width),
        lambda: draw_model(model, width=width),
        lambda: draw_pairs(model, width=width),
    ):
        with pytest.raises(ChiqpmError, match="at least 3 inches wide"):
            draw()


def test_global_figures_fit_into_a_figure_of_the_callers(cases: SimpleNamespace) -> None:
    features, model = cases.explained(48)
    figure = Figure(figsize=(16, 8), dpi=80)
    FigureCanvasAgg(figure)
    parts = figure.subfigures(1, 3)
    draw_feature(features[0], [cases.picture(n) for n in range(6)], figure=parts[0])
    draw_model(model, figure=parts[1])
    draw_pairs(model, figure=parts[2])
    cases.check_layout(figure)
