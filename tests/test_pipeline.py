"""The whole method on a few tiny synthetic birds: what a run leaves, what a rerun does again, what survives."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from matplotlib.text import Text
from PIL import Image
from safetensors.torch import load_file

import chiqpm
from chiqpm import config_file
from chiqpm.cli import main as command
from chiqpm.config import (
    AssignmentConfig,
    BackboneConfig,
    CalibrationConfig,
    DataConfig,
    DenseConfig,
    FineTuneConfig,
    FitConfig,
)
from chiqpm.conformal import SmallCalibrationWarning
from chiqpm.data import load_image
from chiqpm.data.birds import BirdsConfig, write_birds
from chiqpm.errors import ChiqpmError
from chiqpm.experiments.claims import measure_claims, random_divisions
from chiqpm.experiments.faithfulness import main
from chiqpm.experiments.grounding import measure_grounding
from chiqpm.files import Lock
from chiqpm.gallery import compare_in_run
from chiqpm.pipeline import Run, prove, solve_assignment
from chiqpm.presets import preset
from chiqpm.run_explanation import explain_run, read_observations
from chiqpm.statistics import Statistics
from chiqpm.training import TrainingDivergedError

CONFIG = FitConfig(
    data=DataConfig(image_size=64, find_duplicates=False),
    backbone=BackboneConfig(head_channels=32),
    dense=DenseConfig(epochs=2),
    assignment=AssignmentConfig(kept_features=12, features_per_class=3),
    finetune=FineTuneConfig(rounds=(1, 1), grounding_epochs=1),
    calibration=CalibrationConfig(coverage=0.8, targets=(0.7, 0.8)),
    cached_views=2,
    device="cpu",
)

PRODUCTS = {
    "split": "split.csv",
    "dense": "dense.safetensors",
    "statistics": "statistics.npz",
    "assignment": "assignment.npz",
    "finetune": "model.safetensors",
    "calibration": "calibration.npz",
}


@pytest.fixture(scope="session")
def birds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("birds") / "images"
    config = BirdsConfig(families=2, genera=2, siblings=2, image_size=64)
    write_birds(folder, config=config, train=5, calibration=3, test=2, processes=1)
    return folder


@pytest.fixture(scope="session")
def finished(birds, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    chiqpm.fit(birds, out, config=CONFIG)
    return out


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def weights(out):
    return load_file(out / "model.safetensors")


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_one_artefact_a_stage(finished):
    names = {path.name for path in finished.iterdir()}
    assert {
        "config.yaml",
        "environment.json",
        "split.csv",
        "stages.json",
        "dense.safetensors",
        "statistics.npz",
        "assignment.npz",
        "model.safetensors",
        "classifier.json",
        "calibration.npz",
        "metrics.json",
        "observations.npz",
        "examples.npz",
        "figures",
    } <= names
    assert "cache" not in names
    assert not list((finished / "checkpoints").iterdir())
    assert (finished / "figures" / "contrast.png").stat().st_size > 10_000


def test_the_numbers_are_complete_and_possible(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["images"] == {"train": 40, "calibration": 24, "test": 16}
    assert metrics["features"] == {"kept": 12, "per_class": 3}
    assert metrics["assignment"]["distinct_classes"] == 8
    assert metrics["assignment"]["pairs_satisfied"] == metrics["assignment"]["pairs_forced"] == 4
    assert 0 <= metrics["accuracy"]["sparse"] <= 1
    names = {"contrastiveness", "class_independence", "correlation", "dependence", "sid@3"}
    names |= {"structural_grounding", "feature_alignment"}
    assert names == set(metrics["interpretability"])
    assert {"path", "evidence", "branch", "level_limited", "thr"} == set(metrics["coverage"])
    for by_target in metrics["coverage"].values():
        for values in by_target.values():
            assert 0 <= values["interval"][0] <= values["coverage"] <= values["interval"][1] <= 1


def test_how_good_the_assignment_is_gets_proven(finished):
    proven = json.loads((finished / "metrics.json").read_text())["assignment"]
    assert proven["objective"] <= proven["bound"] <= 1.02 * proven["objective"]
    with np.load(finished / "statistics.npz") as arrays:
        statistics = Statistics(**{field.name: arrays[field.name] for field in fields(Statistics)})
    config = config_file.read(finished / "config.yaml")
    config = replace(config, assignment=replace(config.assignment, kept_features=16, proof_seconds=0.0))
    found, problem = solve_assignment(statistics, config)
    assert prove(found, problem, config) is found
    config = replace(config, assignment=replace(config.assignment, proof_seconds=5.0, gap=0.5))
    unproven = replace(found, bound=np.inf)
    assert found.objective <= prove(unproven, problem, config).bound < np.inf


def test_the_assignment_in_the_model_is_the_one_that_was_solved(finished):
    with np.load(finished / "assignment.npz") as arrays:
        np.testing.assert_array_equal(weights(finished)["weight_CK"], arrays["weight_CK"])
        assert (arrays["weight_CK"].sum(axis=1) == 3).all()
        for a, b in arrays["pairs"]:
            assert (arrays["weight_CK"][a] & arrays["weight_CK"][b]).sum() == 2


def test_loading_gives_the_same_predictions_bit_for_bit(finished, birds, tmp_path):
    images = sorted((birds / "test").rglob("*.jpg"))[:5]
    first = chiqpm.load(finished, device="cpu")
    first.save(tmp_path / "again")
    second = chiqpm.load(tmp_path / "again", device="cpu")
    for a, b in zip(first.predict(images), second.predict(images), strict=True):
        assert a.to_dict(maps=True) == b.to_dict(maps=True)
    assert len({prediction.label for prediction in first.predict(images)}) >= 1


def test_features_observed_in_training_are_those_of_the_saved_model(finished, tmp_path):
    explained = explain_run(finished, device="cpu")
    assert explained.observations.num_images == 40
    assert [feature.index for feature in explained.features] == list(range(12))
    classifier = chiqpm.load(finished, device="cpu")
    top = explained.features[0].top[0]
    _, features, maps = classifier.outputs([load_image(explained.root / top.path)])
    assert features[0, 0] == pytest.approx(top.activation, abs=1e-3)
    np.testing.assert_allclose(maps[0, 0], top.map_HW, atol=1e-3)
    np.testing.assert_allclose(
        [f.histogram.components[1].mean for f in explained.features], classifier.active_mean_K, atol=1e-9
    )
    without = Path(shutil.copytree(finished, tmp_path / "copy"))
    (without / "observations.npz").unlink()
    again = explain_run(without, device="cpu")
    for one, other in zip(explained.features, again.features, strict=True):
        assert [image.path for image in one.top[:3]] == [image.path for image in other.top[:3]]
        assert one.classes[0].mean == pytest.approx(other.classes[0].mean, abs=1e-3) if one.classes else True
    (without / "features.yaml").write_text("0: a crest\n")
    assert explain_run(without, device="cpu", images_per_class=2).features[0].words == "feature 0 (a crest)"


def test_names_of_features_appear_everywhere_with_their_numbers(birds, copy, tmp_path):
    (copy / "features.yaml").write_text("".join(f"{k}: part {k} 部\n" for k in range(12)), encoding="utf-8")
    prediction = chiqpm.load(copy, device="cpu").predict(next((birds / "test").rglob("*.jpg")), 0.8)
    explanation = prediction.explanation
    first = explanation.features[0]
    assert first.name == f"part {first.index} 部"
    assert f"feature {first.index} ({first.name})" in explanation.text()
    plain = prediction.to_dict()["explanation"]
    assert (plain["features"][0]["index"], plain["features"][0]["name"]) == (first.index, first.name)
    drawn = " ".join(text.get_text() for text in prediction.figure().findobj(Text))
    assert f"f{first.index} part {first.index}" in drawn
    values = compare_in_run(copy, *chiqpm.load(copy, device="cpu").class_names[:2], tmp_path / "contrast.png")
    assert "(part" in values.sentence()
    explained = explain_run(copy, device="cpu")
    assert explained.model.features[3].name == explained.features[3].name == "part 3 部"
    chiqpm.load(copy, device="cpu").save(tmp_path / "elsewhere")
    assert chiqpm.load(tmp_path / "elsewhere", device="cpu").feature_names[3] == "part 3 部"
    (copy / "features.yaml").write_text("12: beak\n")
    with pytest.raises(ChiqpmError, match=r"features\.yaml, line 1: '12' is no feature; they are 0 to 11"):
        chiqpm.load(copy, device="cpu")


def test_observations_of_another_model_are_not_used(finished, copy):
    classifier = chiqpm.load(copy, device="cpu")
    assert read_observations(copy, classifier.model) is not None
    classifier.model.mean_K += 1
    assert read_observations(copy, classifier.model) is None


def test_a_prediction_has_label_set_tree_and_picture(finished, birds, tmp_path):
    classifier = chiqpm.load(finished)
    path = next((birds / "test").rglob("*.jpg"))
    prediction = classifier.predict(path, coverage=0.75)
    assert prediction.label in prediction.prediction_set
    assert set(prediction.prediction_set) <= set(classifier.class_names)
    assert prediction.explanation.sentence().startswith(f"Predicted {prediction.label}")
    assert json.loads(json.dumps(prediction.to_dict(maps=True)))["coverage"] == 0.75
    prediction.save_figure(tmp_path / "why.svg")
    assert (tmp_path / "why.svg").read_text().startswith("<?xml")
    array = np.asarray(Image.open(path))
    assert classifier.predict(array, 0.75).to_dict() == prediction.to_dict()
    wide = classifier.predict(Image.fromarray(array).resize((400, 100)).convert("RGBA"), 0.75)
    assert wide.picture.size == (400, 100)


def test_larger_coverage_never_removes_a_class(finished, birds):
    classifier = chiqpm.load(finished)
    path = next((birds / "test").rglob("*.jpg"))
    sets = [set(classifier.predict(path, coverage).prediction_set) for coverage in (0.3, 0.6, 0.9)]
    assert sets[0] <= sets[1] <= sets[2]


def test_too_few_calibration_images_give_all_classes_and_a_warning(finished, birds):
    classifier = chiqpm.load(finished)
    with pytest.warns(SmallCalibrationWarning, match="99"):
        prediction = classifier.predict(next((birds / "test").rglob("*.jpg")), coverage=0.99)
    assert len(prediction.prediction_set) == 8


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 1.5, float("nan")])
def test_coverage_outside_its_range_is_refused(finished, birds, coverage):
    with pytest.raises(ChiqpmError, match="coverage"):
        chiqpm.load(finished).predict(next((birds / "test").rglob("*.jpg")), coverage=coverage)


def test_wrong_images_are_refused(finished, tmp_path):
    classifier = chiqpm.load(finished)
    with pytest.raises(FileNotFoundError):
        classifier.predict(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ChiqpmError, match=r"text\.jpg"):
        classifier.predict(tmp_path / "text.jpg")
    with pytest.raises(ChiqpmError, match="uint8"):
        classifier.predict(np.zeros((4, 4)))
    with pytest.raises(TypeError, match="received int"):
        classifier.predict([3])


def test_a_finished_run_is_not_done_again(birds, copy):
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir() if path.name != "config.yaml"}
    chiqpm.fit(birds, copy, config=CONFIG)
    assert before == {path.name: path.stat().st_mtime_ns for path in copy.iterdir() if path.name != "config.yaml"}


def test_a_changed_option_redoes_what_depends_on_it_and_says_so(birds, copy, caplog):
    before = {
        name: (copy / name).stat().st_mtime_ns for name in ("dense.safetensors", "assignment.npz", "metrics.json")
    }
    with caplog.at_level(logging.INFO):
        chiqpm.fit(birds, copy, config=CONFIG, finetune={"grounding_weight": 0.5})
    after = {name: (copy / name).stat().st_mtime_ns for name in before}
    assert after["dense.safetensors"] == before["dense.safetensors"]
    assert after["assignment.npz"] == before["assignment.npz"]
    assert after["metrics.json"] != before["metrics.json"]
    assert "finetune.grounding_weight changed from 1.0 to 0.5" in caplog.text


def test_the_written_configuration_reproduces_the_run(birds, finished, tmp_path):
    written = config_file.read(finished / "config.yaml")
    assert written == replace(CONFIG, backbone=CONFIG.backbone.resolved())
    assert yaml.safe_load((finished / "config.yaml").read_text())["data_folder"] == str(birds)
    chiqpm.fit(birds, tmp_path / "again", config=written)
    assert same_weights(weights(finished), weights(tmp_path / "again"))


@pytest.mark.parametrize(("asked", "kept"), [(50, 16), (16, 16), (9, 9)])
def test_no_more_features_are_kept_than_all_classes_can_have(birds, tmp_path, caplog, asked, kept):
    options = replace(CONFIG.assignment, kept_features=asked, features_per_class=2)
    run = Run(birds, tmp_path / "run", replace(CONFIG, assignment=options))
    assert run.config.assignment.kept_features == kept
    said = "8 classes with 2 features each can use 16 features at most: 16 are kept, not 50" in caplog.text
    assert said == (asked == 50)


@pytest.mark.parametrize("place", [".", "run", "train/a/../../run"])
def test_a_run_directory_among_the_images_is_refused(birds, place):
    before = sorted(birds.rglob("*"))
    with pytest.raises(ChiqpmError, match="lies in the folder of images"):
        chiqpm.fit(birds, birds / place, config=CONFIG)
    assert sorted(birds.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="files are locked elsewhere only")
def test_two_programs_do_not_work_in_one_run_directory(birds, copy):
    lock = Lock(copy / ".lock")
    command = [sys.executable, "-m", "chiqpm", "fit", str(birds), "--out", str(copy), "--quiet"]
    refused = subprocess.run(
        [*command, "--config", str(copy / "config.yaml")], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert f"another chiqpm fit is at work in {copy}; wait for it" in refused.stderr
    with pytest.raises(ChiqpmError, match="another chiqpm fit is at work"):
        chiqpm.fit(birds, copy, config=CONFIG)
    lock.release()
    chiqpm.fit(birds, copy, config=CONFIG)


def test_an_interrupted_run_goes_on_to_the_same_model(birds, finished, tmp_path, monkeypatch):
    from chiqpm.training import loop

    real, calls = loop._Round._epoch, []

    def interrupted(self, *arguments):
        calls.append(self.training.name)
        if len(calls) in (2, 4):
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(loop._Round, "_epoch", interrupted)
    out = tmp_path / "run"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            chiqpm.fit(birds, out, config=CONFIG)
    chiqpm.fit(birds, out, config=CONFIG)
    assert calls[0] == calls[1] == calls[2] == "dense training"
    assert same_weights(weights(finished), weights(out))


def test_a_damaged_checkpoint_is_named_and_not_used(birds, finished, tmp_path, monkeypatch, caplog):
    from chiqpm.training import loop

    out, real = tmp_path / "run", loop._Round._epoch
    monkeypatch.setattr(loop._Round, "_epoch", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        chiqpm.fit(birds, out, config=CONFIG)
    monkeypatch.setattr(loop._Round, "_epoch", real)
    (out / "checkpoints" / "dense.safetensors").write_bytes(b"\x08" * 30)
    chiqpm.fit(birds, out, config=CONFIG)
    assert "dense.safetensors can't be read" in caplog.text
    assert same_weights(weights(finished), weights(out))


def test_divergence_names_the_step_and_keeps_the_last_good_epoch(birds, tmp_path, monkeypatch):
    from chiqpm.training import stages

    real = stages.dense_loss

    def poisoned(model, config):
        loss = real(model, config)
        return lambda output, labels, epoch: loss(output, labels, epoch) * (1.0 if epoch == 0 else float("nan"))

    monkeypatch.setattr(stages, "dense_loss", poisoned)
    with pytest.raises(TrainingDivergedError, match=r"nan at epoch 2 of 2, step 1 of 2.*after epoch 1 is kept"):
        chiqpm.fit(birds, tmp_path / "run", config=CONFIG)
    assert (tmp_path / "run" / "checkpoints" / "dense.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"assignment": {"kept_features": 20}, "backbone": {"head_channels": 16}}, "kept_features"),
        ({"assignment": {"features_per_class": 12}}, "features_per_class"),
        ({"assignment": {"kept_features": 3, "features_per_class": 2}}, "8 classes need"),
        ({"assignment": {"pair_density": 1.5}}, "pair_density"),
        ({"backbone": {"name": "resnet1888"}}, "resnet18"),
        ({"dense": {"epohs": 3}}, "did you mean dense.epochs"),
        ({"dense": {"epochs": "three"}}, "dense.epochs must be int"),
        ({"device": "cuda:77"}, "cuda:77"),
    ],
)
def test_impossible_options_are_refused_before_any_training(birds, tmp_path, changes, message):
    with pytest.raises(ChiqpmError, match=message):
        chiqpm.fit(birds, tmp_path / "run", config=CONFIG, **changes)
    assert not (tmp_path / "run" / "dense.safetensors").exists()


@pytest.mark.slow
def test_attributes_that_do_not_fit_are_refused_before_any_training(birds, tmp_path):
    images = Path(shutil.copytree(birds, tmp_path / "birds"))
    lines = (images / "attributes.csv").read_text().splitlines()
    (images / "attributes.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(ChiqpmError, match=r"attributes\.csv doesn't fit the .* classes: no row for"):
        chiqpm.fit(images, tmp_path / "run", config=CONFIG)
    assert not (tmp_path / "run" / "dense.safetensors").exists()
    (images / "attributes.csv").write_text("\n".join(lines))
    with pytest.raises(FileNotFoundError, match=r"there is no attributes file other\.csv"):
        chiqpm.fit(images, tmp_path / "run", config=replace(CONFIG, data=replace(CONFIG.data, attributes="other.csv")))
    assert not (tmp_path / "run" / "dense.safetensors").exists()


def test_another_backbone_trains_on_images_by_the_published_recipe(birds, tmp_path):
    paper = preset("paper")
    config = replace(
        paper,
        data=replace(paper.data, image_size=64),
        backbone=BackboneConfig(name="resnet18", pretrained=False, output_stride=8),
        dense=replace(paper.dense, epochs=1),
        assignment=replace(paper.assignment, kept_features=12, features_per_class=3),
        finetune=replace(paper.finetune, rounds=(1, 1), grounding_epochs=1),
        calibration=CalibrationConfig(score="level_limited", coverage=0.7, targets=(0.7,)),
        device="cpu",
    )
    classifier = chiqpm.fit(birds, tmp_path / "run", config=config)
    prediction = classifier.predict(next((birds / "test").rglob("*.jpg")))
    assert prediction.explanation.features[0].map_HW.shape == (8, 8)
    state = load_file(tmp_path / "run" / "model.safetensors")
    assert state["selection_K"].max() > 12
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.slow
def test_a_transformer_with_a_frozen_trunk_serves_its_patch_tokens_as_maps(birds, tmp_path):
    changes = {"name": "vit_tiny_patch16_224", "pretrained": False, "frozen": "all", "head_channels": 32}
    classifier = chiqpm.fit(birds, tmp_path / "run", config=CONFIG, backbone=changes)
    prediction = classifier.predict(next((birds / "test").rglob("*.jpg")))
    assert prediction.explanation.features[0].map_HW.shape == (4, 4)


def test_a_run_of_another_format_is_refused(birds, copy):
    ledger = json.loads((copy / "stages.json").read_text())
    (copy / "stages.json").write_text(json.dumps({**ledger, "format": 99}))
    with pytest.raises(ChiqpmError, match="format 99"):
        chiqpm.fit(birds, copy, config=CONFIG)
    (copy / "stages.json").write_text("{")
    with pytest.raises(ChiqpmError, match="damaged"):
        chiqpm.fit(birds, copy, config=CONFIG)


@pytest.mark.parametrize("name", ["model.safetensors", "classifier.json", "calibration.npz"])
def test_a_damaged_classifier_is_named(copy, name):
    (copy / name).write_bytes(b"{broken")
    with pytest.raises(ChiqpmError, match="copy"):
        chiqpm.load(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.json", "calibration.npz"])
def test_a_damaged_file_of_a_finished_run_is_made_again_where_it_is_deleted(birds, copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ChiqpmError, match=rf"{re.escape(name)} .*\. Delete the file, and the same command makes it"):
        chiqpm.fit(birds, copy, config=CONFIG)
    (copy / name).unlink()
    chiqpm.fit(birds, copy, config=CONFIG)
    assert (copy / name).read_bytes() == content


def test_names_of_features_are_not_to_be_deleted(birds, copy):
    """They are the user's, and no command makes them again."""
    (copy / "features.yaml").write_text("99: red beak\n")
    with pytest.raises(ChiqpmError, match=r"features\.yaml, line 1") as caught:
        chiqpm.fit(birds, copy, config=CONFIG)
    assert "Delete" not in str(caught.value)


def test_a_damaged_file_between_two_stages_is_named(birds, copy):
    (copy / "dense.safetensors").write_bytes(b"{broken")
    (copy / "statistics.npz").unlink()
    with pytest.raises(ChiqpmError, match=r"dense\.safetensors is damaged .* Delete the file"):
        chiqpm.fit(birds, copy, config=CONFIG)


def test_an_unfinished_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished classifier"):
        chiqpm.load(tmp_path)


def test_changed_images_are_noticed(birds, finished, tmp_path):
    images = Path(shutil.copytree(birds, tmp_path / "images"))
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    next((images / "train").rglob("*.jpg")).unlink()
    with pytest.raises(ChiqpmError, match=r"missing|split"):
        chiqpm.fit(images, out, config=CONFIG)


def test_a_full_disk_loses_nothing(birds, copy, monkeypatch):
    before = weights(copy)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        chiqpm.fit(birds, copy, config=CONFIG, finetune={"grounding_weight": 0.5})
    assert same_weights(before, weights(copy))
    assert not [path for path in copy.iterdir() if path.name.startswith(".") and path.name != ".lock"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own
def test_on_a_disk_that_keeps_being_full_a_run_stops_and_goes_on_until_it_is_done(birds, finished, disk, capsys):
    """The disk is real; wherever it stops, the command says which file, and a little more space takes it further."""
    out, kept, stopped_at = disk.folder / "run", {}, []
    for free in (0, *(64 * 2**step for step in range(12))):
        disk.leave(free)
        arguments = ["fit", str(birds), "--out", str(out), "--config", str(finished / "config.yaml"), "--quiet"]
        code = command(arguments)
        said = capsys.readouterr().err
        assert all((out / name).read_bytes() == content for name, content in kept.items()), "nothing is overwritten"
        if code == 0:
            break
        assert code == 1
        assert "what was finished is kept, the same command goes on from there" in said
        stopped_at += re.findall(
            rf"^chiqpm: .*No space left on device: '{re.escape(str(out))}/?(.*)'", said, re.MULTILINE
        )
        done = json.loads((out / "stages.json").read_text())["stages"] if (out / "stages.json").exists() else {}
        kept = {name: (out / name).read_bytes() for stage, name in PRODUCTS.items() if stage in done}
        assert not [path for path in out.rglob(".*") if path.is_file() and path.name != ".lock"], (
            "nothing half written stays"
        )
    assert code == 0
    assert len(set(stopped_at)) > 3, stopped_at
    assert same_weights(weights(finished), weights(out))
    for name in ("metrics.json", "split.csv"):
        assert (out / name).read_bytes() == (finished / name).read_bytes()


def test_a_dense_model_from_elsewhere_skips_the_dense_stage(birds, finished, tmp_path):
    given = {"checkpoint": str(finished / "dense.safetensors")}
    run = Run(
        birds,
        tmp_path / "run",
        config_file.from_dict(config_file.updated(config_file.to_dict(CONFIG), {"dense": given})),
    )
    run.split()
    (tmp_path / "run").mkdir(exist_ok=True)
    run.dense()
    assert same_weights(load_file(finished / "dense.safetensors"), load_file(tmp_path / "run" / "dense.safetensors"))


def test_one_folder_level_is_split_and_groups_stay_together(birds, tmp_path):
    images = tmp_path / "images"
    for part in ("train", "calibration", "test"):
        for file in (birds / part).rglob("*.jpg"):
            target = images / file.parent.name / f"{part[0]}{file.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    config = replace(
        CONFIG, data=replace(CONFIG.data, groups=r"_(\d+)\.jpg$", calibration_fraction=0.3, test_fraction=0.2)
    )
    run = Run(images, tmp_path / "run", config)
    run.split()
    table = run.table
    assert table.parts is not None
    assert table.groups is not None
    sides: dict[str, set[str]] = {}
    for group, part in zip(table.groups, table.parts, strict=True):
        sides.setdefault(group, set()).add(str(part))
    assert all(len(parts) == 1 for parts in sides.values())


def test_grounding_is_measured_on_birds_rendered_again(birds, finished, tmp_path):
    result = measure_grounding(chiqpm.load(finished), birds)
    plain = json.loads(json.dumps(result.to_dict()))
    assert 0 <= plain["peaks"]["random_image"] <= 1
    assert sum(plain["modal_parts"].values()) <= 12
    assert 0 <= plain["siblings_paired"][0] <= plain["siblings_paired"][1] == 4
    other = tmp_path / "other"
    write_birds(
        other, config=BirdsConfig(families=2, genera=1, image_size=64), train=1, calibration=1, test=1, processes=1
    )
    with pytest.raises(ChiqpmError, match="not the classes"):
        measure_grounding(chiqpm.load(finished), other)


def test_faithfulness_has_a_control_for_every_number(finished, tmp_path):
    main([str(finished), "--images", "4", "--out", str(tmp_path / "faithfulness.json")])
    found = json.loads((tmp_path / "faithfulness.json").read_text())
    assert found["images"] == 4
    for curves in (found["perturbation"]["deletion"], found["perturbation"]["insertion"]):
        assert set(curves) == {"map", "random", "centre"}
        assert all(0 <= curve["auc"] <= 1 and len(curve["means"]) == 7 for curve in curves.values())
    assert found["randomisation"]["depths"][-1]["share"] == 1
    assert found["parts"] is not None and len(found["sentences"]) >= 3
    swapped, removed = found["parts"]["swapped"], found["parts"]["removed"]
    for values in filter(None, (swapped, removed)):
        assert all(f"control_{name}" in values for name in values if not name.startswith(("control_", "samples")))


def test_sets_over_random_divisions_keep_their_coverage_on_average(finished):
    found = random_divisions(finished, seed=0)
    assert {"path", "evidence", "branch", "level_limited", "thr", "aps"} == set(found)
    for name, by_target in found.items():
        for target, values in by_target.items():
            assert values["coverage"] > float(target) - 0.06, (name, target)
            assert values["empty_rate"] == 0 or name not in ("path", "evidence", "branch")


@pytest.mark.slow
def test_claims_collect_every_seed(tmp_path):
    small = replace(
        CONFIG,
        data=replace(CONFIG.data, image_size=64),
        assignment=AssignmentConfig(kept_features=30, time_limit=2.0),
        finetune=FineTuneConfig(rounds=(1,)),
        dense=DenseConfig(epochs=1),
    )
    result = measure_claims(tmp_path, [5], config=small, per_class=4)
    assert set(result["mean"]) == set(result["seeds"]["5"]["summary"])
    assert result["mean"]["pairs_satisfied"] == result["mean"]["pairs_forced"] == 24
    assert result["mean"]["distinct_classes"] == 48
