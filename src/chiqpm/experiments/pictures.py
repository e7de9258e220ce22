"""The test pictures of a run, as they are before anything is done to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chiqpm.data.birds import open_birds
from chiqpm.experiments.finished_run import FinishedRun


class Picture(NamedTuple):
    """A picture and where its object is."""

    row: int
    """Its number, on which random changes depend."""
    image: Image.Image
    """RGB."""
    object_HW: NDArray[np.bool_]
    """Pixels of the object; none where nothing is known of it."""


class TestPictures(NamedTuple):
    """Pictures to test with."""

    rows_N: NDArray[np.int64]
    """Their numbers, as `open` takes them."""
    labels_N: NDArray[np.int64]
    """Their classes."""
    open: Callable[[int], Picture]
    """Opens one."""


def test_pictures(
    run: FinishedRun, *, per_class: int | None = None, most: int | None = None, seed: int = 0
) -> TestPictures:
    """Return the test pictures of a run.

    Args:
        run: its images must still be there.
        per_class: take the first so many of each class; None takes all.
        most: take so many at most, drawn at random; None takes all.
        seed: of the draw.
    """
    if run.is_birds:
        _, _, birds = open_birds(run.birds)

        def draw(row: int) -> Picture:
            render = birds.render(row)
            return Picture(row, render.image, render.object_mask)

        labels_N, open_one, numbers_N = birds.labels_N, draw, np.arange(len(birds.labels_N))
    else:
        most_pixels = run.options.data.max_pixels

        def read(row: int) -> Picture:
            image = run.table.load(row, max_pixels=most_pixels)
            return Picture(row, image, np.zeros(image.size[::-1], dtype=np.bool_))

        numbers_N = run.table.indices("test")
        labels_N, open_one = run.table.labels_N[numbers_N], read
    chosen = np.arange(len(labels_N))
    if per_class is not None:
        chosen = np.sort(np.concatenate([np.flatnonzero(labels_N == c)[:per_class] for c in np.unique(labels_N)]))
    if most is not None and len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    return TestPictures(numbers_N[chosen], labels_N[chosen], open_one)
