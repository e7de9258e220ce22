from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.config import DataConfig
from chiqpm.data import ImageTable, split
from chiqpm.data.group_split import _Deal
from chiqpm.errors import ChiqpmError


def make(counts, groups=None, parts=None):
    paths = tuple(f"c{c}/{i}.jpg" for c, count in enumerate(counts) for i in range(count))
    labels = np.repeat(np.arange(len(counts)), counts)
    return ImageTable(Path("r"), paths, labels, tuple(f"c{c}" for c in range(len(counts))), groups=groups, parts=parts)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(3, 30), min_size=2, max_size=6),
    st.integers(0, 5),
    st.floats(0.05, 0.45),
    st.floats(0.05, 0.45),
)
def test_every_part_has_its_share_of_every_class(counts, seed, calibration, test):
    config = DataConfig(split_seed=seed, calibration_fraction=calibration, test_fraction=test)
    table = split(make(counts), config)
    for part, fraction in (("calibration", calibration), ("test", test)):
        got = table.class_counts(part)
        assert (got >= 1).all()
        assert (abs(got - fraction * np.array(counts)) <= 1 + 1e-9).all()
    assert (table.class_counts("train") >= 1).all()


def test_totals_are_right_and_training_classes_equal():
    table = split(make([10] * 48), DataConfig())
    assert [len(table.indices(p)) for p in ("train", "calibration", "test")] == [336, 72, 72]
    assert (table.class_counts("train") == 7).all()


def test_split_depends_on_seed_and_paths_only():
    table = make([20, 30])
    first = split(table, DataConfig())
    order = np.random.default_rng(0).permutation(len(table))
    again = split(table.subset(order), DataConfig())
    assert (again.parts == first.parts[order]).all()
    assert (split(table, DataConfig(split_seed=1)).parts != first.parts).any()
    assert (split(first, DataConfig(split_seed=1)).parts == first.parts).all()


def test_missing_parts_are_taken_from_training():
    given_parts = np.array((["train"] * 8 + ["test"] * 2) * 2)
    table = split(make([10, 10], parts=given_parts), DataConfig(calibration_fraction=0.25))
    assert (table.indices("test") == np.flatnonzero(given_parts == "test")).all()
    assert table.class_counts("calibration").tolist() == [2, 2]
    both = split(make([10, 10], parts=["train"] * 20), DataConfig())
    assert both.class_counts("test").min() == both.class_counts("calibration").min() == 1


def test_zero_takes_none():
    table = split(make([2, 2]), DataConfig(test_fraction=0))
    assert len(table.indices("test")) == 0 and table.class_counts("calibration").tolist() == [1, 1]
    assert set(split(make([1, 1]), DataConfig(test_fraction=0, calibration_fraction=0)).parts) == {"train"}


def test_large_fractions_leave_a_training_image():
    table = split(make([3, 4]), DataConfig(test_fraction=0.49, calibration_fraction=0.5))
    assert (table.class_counts("train") >= 1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_fraction": 1.0}, r"test_fraction must be in \[0, 1\).*1\.0"),
        ({"calibration_fraction": -0.1}, "calibration_fraction must be"),
        ({"calibration_fraction": float("nan")}, "calibration_fraction must be"),
        ({"test_fraction": 0.5, "calibration_fraction": 0.5}, "must be below 1"),
    ],
)
def test_bad_fractions(changes, message):
    with pytest.raises(ChiqpmError, match=message):
        split(make([9, 9]), DataConfig(**changes))


def test_classes_with_too_few_images_are_named():
    with pytest.raises(ChiqpmError, match=r"2 classes have too few .*: c1 \(2\), c2 \(1\); each needs 3"):
        split(make([9, 2, 1]), DataConfig())


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=25), min_size=2, max_size=4),
    st.integers(0, 3),
)
def test_groups_stay_whole(classes, seed):
    groups = tuple(f"g{group}" for members in classes for group in members)
    table = make([len(members) for members in classes], groups)
    try:
        done = split(table, DataConfig(split_seed=seed))
    except ChiqpmError as error:
        assert "too few to fill" in str(error)
        return
    assert (done.class_counts("train") >= 1).all()
    assert len(done.indices("calibration")) and len(done.indices("test"))
    for group in set(groups):
        assert len({part for part, of in zip(done.parts, groups, strict=True) if of == group}) == 1
    order = np.random.default_rng(seed).permutation(len(table))
    assert (split(table.subset(order), DataConfig(split_seed=seed)).parts == done.parts[order]).all()


def test_groups_keep_the_shares():
    groups = tuple(f"{c}-{i // 4}" for c in range(6) for i in range(80))
    table = split(make([80] * 6, groups), DataConfig())
    assert (table.class_counts("calibration") == 12).all() and (table.class_counts("test") == 12).all()


def test_groups_across_classes():
    rng = np.random.default_rng(0)
    groups = tuple(f"patient {p}" for p in rng.integers(0, 60, 900))
    table = split(make([600, 200, 100], groups), DataConfig())
    share = table.class_counts("calibration") / table.class_counts()
    assert (abs(share - 0.15) < 0.02).all()


def test_single_group_classes(caplog):
    groups = ("x", "x", "x", "a", "b", "c", "d", "e")
    table = split(make([3, 5], groups), DataConfig())
    assert set(table.parts[:3]) == {"train"}
    assert "1 classes have no calibration image" in caplog.text
    with pytest.raises(ChiqpmError, match="2 groups are too few to fill the part calibration"):
        split(make([3, 5], ("x",) * 3 + ("y",) * 5), DataConfig())


def test_an_empty_part_is_filled():
    # Four equal groups: the targets draw three to training and one to calibration, none to test.
    groups = tuple(f"g{i // 5}" for i in range(20)) * 2
    table = split(make([20, 20], groups), DataConfig())
    assert [len(table.indices(part)) for part in ("train", "calibration", "test")] == [20, 10, 10]


def test_a_class_is_brought_back_to_training():
    deal = _Deal(np.array([0, 0, 1]), ["g", "h", "h"], {"g": b"0", "h": b"1"}, np.array([[1, 1], [1, 0]]))
    for group, name in enumerate(deal.names):
        deal.put(group, 0 if name == "g" else 1)
    deal.give_training(0)
    assert dict(zip(deal.names, deal.part_G, strict=True)) == {"g": 0, "h": 1}
    deal.give_training(1)
    assert dict(zip(deal.names, deal.part_G, strict=True)) == {"g": 0, "h": 0}


def test_groups_torn_by_the_folder():
    parts = ["train", "test", "train", "test"]
    with pytest.raises(ChiqpmError, match=r"1 groups lie in more than one part of the split: x \(train, test\)"):
        split(make([2, 2], ("x", "x", "y", "z"), parts), DataConfig())


@given(
    counts=st.lists(st.tuples(st.integers(1, 30), st.integers(2, 40)), min_size=2, max_size=6),
    fraction=st.floats(0.02, 0.9),
    seed=st.integers(0, 3),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_calibration_images_of_published_data_are_a_stratified_draw_of_the_test_part(counts, fraction, seed, order):
    images = [
        (f"{part}/{label}/{i}.jpg", label, part)
        for label, (train, test) in enumerate(counts)
        for part, count in (("train", train), ("test", test))
        for i in range(count)
    ]
    config = DataConfig(calibration_fraction=fraction, test_fraction=0, split_seed=seed)

    def divide(listed):
        paths, labels, parts = zip(*listed, strict=True)
        names = tuple("abcdef"[: len(counts)])
        table = ImageTable(Path("r"), paths, np.array(labels), names, parts=np.array(parts), dataset="cub")
        return split(table, config)

    table = divide(images)
    for label, (train, test) in enumerate(counts):
        found = {part: int(table.class_counts(part)[label]) for part in ("train", "calibration", "test")}
        assert found["train"] == train
        assert found["calibration"] + found["test"] == test
        assert 1 <= found["calibration"] <= test - 1
        assert abs(found["calibration"] - fraction * test) <= 1 or found["calibration"] in (1, test - 1)
    assert all(
        path.startswith("train/" if part == "train" else "test/")
        for path, part in zip(table.paths, table.parts, strict=True)
    )
    # By names, not by places in a list.
    order.shuffle(images)
    shuffled = divide(images)
    assert dict(zip(shuffled.paths, shuffled.parts.tolist(), strict=True)) == dict(
        zip(table.paths, table.parts.tolist(), strict=True)
    )
