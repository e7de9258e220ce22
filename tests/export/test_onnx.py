"""The ONNX file: its numbers are PyTorch's, and a consumer that has nothing but the file makes the same sets."""

from __future__ import annotations

import builtins
import itertools
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from torch import nn

from chiqpm.cli import main
from chiqpm.conformal import APS, THR, ConformalPredictor, HierarchicalScore, SmallCalibrationWarning, TopK
from chiqpm.conformal.hierarchy import branches
from chiqpm.data import load_image
from chiqpm.errors import ChiqpmError
from chiqpm.export import export_onnx
from chiqpm.export.metadata import describe
from chiqpm.export.network import ScoredNetwork, can_score, find_branches

DOCUMENT = Path(__file__).parents[2] / "docs" / "onnx.md"

needs_onnx = pytest.mark.skipif(
    any(__import__("importlib.util").util.find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")),
    reason="the extra `onnx` isn't installed",
)


def session_of(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def consume(folder, coverage):
    """Run the lines of docs/onnx.md on `model.onnx` and `new.jpg` of a folder; returns what they name."""
    (lines,) = re.findall("```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    places = {'"model.onnx"': repr(str(folder / "model.onnx")), '"new.jpg"': repr(str(folder / "new.jpg"))}
    for written, meant in {**places, "0.95": str(coverage)}.items():
        assert written in lines
        lines = lines.replace(written, meant)
    found = {}
    exec(lines, found)
    return found


def odd_pictures():
    """Pictures of the kinds that people have, by name."""
    generator = np.random.default_rng(0)
    colours = Image.fromarray(generator.integers(0, 256, (70, 90, 3), dtype=np.uint8))
    alpha = Image.fromarray(generator.integers(0, 256, (70, 90), dtype=np.uint8))
    see_through = colours.copy()
    see_through.putalpha(alpha)
    grey_too = colours.convert("L")
    grey_too.putalpha(alpha)
    return {
        "rgba": see_through,
        "la": grey_too,
        "palette": colours.quantize(40),
        "bits": colours.convert("1"),
        "grey": colours.convert("L"),
        "sixteen": Image.fromarray(generator.integers(0, 65536, (70, 90)).astype(np.uint16)),
    }


@needs_onnx
@pytest.mark.slow
@pytest.mark.skipif(not DOCUMENT.exists(), reason="without the documentation")
def test_the_documented_consumer_prepares_pictures_of_every_kind_alike(make_classifier, tmp_path):
    classifier = make_classifier()
    export_onnx(classifier, tmp_path / "model.onnx")
    for kind, picture in odd_pictures().items():
        extra = {"transparency": 3} if kind == "palette" else {}
        picture.save(tmp_path / "new.jpg", format="PNG", **extra)
        found = consume(tmp_path, 0.8)
        wanted = classifier.transform(load_image(tmp_path / "new.jpg")).numpy()
        np.testing.assert_allclose(found["pixels"].transpose(2, 0, 1), wanted, atol=1e-6, err_msg=kind)
        assert found["about"]["input"]["transparency"] == "over white"
        prediction = classifier.predict(tmp_path / "new.jpg", 0.8)
        assert found["about"]["classes"][found["label"]] == prediction.label, kind
        assert set(found["prediction_set"]) == set(prediction.prediction_set), kind


@needs_onnx
@pytest.mark.slow
@pytest.mark.skipif(not DOCUMENT.exists(), reason="without the documentation")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lite0", {}),
        ("resnet18", {"head_channels": None, "output_stride": 8}),
        ("vit_tiny_patch16_224", {"head_channels": None}),
    ],
)
def test_the_command_writes_what_computes_as_pytorch_does(make_classifier, tmp_path, pictures, name, options, capfd):
    classifier = make_classifier(name, **options)
    classifier.save(tmp_path / "run")
    file = tmp_path / "new" / "model.onnx"
    assert main(["export", str(tmp_path / "run"), "--out", str(file), "--json"]) == 0
    out, err = capfd.readouterr()
    report = json.loads(out)
    assert not err, "the exporter can be talkative"
    assert report["sets"] and report["outputs"] == ["logits", "features", "maps", "scores"]
    assert max(report["differences"].values()) < 1e-4, report
    assert [written.name for written in file.parent.iterdir()] == ["model.onnx"]
    for number, picture in enumerate(sorted(pictures.rglob("*.png"))[:4]):
        taken = Image.Exif()
        taken[ExifTags.Base.Orientation] = (1, 6, 8, 3)[number]  # how the camera was held
        Image.open(picture).save(file.parent / "new.jpg", quality=95, exif=taken)
        for coverage in (0.5, 0.9):
            prediction = classifier.predict(file.parent / "new.jpg", coverage)
            found = consume(file.parent, coverage)
            assert found["about"]["input"]["resize"] == "squash"
            assert found["about"]["classes"][found["label"]] == prediction.label
            assert set(found["prediction_set"]) == set(prediction.prediction_set)
            assert found["path"] == [feature.index for feature in prediction.explanation.features]
            maps_nHW = [feature.map_HW for feature in prediction.explanation.features]
            np.testing.assert_allclose(found["maps"][0, found["path"]], maps_nHW, rtol=1e-3, atol=1e-4)


class Small(nn.Module):
    """A backbone that is exported in no time."""

    num_features, mean, std = 6, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 6, 8, stride=8)

    def forward(self, images):
        return self.layer(images).relu()


@pytest.fixture(scope="module")
def small(make_classifier):
    classifier = make_classifier(classes=5)
    torch.manual_seed(0)
    classifier.model.backbone = Small().eval()
    return classifier


def calibrated(classifier, score):
    images = torch.randn(40, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        output = classifier.model(images)
    labels = (output.logits.argmax(dim=1) + torch.arange(40) % 2) % 5
    classifier.predictor = ConformalPredictor(score).calibrate(output.logits, labels, output.features)
    return classifier


SCORES = {
    "branch": HierarchicalScore,
    "path": lambda weight: HierarchicalScore(weight, kind="path"),
    "evidence": lambda weight: HierarchicalScore(weight, kind="evidence"),
    "thr": lambda _: THR(),
    "topk": lambda _: TopK(),
}


@pytest.mark.parametrize("kind", SCORES)
def test_scores_and_thresholds_of_the_network_make_the_sets_of_the_predictor(small, kind):
    classifier = calibrated(small, SCORES[kind](small.model.weight_CK))
    predictor = classifier.predictor
    images = torch.randn(30, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        logits, features, _, scores = ScoredNetwork(classifier.model, predictor.score)(images)
    np.testing.assert_allclose(scores, predictor.scores(logits, features), rtol=1e-5, atol=1e-6)
    calibration = describe(classifier)["calibration"]
    assert calibration["score"] == kind and calibration["images"] == 40 == len(calibration["scores"])
    for wanted, threshold in calibration["thresholds"].items():
        limit = np.inf if threshold is None else threshold + calibration["margin"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallCalibrationWarning)
            sets = predictor.predict_set(logits, features, coverage=float(wanted))
        np.testing.assert_array_equal(scores <= limit, sets)


@needs_onnx
def test_a_file_holds_scores_for_any_number_of_images(small, tmp_path):
    classifier = calibrated(small, HierarchicalScore(small.model.weight_CK))
    report = export_onnx(classifier, tmp_path / "m.onnx")
    assert report.sets and max(report.differences.values()) < 1e-4
    images = np.random.default_rng(0).normal(size=(7, 3, 64, 64)).astype(np.float32)
    logits, features, _, scores = session_of(report.path).run(None, {"images": images})
    np.testing.assert_allclose(scores, classifier.predictor.scores(logits, features), rtol=1e-4, atol=1e-5)


@needs_onnx
def test_what_the_file_says_of_itself(small, tmp_path):
    classifier = calibrated(small, HierarchicalScore(small.model.weight_CK, kind="level_limited"))
    report = export_onnx(classifier, tmp_path / "m.onnx")
    assert not report.sets and "no prediction sets" in report.sentence()
    session = session_of(report.path)
    assert [output.name for output in session.get_outputs()] == ["logits", "features", "maps"]
    assert session.get_inputs()[0].shape[1:] == [3, 64, 64] and isinstance(session.get_inputs()[0].shape[0], str)
    described = json.loads(session.get_modelmeta().custom_metadata_map["chiqpm"])
    assert described["calibration"] is None
    assert described["classes"] == list(classifier.class_names)
    assert described["input"]["mean"] == [0.5] * 3 and described["input"]["size"] == 64
    weight = np.zeros((5, 6))
    for row, chosen in enumerate(described["assignment"]):
        weight[row, chosen] = 1
    np.testing.assert_array_equal(weight, classifier.model.weight_CK)


def test_which_scores_go_into_a_file(small):
    weight = small.model.weight_CK
    assert can_score(HierarchicalScore(weight)) and can_score(THR())
    assert not can_score(APS()) and not can_score(APS(randomized=True))
    assert not can_score(HierarchicalScore(weight, kind="level_limited"))
    assert not can_score(HierarchicalScore(weight, depth=2))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_plain_tree_is_the_fast_one(data):
    features_per_class, num_features = data.draw(st.sampled_from([(1, 3), (2, 5), (3, 6)]))
    rows = list(itertools.combinations(range(num_features), features_per_class))
    chosen = data.draw(st.lists(st.sampled_from(rows), min_size=2, max_size=6))
    weight = torch.zeros(len(chosen), num_features)
    for row, own in enumerate(chosen):
        weight[row, list(own)] = 1
    values = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=num_features, max_size=num_features)
    features = torch.tensor(data.draw(st.lists(values, min_size=1, max_size=3)))
    classes = st.integers(0, len(chosen) - 1)
    predicted = torch.tensor(data.draw(st.lists(classes, min_size=len(features), max_size=len(features))))
    plain = find_branches(features, weight, predicted, features_per_class)
    fast = branches(features, weight.double(), predicted)
    for name in ("order_BK", "shared_BC", "leaving_BC", "leaving_activation_BC", "path_Bn"):
        assert torch.equal(getattr(plain, name), getattr(fast, name)), name


def test_without_the_extra_it_says_what_to_install(small, monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *rest, **options):
        if name.startswith("onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ChiqpmError, match=r"extra `onnx` \(onnx is missing\): pip install 'chiqpm\[onnx\]'"):
        export_onnx(small, tmp_path / "m.onnx")


@needs_onnx
def test_wrong_inputs_are_said_and_leave_nothing(small, monkeypatch, tmp_path):
    with pytest.raises(ChiqpmError, match="opset must be 18 or newer, received 11"):
        export_onnx(small, tmp_path / "m.onnx", opset=11)
    monkeypatch.setattr("chiqpm.export.onnx_file._TOLERANCE", -1.0)
    with pytest.raises(ChiqpmError, match="doesn't compute what PyTorch does: logits differ by"):
        export_onnx(small, tmp_path / "m.onnx")
    monkeypatch.setattr(Small, "forward", lambda self, images: self.layer(images if images.sum() > 0 else -images))
    with pytest.raises(ChiqpmError, match="a classifier on lite0 can't be exported to ONNX: "):
        export_onnx(small, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
