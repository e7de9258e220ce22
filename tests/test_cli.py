"""The command line: what is printed, in which form, with which exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chiqpm import config_file
from chiqpm.cli import main
from chiqpm.cli.memory import keep_freed_memory
from chiqpm.data.birds import BirdsConfig, write_birds
from chiqpm.pipeline import fit


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "images"
    config = BirdsConfig(families=2, genera=1, siblings=2, image_size=64)
    write_birds(folder, config=config, train=4, calibration=3, test=2, processes=1)
    return folder


@pytest.fixture(scope="module")
def options():
    return config_file.from_dict(
        {
            "data": {"image_size": 64},
            "backbone": {"head_channels": 16},
            "dense": {"epochs": 1},
            "assignment": {"kept_features": 6, "features_per_class": 2, "time_limit": 2},
            "finetune": {"rounds": [1]},
            "calibration": {"coverage": 0.7, "targets": [0.7]},
            "cached_views": 1,
            "device": "cpu",
        }
    )


@pytest.fixture(scope="module")
def run(birds, options, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    fit(birds, out, config=options)
    return out


@pytest.fixture
def picture(birds):
    return next((birds / "test").rglob("*.jpg"))


def call(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_answers_without_loading_what_is_heavy():
    script = "import sys; from chiqpm.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    script += "assert not {'torch', 'timm', 'matplotlib', 'sklearn'} & set(sys.modules), 'heavy imports'"
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout
    assert time.monotonic() - start < 5


def test_birds_writes_a_folder_and_says_that_it_is_synthetic(capsys, tmp_path):
    arguments = ["birds", tmp_path / "b", "--families", 1, "--genera", 1, "--train", 1, "--calibration", 1, "--test", 1]
    code, out, _ = call(capsys, *arguments, "--image-size", 32, "--quiet")
    assert code == 0
    assert "synthetic" in out
    assert len(list((tmp_path / "b" / "train").rglob("*.jpg"))) == 2
    code, out, _ = call(capsys, *arguments, "--image-size", 32, "--quiet", "--json")
    assert json.loads(out)["synthetic"] is True


def test_fit_takes_a_configuration_and_shows_the_numbers(capsys, birds, run, tmp_path):
    out = Path(shutil.copytree(run, tmp_path / "run"))
    arguments = ["fit", birds, "--out", out, "--config", run / "config.yaml", "--quiet"]
    code, text, _ = call(capsys, *arguments)
    assert code == 0
    for words in ("Accuracy on test images", "sparse CHiQPM", "contrastiveness", "Prediction sets", "target 0.7"):
        assert words in text
    code, text, _ = call(capsys, *arguments, "--json")
    assert json.loads(text) == json.loads((run / "metrics.json").read_text())


def test_fit_knows_the_published_recipe_and_its_short_options(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--preset", "paper", "--help"])
    text = capsys.readouterr().out
    for words in ("--backbone", "--groups", "--dense-checkpoint", "resnet50"):
        assert words in text


def test_evaluate_shows_a_run_and_measures_elsewhere(capsys, run, birds):
    code, out, _ = call(capsys, "evaluate", run, "--json")
    assert code == 0
    assert json.loads(out)["classes"] == 4
    code, out, _ = call(capsys, "evaluate", run, "--images", birds, "--json", "--quiet")
    measured = json.loads(out)
    assert measured["calibration_score"] == "branch" and len(measured["coverage"]) == 5
    assert measured["images"] == {"calibration": 12, "test": 8}
    assert measured["accuracy"]["sparse"] == json.loads((run / "metrics.json").read_text())["accuracy"]["sparse"]


def test_predict_prints_sentences_or_json_lines(capsys, run, birds, picture):
    code, out, _ = call(capsys, "predict", run, picture, "--coverage", 0.6)
    assert code == 0
    assert "Predicted" in out
    code, out, _ = call(capsys, "predict", run, birds / "test", "--json", "--quiet")
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 8
    assert all(line["label"] in line["prediction_set"] for line in lines)


def test_monitor_reports_coverage_over_time(capsys, run, birds, tmp_path):
    code, out, _ = call(capsys, "monitor", run, birds / "test", "--window", 5, "--quiet")
    assert code == 0
    assert "images      1 to      5: coverage" in out
    assert "8 images, of which 8 have labels" in out
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (birds / "test").rglob("*.jpg"):
        shutil.copy(path, flat)
    state = tmp_path / "state.json"
    code, out, _ = call(capsys, "monitor", run, flat, "--state", state, "--json", "--quiet")
    report = json.loads(out)
    assert report["total"]["trials"] == 0 and report["alarm_at"] is None
    assert json.loads(state.read_text())["num_images"] == 8
    code, out, _ = call(capsys, "monitor", run, flat, "--quiet")
    assert "no labels" in out


def test_explain_draws_and_describes(capsys, run, picture, tmp_path):
    code, out, _ = call(capsys, "explain", run, picture, "--out", tmp_path / "why.png")
    assert code == 0
    assert "why.png" in out
    with Image.open(tmp_path / "why.png") as figure:
        assert figure.width > 500
    code, out, _ = call(capsys, "explain", run, picture, "--out", tmp_path / "why.svg", "--json")
    assert json.loads(out)["figure"].endswith("why.svg")
    code, _, err = call(capsys, "explain", run, picture, "--out", tmp_path / "why.bmp")
    assert code == 2
    assert ".png" in err


def test_compare_draws_two_classes(capsys, run, birds, tmp_path):
    first, second = sorted(path.name for path in (birds / "train").iterdir())[:2]
    code, out, _ = call(capsys, "compare", run, first, second, "--out", tmp_path / "pair.png")
    assert code == 0
    assert first in out
    assert (tmp_path / "pair.png").exists()
    code, out, _ = call(capsys, "compare", run, first, second, "--out", tmp_path / "pair.png", "--json")
    assert {"shared", "only_a", "only_b"} <= set(json.loads(out))
    code, _, err = call(capsys, "compare", run, first, first[:-1], "--out", tmp_path / "pair.png")
    assert code == 2
    assert f"did you mean {first}" in err
    code, _, err = call(capsys, "compare", run, first, second, "--data", tmp_path / "gone")
    assert code == 2
    assert "--data" in err


def test_calibrate_refuses_training_images_and_unknown_classes(capsys, run, birds, tmp_path):
    code, _, err = call(capsys, "calibrate", run, birds / "train", "--out", tmp_path / "new", "--quiet")
    assert code == 2
    assert "used to train" in err
    other = tmp_path / "other"
    for name in ("cat", "dog"):
        (other / name).mkdir(parents=True)
        Image.fromarray(np.full((9, 9, 3), 90, np.uint8)).save(other / name / "a.png")
    code, _, err = call(capsys, "calibrate", run, other, "--quiet")
    assert code == 2
    assert "cat" in err


def test_calibrate_writes_a_classifier_with_other_sets(capsys, run, birds, tmp_path):
    arguments = ["calibrate", run, birds / "test", "--out", tmp_path / "new", "--score", "thr", "--quiet"]
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    assert "Calibrated on 8 images" in out
    code, out, _ = call(capsys, *arguments, "--json")
    assert json.loads(out)["calibration_images"] == 8
    code, out, _ = call(capsys, "evaluate", tmp_path / "new", "--images", birds / "calibration", "--json", "--quiet")
    assert json.loads(out)["images"] == {"calibration": 8, "test": 12}
    for calibrated, images in ((tmp_path / "new", birds / "test"), (run, birds / "calibration")):
        code, _, err = call(capsys, "evaluate", calibrated, "--images", images)
        assert code == 2 and "all" in err and "images calibrated these prediction sets" in err


def test_copies_of_a_picture_calibrate_with_a_warning(capsys, run, birds, tmp_path, caplog):
    for folder in sorted((birds / "test").iterdir()):
        (tmp_path / "copies" / folder.name).mkdir(parents=True)
        for number in range(3):
            shutil.copy(min(folder.iterdir()), tmp_path / "copies" / folder.name / f"{number}.jpg")
    assert call(capsys, "calibrate", run, tmp_path / "copies", "--out", tmp_path / "new")[0] == 0
    assert "8 of 12 images are copies of another one; the sets promise as much as with 4 images" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "{none}", "--out", "{out}"], "there is no folder"),
        (["fit", "{empty}", "--out", "{out}"], "empty"),
        (["fit", "{empty}", "--out", "{out}", "--config", "{none}"], "no configuration file"),
        (["predict", "{none}", "{empty}"], "no finished classifier"),
        (["evaluate", "{empty}"], "no finished classifier"),
        (["monitor", "{empty}", "{empty}"], "no finished classifier"),
        (["evaluate", "{empty}", "--images", "{none}"], "no finished classifier"),
        (["explain", "{empty}", "{none}"], "no finished classifier"),
        (["compare", "{empty}", "a", "b"], "no finished classifier"),
    ],
)
def test_what_a_user_got_wrong_is_said_in_a_line_without_a_traceback(capsys, tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    places = {name: str(tmp_path / name) for name in ("none", "empty", "out")}
    code, _, err = call(capsys, *(argument.format(**places) for argument in arguments), "--quiet")
    assert code == 2
    assert err.startswith("chiqpm: ")
    assert words in err
    assert "Traceback" not in err


def test_predict_without_pictures_is_refused(capsys, run, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = call(capsys, "predict", run, tmp_path / "empty")
    assert code == 2
    assert "no pictures" in err
    code, _, err = call(capsys, "predict", run, tmp_path / "gone.jpg")
    assert code == 2
    assert "gone.jpg" in err


def test_interruption_and_a_failing_disk_have_their_own_exit_codes(capsys, monkeypatch, tmp_path):
    from chiqpm.data import birds as module

    def raising(error):
        def write(*_, **__):
            raise error

        return write

    monkeypatch.setattr(module, "write_birds", raising(KeyboardInterrupt()))
    code, _, err = call(capsys, "birds", tmp_path / "b")
    assert code == 130
    assert "goes on" in err
    monkeypatch.setattr(module, "write_birds", raising(OSError(28, "No space left on device")))
    code, _, err = call(capsys, "birds", tmp_path / "b")
    assert code == 1
    assert "No space left" in err
    monkeypatch.setattr(module, "write_birds", raising(BrokenPipeError()))
    assert call(capsys, "birds", tmp_path / "b")[0] == 1


@pytest.mark.slow
def test_quickstart_runs_in_one_command(tmp_path):
    out = tmp_path / "quick"
    command = [sys.executable, "-m", "chiqpm", "quickstart", "--out", str(out), "--per-class", "2", "--json", "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["synthetic"] is True
    assert result["assignment"]["pairs_satisfied"] == 24
    assert 0 <= result["grounding"]["peaks"]["random_image"] < result["grounding"]["peaks"]["hit"] <= 1
    assert (out / "grounding.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has the settings")
def test_freed_memory_is_kept_unless_the_user_decides(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    assert keep_freed_memory()
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "100000")
    assert not keep_freed_memory()
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_features_draws_the_model_and_every_feature_asked_for(run, capsys, tmp_path):
    out = tmp_path / "pages"
    code, printed, _ = call(capsys, "features", str(run), "--out", str(out), "--only", "0", "5", "--width", "4.1")
    assert code == 0 and "6 files" in printed
    names = {"model.png", "pairs.png", "feature-000.png", "feature-005.png", "features.json", "features.txt"}
    assert {file.name for file in out.iterdir()} == names
    values = json.loads((out / "features.json").read_text())
    assert len(values["features"]) == 6 and len(values["model"]["class_names"]) == 4
    assert "Feature 5" in (out / "features.txt").read_text()
    code, _, error = call(capsys, "features", str(run), "--out", str(out), "--only", "6")
    assert code == 2 and "there is no feature 6; the features are 0 to 5" in error


def test_features_go_into_the_run_by_default(run, capsys, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    code, printed, _ = call(capsys, "features", str(tmp_path / "run"), "--only", "0")
    assert code == 0 and f"files in {tmp_path / 'run' / 'features'}" in printed
    assert (tmp_path / "run" / "features" / "feature-000.png").is_file()


def test_names_of_files_stay_in_their_line(capsys, run, picture, tmp_path):
    names = ["a\nb.jpg", "c\x1b[2Jd.jpg", "e\udcff.jpg", "größe ✓.jpg"]
    for name in names:
        shutil.copy(picture, tmp_path / name)
    code, out, _ = call(capsys, "predict", run, tmp_path, "--quiet")
    assert code == 0 and len(out.splitlines()) == 4 and "\x1b" not in out
    for shown in (r"a\nb.jpg: ", r"c\x1b[2Jd.jpg: ", r"e\udcff.jpg: ", "größe ✓.jpg: "):
        assert shown in out
    code, out, _ = call(capsys, "predict", run, tmp_path, "--quiet", "--json")
    assert sorted(Path(json.loads(line)["image"]).name for line in out.splitlines()) == sorted(names)
    code, _, err = call(capsys, "predict", run, tmp_path / "no\x1b[2J.jpg")
    assert code == 2 and r"no\x1b[2J.jpg" in err


def test_figures_for_phones(run, picture, capsys, tmp_path):
    first, second = sorted(folder.name for folder in picture.parents[1].iterdir())[:2]
    for number, arguments in enumerate((["explain", run, picture], ["compare", run, first, second])):
        file = tmp_path / f"{number}.png"
        assert call(capsys, *arguments, "--out", file, "--width", "4")[0] == 0
        with Image.open(file) as drawn:
            assert drawn.width == 600
        code, _, error = call(capsys, *arguments, "--out", file, "--width", "2")
        assert code == 2 and "at least 3 inches wide" in error


def test_a_picture_that_is_not_there_is_named(tiny_run, tmp_path, capsys):
    assert main(["explain", str(tiny_run), str(tmp_path / "gone.png"), "--out", str(tmp_path / "why.png")]) == 2
    assert capsys.readouterr().err == f"chiqpm: there is no file or folder {tmp_path / 'gone.png'}\n"
