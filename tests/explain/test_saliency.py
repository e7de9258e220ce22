"""Heat maps: interpolation, scaling, and independence of the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.errors import ChiqpmError
from chiqpm.explain import heat_map
from chiqpm.explain.saliency import peak, strength

GOLDEN = Path(__file__).parents[1] / "golden" / "gamma_saturation.npz"


def published(maps: np.ndarray, gamma: float) -> np.ndarray:
    """The published scaling: every image is divided by the largest value of the whole batch."""
    return (maps / maps.max()) ** gamma * maps.max(axis=(1, 2), keepdims=True)


def test_a_heat_map_does_not_depend_on_the_other_images() -> None:
    with np.load(GOLDEN) as golden:
        maps, gamma, expected = golden["weights"], float(golden["gamma"]), golden["out"]
    np.testing.assert_allclose(published(maps, gamma), expected, rtol=1e-5)
    ours = [heat_map(m, m.shape, activation=float(m.max()), active_mean=1.0, gamma=gamma) for m in maps]
    brightest = int(maps.max(axis=(1, 2)).argmax())
    for index, heat in enumerate(ours):
        # The two agree on an image alone, hence, in a batch, on the image that sets the batch's maximum.
        np.testing.assert_allclose(heat, published(maps[index : index + 1], gamma)[0], rtol=1e-4)
        assert np.allclose(heat, expected[index], rtol=1e-4) == (index == brightest)


@pytest.mark.parametrize("size", [(10, 10), (37, 53), (5, 3), (1, 1)])
def test_upsampling_is_bilinear_between_cell_centres(size: tuple[int, int]) -> None:
    cells = np.random.default_rng(0).random((10, 10)).astype(np.float32)
    heat = heat_map(cells, size, activation=2.0, active_mean=1.0)
    reference = torch.nn.functional.interpolate(
        torch.from_numpy(cells / cells.max())[None, None], size=size, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(heat, reference[0, 0].numpy(), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    grid=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    activation=st.floats(-2.0, 10.0),
    scale=st.floats(1e-3, 1e3),
)
def test_heat_lies_between_0_and_the_strength(
    seed: int, grid: tuple[int, int], size: tuple[int, int], activation: float, scale: float
) -> None:
    cells = np.random.default_rng(seed).normal(size=grid)
    heat = heat_map(cells, size, activation=activation, active_mean=4.0)
    assert heat.shape == size
    assert heat.min() >= 0.0
    assert heat.max() <= min(1.0, strength(activation, 4.0)) + 1e-6
    np.testing.assert_allclose(heat, heat_map(cells * scale, size, activation=activation, active_mean=4.0), atol=1e-5)


def test_an_empty_or_inactive_map_is_blank() -> None:
    assert heat_map(np.zeros((3, 3)), (6, 6), activation=1.0, active_mean=1.0).max() == 0.0
    assert heat_map(-np.ones((3, 3)), (6, 6), activation=1.0, active_mean=1.0).max() == 0.0
    assert heat_map(np.ones((3, 3)), (6, 6), activation=0.0, active_mean=1.0).max() == 0.0


def test_gamma_fades_the_weaker_cells() -> None:
    plain = heat_map([[1.0, 0.5]], (1, 2), activation=1.0, active_mean=1.0)
    faded = heat_map([[1.0, 0.5]], (1, 2), activation=1.0, active_mean=1.0, gamma=2.0)
    assert plain.tolist() == [[1.0, 0.5]]
    assert faded.tolist() == [[1.0, 0.25]]


def test_the_peak_is_the_first_largest_cell() -> None:
    assert peak(np.array([[0.0, 2.0, 2.0, 0.0]])) == (0.5, 0.375)


@pytest.mark.parametrize(
    ("cells", "size", "options", "message"),
    [
        ([1.0, 2.0], (2, 2), {}, r"matrix \(H, W\), received shape \(2,\)"),
        (np.zeros((0, 3)), (2, 2), {}, "matrix"),
        ([[np.nan]], (2, 2), {}, "finite"),
        ([[1.0]], (0, 2), {}, "0×2"),
        ([[1.0]], (2, 2), {"gamma": 0.0}, "gamma must be positive, received 0.0"),
        ([[1.0]], (2, 2), {"activation": np.nan}, "must be finite"),
        ([[1.0]], (2, 2), {"active_mean": np.inf}, "must be finite"),
    ],
)
def test_wrong_inputs(cells: object, size: tuple[int, int], options: dict[str, float], message: str) -> None:
    with pytest.raises(ChiqpmError, match=message):
        heat_map(cells, size, **{"activation": 1.0, "active_mean": 1.0, **options})
