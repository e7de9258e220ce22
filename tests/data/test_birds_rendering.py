from __future__ import annotations

from itertools import combinations
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from chiqpm.data.birds import (
    ATTRIBUTE_PART,
    ATTRIBUTE_VALUES,
    PARTS,
    BirdImage,
    BirdsConfig,
    make_taxonomy,
    render,
    swap,
)
from chiqpm.data.birds.canvas import Canvas
from chiqpm.errors import ChiqpmError

SPECIES = make_taxonomy(BirdsConfig()).species
MARGIN = 5
"""Pixels around a part that antialiasing and defocus may change."""


def pixels(bird: BirdImage) -> NDArray[np.uint8]:
    return np.asarray(bird.image)


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    grown = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(2 * MARGIN + 1))
    return np.asarray(grown) > 0


def where(species: dict[str, str], image_seed: int, part: str) -> NDArray[np.bool_]:
    """Where a part shows, slivers of half a pixel included, for which a mask is too coarse."""
    with mock.patch.object(Canvas, "labels", lambda canvas: np.asarray(canvas._labels)):
        fine = render(species, image_seed).part_masks[part]
    return widened(fine.reshape(160, 2, 160, 2).any(axis=(1, 3)))


def random_species(rng: np.random.Generator) -> dict[str, str]:
    return {name: str(rng.choice(values)) for name, values in ATTRIBUTE_VALUES.items()}


def test_picture_and_masks_have_the_asked_size_and_agree() -> None:
    for size in (32, 97, 160):
        bird = render(SPECIES[3], 5, size)
        assert bird.image.mode == "RGB"
        assert bird.image.size == (size, size)
        assert set(bird.part_masks) == set(PARTS)
        total = sum(mask.astype(int) for mask in bird.part_masks.values())
        assert total.max() == 1
        assert bird.object_mask.shape == (size, size)
        assert not (total.astype(bool) & ~bird.object_mask).any()
        assert bird.object_mask.sum() > total.sum()


def test_same_seed_same_picture_and_another_seed_another() -> None:
    first, again, other = (render(SPECIES[0], seed) for seed in (7, 7, 8))
    assert (pixels(first) == pixels(again)).all()
    assert all((first.part_masks[part] == again.part_masks[part]).all() for part in PARTS)
    assert (pixels(first) != pixels(other)).mean() > 0.8


def test_masks_do_not_change_the_picture() -> None:
    with_masks, without = render(SPECIES[1], 3), render(SPECIES[1], 3, masks=False)
    assert (pixels(with_masks) == pixels(without)).all()
    assert without.part_masks == {}
    assert not without.object_mask.any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**63 - 1), st.sampled_from(sorted(ATTRIBUTE_VALUES)), st.integers(0, 2**32 - 1))
def test_an_exchanged_attribute_changes_its_part_alone(image_seed: int, attribute: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    species = random_species(rng)
    first_value, second_value = rng.choice(ATTRIBUTE_VALUES[attribute], size=2, replace=False)
    part, region = ATTRIBUTE_PART[attribute], np.zeros((160, 160), dtype=bool)
    both = [swap(species, attribute, str(value)) for value in (first_value, second_value)]
    first, second = (render(one, image_seed) for one in both)
    for one in both:
        region |= where(one, image_seed, part)
    assert (pixels(first) == pixels(second))[~region].all()
    for other in set(PARTS) - {part}:
        assert (first.part_masks[other] == second.part_masks[other])[~region].all()


@settings(max_examples=12, deadline=None)
@example(image_seed=187, part="breast", seed=1)  # a breast that shows beside the neck by half a pixel
@given(st.integers(0, 2**63 - 1), st.sampled_from(PARTS), st.integers(0, 2**32 - 1))
def test_a_removed_part_leaves_the_rest_as_it_was(image_seed: int, part: str, seed: int) -> None:
    species = random_species(np.random.default_rng(seed))
    whole, without = render(species, image_seed), render(species, image_seed, remove=part)
    region = where(species, image_seed, part)
    assert not without.part_masks[part].any()
    assert (pixels(whole) == pixels(without))[~region].all()


def test_every_attribute_value_shows() -> None:
    for attribute, values in ATTRIBUTE_VALUES.items():
        drawn = {
            value: np.stack(
                [pixels(render(swap(SPECIES[0], attribute, value), seed, masks=False)) for seed in range(4)]
            )
            for value in values
        }
        for first, second in combinations(values, 2):
            changed = (drawn[first] != drawn[second]).any(axis=3).sum(axis=(1, 2))
            assert np.median(changed) >= 40, (attribute, first, second, changed)


def test_no_crest_has_no_crest_pixel_and_the_other_parts_are_seen() -> None:
    bare = swap(SPECIES[0], "crest", "none")
    visible = dict.fromkeys(PARTS, 0)
    for seed in range(30):
        assert not render(bare, seed).part_masks["crest"].any()
        masks = render(swap(SPECIES[seed % 48], "crest", "fan"), 1000 + seed).part_masks
        for part in PARTS:
            visible[part] += int(masks[part].sum() >= 40)
    assert min(visible.values()) >= 26, visible


def test_body_colour_does_not_follow_from_the_species() -> None:
    """The colour of the body pixels varies as much within a species as between species."""
    rows = []
    for species in SPECIES[::12]:
        for seed in range(10):
            bird = render(species, seed * 31 + 17)
            body = bird.object_mask & ~np.any(list(bird.part_masks.values()), axis=0)
            rows.append(np.median(pixels(bird)[body].astype(float), axis=0))
    colours = np.array(rows).reshape(4, 10, 3)
    assert (colours.std(axis=1).mean(axis=0) > 10).all()
    # Equal seeds give equal bodies whatever the species; only its visible outline shifts the median a little.
    assert np.abs(colours - colours.mean(axis=0)).mean() < 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_seed": -1}, "image_seed = -1"),
        ({"image_seed": 2**63}, "2\\*\\*63"),
        ({"image_seed": 1.0}, "image_seed = 1.0"),
        ({"image_seed": True}, "image_seed = True"),
        ({"size": 31}, "size = 31"),
        ({"size": 2000}, "32 to 1024"),
        ({"size": 160.0}, "size = 160.0"),
        ({"remove": "body"}, "remove = 'body'"),
        ({"species": {}}, "received none"),
        ({"species": {"wing": "bars"}}, "received wing"),
        ({"species": {**SPECIES[0], "wing": "red"}}, "wing = 'red'"),
    ],
)
def test_wrong_requests_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ChiqpmError, match=words):
        render(**{"species": SPECIES[0], "image_seed": 0, "size": 64, **change})  # type: ignore[arg-type]
