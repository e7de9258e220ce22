"""The figures that matter look as they did when somebody last looked at them.

Compared without letters, whose shapes differ between versions, and at a resolution at which a missing panel, a wrong
colour or a moved column counts but the smoothing of edges doesn't; what the figures say is compared word by word. After
a wanted change, write the pictures anew and look at them:

    CHIQPM_WRITE_PICTURES=1 python -m pytest tests/explain/test_drawing_pictures.py
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from chiqpm.explain import contrast
from chiqpm.explain.drawing import draw_contrast, draw_explanation, draw_feature, draw_model, draw_pairs

PICTURES = Path(__file__).parent / "pictures"
DPI, CELL = 96, 8
# Grey levels of 255: the mean over all cells, and the tenth largest.
MEAN, LARGEST = 0.25, 16.0


def words(figure: Figure) -> list[str]:
    return sorted(text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text())


def rendered(figure: Figure) -> Image.Image:
    """The figure without its letters, a pixel for every 8×8."""
    figure.set_dpi(DPI)
    for text in figure.findobj(Text):
        text.set_visible(False)
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])  # type: ignore[attr-defined]
    # Heights are rounded at the top: matplotlib counts from the bottom.
    columns, rows = picture.width // CELL, picture.height // CELL
    whole = picture.crop((0, picture.height - rows * CELL, columns * CELL, picture.height))
    return whole.resize((columns, rows), Image.Resampling.BOX)


def difference(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """By how much values leave the range of their neighbours in the other picture: an edge may move by a little."""
    if abs(one.width - other.width) > 1 or abs(one.height - other.height) > 1:
        return 255.0, 255.0
    values = [np.asarray(picture.convert("RGB").resize(one.size), dtype=np.float64) for picture in (one, other)]
    apart = np.zeros(values[0].shape[:2])
    for mine, theirs in (values, values[::-1]):
        low, high = (spread(theirs, size=(3, 3, 1)) for spread in (minimum_filter, maximum_filter))
        apart = np.maximum(apart, np.maximum(low - mine, mine - high).clip(0.0).mean(axis=2))
    return float(apart.mean()), float(np.sort(apart, axis=None)[-10])


def explanation(cases: SimpleNamespace, width: float = 10.0) -> Figure:
    found = cases.sample(48, 5, 3, true_class=1)
    return draw_explanation(
        found, cases.picture(), examples={c: cases.picture(c) for c in found.set_classes}, width=width
    )


def two_classes(cases: SimpleNamespace) -> Figure:
    weight, maps = cases.assignment(48, 50, 5), cases.maps(50)
    values = np.linspace(0.2, 3.0, 100).reshape(2, 50)
    return draw_contrast(
        contrast(weight, 0, 1, cases.names("plain", 48)),
        [cases.picture(1)],
        maps[None],
        [cases.picture(2)],
        maps[None],
        features_a=values[:1],
        features_b=values[1:],
        active_mean_K=np.full(50, 2.0),
    )


def feature(cases: SimpleNamespace) -> Figure:
    found = cases.explained(200)[0][0]
    return draw_feature(found, [cases.picture(number) for number in range(6)])


def pairs(cases: SimpleNamespace) -> Figure:
    model = cases.explained(48)[1]
    return draw_pairs(model, examples={c: cases.picture(c) for c in range(48)}, most=4)


FIGURES: dict[str, Callable[[SimpleNamespace], Figure]] = {
    "explanation": explanation,
    "explanation-narrow": lambda cases: explanation(cases, 4.0),
    "contrast": two_classes,
    "feature": feature,
    "model": lambda cases: draw_model(cases.explained(48)[1]),
    "pairs": pairs,
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_looks_as_it_did(cases: SimpleNamespace, name: str, tmp_path: Path) -> None:
    figure, file = FIGURES[name](cases), PICTURES / f"{name}.png"
    figure.draw_without_rendering()
    said = words(figure)
    picture, text = rendered(figure), file.with_suffix(".txt")
    if os.environ.get("CHIQPM_WRITE_PICTURES"):
        picture.save(file, optimize=True)
        text.write_text("\n".join(said) + "\n", encoding="utf-8")
    assert said == text.read_text(encoding="utf-8").splitlines()
    with Image.open(file) as kept:
        mean, largest = difference(kept, picture)
    same = mean <= MEAN and largest <= LARGEST
    if not same:
        FIGURES[name](cases).savefig(tmp_path / f"{name}.png")
    assert same, (
        f"{name} differs from {file} by {mean:.2f} on average and {largest:.0f} at its worst places; "
        f"it looks like {tmp_path / name}.png now"
    )


def test_other_edges_pass_and_other_content_does_not(cases: SimpleNamespace) -> None:
    usual = rendered(explanation(cases))
    with mpl.rc_context({"path.simplify": False, "image.resample": False, "path.snap": False}):
        mean, largest = difference(usual, rendered(explanation(cases)))
    assert mean <= MEAN / 4 and largest <= LARGEST / 2
    found = cases.sample(48, 5, 3, true_class=1)
    examples = {c: cases.picture(c) for c in found.set_classes}
    swapped = replace(found, features=(found.features[1], found.features[0], *found.features[2:]))
    elsewhere = replace(found.features[0], map_HW=found.features[0].map_HW[::-1])
    for changed in (
        draw_explanation(swapped, cases.picture(), examples=examples),
        draw_explanation(found, cases.picture(7), examples=examples),
        draw_explanation(found, cases.picture()),
        draw_explanation(replace(found, features=(elsewhere, *found.features[1:])), cases.picture(), examples=examples),
        draw_explanation(replace(found, set_classes=(found.predicted,)), cases.picture(), examples=examples),
    ):
        mean, largest = difference(usual, rendered(changed))
        assert mean > MEAN or largest > LARGEST, (mean, largest)
