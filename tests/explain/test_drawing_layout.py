"""Nothing in a figure overlaps, is cut off or leaves the page."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from chiqpm.explain import contrast
from chiqpm.explain.drawing import draw_contrast, draw_explanation

LONG = "Schwarzkehl-Honigfresser mit dem ganz besonders ausführlichen Namen, Jungvogel im Schlichtkleid"


def names(kind: str, classes: int) -> list[str]:
    return {
        "plain": [f"Jay-{i // 4}, {('bib', 'band', 'bare', 'bar')[i % 4]}" for i in range(classes)],
        "long": [f"{LONG} {i}" for i in range(classes)],
        "one-word": [f"{i}" + "Donaudampfschifffahrts" * 6 for i in range(classes)],
        "greek": [f"Αετός ο χρυσός № {i} (жар-птица)" for i in range(classes)],
        "cjk": [f"紅腹錦雞 {i}" for i in range(classes)],
        "odd": [f"$x_{i}$ \\frac & <b>\n\ttab 100% _^ {i}" for i in range(classes)],
    }[kind]


def check_layout(figure: Figure) -> list[str]:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    figure.draw_without_rendering()
    renderer = canvas.get_renderer()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    page = Bbox.from_bounds(0, 0, figure.bbox.width, figure.bbox.height)
    for words, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1, f"{words!r} leaves the page sideways"
        assert page.y0 <= box.y0 and box.y1 <= page.y1, f"{words!r} leaves the page"
    for (words_a, a), (words_b, b) in combinations(boxes, 2):
        # Boxes include the free space above and below the letters: one pixel of that may touch.
        inside = Bbox.intersection(a, b)
        assert inside is None or min(inside.width, inside.height) <= 1.0, f"{words_a!r} and {words_b!r} overlap"
    for picture in figure.findobj(AxesImage):
        shown = picture.get_window_extent(renderer)
        assert page.x0 <= shown.x0 < shown.x1 <= page.x1
        assert page.y0 <= shown.y0 < shown.y1 <= page.y1
        for words, box in boxes:
            inside = Bbox.intersection(box, shown)
            assert inside is None or min(inside.width, inside.height) <= 1.0, f"{words!r} lies on a picture"
    return [words for words, _ in boxes]


class Case(NamedTuple):
    classes: int
    per_class: int
    set_size: int
    kind: str
    size: tuple[int, int]
    with_examples: bool


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
    ],
)
def test_an_explanation_fits_its_page(cases: SimpleNamespace, case: Case) -> None:
    classes, per_class, set_size, kind, size, with_examples = case
    found = cases.sample(
        classes,
        per_class,
        set_size,
        class_names=names(kind, classes),
        feature_names=names(kind, max(per_class + 3, 50 if classes > 4 else 0)) if with_examples else None,
        true_class=1 if with_examples else None,
    )
    figure = draw_explanation(
        found,
        cases.picture(1, size),
        examples={c: cases.picture(c, size) for c in found.set_classes[:20:2]} if with_examples else None,
        heading=LONG * 3 if with_examples else "",
        footnote=LONG * 3 if with_examples else "",
    )
    figure.set_dpi(80)
    check_layout(figure)
    figure.set_dpi(150)
    words = " ".join(check_layout(figure))
    assert f"all {classes} classes" in words


@pytest.mark.parametrize("other", [1, 7, 30])
@pytest.mark.parametrize(("per_class", "kind"), [(3, "plain"), (5, "long"), (8, "odd")])
def test_a_contrast_fits_its_page(cases: SimpleNamespace, per_class: int, kind: str, other: int) -> None:
    weight, labels = cases.assignment(48, 50, per_class), names(kind, 50)
    found = contrast(weight, 0, other, labels[:48], feature_names=labels if other == 1 else None)
    maps, pictures = cases.maps(50), [cases.picture(1), cases.picture(2, (90, 300))]
    values = np.random.default_rng(0).random((3, 50)) * 3
    options = {"features_a": values[:2], "features_b": values[2:], "active_mean_K": np.full(50, 2.0)}
    figure = draw_contrast(
        found, pictures, np.stack([maps, maps]), pictures[:1], maps[None], **(options if other != 7 else {})
    )
    words = " ".join(check_layout(figure))
    assert ("own maximum" in words) == (other == 7)


def test_a_page_fits_into_a_figure_of_the_callers(cases: SimpleNamespace) -> None:
    figure = Figure(figsize=(12, 8), dpi=100)
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2)
    found = cases.sample()
    assert draw_explanation(found, cases.picture(), figure=left) is figure
    assert draw_explanation(found, cases.picture(), figure=right) is figure
    check_layout(figure)
    assert len(figure.findobj(AxesImage)) == 2 * (1 + 5 + 1)
