"""Feature colours can be told apart, also without one kind of cone, and never look like the green of the set."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from chiqpm.explain.drawing.colours import INK, PAPER, SET_GREEN, feature_colour, feature_dashes, ink_on, rgb

# How colours look without one kind of cone (Machado, Oliveira and Fernandes, 2009, severity 1), on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour: str) -> NDArray[np.float64]:
    values = np.array(rgb(colour)) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colour: str, vision: str = "normal") -> NDArray[np.float64]:
    xyz = TO_XYZ @ np.clip(VISION[vision] @ linear(colour), 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_the_first_ten_are_far_apart_and_all_fifty_differ(vision: str) -> None:
    seen = [lab(feature_colour(index), vision) for index in range(50)]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen[:10], 2)) > 15
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 5


def test_no_feature_looks_like_a_member_of_the_set() -> None:
    assert min(np.linalg.norm(lab(feature_colour(i)) - lab(SET_GREEN)) for i in range(50)) > 40


def test_colour_and_dashes_together_are_unique_far_beyond_fifty() -> None:
    pairs = {(feature_colour(index), feature_dashes(index)) for index in range(100)}
    assert len(pairs) == 100
    assert feature_colour(50) == feature_colour(0)


def test_text_is_legible_on_every_colour() -> None:
    def luminance(colour: str) -> float:
        return float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour)) + 0.05

    for index in range(50):
        colour = feature_colour(index)
        ratio = luminance(colour) / luminance(ink_on(colour))
        assert max(ratio, 1 / ratio) >= 4.0
        assert ink_on(colour) in {INK, PAPER}
    assert ink_on("#000000") == PAPER
