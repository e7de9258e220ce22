from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chiqpm.data import ImageTable, apply_split, read_split, write_split
from chiqpm.errors import ChiqpmError

PATHS = ("a/1 , x.jpg", 'a/"2".jpg', "b/ü.jpg", "b/ 4 .jpg", "b/5\n.jpg")


def make(**changes):
    values = {
        "root": Path("r"),
        "paths": PATHS,
        "labels_N": [0, 0, 1, 1, 1],
        "classes": ("a", "b"),
        "parts": ["train", "test", "train", "calibration", "test"],
        "groups": ("1", "2", "1", "4", "2"),
    }
    return ImageTable(**{**values, **changes})


@pytest.mark.parametrize("groups", [None, ("1", "2", "1", "4", "2")])
def test_round_trip(tmp_path, groups):
    table = make(groups=groups)
    write_split(table, tmp_path / "split.csv")
    back = read_split(tmp_path / "split.csv", "r")
    assert back.paths == table.paths and back.classes == table.classes and back.groups == groups
    assert (back.parts == table.parts).all() and (back.labels_N == table.labels_N).all()
    assert back.root == Path("r")
    assert [p.name for p in tmp_path.iterdir()] == ["split.csv"]
    text = (tmp_path / "split.csv").read_text(encoding="utf-8")
    assert text.startswith("path,class,part,group\n")


def test_order_of_classes_and_boxes_are_kept(tmp_path):
    boxes = np.arange(20).reshape(5, 4)
    boxes[2, 3] = -20
    table = make(classes=("tench", "crane"), boxes_N4=boxes)
    write_split(table, tmp_path / "split.csv")
    back = read_split(tmp_path / "split.csv", "r")
    assert back.classes == ("tench", "crane")
    assert (back.labels_N == table.labels_N).all() and (back.boxes_N4 == boxes).all()
    text = (tmp_path / "split.csv").read_text(encoding="utf-8")
    assert text.startswith("path,class,part,group,label,box\n")
    assert (apply_split(replace(table, parts=None), tmp_path / "split.csv").boxes_N4 == boxes).all()


def test_apply(tmp_path):
    table = make()
    write_split(table, tmp_path / "split.csv")
    order = [3, 1, 0, 4, 2]
    new = replace(table.subset(order), parts=None, groups=None)
    new = replace(new, paths=tuple(unicodedata.normalize("NFD", path) for path in new.paths))
    done = apply_split(new, tmp_path / "split.csv")
    assert (done.parts == table.parts[order]).all()
    assert done.groups == tuple(table.groups[i] for i in order)
    assert done.paths == new.paths
    assert apply_split(replace(table, parts=None), tmp_path / "split.csv").groups == table.groups
    with pytest.raises(ChiqpmError, match="groups lie in more than one part"):
        apply_split(make(groups=("1", "1", "1", "4", "2")), tmp_path / "split.csv")


def test_differences_are_named(tmp_path):
    write_split(make(), tmp_path / "split.csv")
    changed = make(paths=("a/new.jpg", *PATHS[1:]))
    with pytest.raises(ChiqpmError, match=r"missing \(a/1 , x\.jpg\) and 1 are new \(a/new\.jpg\).*delete"):
        apply_split(changed, tmp_path / "split.csv")
    with pytest.raises(ChiqpmError, match=r"aren't those of .*: 2 are missing \([^)]*\)\. Restore"):
        apply_split(make().subset([0, 1, 2]), tmp_path / "split.csv")
    with pytest.raises(ChiqpmError, match="1 images have another class"):
        apply_split(make(labels_N=[0, 1, 1, 1, 1]), tmp_path / "split.csv")


def test_unsplit_table(tmp_path):
    with pytest.raises(ChiqpmError, match="aren't split"):
        write_split(make(parts=None), tmp_path / "split.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,class\na,b\n", "columns path, class; a split has path, class, part, group"),
        ("path,class,part,group\na/1,a,train,\na/1,a,train,\n", "1 images more than once: a/1"),
        ("path,class,part,group\n../1,a,train,\n", r"don't lie below the data folder: \.\./1"),
        ("path,class,part,group\n/etc/1,a,train,\n", "don't lie below"),
        ("path,class,part,group\na/1,a,val,\n", "part 'val'; the parts are"),
        ("path,class,part,group\na/1,a,train,g\na/2,a,train,\n", "no group for 1 images: a/2"),
        ("path,class,part,group\na/1,a,train,g\na/2,a,test,g\n", "groups lie in more than one part"),
        ("path,class,part,group,box\na/1,a,train,,1 2 3 x\n", "a box that isn't four whole numbers"),
        ("path,class,part,group,box\na/1,a,train,,1 2 3\n", "a box that isn't four whole numbers"),
        ("path,class,part,group,label\na/1,a,train,,0\nb/1,b,train,,2\n", "one number of its own"),
        ("path,class,part,group,label\na/1,a,train,,0\nb/1,a,train,,1\n", "one number of its own"),
        ("path,class,part,group,label\na/1,a,train,,x\n", "one number of its own"),
        ("path,class,part,group,box,label\na/1,a,train,,0,1\n", "has the columns"),
    ],
)
def test_bad_files(tmp_path, text, message):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(ChiqpmError, match=message):
        read_split(tmp_path / "split.csv", "r")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        apply_split(make(), tmp_path / "split.csv")


def test_parts_of_the_table_are_replaced(tmp_path):
    write_split(make(), tmp_path / "split.csv")
    other = make(parts=np.array(["train"] * 5))
    assert (apply_split(other, tmp_path / "split.csv").parts == make().parts).all()
