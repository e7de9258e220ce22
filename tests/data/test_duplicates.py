from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from chiqpm.config import DataConfig
from chiqpm.data import ImageTable, find_duplicates, hamming, open_folder
from chiqpm.data.duplicates import same_picture
from chiqpm.data.fingerprints import digest, outline, thumbnail
from chiqpm.errors import ChiqpmError


def scene(seed, size=96, move=0.0):
    """A disc, a bar and a ring before a soft background."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(60, 200, (5, 5, 3), dtype=np.uint8))
    image = small.resize((size, size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y, r = rng.uniform(15, 80) + move, rng.uniform(15, 80), rng.uniform(6, 18)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def product(seed):
    """A thing of one kind on plain white, as in a catalogue: alike, never the same."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (96, 96), "white")
    draw = ImageDraw.Draw(image)
    x, y = rng.uniform(36, 60, 2)
    width, height = rng.uniform(14, 30, 2)
    colour = tuple(rng.integers(40, 200, 3).tolist())
    draw.ellipse((x - width, y - height, x + width, y + height), fill=colour)
    draw.rectangle((x - 4, y + height - 4, x + 4, y + height + 9), fill="black")
    return image


def open_parts(root, **files):
    """Files named part__class__name, given as images or bytes."""
    for part in ("train", "calibration", "test"):
        for number, name in enumerate(("a", "b")):
            (root / part / name).mkdir(parents=True, exist_ok=True)
            filler = scene(1000 + 10 * number + len(part))
            filler.save(root / part / name / "filler.png")
    for key, image in files.items():
        path = root / (key.replace("__", "/") + ".png")
        if isinstance(image, tuple):
            image[0].save(path.with_suffix(".jpg"), quality=image[1])
        else:
            image.save(path)
    return open_folder(root, DataConfig())


def test_exact_and_near(tmp_path):
    table = open_parts(
        tmp_path,
        train__a__x=scene(1),
        test__a__copy=scene(1),
        calibration__b__other=scene(1),
        train__b__y=scene(2),
        test__b__y=(scene(2), 30),
        train__b__same_part=scene(2),
        train__a__z=scene(3),
        calibration__a__small=scene(3).resize((60, 60)),
        test__a__bright=ImageEnhance.Brightness(scene(3)).enhance(1.1),
    )
    seen = []
    found = find_duplicates(table, progress=lambda *at: seen.append(at))
    pairs = {(d.path_a.split("/", 1)[1], d.path_b.split("/", 1)[1], d.kind, d.same_class) for d in found}
    assert pairs == {
        ("a/x.png", "a/copy.png", "exact", True),
        ("a/x.png", "b/other.png", "exact", False),
        ("b/other.png", "a/copy.png", "exact", False),
        ("b/y.png", "b/y.jpg", "near", True),
        ("b/same_part.png", "b/y.jpg", "near", True),
        ("a/z.png", "a/small.png", "near", True),
        ("a/z.png", "a/bright.png", "near", True),
        ("a/small.png", "a/bright.png", "near", True),
    }
    assert all(d.path_a.startswith(d.part_a) and d.path_b.startswith(d.part_b) for d in found)
    between = {(d.part_a, d.part_b) for d in found}
    assert between == {("train", "calibration"), ("train", "test"), ("calibration", "test")}
    assert seen[-1][0] == seen[-1][1]
    assert find_duplicates(replace(table, fingerprints=None)) == found


def test_alike_is_not_the_same():
    for kind in (scene, product):
        images = [kind(seed) for seed in range(60)]
        small = [thumbnail(image) for image in images]
        assert not any(same_picture(small[i], small[j]) for i in range(60) for j in range(i))
    assert not same_picture(thumbnail(scene(1)), thumbnail(scene(1, move=6)))


def test_flat_pictures_are_told_apart_by_colour():
    colours = ("#808080", "#818181", "#907080")
    grey, same, other = (thumbnail(Image.new("RGB", (9, 9), colour)) for colour in colours)
    assert same_picture(grey, same)
    assert not same_picture(grey, other)
    assert not same_picture(grey, thumbnail(Image.new("RGB", (9, 9), "white")))


def test_contrast_must_agree():
    image = scene(1)
    assert not same_picture(thumbnail(image), thumbnail(ImageEnhance.Contrast(image).enhance(0.3)))


def test_digest_knows_the_size():
    assert digest(Image.new("RGB", (2, 8))) != digest(Image.new("RGB", (4, 4)))
    assert outline(scene(1)) != outline(scene(2))


def table_of(parts, prints):
    count = len(parts)
    paths = tuple(str(i) for i in range(count))
    return ImageTable(Path(), paths, np.zeros(count), ("a",), parts=parts, fingerprints=prints)


def test_many_copies_are_bounded(tmp_path):
    from chiqpm.data import Fingerprints

    prints = Fingerprints(np.zeros(400, dtype=np.uint64), np.zeros(400, dtype=np.uint64))
    found = find_duplicates(table_of(["train"] * 200 + ["test"] * 200, prints))
    assert len(found) == 200 * 8 and {d.kind for d in found} == {"exact"}


def test_unsplit(tmp_path):
    table = open_parts(tmp_path)
    assert find_duplicates(table) == []
    with pytest.raises(ChiqpmError, match="aren't split"):
        find_duplicates(replace(table, parts=None))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.1, 0.02]), st.sampled_from([16, 1 << 21]))
def test_close_hashes_against_each_with_each(seed, density, cells):
    rng = np.random.default_rng(seed)
    bits = rng.random((80, 64)) < density
    hashes = np.unique(np.packbits(bits, axis=1).view(np.uint64).ravel())
    first, second = hashes[::2].copy(), hashes[1::2].copy()
    old, hamming._BLOCK_CELLS = hamming._BLOCK_CELLS, cells
    try:
        rows = hamming.close_hashes(first, second)
    finally:
        hamming._BLOCK_CELLS = old
    distance = np.array([[int(a ^ b).bit_count() for a in first] for b in second])
    expected = []
    for b, line in enumerate(distance):
        expected += [(b, int(line[a]), int(a)) for a in np.argsort(line, kind="stable") if line[a] <= 6][:8]
    assert [tuple(row) for row in rows.tolist()] == expected


def test_count_bits_without_numpy_2(monkeypatch):
    values = np.random.default_rng(0).integers(0, 2**63, (3, 5), dtype=np.uint64)
    expected = [[int(value).bit_count() for value in row] for row in values]
    assert hamming.count_bits(values).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert hamming.count_bits(values).tolist() == expected
