"""What would break on a GPU and nowhere else. One is emulated, for tensors in the wrong place; where there is a real
one, the same must pass on it, and its times and its repeatability are tested, too."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import chiqpm
from chiqpm import config_file
from chiqpm.bulk import predict_files
from chiqpm.cli import main
from chiqpm.errors import ChiqpmError
from chiqpm.experiments import cost, serving
from chiqpm.losses import feature_diversity_loss
from chiqpm.pipeline import fit
from chiqpm.statistics import FeatureStatistics

GPU = torch.device("cuda", 0)


def test_the_emulation_refuses_what_a_gpu_refuses(emulated_gpu):
    with emulated_gpu() as gpu:
        values = torch.zeros(2, 3, device="cuda")
        assert (values + 1).max(dim=1).indices.device == values[torch.tensor([0])].device == GPU
        assert gpu.waits == 0
        assert values.cpu().device.type == values.to("cpu").device.type == "cpu"
        assert values.sum() == 0 and gpu.waits == 3
        assert values[values > 0].numel() == 0 and gpu.waits == 4
        assert torch.zeros(2, 3).copy_(values).device.type == "cpu" and gpu.waits == 5
        sent = torch.zeros(2, 3).to(GPU, non_blocking=True)  # from memory that isn't pinned
        assert gpu.waits == 6
        assert sent.cpu().pin_memory().to(GPU, non_blocking=True).device == GPU and gpu.waits == 7
        with pytest.raises(RuntimeError, match=r"add: expected all tensors on cuda:0, but found \[\(3,\)\]"):
            values + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            values.numpy()
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(values)
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(2, device=GPU, generator=torch.Generator())
        with pytest.raises(RuntimeError, match="indices of a tensor on cpu"):
            torch.ones(3)[values.long()]
        pinned, event = torch.empty(2, 3, pin_memory=True), torch.cuda.Event()
        pinned.copy_(values, non_blocking=True)
        assert gpu.waits == 7 and pinned.device.type == "cpu"
        event.synchronize()
        assert not pinned.eq(0).any()  # nothing was recorded
        event.record()
        event.synchronize()
        assert gpu.waits == 9 and pinned.eq(0).all()
        network = copy.deepcopy(nn.Linear(3, 1).to("cuda"))
        assert network(values).device == network.weight.device == GPU
        with pytest.raises(RuntimeError, match="linear: expected all tensors on cuda"):
            network(torch.zeros(2, 3))
        assert network.cpu()(torch.zeros(2, 3)).device.type == "cpu"


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_steps_and_passes_wait_for_the_gpu_at_their_end_only(emulated_gpu, monkeypatch, precision):
    waits = {}

    def count(kinds, plain, setting, device):
        for name, run in kinds.items():
            run()
            before = gpu.waits
            run()
            waits[name] = gpu.waits - before
        return {}

    monkeypatch.setattr(cost, "_time", count)
    setting = cost.Setting(device="cuda", image_size=64, batch_size=4, classes=6, precision=precision)
    with emulated_gpu() as gpu:
        cost.measure_cost(setting)
    assert waits[cost.PLAIN] == waits[cost.DENSE] == waits[cost.SPARSE] == waits[cost.EVALUATION] == 1
    assert waits[cost.STATISTICS] <= 3  # three results, all computed when the first is fetched


def test_a_batch_of_predictions_waits_for_the_gpu_once(emulated_gpu, make_classifier):
    classifier = make_classifier()
    images = torch.randn(4, 3, 64, 64)
    wanted = classifier.predict_batch(images)
    with emulated_gpu() as gpu:
        classifier.to("cuda")
        images = images.pin_memory()
        classifier.predict_batch(images)
        before = gpu.waits
        found = classifier.predict_batch(images)
        assert gpu.waits - before == 1
    for name, value in vars(wanted).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(found, name), value)
            assert getattr(found, name).dtype == value.dtype


def test_batches_are_started_before_those_ahead_of_them_are_fetched(emulated_gpu, make_classifier):
    """Nothing that is started waits, an answer is that of its own batch, and fetching one waits once."""
    classifier = make_classifier()
    batches = [torch.randn(size, 3, 64, 64) for size in (4, 4, 2)]
    wanted = [classifier.predict_batch(images) for images in batches]
    with emulated_gpu() as gpu:
        classifier.to("cuda")
        classifier.predict_batch(batches[0])
        batches = [images.pin_memory() for images in batches]
        before = gpu.waits
        pending = [classifier.start_batch(images) for images in batches]
        assert gpu.waits == before
        found = [batch.result() for batch in reversed(pending)][::-1]
        assert gpu.waits - before == 3
        assert [batch.result() for batch in pending] == found and gpu.waits - before == 3
    assert all(vars(batch) == {"_finish": None, "_found": one} for batch, one in zip(pending, found, strict=True))
    for batch, one in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(batch.logits_BC, one.logits_BC)
        np.testing.assert_array_equal(batch.maps_BnHW, one.maps_BnHW)
        np.testing.assert_array_equal(batch.sets_BC, one.sets_BC)


@pytest.mark.parametrize("many", ["files", "list"])
def test_many_pictures_keep_the_gpu_at_work(emulated_gpu, make_classifier, pictures, monkeypatch, tmp_path, many):
    """The next batch is started before the answers of one are fetched; they are those of the CPU."""
    here, there = make_classifier(), make_classifier()
    paths, log = sorted(map(str, pictures.rglob("*.*"))), []
    monkeypatch.setattr("chiqpm.classifier.GPU_BATCH_SIZE", 4)
    start = type(there).start_batch
    monkeypatch.setattr(type(there), "start_batch", lambda *rest: log.append(gpu.waits) or start(*rest))
    with emulated_gpu() as gpu:
        there.to("cuda").predict_batch(torch.zeros(4, 3, 64, 64))
        log.clear()
        if many == "files":
            predict_files(there, paths, tmp_path / "there.csv", workers=0)
        else:
            found = there.predict(paths)
    # Pictures of a list aren't pinned: sending them waits, too.
    assert len(log) == len(paths) // 4 == 3 and np.diff(log).tolist() == ([0, 1] if many == "files" else [1, 2])
    if many == "files":
        predict_files(here, paths, tmp_path / "here.csv", workers=0, batch_size=4)
        assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()
    else:
        assert [one.to_dict() for one in found] == [one.to_dict() for one in here.predict(paths)]


def _statistics_of(batches, device):
    counted = FeatureStatistics(5, 3)
    for maps, labels in batches:
        counted.update(maps.to(device, memory_format=torch.channels_last), labels)
    return counted


def test_statistics_counted_on_a_gpu_are_those_of_the_cpu(gpu):
    torch.manual_seed(0)
    batches = [(torch.rand(8, 5, 4, 4).relu_(), torch.arange(8) % 3) for _ in range(3)]
    batches[0][0][0] = 0  # an image without any activation
    here = _statistics_of(batches, "cpu")
    with gpu():
        there, part = _statistics_of(batches[:2], "cuda"), _statistics_of(batches[2:], "cuda")
        there.merge(part)
        with pytest.raises(ChiqpmError, match="not finite"):
            part.update(torch.full((1, 5, 4, 4), torch.nan, device="cuda"), torch.tensor([0]))
    np.testing.assert_array_equal(there.count_C, here.count_C)
    for name in ("sum_CF", "square_CF", "locality_F", "edge_F"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-6)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_diversity_loss_is_on_a_gpu_what_it_is_on_a_cpu(gpu, dtype, layout):
    torch.manual_seed(0)
    maps, logits, weight = torch.randn(4, 6, 5, 5).relu().to(dtype), torch.randn(4, 3), torch.randn(3, 6)
    maps[0] = 0
    weight[1, 2] = 0

    def compute(device):
        own, row = maps.to(device, memory_format=layout).requires_grad_(), weight.to(device).requires_grad_()
        loss = feature_diversity_loss(own, logits.to(device), row)
        loss.backward()
        return [value.detach().float().cpu() for value in (loss, own.grad, row.grad)]

    with gpu():
        there = compute("cuda")
    tolerance = {"rtol": 1e-5, "atol": 1e-7} if dtype == torch.float32 else {"rtol": 0.01, "atol": 1e-5}
    for one, other in zip(there, compute("cpu"), strict=True):
        torch.testing.assert_close(one, other, **tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("output_stride", [None, 8])
def test_the_method_costs_on_a_gpu_what_was_promised(real_gpu, output_stride):
    setting = cost.Setting(
        backbone="resnet50", image_size=224, output_stride=output_stride, batch_size=64, precision="bf16", device="cuda"
    )
    with real_gpu():
        measured = cost.measure_cost(replace(setting, rounds=50))["measured"]
    assert measured[cost.DENSE]["ratio"] <= 1.05
    assert measured[cost.SPARSE]["ratio"] <= 1.05
    assert measured[cost.STATISTICS]["ratio"] <= 1.10


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "lite0"])
def test_answers_cost_on_a_gpu_what_was_promised(real_gpu, backbone):
    with real_gpu():
        setting = serving.Setting(backbone=backbone, device="cuda", rounds=15)
        measured = serving.measure_serving(setting)["measured"]
    (ratio,) = measured["stream"]["wall"]["ratio"].values()
    assert ratio <= 1.05
    assert all(added <= 5 for added in measured["one"]["wall"]["added_ms"].values())


def _config(tiny_run, kind):
    config = replace(config_file.read(tiny_run / "config.yaml"), device="cuda")
    if kind == "cached":
        return config
    return replace(
        config,
        cached_views=0,
        backbone=replace(config.backbone, frozen=None),
        compute=replace(config.compute, precision="bf16", accumulation=2, deterministic=True),
    )


@pytest.fixture(scope="module", params=["cached", "whole"])
def gpu_run(request, gpu, tiny_run, tmp_path_factory):
    """A run on the GPU: on cached activations of a frozen part, or the whole network, in parts and half precision."""
    out = tmp_path_factory.mktemp("gpu") / "run"
    with gpu():
        fit(tiny_run.parent / "birds", out, config=_config(tiny_run, request.param))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("gpu_run", ["whole"], indirect=True)
def test_the_same_gpu_makes_the_same_model_again(gpu_run, gpu, tiny_run, tmp_path):
    with gpu():
        fit(tiny_run.parent / "birds", tmp_path / "again", config=_config(tiny_run, "whole"))
    first, again = (load_file(run / "model.safetensors") for run in (gpu_run, tmp_path / "again"))
    assert first.keys() == again.keys()
    assert [name for name in first if not torch.equal(first[name], again[name])] == []


@pytest.mark.slow
@pytest.mark.parametrize("gpu_run", ["cached"], indirect=True)
def test_all_commands_compute_on_the_gpu(gpu_run, gpu, tiny_run, tmp_path, capsys):
    run, test = shutil.copytree(gpu_run, tmp_path / "run"), tiny_run.parent / "birds" / "test"
    picture = str(next(test.rglob("*.jpg")))
    first, second = sorted(folder.name for folder in test.iterdir())[:2]
    commands = (
        ("predict", picture),
        ("predict", test, "--out", tmp_path / "predictions.csv"),
        ("explain", picture, "--out", tmp_path / "why.png"),
        ("compare", first, second, "--out", tmp_path / "pair.png"),
        ("features", "--only", "0"),
        ("report", "--faithfulness-images", "2"),
        ("calibrate", tiny_run.parent / "birds" / "calibration"),
        ("study", "--out", tmp_path / "study"),
    )
    for name, *rest in commands:
        with gpu() as emulated:
            assert main([*map(str, [name, run, *rest]), "--quiet"]) == 0, f"{name}: {capsys.readouterr().err}"
        assert emulated is None or emulated.waits > 0, f"{name} did not compute on the GPU"


@pytest.mark.slow
def test_a_classifier_predicts_on_the_gpu_as_on_the_cpu(gpu_run, gpu, tiny_run, tmp_path):
    pictures = sorted((tiny_run.parent / "birds" / "test").rglob("*.jpg"))[:3]
    with gpu() as emulated:
        classifier = chiqpm.load(gpu_run)
        assert next(classifier.model.parameters()).device == GPU
        there = classifier.predict(pictures, coverage=0.8)
        there[0].save_figure(tmp_path / "why.png")
        classifier.save(tmp_path / "saved")
    here = chiqpm.load(tmp_path / "saved", device="cpu").predict(pictures, coverage=0.8)
    for one, other in zip(there, here, strict=True):
        assert one.label == other.label
        assert one.to_dict()["softmax"] == pytest.approx(other.to_dict()["softmax"], abs=0.01)  # a real one: TF32
        assert emulated is None or one.to_dict() == other.to_dict()
