"""The whole method on a published data set in its true format, and on data sets in memory and in shards."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import chiqpm
from chiqpm.classifier import load
from chiqpm.cli import main
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
from chiqpm.data import open_folder, read_annotations, read_split, split, write_shards
from chiqpm.errors import ChiqpmError
from chiqpm.recalibration import measure_elsewhere
from chiqpm.run_explanation import open_run_images

CONFIG = FitConfig(
    data=DataConfig(image_size=64, calibration_fraction=0.4, find_duplicates=False),
    backbone=BackboneConfig(head_channels=16),
    dense=DenseConfig(epochs=1),
    assignment=AssignmentConfig(kept_features=8, features_per_class=3, time_limit=1),
    finetune=FineTuneConfig(rounds=(1,), grounding_epochs=1),
    calibration=CalibrationConfig(coverage=0.7, targets=(0.7,)),
    cached_views=1,
    device="cpu",
)
pytestmark = pytest.mark.filterwarnings(f"ignore::{SmallCalibrationWarning.__module__}.SmallCalibrationWarning")


@pytest.fixture(scope="module")
def cub(make_cub, tmp_path_factory):
    root = tmp_path_factory.mktemp("cub")
    make_cub(root)
    return root


@pytest.fixture(scope="module")
def run(cub, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "cub"
    chiqpm.fit(cub, out, config=replace(CONFIG, data=replace(CONFIG.data, crop_to_box=True)))
    return out


def metrics(out):
    return json.loads((out / "metrics.json").read_text())


def test_cub_from_files_to_metrics(run):
    found = metrics(run)
    assert found["images"] == {"train": 10, "calibration": 4, "test": 7}
    assert {"structural_grounding", "feature_alignment", "attribute_auc"} <= set(found["interpretability"])
    hits = {name: found["interpretability"][name] for name in ("part_hit", "part_hit_random")}
    assert all(0 <= share <= 1 for share in hits.values())
    header, first = (run / "split.csv").read_text(encoding="utf-8").splitlines()[:2]
    assert header == "path,class,part,group,box"
    assert first.endswith(",11 5 41 31")
    assert load(run).class_names[0] == "001.Black_footed_Albatross"


def test_classes_of_a_cut_run_can_be_compared(run, tmp_path, capsys):
    first, second, _ = load(run).class_names
    code = main(["compare", str(run), first, second, "--out", str(tmp_path / "pair.png")])
    assert code == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "sanity",
        "shift",
        "coherence",
        "conditional-coverage",
        pytest.param("grounding", marks=pytest.mark.slow),
        pytest.param("tradeoffs", marks=pytest.mark.slow),
    ],
)
def test_experiments_measure_a_run_on_published_data(run, tmp_path, name, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    given = ["experiment", name, "--run", str(run), "--reduced", "--out", str(tmp_path), "--quiet", "--json"]
    assert main(given) == 0, capsys.readouterr().err
    result = json.loads(capsys.readouterr().out)
    about = "3 classes, 10 training images, backbone lite0, seed 0"
    assert f"Measured on 1 given run (`--run`): {about}." in result["notes"]
    rows = {row[0]: row[1:] for row in result["table"]["rows"]}
    if name == "shift":
        assert set(rows) == {"clean", "blur 1", "noise 1", "contrast 1", "colour 1"}, (
            "nothing tells bird and background"
        )
        assert rows["clean"][0] == pytest.approx(metrics(run)["accuracy"]["sparse"], abs=0.5)
    elif name == "grounding":
        hits = result["values"]["default"]["peaks"]
        assert hits["hit"] == metrics(run)["interpretability"]["part_hit"]
        assert (tmp_path / "grounding" / "maps.png").stat().st_size > 10_000
    elif name == "tradeoffs":
        assert set(rows) == {"as given (rho 0.5, n 3, K 8)", "rho 0"}
        assert rows["as given (rho 0.5, n 3, K 8)"][0] == metrics(run)["accuracy"]["sparse"]
    elif name == "coherence":
        assert "One model has no interval" in result["verdict"]["evidence"]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before, "a given run is read only"
    assert main(given) == 0
    assert json.loads(capsys.readouterr().out)["values"] == result["values"]


def test_several_runs_are_compared_and_too_many_refused(run, tmp_path, capsys):
    given = ["--reduced", "--out", str(tmp_path), "--quiet", "--run", str(run), str(run)]
    assert main(["experiment", "conditional-coverage", *given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["made"]["command"].endswith("--run RUN RUN --reduced")
    assert main(["experiment", "shift", *given]) == 2
    assert "takes one run; 2 are given" in capsys.readouterr().err
    assert main(["experiment", "solver", *given]) == 2
    assert "leave --run out" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*never vary:UserWarning")
def test_experiments_say_what_a_run_lacks(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for label in ("a", "b", "c"):
        for number in range(12):
            path = tmp_path / "photos" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    out = tmp_path / "run"
    chiqpm.fit(tmp_path / "photos", out, config=CONFIG)
    given = ["--run", str(out), "--reduced", "--out", str(tmp_path / "experiments"), "--quiet"]
    assert main(["experiment", "sanity", *given]) == 0
    assert "incoherent sets: not looked for" in capsys.readouterr().out
    for name, words in {
        "coherence": "attributes.csv in the folder",
        "tradeoffs": "attributes.csv in the folder",
        "grounding": "as in CUB-200-2011",
    }.items():
        assert main(["experiment", name, *given]) == 2
        assert words in capsys.readouterr().err


def test_a_run_finds_its_images_again(cub, run):
    table = read_split(run / "split.csv", cub)
    assert table.dataset == "cub" and table.load(0).size == (30, 26)
    explained, attributes = open_run_images(run)
    assert explained.paths == table.paths
    assert attributes is not None and attributes.values_CA.shape == (3, 4)


def test_a_cut_classifier_on_pictures_that_are_cut_already(cub, run, tmp_path):
    table = open_folder(cub, replace(CONFIG.data, crop_to_box=True))
    for row in table.indices("test").tolist():
        path = tmp_path / "cut" / table.classes[table.labels_N[row]] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.load(row).save(path)
    saved = tmp_path / "saved"
    load(run, device="cpu").save(saved)
    whole = measure_elsewhere(saved, cub, device="cpu")
    cut = measure_elsewhere(saved, tmp_path / "cut", device="cpu")
    assert whole["images"]["test"] == cut["images"]["test"] == 11
    # The run remembers which of the published test images calibrated it.
    assert measure_elsewhere(run, cub, device="cpu")["images"] == {"calibration": 4, "test": 7}
    assert whole["accuracy"] == cut["accuracy"]


@pytest.mark.slow
def test_a_finished_run_on_a_published_data_set_is_not_done_again(cub, run, tmp_path):
    out = shutil.copytree(run, tmp_path / "run")
    before = {name: stage["key"] for name, stage in json.loads((out / "stages.json").read_text())["stages"].items()}
    (out / "metrics.json").write_text('{"kept": true}')
    config = replace(CONFIG, data=replace(CONFIG.data, crop_to_box=True))
    chiqpm.fit(cub, out, config=config)
    assert metrics(out) == {"kept": True}
    chiqpm.fit(cub, out, config=CONFIG)
    after = {name: stage["key"] for name, stage in json.loads((out / "stages.json").read_text())["stages"].items()}
    assert not set(before.values()) & set(after.values())


def test_annotations_follow_the_table(cub):
    table = split(open_folder(cub, CONFIG.data), CONFIG.data)
    known = read_annotations(table)
    assert known is not None and known.classes is not None and known.present_NA is not None and known.parts is not None
    assert known.classes.names == tuple(f"has_thing::value_{a}" for a in range(1, 5))
    np.testing.assert_allclose(known.classes.values_CA[1], [0.755, 0.1, 1, 0.05])
    # Attribute a is present in class a; the fourth in every other image. The irregular line counts like the others.
    assert (known.present_NA[:, :3] == np.eye(3, dtype=bool)[table.labels_N]).all()
    # Images are numbered class by class, and sorted by name they stay so.
    assert known.present_NA[:, 3].tolist() == [number % 2 == 1 for number in range(1, 22)]
    assert known.parts.names == ("back", "left eye")
    assert known.parts.visible_NP[:, 0].all()
    assert known.parts.places_NP2[0].tolist() == [[20.5, 30.5], [8.5, 12.5]]
    some = read_annotations(table.subset([20, 3]))
    assert some is not None and some.present_NA is not None
    assert (some.present_NA == known.present_NA[[20, 3]]).all()
    cut = open_folder(cub, replace(CONFIG.data, crop_to_box=True))
    moved = read_annotations(cut)
    assert moved is not None and moved.parts is not None
    assert moved.parts.places_NP2[0, 0].tolist() == [15.5, 19.5]


def test_annotations_of_travelingbirds_and_of_none(tmp_path, make_travelingbirds, draw):
    make_travelingbirds(tmp_path)
    table = open_folder(tmp_path, CONFIG.data)
    known = read_annotations(table)
    assert known is not None and known.present_NA is not None
    assert (known.present_NA[:, :3] == np.eye(3, dtype=bool)[table.labels_N]).all()
    for name in "ab":
        draw(tmp_path / "own" / name / "1.png", 1)
    assert read_annotations(open_folder(tmp_path / "own", CONFIG.data)) is None


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("attributes/class_attribute_labels_continuous.txt", "1 2\n3 4\n", "for each of 3 classes"),
        ("attributes/class_attribute_labels_continuous.txt", "1 2\n3\n4 5\n", "equally many numbers"),
        ("attributes/class_attribute_labels_continuous.txt", "1 2\n3 nan\n4 5\n", "equally many numbers"),
        ("attributes/image_attribute_labels.txt", "1 1\n", "image_attribute_labels.txt"),
        ("attributes/image_attribute_labels.txt", "0 1 1 1 1\n", "from 1"),
        ("parts/part_locs.txt", "1 9 1 1 1\n", "the part 9, which parts.txt doesn't name"),
        ("parts/part_locs.txt", "1 1 x 1 1\n", "part_locs.txt"),
    ],
)
def test_damaged_annotations(tmp_path, make_cub, file, text, message):
    folder = make_cub(tmp_path)
    (folder / file).write_text(text)
    with pytest.raises(ChiqpmError, match=message):
        read_annotations(open_folder(tmp_path, CONFIG.data))


def test_annotations_are_optional(tmp_path, make_cub):
    folder = make_cub(tmp_path)
    for name in ("attributes", "parts"):
        shutil.rmtree(folder / name)
    known = read_annotations(open_folder(tmp_path, CONFIG.data))
    assert known is not None and known.classes is known.present_NA is known.parts is None


@pytest.mark.slow
def test_shards_and_data_sets_in_memory_give_the_same_classifier(cub, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    table = split(open_folder(cub, CONFIG.data), CONFIG.data)
    write_shards(table, tmp_path / "shards")
    from_shards = chiqpm.fit(tmp_path / "shards", tmp_path / "a", config=CONFIG)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(table.classes))})
    shards = open_folder(tmp_path / "shards", CONFIG.data)
    parts = {}
    for name, part in (("train", "train"), ("validation", "calibration"), ("test", "test")):
        rows = shards.indices(part).tolist()
        pictures = [shards.load(row) for row in rows]
        parts[name] = datasets.Dataset.from_dict(
            {"image": pictures, "label": shards.labels_N[rows].tolist()}, features=features
        )
    in_memory = chiqpm.fit(datasets.DatasetDict(parts), tmp_path / "b", config=CONFIG)
    assert metrics(tmp_path / "a")["images"] == metrics(tmp_path / "b")["images"]
    assert from_shards.class_names == in_memory.class_names == table.classes
    predicted = [classifier.predict(shards.load(0)).label for classifier in (from_shards, in_memory)]
    assert set(predicted) <= set(table.classes)
    # Data in memory are gone when the run is opened again: said so, and how to go on.
    code = main(["compare", str(tmp_path / "b"), *table.classes[:2], "--out", str(tmp_path / "pair.png")])
    assert code == 2


@pytest.mark.slow
def test_qpm_has_signed_features_and_no_pairs(cub, tmp_path):
    from chiqpm.presets import preset

    qpm = preset("cub-resnet50-qpm")
    config = replace(
        qpm,
        data=replace(qpm.data, image_size=64, calibration_fraction=0.4),
        backbone=replace(qpm.backbone, name="resnet18", pretrained=False),
        dense=replace(qpm.dense, epochs=1),
        assignment=replace(qpm.assignment, kept_features=8, features_per_class=3, time_limit=1),
        finetune=replace(qpm.finetune, rounds=(1,)),
        calibration=replace(qpm.calibration, coverage=0.7, targets=(0.7,)),
        device="cpu",
    )
    classifier = chiqpm.fit(cub, tmp_path / "run", config=config)
    assert metrics(tmp_path / "run")["assignment"]["pairs_forced"] == 0
    assert classifier.model.normalise(torch.zeros(1, 8)).min() < 0
