from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chiqpm.data import Fingerprints, ImageTable, UnreadableImageError
from chiqpm.errors import ChiqpmError


def make(**changes):
    prints = Fingerprints(np.arange(3, dtype=np.uint64), np.arange(3, dtype=np.uint64))
    values = {
        "root": Path("r"),
        "paths": ("a/1", "b/1", "b/2"),
        "labels_N": [0, 1, 1],
        "classes": ("a", "b"),
        "parts": ["train", "test", "train"],
        "groups": ("g", "h", "h2"),
        "fingerprints": prints,
    }
    return ImageTable(**{**values, **changes})


def test_views():
    table = make()
    assert len(table) == 3
    assert table.indices("train").tolist() == [0, 2] and table.indices("calibration").tolist() == []
    assert table.class_counts().tolist() == [1, 2] and table.class_counts("train").tolist() == [1, 1]
    part = table.subset([2, 0])
    assert part.paths == ("b/2", "a/1") and part.labels_N.tolist() == [1, 0] and part.classes == ("a", "b")
    assert part.parts.tolist() == ["train", "train"] and part.groups == ("h2", "g")
    assert part.fingerprints.digest_N.tolist() == [2, 0]
    bare = make(parts=None, groups=None, fingerprints=None).subset(np.array([1]))
    assert bare.parts is None and bare.groups is None and bare.fingerprints is None
    assert make(paths=(), labels_N=[], parts=[], groups=()).class_counts().tolist() == [0, 0]


def test_boxes_and_readers_follow_the_images(tmp_path):
    class Reader:
        def load(self, path, max_pixels):
            return Image.new("RGB", (len(path) * 10, 30), "red")

        def stamp(self, path):
            if path == "b/1":
                raise FileNotFoundError(path)
            return (path,)

    boxes = np.array([[0, 0, 4, 5], [1, 1, 0, -20], [50, 0, 60, 9]])
    table = make(boxes_N4=boxes, reader=Reader(), dataset="shards").subset([1, 2, 0])
    assert [table.load(index).size for index in (0, 2)] == [(29, 9), (4, 5)]
    with pytest.raises(UnreadableImageError, match=r"b/2: its box \(50, 0, 60, 9\) lies outside the 30×30 pixels"):
        table.load(1)
    assert (table.stamp(2), table.exists(2), table.exists(0)) == (("a/1",), True, False)
    assert not table.published and make(dataset="cub").published
    with pytest.raises(ChiqpmError, match=r"3 paths came with boxes of shape \(2, 4\)"):
        make(boxes_N4=boxes[:2])
    Image.new("RGB", (6, 5)).save(tmp_path / "1.png")
    plain = make(root=tmp_path, paths=("1.png", "2.png", "3.png"))
    assert plain.load(0).size == (6, 5)
    assert plain.exists(0) and not plain.exists(1)


def test_arrays_are_frozen():
    labels = np.array([0, 1, 1])
    table = make(labels_N=labels)
    labels[0] = 1
    assert table.labels_N[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        table.labels_N[0] = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels_N": [0, 1]}, "labels of shape"),
        ({"labels_N": [0, 1, 2]}, r"labels must lie in 0\.\.1"),
        ({"labels_N": [0, 1, -1]}, "labels must lie"),
        ({"groups": ("g",)}, "1 groups"),
        ({"parts": ["train"]}, "parts of shape"),
        ({"parts": ["train", "val", "test"]}, "unknown part 'val'"),
    ],
)
def test_what_does_not_fit(changes, message):
    with pytest.raises(ChiqpmError, match=message):
        make(**changes)


def test_parts_that_are_not_there():
    with pytest.raises(ChiqpmError, match="unknown part 'val'"):
        make().indices("val")
    with pytest.raises(ChiqpmError, match="aren't split"):
        make(parts=None).indices("train")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[31mred", "a\u2028b", "evil\u202egnp", "\ud800"])
def test_a_class_name_that_leaves_its_line_is_refused(name):
    with pytest.raises(ChiqpmError, match=r"a class has the name .* Rename it"):
        make(classes=("a", name))


def test_class_names_of_all_languages_are_taken():
    for name in ("Grauschnäpper, juv.", "قبرة", "क्षत्रिय", "👩‍🌾 farm", "soft\u00adhyphen", "non\u00a0breaking"):
        assert make(classes=("a", name)).classes[1] == name
