"""Configuration files, atomic files, the ledger of stages, presets."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chiqpm import config_file
from chiqpm.config import DenseConfig, FitConfig
from chiqpm.devices import find_device
from chiqpm.errors import ChiqpmError, DamagedFileError
from chiqpm.files import read_json, read_npz, write_atomic, write_json, write_npz, write_text
from chiqpm.inference import Answers, Features
from chiqpm.ledger import Ledger
from chiqpm.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_its_file(name, tmp_path):
    import yaml

    config = preset(name)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"data_folder": "photos", **config_file.to_dict(config)}))
    assert config_file.read(file) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 1}, "did you mean seed"),
        ({"zzzzzz": 1}, "known are data"),
        ({"seed": 1.5}, "seed must be int"),
        ({"seed": True}, "seed must be int"),
        ({"data": 3}, "option data must be a group"),
        ({"data": {"resize": "stretch"}}, "data.resize must be"),
        ({"finetune": {"rounds": [1, "two"]}}, "finetune.rounds must be int"),
        ({"dense": {"optimiser": {"lr": "fast"}}}, "dense.optimiser.lr must be float"),
    ],
)
def test_values_of_the_wrong_kind_are_named(values, message):
    with pytest.raises(ChiqpmError, match=message):
        config_file.from_dict(values)


def test_integers_serve_as_floats_and_groups_merge():
    assert config_file.from_dict({"dense": {"dropout": 0}}).dense.dropout == 0.0
    merged = config_file.updated(config_file.to_dict(FitConfig()), {"dense": DenseConfig(epochs=9), "seed": 4})
    assert config_file.from_dict(merged).dense.epochs == 9


def test_files_that_are_no_configuration(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        config_file.read(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ChiqpmError, match="not valid YAML"):
        config_file.read(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ChiqpmError, match="received list"):
        config_file.read(tmp_path / "list.yaml")


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "values.json"
    write_json(file, {"a": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(ZeroDivisionError):
        write_atomic(file, lambda stream: 1 / 0)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(file, {"a": 2})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["values.json"]


def test_what_cannot_be_written_is_named_and_not_its_temporary_file(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    for place, named in (("none/a.txt", "none"), ("folder.txt", "folder.txt"), ("x" * 250, "x" * 250)):
        with pytest.raises(OSError) as refused:
            write_text(tmp_path / place, "text")
        assert refused.value.filename == str(tmp_path / named)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.txt"]


def test_files_have_the_permissions_that_the_system_gives(tmp_path):
    """Not those of a private temporary file: a run is often shared."""
    (tmp_path / "plain").touch()
    write_json(tmp_path / "own", 1)
    assert (tmp_path / "own").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_npz_holds_no_objects(tmp_path):
    write_npz(tmp_path / "a.npz", {"x": np.arange(3)})
    assert read_npz(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match="'y'"):
        write_npz(tmp_path / "b.npz", {"y": np.array([{}], dtype=object)})


def test_the_ledger_redoes_what_changed_or_is_missing(tmp_path, caplog):
    product = tmp_path / "product"

    def enter(made_from):
        with Ledger(tmp_path / "stages.json").stage("cook", made_from, [product]) as state:
            done = state.done
            product.write_text("x")
        return done

    caplog.set_level("INFO")
    assert not enter({"salt": 1})
    assert enter({"salt": 1})
    assert not enter({"salt": 2})
    assert "salt changed from 1 to 2" in caplog.text
    product.unlink()
    assert not enter({"salt": 2})
    assert "a file is missing" in caplog.text


def test_a_stage_that_fails_is_not_finished(tmp_path):
    ledger = Ledger(tmp_path / "stages.json")
    with pytest.raises(ZeroDivisionError), ledger.stage("cook", {}, []):
        raise ZeroDivisionError
    with ledger.stage("cook", {}, []) as state:
        assert not state.done


def test_devices():
    assert find_device("auto").type in {"cpu", "cuda", "mps"}
    with pytest.raises(ChiqpmError, match="'toaster'"):
        find_device("toaster")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), compressed=st.booleans())
def test_a_damaged_npz_is_read_or_named(tmp_path, data, compressed):
    """Whatever happened to its bytes: no other error, and no arrays of another kind."""
    file = tmp_path / "arrays.npz"
    arrays = {"a": np.arange(30.0).reshape(5, 6), "b": np.array("text")}
    with file.open("wb") as stream:
        (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_npz(file)
    except DamagedFileError as error:
        assert str(file) in str(error)
    else:
        assert all(isinstance(values, np.ndarray) and not values.dtype.hasobject for values in found.values())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000, b"nil"])
def test_what_is_no_json_is_named(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "y.json")


@pytest.mark.parametrize(
    "arrays",
    [
        {"features_NK": np.zeros((3, 2)), "labels_N": np.zeros(3)},
        {"features_NK": np.zeros((3, 2)), "labels_N": np.zeros(3), "logits_NC": np.zeros((2, 4))},
        {"features_NK": np.zeros(3), "labels_N": np.zeros(3), "logits_NC": np.zeros((3, 4))},
        {},
    ],
)
def test_answers_that_are_none_are_named(tmp_path, arrays):
    write_npz(tmp_path / "answers.npz", arrays)
    with pytest.raises(DamagedFileError, match=r"answers\.npz .* features_NK, labels_N, logits_NC of the same images"):
        Answers.read(tmp_path / "answers.npz")


def test_answers_come_back_as_they_were(tmp_path):
    answers = Answers(features_NK=np.ones((3, 2)), labels_N=np.arange(3), logits_NC=np.eye(3))
    write_npz(tmp_path / "answers.npz", vars(answers))
    for kind in (Answers, Features):
        found = kind.read(tmp_path / "answers.npz")
        assert type(found) is kind
        for name, values in vars(found).items():
            np.testing.assert_array_equal(values, getattr(answers, name))
