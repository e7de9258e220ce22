from __future__ import annotations

import os
from pathlib import Path

import pytest

from chiqpm.data import groups as groups_module
from chiqpm.data import read_groups
from chiqpm.errors import ChiqpmError

PATHS = ("a/ann_1.jpg", "a/ann_2.jpg", "b/bo 1.jpg")


def write(tmp_path, text):
    (tmp_path / "animals.csv").write_text(text, encoding="utf-8")
    return f"{tmp_path / 'animals.csv'}:animal"


def test_column_by_path_or_by_name(tmp_path):
    rows = ("path,animal,x", r"a\ann_1.jpg,ann,1", "ann_2.jpg,ann,2", "./b/bo 1.jpg,bo,3", "other.jpg,zoe,4")
    spec = write(tmp_path, "\n".join(rows))
    assert read_groups(spec, tmp_path, PATHS) == ("ann", "ann", "bo")
    assert read_groups("animals.csv:animal", tmp_path, PATHS) == ("ann", "ann", "bo")


def test_windows_paths_and_colons(monkeypatch):
    seen = []

    def note(file, column, paths):
        seen.append((str(file), column))

    monkeypatch.setattr(groups_module, "_groups_by_file", note)
    for spec in (r"C:\data\x.csv:col", "x.CSV:a:b", "with space.csv:my column"):
        read_groups(spec, Path("root"), PATHS)
    assert seen == [(r"C:\data\x.csv", "col"), ("x.CSV", "a:b"), ("with space.csv", "my column")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,other\nann_1.jpg,1\n", r"no column 'animal'; its columns are path, other"),
        ("file,animal\nann_1.jpg,1\n", "no column 'path'"),
        ("path,animal\nann_1.jpg,1\nann_2.jpg,\n", r"for 2 of 3 images \(a/ann_2\.jpg, b/bo 1\.jpg\)"),
        ("path,animal\nann_1.jpg,1\nann_1.jpg,2\n", "into the groups '1' and '2'"),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(ChiqpmError, match=message):
        read_groups(write(tmp_path, text), tmp_path, PATHS)


def test_a_name_that_many_images_have(tmp_path):
    spec = write(tmp_path, "path,animal\n1.jpg,ann\n")
    with pytest.raises(ChiqpmError, match=r"names '1\.jpg', but 2 images are called so"):
        read_groups(spec, tmp_path, ["a/1.jpg", "b/1.jpg"])


def test_missing_file_or_column(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_groups(f"none{os.curdir}csv:x", tmp_path, PATHS)
    for spec in ("x.csv", "x.csv:", r"C:\x.csv"):
        with pytest.raises(ChiqpmError, match="names no column"):
            read_groups(spec, tmp_path, PATHS)


def test_pattern():
    assert read_groups(r"/(\w+?)[_ ]", Path(), PATHS) == ("ann", "ann", "bo")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "neither FILE.csv:COLUMN nor a regular expression"),
        ("ann_", "has no bracket"),
        ("(ann)_", r"no group for 1 of 3 images \(b/bo 1\.jpg\)"),
        ("zoe(x)", "no group for 3 of 3"),
        (r"a/(ann)?|b", "no group for 1"),
        ("()", "no group for 3"),
    ],
)
def test_bad_patterns(pattern, message):
    with pytest.raises(ChiqpmError, match=message):
        read_groups(pattern, Path(), PATHS)
