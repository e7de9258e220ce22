"""The files of a saved classifier: what is written, and that whatever is wrong with them is named."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import chiqpm
from chiqpm.cli import main
from chiqpm.cli.table import metrics_table
from chiqpm.conformal import THR
from chiqpm.errors import ChiqpmError
from chiqpm.evaluation import kept_numbers
from chiqpm.feature_gallery import draw_features
from chiqpm.gallery import compare_in_run
from chiqpm.inspection.record import read_record
from chiqpm.monitor import monitor
from chiqpm.recalibration import measure_elsewhere, recalibrate
from chiqpm.report import ReportOptions
from chiqpm.report.coverage import coverage_section
from chiqpm.report.facts import facts
from chiqpm.report.page import report_html
from chiqpm.study.making import make_study


@pytest.fixture(scope="module")
def classifier(make_classifier):
    return make_classifier()


@pytest.fixture(scope="module")
def saved(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "birds"
    classifier.save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def change(folder, **changes):
    """Change keys of `classifier.json`; dots lead into groups, None removes."""
    file = folder / "classifier.json"
    values = json.loads(file.read_text())
    for path, value in changes.items():
        *groups, key = path.split("__")
        place = values
        for group in groups:
            place = place[group]
        if value is ...:
            del place[key]
        else:
            place[key] = value
    file.write_text(json.dumps(values))


def change_tensors(folder, edit):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


def test_what_was_saved_is_what_is_loaded(classifier, saved, pictures):
    again = chiqpm.load(saved, device="cpu")
    paths = sorted(pictures.rglob("*.png"))
    for a, b in zip(classifier.predict(paths), again.predict(paths), strict=True):
        assert a.to_dict(maps=True) == b.to_dict(maps=True)
    assert again.describe() == classifier.describe()


def test_saving_twice_writes_the_same_bytes(classifier, saved, tmp_path):
    again = chiqpm.load(saved, device="cpu")
    again.save(tmp_path)
    assert again.fingerprint() == classifier.fingerprint()
    for file in saved.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()
    with torch.no_grad():
        again.model.std_K[0] += 1e-6
    assert again.fingerprint() != classifier.fingerprint()


def test_paths_of_the_training_machine_are_not_saved(classifier, tmp_path):
    private = copy.copy(classifier)
    private.data_config = chiqpm.config.DataConfig(
        image_size=64, groups="/home/me/p.csv:x", attributes="/home/me/a.csv"
    )
    private.save(tmp_path)
    assert b"/home/me" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_an_uncalibrated_classifier_leaves_no_older_calibration(classifier, folder):
    bare = copy.copy(classifier)
    bare.predictor = None
    bare.save(folder)
    assert not (folder / "calibration.npz").exists()
    assert "not calibrated" in (folder / "README.md").read_text()
    with pytest.raises(ChiqpmError, match="chiqpm calibrate"):
        chiqpm.load(folder).predict(np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "written in format 2 by chiqpm 0.* reads format 1. Update it"),
        ({"format": 99, "version": "7.1"}, "format 99 by chiqpm 7.1"),
        ({"format": 0}, "'format' must be a whole number"),
        ({"format": "1"}, "'format' must be a whole number .* received '1'"),
        ({"format": True}, "'format' must be"),
        ({"format": ...}, "'format' must be .* received None"),
        ({"classes": ...}, "the key 'classes' is missing"),
        ({"model": ...}, "the key 'model' is missing"),
        ({"model__rectify": ...}, "'model'.*rectify"),
        ({"model__rectify": 1}, "model.rectify must be bool, received 1"),
        ({"model__pooled_share": "half"}, "model.pooled_share must be float"),
        ({"model__pooled_share": 2.0}, r"can't be used: the pooled share .* received 2.0"),
        ({"model__dropout_place": "nowhere"}, "model.dropout_place must be"),
        ({"model": 3}, "option model must be a group"),
        ({"data__image_size": "big"}, "data.image_size must be int, received 'big'"),
        ({"data__image_size": 10**9}, "data.image_size must be at most 4096"),
        ({"data__image_size": -1}, "at least 32"),
        ({"data__resize": "magic"}, "data.resize must be"),
        ({"data__unheard_of": 1}, "unknown option data.unheard_of"),
        ({"unheard_of": 1}, "unknown option unheard_of"),
        ({"backbone__name": 5}, "backbone.name must be str"),
        ({"backbone__name": "resnet18"}, "no part of resnet18"),
        ({"backbone__cut": "blocks.9"}, "blocks.9"),
        ({"classes": "wren"}, "option classes must be"),
        ({"classes": ["a", "b", "c"]}, "names 3 classes .*'classes'.* has 4 .*'weight_CK'"),
        ({"classes": ["a", "b", "c", "a"]}, "distinct names, received 'a'"),
        ({"classes": ["a", "b", "c", 4]}, "option classes must be str, received 4"),
        ({"classes": ["a"]}, "at least 2 classes"),
        ({"classes": ["a", "b", "c", ""]}, "not blank, .* received ''"),
        ({"classes": ["a", "b", "c", "\x1b[2Jd"]}, r"received '\\x1b\[2Jd'"),
        ({"classes": ["a", "b", "c", "d\ne"]}, r"received 'd\\ne'"),
        ({"classes": ["a", "b", "c", "d\u202ee"]}, r"received 'd\\u202ee'"),
        ({"features": ["beak", "", "", "", "", "\a"]}, r"features must be names .* '\\x07'"),
        ({"active_mean": [1.0]}, "has 1 values .*'active_mean'.* has 6 features"),
        (
            {"active_mean": [1.0, 2.0, 3.0, 4.0, 5.0, float("nan")]},
            "active_mean must be finite, received nan at place 5",
        ),
        ({"active_mean": {}}, "option active_mean must be"),
        ({"active_mean": [10**400, 1, 1, 1, 1, 1]}, "active_mean is larger than any float"),
        ({"model__dropout": 5.0}, r"dropout must lie in \[0, 1\], received 5.0"),
        ({"backbone__head_channels": -1}, "head_channels"),
        ({"weights": 3}, "option weights must be str"),
        ({"features": ["beak"]}, "features names 1 features"),
        ({"coverage": 1}, r"coverage must lie in \(0, 1\)"),
        ({"coverage": None}, "coverage must be float"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(folder, changes, words):
    change(folder, **changes)
    with pytest.raises(ChiqpmError, match=words) as caught:
        chiqpm.load(folder)
    assert str(folder / "classifier.json") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}', b"[" * 100_000])
def test_a_description_that_is_none_is_named(folder, content):
    (folder / "classifier.json").write_bytes(content)
    with pytest.raises(ChiqpmError, match=r"classifier\.json"):
        chiqpm.load(folder)


@pytest.mark.parametrize("name", ["classifier.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        chiqpm.load(folder)


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
@pytest.mark.parametrize("name", ["model.safetensors", "calibration.npz"])
def test_a_file_that_is_cut_short_is_named(folder, name, kept):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:kept])
    with pytest.raises(ChiqpmError, match=name):
        chiqpm.load(folder)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.pop("weight_CK"), "'weight_CK' is missing"),
        (lambda t: t.update(mean_K=t["mean_K"][None]), "'mean_K' has 2 axes where 1"),
        (lambda t: t["weight_CK"].fill_(0.5), "'weight_CK'"),
        (lambda t: t["weight_CK"][0].fill_(1), "same number of features"),
        (lambda t: t["std_K"][0].neg_(), "'std_K' has values that are not positive"),
        (lambda t: t["std_K"][1].fill_(torch.inf), "'std_K' has values that are not finite"),
        (
            lambda t: t["backbone.head.0.weight"][0].fill_(torch.nan),
            r"'backbone\.head\.0\.weight' has values .* finite",
        ),
        (lambda t: t.update(std_K=t["std_K"][:-1]), "must be"),
        (lambda t: t.update(selection_K=t["selection_K"] + 100), "ascending, distinct"),
        (lambda t: t.pop("backbone.head.0.weight"), "lacks the tensor 'backbone.head.0.weight'"),
        (lambda t: t.update(more=torch.zeros(1)), "has a tensor 'more'"),
        (lambda t: t.update({"backbone.head.1.bias": torch.zeros(9)}), r"'backbone.head.1.bias' has shape \(9,\)"),
    ],
)
def test_wrong_tensors_are_named(folder, edit, words):
    change_tensors(folder, edit)
    with pytest.raises(ChiqpmError, match=words):
        chiqpm.load(folder)


def test_files_of_different_classifiers_are_not_mixed(folder, make_classifier, tmp_path):
    make_classifier(classes=5).save(tmp_path / "five")
    shutil.copy(tmp_path / "five" / "calibration.npz", folder)
    with pytest.raises(ChiqpmError, match=r"calibration\.npz was calibrated for 5 classes .*names 4"):
        chiqpm.load(folder)
    make_classifier(features=7, seed=1).save(tmp_path / "seven")
    shutil.copy(tmp_path / "seven" / "calibration.npz", folder)
    with pytest.raises(ChiqpmError, match="another assignment"):
        chiqpm.load(folder)
    shutil.copy(tmp_path / "five" / "model.safetensors", folder)
    with pytest.raises(ChiqpmError, match=r"names 4 classes .* has 5"):
        chiqpm.load(folder)


@pytest.mark.parametrize(
    "name",
    [
        "hf-hub:someone/evil",
        "hf_hub:someone/evil",
        "local-dir:/tmp/evil",
        "timm/resnet18",
        "os.system",
        "../evil",
        "",
        "lite0\n",
    ],
)
def test_only_names_of_known_networks_are_built(folder, name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("something was fetched"))
    change(folder, backbone__name=name, backbone__cut=None, backbone__frozen=None)
    with pytest.raises(ChiqpmError, match="there is no backbone"):
        chiqpm.load(folder)


def test_pretrained_in_a_file_fetches_nothing(folder, monkeypatch):
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: pytest.fail("weights were fetched"))
    change(folder, backbone__pretrained=True)
    chiqpm.load(folder)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("name", ["classifier.json", "model.safetensors", "calibration.npz"])
def test_no_pickle_is_loaded(folder, name):
    with (folder / name).open("wb") as file:
        if name == "calibration.npz":
            np.savez(file, json=np.array([Bomb()], dtype=object), allow_pickle=True)
        else:
            pickle.dump(Bomb(), file)
    with pytest.raises(ChiqpmError, match=name):
        chiqpm.load(folder)


def test_numbers_stay_only_with_the_files_that_they_were_measured_on(folder, tmp_path):
    metrics = {
        "classifier": chiqpm.load(folder).fingerprint(),
        "images": {"train": 30, "calibration": 10, "test": 20},
        "accuracy": {"dense": 0.75, "sparse": 0.7, "ratio": 0.933},
        "features": {"kept": 6, "per_class": 2},
        "assignment": {"pairs_satisfied": 2, "pairs_forced": 2},
        "interpretability": {"contrastiveness": 0.9},
        "calibration_score": "branch",
        "coverage": {
            "branch": {"0.9": {"coverage": 0.91, "interval": [0.8, 0.97], "mean_size": 1.5, "empty_rate": 0.0}}
        },
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    measured = chiqpm.load(folder, device="cpu")
    assert measured.metrics == metrics
    measured.save(tmp_path / "same", name="me/birds", license="cc-by-4.0")
    card = (tmp_path / "same" / "README.md").read_text()
    for words in (
        "On 20 test images",
        "| accuracy | 0.700 |",
        "| 0.9 | 0.910 (0.800 to 0.970) | 1.50 | 0.0% |",
        "value: 0.7",
    ):
        assert words in card
    assert chiqpm.load(tmp_path / "same").metrics == metrics
    measured.predictor = chiqpm.conformal.ConformalPredictor(THR()).calibrate(
        np.eye(4)[[0, 1, 2, 3] * 5], np.arange(20) % 4
    )
    measured.save(tmp_path / "other")
    assert "Nothing was measured" in (tmp_path / "other" / "README.md").read_text()
    assert not (tmp_path / "other" / "metrics.json").exists()
    (folder / "metrics.json").write_text("{")
    with pytest.raises(ChiqpmError, match=r"metrics\.json is damaged"):
        chiqpm.load(folder)


def test_a_finished_run_has_a_card_with_its_numbers(tiny_run):
    card = (tiny_run / "README.md").read_text()
    accuracy = json.loads((tiny_run / "metrics.json").read_text())["accuracy"]["sparse"]
    assert "On 24 test images" in card and f"| accuracy | {accuracy:.3f} |" in card
    assert "score `branch` on 32 images" in card
    assert chiqpm.load(tiny_run).metrics is not None


def test_a_card_that_somebody_wrote_stays(classifier, tmp_path):
    (tmp_path / "README.md").write_text("# My project\n")
    classifier.save(tmp_path)
    assert (tmp_path / "README.md").read_text() == "# My project\n"


def test_the_front_matter_is_what_the_hub_reads(saved):
    from huggingface_hub import ModelCard

    data = ModelCard.load(saved / "README.md").data
    assert data.license == "unknown" and data.library_name == "chiqpm" and data.pipeline_tag == "image-classification"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["format", "backbone", "data", "model", "classes", "features", "active_mean", "coverage", "version"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(KEYS), value=JSON)
def test_any_json_loads_or_is_refused_in_words(folder, saved, key, value):
    shutil.copy(saved / "classifier.json", folder)
    change(folder, **{key: value})
    try:
        chiqpm.load(folder)
    except ChiqpmError as error:
        assert str(folder) in str(error)


@pytest.fixture
def labelled(classifier, pictures, tmp_path):
    """A folder of the classifier's classes."""
    for name, source in zip(classifier.class_names, sorted(pictures.rglob("*.png")), strict=False):
        (tmp_path / "labelled" / name).mkdir(parents=True)
        for number in range(3):
            shutil.copy(source, tmp_path / "labelled" / name / f"{number}.png")
    return tmp_path / "labelled"


def test_a_saved_classifier_is_measured_by_its_own_sets(folder, classifier, labelled):
    measured = measure_elsewhere(folder, labelled, device="cpu")
    assert measured["classifier"] == classifier.fingerprint()
    assert measured["images"] == {"calibration": classifier.predictor.num_calibration, "test": 12}
    assert measured["calibration_score"] == "branch" and list(measured["coverage"]) == ["branch"]
    paths = sorted(labelled.rglob("*.png"))
    for target, values in measured["coverage"]["branch"].items():
        sets = [prediction.prediction_set for prediction in classifier.predict(paths, float(target))]
        held = np.mean([path.parent.name in members for path, members in zip(paths, sets, strict=True)])
        assert (values["coverage"], values["mean_size"]) == (pytest.approx(held), np.mean([len(s) for s in sets]))
    assert f"{classifier.coverage:g}" in measured["coverage"]["branch"]
    classifier_without = copy.copy(classifier)
    classifier_without.predictor = None
    classifier_without.save(folder)
    with pytest.raises(ChiqpmError, match="is not calibrated; run `chiqpm calibrate"):
        measure_elsewhere(folder, labelled)


def test_a_saved_classifier_says_what_it_leaves_out(folder, labelled, tmp_path):
    with pytest.raises(ChiqpmError, match=r"is calibrated, but lacks .*calibration_answers\.npz.* saved or shared"):
        monitor(folder, labelled)
    for command in (
        lambda: compare_in_run(folder, "class 0", "class 1", tmp_path / "x.png"),
        lambda: draw_features(folder),
        lambda: make_study(folder, tmp_path / "study"),
    ):
        with pytest.raises(FileNotFoundError, match=r"not the directory of a finished run .* saved or shared"):
            command()


def test_numbers_of_another_calibration_are_not_shown(tiny_run, tmp_path):
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    assert kept_numbers(run) == json.loads((run / "metrics.json").read_text())
    recalibrate(run, tiny_run.parent / "birds", score="thr", device="cpu")
    found = kept_numbers(run)
    assert found["accuracy"] == kept_numbers(tiny_run)["accuracy"]
    assert not {"coverage", "calibration_score", "classifier"} & found.keys() and "calibration" not in found["images"]
    assert "calibrated anew since" in metrics_table(found)
    record = read_record(run)
    assert "coverage" not in record.metrics
    assert any("older than the calibration" in lack.what for lack in record.lacks)
    assert dict(facts(record))["Prediction sets"] == "score “thr”, coverage 0.8"
    change_tensors(run, lambda t: t["mean_K"].add_(0.25))
    (run / "calibration.npz").unlink()
    change(run, weights=None)
    with pytest.raises(ChiqpmError, match="not measured with this classifier"):
        kept_numbers(run)
    assert read_record(run).metrics == {}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000, b'{"accuracy": 1}', b"\xff"])
def test_damaged_numbers_are_refused_by_name(tiny_run, tmp_path, content, capsys):
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (run / "metrics.json").write_bytes(content)
    assert main(["evaluate", str(run)]) == 2
    assert "metrics.json" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"accuracy": "high"}, {"images": 3}, {"coverage": []}, {"classes": None}])
def test_numbers_of_the_wrong_kind_are_refused_by_name(tiny_run, tmp_path, change, capsys):
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    file = run / "metrics.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    code = main(["evaluate", str(run)])
    said = capsys.readouterr()
    assert (code, "metrics.json" in said.err) == (2, True) or "None classes" in said.out


def change_calibration(folder, edit, **entries):
    """Change the JSON of `calibration.npz` with a function, or arrays by name."""
    file = folder / "calibration.npz"
    with np.load(file) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    if edit is not None:
        header = json.loads(str(content["json"]))
        edited = edit(header)
        content["json"] = np.array(json.dumps(edited if isinstance(edited, list) else header))
    with file.open("wb") as stream:
        np.savez(stream, **{**content, **entries})


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda h: h.update(num_classes="x"), "'num_classes' .* must be int, received 'x'"),
        (lambda h: h.update(num_classes=None), "'num_classes' .* must be int, received None"),
        (lambda h: h.update(num_classes=float("inf")), "'num_classes' .* must be int, received inf"),
        (lambda h: h.update(num_classes=10**400), "calibrated for 10"),
        (lambda h: h.update(score=["branch"]), "'score' .* must be str"),
        (lambda h: h.update(score="unheard"), "unknown score 'unheard'"),
        (lambda h: h.update(options=[]), "'options' .* must be dict"),
        (lambda h: h.update(options={"kind": "unheard"}), "unheard"),
        (lambda h: h.update(options={"unheard": 1}), "don't fit"),
        (lambda h: h.update(format=99), "format 2"),
        (lambda h: h.pop("score"), "lacks score"),
        (lambda h: [3], "must hold an object with keys, received list"),
        (lambda h: [None], "must hold an object"),
    ],
)
def test_a_wrong_calibration_is_named(folder, edit, words):
    change_calibration(folder, edit)
    with pytest.raises(ChiqpmError, match=words) as caught:
        chiqpm.load(folder)
    assert str(folder / "calibration.npz") in str(caught.value)


@pytest.mark.parametrize(
    "scores",
    [
        np.array([[0.0, np.inf]]),
        np.array([[0.0, -np.inf]]),
        np.array([[np.nan]]),
        np.zeros((0, 0)),
        np.zeros((2, 3)),
        np.array([["a", "b"]]),
        np.array([[1j]]),
        np.zeros(3),
    ],
)
def test_wrong_calibration_scores_are_named(folder, scores):
    change_calibration(folder, None, calibration_scores_VM=scores)
    with pytest.raises(ChiqpmError, match=r"calibration\.npz"):
        chiqpm.load(folder)


def test_an_array_that_claims_to_be_huge_costs_no_memory(folder):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 100000000000), }"
    body = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + bytes(64)
    with zipfile.ZipFile(folder / "calibration.npz", "w") as archive:
        archive.writestr("calibration_scores_VM.npy", body)
    with pytest.raises(ChiqpmError, match=r"calibration\.npz"):
        chiqpm.load(folder)


@pytest.mark.parametrize("name", ["classifier.json", "model.safetensors"])
def test_what_is_no_file_is_missing(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(FileNotFoundError, match=name):
        chiqpm.load(folder)
    (folder / name).rmdir()
    (folder / name).symlink_to("/dev/null")
    with pytest.raises(FileNotFoundError, match=name):
        chiqpm.load(folder)


@pytest.mark.parametrize("channels", [10**9, 10**18])
def test_a_huge_head_costs_no_memory(folder, classifier, channels):
    """Only the channels that classes use are in the file; how many there were in training tells nothing more."""
    change(folder, backbone__head_channels=channels)
    assert chiqpm.load(folder, device="cpu").fingerprint() == classifier.fingerprint()


def test_two_trainings_of_one_assignment_are_told_apart(classifier, saved, folder):
    other = copy.copy(classifier)
    other.model = copy.deepcopy(classifier.model)
    with torch.no_grad():
        other.model.mean_K += 0.25
    other.save(folder)
    assert chiqpm.load(folder).fingerprint() == other.fingerprint()
    shutil.copy(saved / "calibration.npz", folder)
    with pytest.raises(ChiqpmError, match=r"calibration\.npz was calibrated with other weights .*'model'"):
        chiqpm.load(folder)
    other.save(folder)
    shutil.copy(saved / "classifier.json", folder)
    with pytest.raises(ChiqpmError, match=r"classifier\.json describes other weights .*'weights'"):
        chiqpm.load(folder)


def test_files_without_fingerprints_of_the_weights_are_read(folder, classifier):
    """Of earlier versions."""
    change(folder, weights=...)
    change_calibration(folder, lambda header: header.pop("model"))
    assert chiqpm.load(folder, device="cpu").fingerprint() == classifier.fingerprint()


def test_sets_are_not_measured_on_what_calibrated_them(tiny_run, tmp_path):
    """A run that was calibrated anew with its own test images."""
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    assert read_record(run).sets_are_fresh
    recalibrate(run, tiny_run.parent / "birds" / "test", device="cpu")
    record = read_record(run)
    assert not record.sets_are_fresh and coverage_section(record) is None
    assert any("24 of them calibrated the sets" in lack.what for lack in record.lacks)
    page = report_html(record, ReportOptions(faithfulness_images=0))
    assert "There are no prediction sets to measure. Missing: fresh test images for the sets (24" in page
    with pytest.raises(ChiqpmError, match="all 24 images calibrated these prediction sets"):
        measure_elsewhere(run, tiny_run.parent / "birds" / "test")
