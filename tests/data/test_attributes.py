from __future__ import annotations

import unicodedata

import pytest

from chiqpm.data import find_attributes, read_attributes
from chiqpm.errors import ChiqpmError


def write(tmp_path, text, encoding="utf-8"):
    (tmp_path / "attributes.csv").write_bytes(text.encode(encoding))
    return tmp_path / "attributes.csv"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("class,big,red\nowl,1,0\n\njay, 0 ,1e-1\n", "utf-8"),
        ("class;big;red\r\njay;0;.1\r\nowl;1;0\r\n", "utf-8-sig"),
        ('class\tbig\tred\n"jay"\t0\t0.1\nowl\t1\t0', "utf-8"),
    ],
)
def test_rows_follow_the_classes(tmp_path, text, encoding):
    attributes = read_attributes(write(tmp_path, text, encoding), ["jay", "owl"])
    assert attributes.names == ("big", "red")
    assert attributes.values_CA.tolist() == [[0, 0.1], [1, 0]]


def test_constant_columns_and_unicode_forms(tmp_path):
    name = unicodedata.normalize("NFD", "Käuze")
    path = write(tmp_path, f"class,x\n{name},1\nb,1\n")
    attributes = read_attributes(path, [unicodedata.normalize("NFC", name), "b"])
    assert attributes.values_CA.tolist() == [[1], [1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("class\njay\nowl\n", "only the column 'class'"),
        ("class,a,a\njay,1,1\nowl,1,1\n", "column 'a' more than once"),
        ("class,a\njay,1\n", "no row for owl"),
        ("class,a\njay,1\nowl,1\nowl,1\n", "more than one row for owl"),
        ("class,a\njay,1\nowl,1\nemu,1\n", "classes that don't exist: emu"),
        ("class,a\njay,1\nowl,yes\n", "class 'owl', attribute 'a': 'yes' isn't a finite number"),
        ("class,a\njay,1\nowl,nan\n", "'nan' isn't a finite"),
        ("class,a\njay,1\nowl,\n", "'' isn't a finite"),
        ("class,a\njay,1\nowl,1,2\n", "row of 'owl' has 3 cells"),
        ('class,a\njay,1\n"owl,1\n', "isn't a proper CSV"),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(ChiqpmError, match=message):
        read_attributes(write(tmp_path, text), ["jay", "owl"])


def test_not_text(tmp_path):
    with pytest.raises(ChiqpmError, match="isn't UTF-8"):
        read_attributes(write(tmp_path, "class,a\nKäuze,1\n", "latin-1"), ["Käuze"])
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_attributes(tmp_path / "none.csv", ["a"])


def test_find(tmp_path, monkeypatch):
    assert find_attributes(tmp_path, None) is None
    path = write(tmp_path, "x")
    assert find_attributes(tmp_path, None) == path
    assert find_attributes(tmp_path, str(path)) == path
    assert find_attributes(tmp_path, "attributes.csv").name == "attributes.csv"
    with pytest.raises(FileNotFoundError, match=r"no attributes file other\.csv"):
        find_attributes(tmp_path, "other.csv")
