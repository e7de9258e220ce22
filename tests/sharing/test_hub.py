"""Pushing to and loading from a hub, spoken to over HTTP on the loopback interface."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

import chiqpm
from chiqpm.classifier import Classifier
from chiqpm.cli import main
from chiqpm.errors import ChiqpmError
from chiqpm.evaluation import kept_numbers
from chiqpm.recalibration import measure_elsewhere, recalibrate
from chiqpm.sharing import is_hub_id


def _server_module():
    spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = _server_module().Hub()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", "right")
    yield server
    server.close()


@pytest.fixture(scope="module")
def classifier(make_classifier):
    return make_classifier()


def test_what_is_pushed_loads_again_bit_for_bit(hub, classifier, pictures):
    address = classifier.push_to_hub("me/birds", license="mit", data="Twelve pictures of noise.")
    assert address.startswith(f"{hub.url}/me/birds/commit/")
    assert set(hub.repos["me/birds"]["main"]) == {
        "README.md",
        "calibration.npz",
        "classifier.json",
        "model.safetensors",
    }
    card = hub.repos["me/birds"]["main"]["README.md"].decode()
    assert "license: mit" in card and "Twelve pictures of noise." in card and 'chiqpm.load("me/birds")' in card
    again = chiqpm.load("me/birds", device="cpu")
    paths = sorted(pictures.rglob("*.png"))
    for a, b in zip(classifier.predict(paths), again.predict(paths), strict=True):
        assert a.to_dict(maps=True) == b.to_dict(maps=True)
    assert "README.md" not in hub.downloads


def test_a_revision_is_another_model(hub, classifier, make_classifier):
    classifier.push_to_hub("me/birds")
    make_classifier(classes=5).push_to_hub("me/birds", revision="five")
    assert len(Classifier.from_pretrained("me/birds").class_names) == 4
    assert len(Classifier.from_pretrained("me/birds", revision="five").class_names) == 5
    with pytest.raises(FileNotFoundError, match="no revision 'six'"):
        chiqpm.load("me/birds", revision="six")


def test_the_cache_serves_without_a_connection(hub, classifier, monkeypatch, pictures):
    classifier.push_to_hub("me/birds")
    chiqpm.load("me/birds")
    hub.downloads.clear()
    chiqpm.load("me/birds")
    assert hub.downloads == []
    hub.close()
    again = chiqpm.load("me/birds", device="cpu")
    picture = next(pictures.rglob("*.png"))
    assert again.predict(picture).to_dict() == classifier.predict(picture).to_dict()
    with pytest.raises(FileNotFoundError, match=r"no folder me/other, and .* can't be fetched .* local cache"):
        chiqpm.load("me/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert chiqpm.load("me/birds").class_names == classifier.class_names
    with pytest.raises(FileNotFoundError, match="local cache"):
        chiqpm.load("me/other")


def test_a_folder_comes_before_the_hub(hub, classifier, make_classifier, monkeypatch, tmp_path):
    classifier.push_to_hub("me/birds")
    monkeypatch.chdir(tmp_path)
    make_classifier(classes=5).save("me/birds")
    assert len(chiqpm.load("me/birds").class_names) == 5
    with pytest.raises(ChiqpmError, match="no revision 'main'"):
        chiqpm.load("me/birds", revision="main")


def test_wrong_names_say_what_was_looked_for(hub, classifier):
    with pytest.raises(FileNotFoundError, match=r"no folder me/none, and http.* has no model me/none"):
        chiqpm.load("me/none")
    with pytest.raises(FileNotFoundError, match="no name of a model"):
        chiqpm.load("me/a--b")
    for name in ("birds", "a/b/c", "./a/b", "/a/b", "", "~/birds"):
        with pytest.raises(FileNotFoundError, match="no finished classifier"):
            chiqpm.load(name)
    hub.repos["me/closed"] = {"main": {}}
    hub.refused.add("me/closed")
    with pytest.raises(FileNotFoundError, match="gated"):
        chiqpm.load("me/closed")
    for name in ("birds", "a/b/c", "../x", ""):
        with pytest.raises(ChiqpmError, match="owner/name"):
            classifier.push_to_hub(name)


def test_a_model_of_the_hub_is_measured_and_calibrated(hub, classifier, pictures, tmp_path):
    for name, source in zip(classifier.class_names, sorted(pictures.rglob("*.png")), strict=False):
        (tmp_path / "images" / name).mkdir(parents=True)
        shutil.copy(source, tmp_path / "images" / name / "a.png")
        shutil.copy(source, tmp_path / "images" / name / "b.png")
    classifier.push_to_hub("me/birds")
    measured = measure_elsewhere(Path("me/birds"), tmp_path / "images", device="cpu")
    assert measured["classifier"] == classifier.fingerprint() and measured["images"]["test"] == 8
    with pytest.raises(FileNotFoundError, match=r"me/birds has no metrics\.json"):
        kept_numbers(Path("me/birds"))
    with pytest.raises(ChiqpmError, match=r"me/birds is a model on the hub; .* \(--out\)"):
        recalibrate(Path("me/birds"), tmp_path / "images")
    assert recalibrate(Path("me/birds"), tmp_path / "images", tmp_path / "mine", device="cpu") == 8
    assert chiqpm.load(tmp_path / "mine").predictor.num_calibration == 8


def test_a_refusal_of_the_hub_is_said(hub, classifier):
    with pytest.raises(ChiqpmError, match="refuses to store me/birds"):
        classifier.push_to_hub("me/birds", token="wrong")


def test_a_hub_out_of_reach_is_said(hub, classifier):
    hub.close()
    with pytest.raises(ConnectionError, match=f"{hub.url} can't be reached to store me/birds"):
        classifier.push_to_hub("me/birds")


def test_a_repository_without_a_classifier_names_the_missing_file(hub, caplog):
    hub.repos["me/other"] = {"main": {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04"}}
    with pytest.raises(FileNotFoundError, match=r"no chiqpm classifier: classifier\.json is missing"):
        chiqpm.load("me/other")
    assert hub.downloads == []


def test_a_damaged_file_of_the_hub_is_named(hub, classifier):
    classifier.push_to_hub("me/birds")
    files = hub.repos["me/birds"]["main"]
    files["model.safetensors"] = files["model.safetensors"][:-1000]
    with pytest.raises(ChiqpmError, match=r"model\.safetensors is damaged or cut short"):
        chiqpm.load("me/birds")


def test_hub_names():
    assert is_hub_id("owner/name-1.0_x") and not is_hub_id("owner/.hidden") and not is_hub_id("runs\\birds")


def test_the_command_line_says_it_in_a_line(hub, capsys, pictures):
    assert main(["predict", "me/none", str(pictures)]) == 2
    error = capsys.readouterr().err
    assert "has no model me/none" in error and "Traceback" not in error


@pytest.mark.slow
def test_another_process_finds_the_hub_by_its_environment(hub, classifier, pictures, tmp_path):
    classifier.push_to_hub("me/birds")
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "chiqpm", "predict", "me/birds", str(next(pictures.rglob("*.png")))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "Predicted class" in done.stdout
    assert np.isin(["model.safetensors", "classifier.json"], hub.downloads).all()
