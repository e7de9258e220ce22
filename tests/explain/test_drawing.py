"""Figures: images of every kind, files, and no traces left behind."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from chiqpm.errors import ChiqpmError
from chiqpm.explain import contrast
from chiqpm.explain.drawing import draw_contrast, draw_explanation, save_figure
from chiqpm.explain.drawing.colours import feature_colour, rgb
from chiqpm.explain.drawing.pictures import as_rgb, fitted, magnified, overlay

GREY = np.full((4, 6), 100, dtype=np.uint8)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (GREY, (100, 100, 100)),
        (GREY[:, :, None], (100, 100, 100)),
        (np.stack([GREY] * 3, axis=2), (100, 100, 100)),
        (np.full((4, 6, 3), 0.5), (128, 128, 128)),
        (np.zeros((4, 6, 4), dtype=np.uint8), (255, 255, 255)),
        (Image.new("L", (6, 4), 100), (100, 100, 100)),
        (Image.new("CMYK", (6, 4), (0, 0, 0, 255)), (0, 0, 0)),
        (Image.new("RGBA", (6, 4), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("P", (6, 4)), (0, 0, 0)),
        (Image.new("1", (6, 4), 1), (255, 255, 255)),
    ],
)
def test_images_of_every_kind_become_rgb(image: Any, expected: tuple[int, int, int]) -> None:
    pixels = as_rgb(image, side=100)
    assert (pixels.shape, pixels.dtype) == ((4, 6, 3), np.uint8)
    assert tuple(pixels[1, 1]) == expected
    assert max(as_rgb(image, side=3).shape) == 3


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 8, 8), dtype=np.uint8), "move the channels of a tensor to the end"),
        (np.zeros(5, dtype=np.uint8), r"received \(5,\)"),
        (np.zeros((0, 5, 3), dtype=np.uint8), "must have shape"),
        (np.full((4, 4, 3), 1.5), "undo the normalisation"),
        (np.full((4, 4, 3), np.nan), r"must lie in \[0, 1\]"),
        (np.zeros((4, 4, 3), dtype=np.int64), "received dtype int64"),
    ],
)
def test_images_that_cannot_be_shown(cases: SimpleNamespace, image: Any, message: str) -> None:
    with pytest.raises(ChiqpmError, match=message):
        draw_explanation(cases.sample(), image)


def test_opacity_carries_the_heat() -> None:
    image = np.full((1, 3, 3), 100, dtype=np.uint8)
    shown = overlay(image, np.array([[0.0, 0.5, 1.0]], dtype=np.float32), feature_colour(0)).astype(int)
    distance = np.abs(shown[0] - np.array(rgb(feature_colour(0)))).sum(axis=1)
    assert distance[0] > distance[1] > distance[2]
    assert np.array_equal(overlay(image, np.zeros((1, 3), np.float32), "#FF0000", faded=False), image)


def test_small_images_are_magnified_and_slivers_stay_visible() -> None:
    assert magnified(np.zeros((2, 3, 3), np.uint8), 120).shape == (80, 120, 3)
    assert magnified(np.zeros((200, 3, 3), np.uint8), 120).shape == (200, 3, 3)
    assert fitted(np.zeros((10, 1000, 3), np.uint8), 1.0, 1.0, 2.0) == (1.0, 1.97, 2.0, 0.06)


def test_what_the_figure_says(cases: SimpleNamespace) -> None:
    found = cases.sample(true_class=5)
    figure = draw_explanation(found, cases.picture(), heading="Above", footnote="Below")
    words = [text.get_text() for text in figure.findobj(Text)]
    assert {"Above", "Below", "all 48 classes", "Set at 90%: 2 of 48 classes", "1 class left"} <= set(words)
    assert f"Predicted: {found.predicted_name}" in words
    assert any(word.endswith("✗ wrong") for word in words)
    for feature, left in zip(found.features, found.classes_left, strict=False):
        assert feature.label in words
        assert any(word.startswith((f"{left} class", f"all {left}")) for word in words)


def test_a_flat_map_and_inactive_features_are_drawn(cases: SimpleNamespace) -> None:
    found = cases.sample()
    flat = [{**f, "map_HW": np.ones((2, 2)), "activation": 0.0, "strength": 0.0} for f in found.to_dict()["features"]]
    flat[0] = {**flat[0], "activation": 1.0, "strength": 1.0}
    changed = type(found).from_dict({**found.to_dict(), "features": flat})
    FigureCanvasAgg(draw_explanation(changed, cases.picture())).draw()


def test_the_true_class_in_the_set_is_said_so(cases: SimpleNamespace) -> None:
    rival = cases.sample().rivals[0].class_index
    figure = draw_explanation(cases.sample(true_class=rival), cases.picture())
    assert any("but in the set ✓" in text.get_text() for text in figure.findobj(Text))
    right = draw_explanation(cases.sample(true_class=3), cases.picture())
    assert any("✓ right" in text.get_text() for text in right.findobj(Text))


def test_pyplot_is_not_used(cases: SimpleNamespace) -> None:
    before = "matplotlib.pyplot" in sys.modules
    draw_explanation(cases.sample(), cases.picture())
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_files_carry_the_words(cases: SimpleNamespace, tmp_path: Path) -> None:
    found = cases.sample()
    figure = draw_explanation(found, cases.picture())
    png = save_figure(figure, tmp_path / "why.PNG", title="Why", description=found.text())
    with Image.open(png) as image:
        assert image.info["Description"] == found.text()
        assert image.size[0] == 1500
    svg = save_figure(figure, tmp_path / "why.svg", title="Why", description=found.text())
    content = svg.read_text(encoding="utf-8")
    assert found.sentence() in content
    assert "<dc:date>" not in content
    assert save_figure(figure, str(tmp_path / "why.pdf")).read_bytes().startswith(b"%PDF")


def test_files_that_cannot_be_written(cases: SimpleNamespace, tmp_path: Path) -> None:
    figure = draw_explanation(cases.sample(), cases.picture())
    with pytest.raises(ChiqpmError, match=r"received 'why.tiff'"):
        save_figure(figure, tmp_path / "why.tiff")
    with pytest.raises(FileNotFoundError):
        save_figure(figure, tmp_path / "nowhere" / "why.png")


def draw_pair(cases: SimpleNamespace, **changes: Any) -> Any:
    maps = cases.maps(50)[None]
    given = {"images_a": [cases.picture()], "maps_a": maps, "images_b": [cases.picture()], "maps_b": maps, **changes}
    found = contrast(cases.assignment(8, 50, 5), 0, 1, [str(i) for i in range(8)])
    return draw_contrast(
        found, given.pop("images_a"), given.pop("maps_a"), given.pop("images_b"), given.pop("maps_b"), **given
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images_a": []}, "1 to 4 images of a class, received 0 of 0"),
        ({"images_b": [GREY] * 5}, "received 5 of 1"),
        ({"maps_a": np.ones((2, 50, 3, 3))}, r"the maps of 0 must have shape \(1, K, H, W\)"),
        ({"maps_b": np.ones((1, 2, 3, 3))}, "the maps of 1 have 2 features, but the contrast uses feature"),
        ({"features_a": np.ones((1, 50))}, "belong together"),
        (
            {"features_a": np.ones((1, 5)), "features_b": np.ones((1, 50)), "active_mean_K": np.ones(50)},
            r"the features of 0 must have shape \(1, 50\)",
        ),
        (
            {"features_a": np.ones((1, 50)), "features_b": np.ones((1, 50)), "active_mean_K": np.ones(5)},
            "the active means must have shape",
        ),
    ],
)
def test_wrong_inputs_of_a_contrast(cases: SimpleNamespace, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ChiqpmError, match=message):
        draw_pair(cases, **changes)


def test_a_contrast_with_activations_says_them(cases: SimpleNamespace) -> None:
    ones = np.ones((1, 50))
    figure = draw_pair(cases, features_a=ones, features_b=2 * ones, active_mean_K=2 * ones[0])
    words = [text.get_text() for text in figure.findobj(Text)]
    assert {"1.00, 0.50", "2.00, 1.00"} <= set(words)
    pair = contrast([[1, 1, 0], [1, 0, 1]], 0, 1, ["wren", "robin"])
    maps = cases.maps(3)[None]
    options = {"features_a": ones[:, :3], "features_b": ones[:, :3], "active_mean_K": ones[0, :3]}
    figure = draw_contrast(pair, [cases.picture()], maps, [GREY], maps, **options)
    assert [text.get_text() for text in figure.findobj(Text)].count("1.00, 1.00× usual") == 6


def test_drawing_takes_half_a_second_at_most(cases: SimpleNamespace) -> None:
    found = cases.sample(200, 5, 5)
    examples = {c: cases.picture(c) for c in found.set_classes}
    times = []
    for _ in range(3):
        start = time.process_time()
        draw_explanation(found, cases.picture(), examples=examples)
        times.append(time.process_time() - start)
    assert min(times) < 0.5
