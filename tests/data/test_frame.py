from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from chiqpm.config import DataConfig
from chiqpm.data import geometry, to_square
from chiqpm.errors import ChiqpmError

KINDS = ("squash", "crop", "pad")


def gradient(width, height):
    """Red grows with x, green with y."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return Image.fromarray(np.rint(np.stack([x, y, 0 * x], axis=-1) * 255).astype(np.uint8))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(300, 200), (120, 333), (64, 64), (50, 40)])
def test_geometry_says_where_the_pixels_are(kind, size):
    config = DataConfig(image_size=64, resize=kind)
    square = np.asarray(to_square(config, gradient(*size), (0, 0, 255))).astype(float) / 255
    place = geometry(config, *size)
    for x, y in ((32, 32), (20, 40), (45, 25)):
        there = place.to_original(x + 0.5, y + 0.5)
        if square[y, x, 2] > 0:  # border
            assert not (0 < there[0] < size[0] and 0 < there[1] < size[1])
            continue
        assert square[y, x, 0] == pytest.approx(there[0] / size[0], abs=0.02)
        assert square[y, x, 1] == pytest.approx(there[1] / size[1], abs=0.02)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 80), st.integers(1, 80), st.integers(1, 40))
def test_every_shape(kind, width, height, side):
    config = DataConfig(image_size=side, resize=kind)
    assert to_square(config, Image.new("RGB", (width, height))).size == (side, side)
    place = geometry(config, width, height)
    assert place.to_model(*place.to_original(3, 4)) == pytest.approx((3, 4))
    # The square's centre shows the picture's, up to half a pixel of rounding when padded.
    middle = place.to_model(width / 2, height / 2)
    assert middle == pytest.approx((side / 2, side / 2), abs=0.501 if kind == "pad" else 1e-9)


def test_pad_and_crop():
    config = DataConfig(image_size=10, resize="pad")
    padded = np.asarray(to_square(config, Image.new("RGB", (20, 10), "red"), (1, 2, 3)))
    assert (padded[[0, 1, 8, 9]] == (1, 2, 3)).all() and (padded[3:7] == (255, 0, 0)).all()
    wide = Image.new("RGB", (30, 10), "red")
    wide.paste("blue", (10, 0, 20, 10))
    assert (np.asarray(to_square(DataConfig(image_size=10, resize="crop"), wide)) == (0, 0, 255)).all()


def test_wrong_input():
    with pytest.raises(ChiqpmError, match="image_size = 0"):
        geometry(DataConfig(image_size=0), 3, 3)
    with pytest.raises(ChiqpmError, match="picture of 0×3"):
        geometry(DataConfig(), 0, 3)
    with pytest.raises(ChiqpmError, match="squash, crop or pad; received 'stretch'"):
        geometry(DataConfig(resize="stretch"), 3, 3)
