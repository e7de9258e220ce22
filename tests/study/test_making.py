"""From a run to a study: which images, with which help."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chiqpm.cli import main
from chiqpm.cli.studying import spelled_out
from chiqpm.errors import ChiqpmError
from chiqpm.files import read_npz
from chiqpm.study.key import read_key
from chiqpm.study.making import _options, make_study
from chiqpm.study_options import StudyOptions


@pytest.fixture(scope="module")
def made(tiny_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "study"
    key = make_study(tiny_run, out, StudyOptions(trials=6, readers=18, seed=3), device="cpu")
    return out, key


def test_the_key_says_what_the_model_said(made, tiny_run):
    out, key = made
    assert read_key(out) == key
    assert len(key.items) == 9
    assert len({item.path for item in key.items.values()}) == 9
    assert key.coverage == 0.8
    answers = read_npz(tiny_run / "test_answers.npz")
    predicted = answers["logits_NC"].argmax(axis=1)
    for item in key.items.values():
        assert item.path.startswith("test/")
        assert key.classes[item.truth] in item.path
        assert item.predicted in item.hierarchical_set and item.hierarchical_set[0] == item.predicted
        assert item.flat_set
        assert item.options == (0, 1, 2, 3)
        assert (item.stratum == "wrong") == (item.predicted != item.truth)
    assert {item.predicted for item in key.items.values()} <= set(predicted.tolist())


def test_the_page_has_all_pictures_inside_and_no_paths(made):
    out, key = made
    text = (out / "index.html").read_text(encoding="utf-8")
    assert text.count("data:image/webp") >= 3 * len(key.items)
    assert not any(item.path in text or item.path.rpartition("/")[2] in text for item in key.items.values())


def test_a_study_with_answers_is_not_overwritten_and_a_seed_chooses_the_images(made, tiny_run, tmp_path):
    out, key = made
    (out / "answers").mkdir(exist_ok=True)
    (out / "answers" / "reader-00001.csv").write_text("")
    with pytest.raises(ChiqpmError, match="holds answers"):
        make_study(tiny_run, out, StudyOptions(trials=6), device="cpu")
    other = make_study(tiny_run, tmp_path / "s", StudyOptions(trials=3, readers=1, seed=4, wrong_share=0), device="cpu")
    assert other.study != key.study
    assert sum(item.stratum == "wrong" for item in list(other.items.values())[:3]) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": 5}, "multiple of 3"),
        ({"trials": 300}, "test images"),
        ({"wrong_share": 2.0}, "wrong_share"),
        ({"readers": 0}, "readers"),
        ({"flat_score": "nonsense"}, "nonsense"),
        ({"coverage": 1.0}, "coverage"),
    ],
)
def test_impossible_options_are_refused(tiny_run, tmp_path, options, words):
    with pytest.raises(ChiqpmError, match=words):
        make_study(tiny_run, tmp_path / "s", StudyOptions(**options), device="cpu")
    assert not (tmp_path / "s").exists()


def test_where_there_are_many_classes_the_most_alike_are_offered():
    weight_CK = np.zeros((40, 20))
    weight_CK[np.arange(40), np.arange(40) // 2] = 1
    assert _options({7, 30}, (7, 30), weight_CK, 4) == (6, 7, 30, 31)
    assert _options({1, 2, 3}, (1,), weight_CK, 2) == (1, 2, 3)
    assert _options({1}, (1,), weight_CK, 40) == tuple(range(40))


def test_the_command_makes_a_study(tiny_run, tmp_path, capsys):
    given = ["study", str(tiny_run), "--out", str(tmp_path / "s"), "--trials", "3", "--quiet", "--device", "cpu"]
    assert main(given) == 0
    assert "index.html" in capsys.readouterr().out
    assert main([*given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 6
    assert main(["study", "make", str(tmp_path / "nothing")]) == 2
    assert main(["study", str(tiny_run), "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "t")]) == 2
    assert "--data" in capsys.readouterr().err


def test_study_without_an_action_makes_one():
    assert spelled_out(["study", "serve", "x"]) == ["study", "serve", "x"]
    assert spelled_out(["study", "--help"]) == ["study", "--help"]
    assert spelled_out(["study", "--out", "y", "x"]) == ["study", "make", "--out", "y", "x"]
    assert spelled_out(["fit", "x"]) == ["fit", "x"]
    assert spelled_out([]) == []
