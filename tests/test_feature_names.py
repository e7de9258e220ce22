"""Names of features come from a file that is checked line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from chiqpm.errors import ChiqpmError
from chiqpm.feature_names import read_feature_names


def read(tmp_path: Path, text: str) -> tuple[str, ...]:
    file = tmp_path / "features.yaml"
    file.write_text(text, encoding="utf-8")
    return read_feature_names(file, 4)


def test_names_by_number_or_by_label(tmp_path: Path) -> None:
    assert read(tmp_path, "# birds\n3: roter Schopf\nf0: '嘴 yellow'\n") == ("嘴 yellow", "", "", "roter Schopf")
    assert read(tmp_path, "") == ("",) * 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- crest\n", r"line 1: write one `index: name` a line"),
        ("0: a\n4: b\n", r"line 2: '4' is no feature; they are 0 to 3"),
        ("beak: a\n", r"line 1: 'beak' is no feature"),
        ("-1: a\n", r"line 1: '-1' is no feature"),
        ("1: a\n\nf1: b\n", r"line 3: feature 1 already has a name in line 1"),
        ("1:\n", r"line 1: the name of feature 1 must be a printable text"),
        ("0: a\n1: [x, y]\n", r"line 2: the name of feature 1 must be"),
        ("1: " + "x" * 81, "1 to 80 characters"),
        ("1: a: b: c\n", "can't be read as YAML"),
        ("!!python/object/apply:os.system ['true']\n", "line 1: write one"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ChiqpmError, match=message):
        read(tmp_path, text)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_feature_names(tmp_path / "features.yaml", 4)
