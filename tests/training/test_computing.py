"""Precision, accumulation, compilation, trackers, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from chiqpm.config import ComputeConfig, DenseConfig, FineTuneConfig, OptimiserConfig
from chiqpm.devices import deterministic_algorithms
from chiqpm.errors import ChiqpmError
from chiqpm.model import DenseClassifier
from chiqpm.processes import Processes
from chiqpm.training import CachedBatches, Share, fine_tune, train_dense
from chiqpm.training.batches import num_batches, shuffled
from chiqpm.training.dropout import SharedDropout
from chiqpm.training.share import Rows

SGD = OptimiserConfig(name="sgd", lr=0.05, head_lr=0.05, batch_size=8)


def losses(small, model, **compute):
    processes = Processes("cpu", compute=ComputeConfig(tracker="none", **compute))
    batches = CachedBatches(*small.data(), 8, seed=0)
    config = DenseConfig(epochs=2, optimiser=SGD)
    records = train_dense(model, batches, config, seed=0, cached=True, processes=processes)
    return [record.loss for record in records]


def without_norm(small):
    model = small.dense()
    for layers in (model.backbone.layers,):
        layers[1], layers[3] = nn.ReLU(), nn.Identity()
    return model


@given(st.integers(2, 60), st.integers(2, 20), st.integers(1, 4), st.integers(1, 3))
def test_the_parts_of_all_processes_are_every_batch_once(count, batch_size, processes, accumulation):
    chunks = shuffled(count, batch_size, seed=1, epoch=2)
    assert len(chunks) == num_batches(count, batch_size)
    assert sorted(np.concatenate(chunks).tolist()) == list(range(count))
    sizes = {len(chunk) for chunk in chunks}
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2
    assert max(sizes) <= max(batch_size, 3)
    for chunk in chunks:
        if len(chunk) < processes * accumulation:
            continue
        seen = np.full(len(chunk), -1)
        for rank in range(processes):
            for own, rows in Share(rank, processes, accumulation).parts(chunk):
                assert rows.total == len(chunk)
                assert (seen[rows.start : rows.start + len(own)] == -1).all()
                seen[rows.start : rows.start + len(own)] = own
        assert (seen == chunk).all()


@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 100))
def test_dropout_of_the_parts_is_that_of_the_whole(total, features, seed):
    dropout, inputs = SharedDropout(0.4), torch.rand(total, features) + 1
    torch.manual_seed(seed)
    whole = nn.Dropout(0.4)(inputs)
    for start in (0, total // 2):
        part = inputs[start : start + max(1, total // 3)]
        dropout.rows = Rows(start, total)
        dropout.begin_batch()
        torch.manual_seed(seed)
        torch.testing.assert_close(dropout(part), whole[start : start + len(part)])
    assert torch.equal(dropout.eval()(inputs), inputs)


def test_accumulated_parts_are_the_whole_batch(small):
    whole = losses(small, without_norm(small))
    for accumulation in (2, 3):
        parts = losses(small, without_norm(small), accumulation=accumulation)
        np.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_half_precision_ends_at_the_maps(small, monkeypatch):
    """The head takes them as they are, without a copy in float32, and so does the loss."""
    from chiqpm.training import stages

    seen, model, loss = [], small.dense(), stages.feature_diversity_loss
    model.classifier.register_forward_hook(lambda _, given, result: seen.append((given[0].dtype, result.dtype)))

    def spy(maps, logits, *rest):
        seen.append((maps.dtype, logits.dtype, model.training))
        return loss(maps, logits, *rest)

    monkeypatch.setattr(stages, "feature_diversity_loss", spy)
    half = losses(small, model, precision="bf16")
    assert set(seen) == {
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32, True),
        (torch.float32, torch.float32, False),
    }
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    np.testing.assert_allclose(half, losses(small, small.dense()), rtol=0.05)


def test_a_compiled_network_learns_the_same(small, monkeypatch):
    """Compiled without the C++ compiler, which takes a minute; dropout draws other numbers when it is compiled."""
    real, compiled = torch.compile, []
    monkeypatch.setattr(torch, "compile", lambda model, **_: compiled.append(1) or real(model, backend="aot_eager"))
    models = [small.dense(), small.dense()]
    for model in models:
        model.dropout.p = 0.0
    found = losses(small, models[0], compile=True)
    assert compiled
    np.testing.assert_allclose(found, losses(small, models[1]), rtol=1e-5)


def test_an_undefined_grounding_loss_is_refused_before_the_first_step(small):
    batches = CachedBatches(*small.data(), 8, seed=0)
    options = {"seed": 0, "cached": True, "processes": Processes("cpu", compute=ComputeConfig(tracker="none"))}
    model = small.sparse()
    model.weight_CK.fill_(1)
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(ChiqpmError, match="Feature Grounding Loss needs classes"):
        fine_tune(model, batches, DenseConfig(), FineTuneConfig(rounds=(1,), optimiser=SGD), **options)
    assert all(map(torch.equal, before, model.parameters()))
    for unused in ({"grounding_weight": 0.0}, {"grounding_epochs": 0}):
        config = FineTuneConfig(rounds=(1,), optimiser=SGD, **unused)
        assert len(fine_tune(model, batches, DenseConfig(), config, **options)) == 1


def test_deterministic_mode_is_left_as_it_was():
    with deterministic_algorithms(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic_algorithms(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_losses_and_accuracies_are_recorded_with_tensorboard(small, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    processes = Processes("cpu", compute=ComputeConfig(), folder=tmp_path)
    batches = CachedBatches(*small.data(), 8, seed=0)
    options = {"seed": 0, "cached": True, "processes": processes}
    records = train_dense(small.dense(), batches, DenseConfig(epochs=2, optimiser=SGD), **options)
    fine_tune(small.sparse(), batches, DenseConfig(), FineTuneConfig(rounds=(1,), optimiser=SGD), **options)
    processes.close()
    written = EventAccumulator(str(tmp_path / "tracking" / "chiqpm")).Reload()
    assert {"dense training/loss", "dense training/accuracy", "fine-tuning/loss"} <= set(written.Tags()["scalars"])
    epochs = written.Scalars("dense training/epoch loss")
    assert [event.step for event in epochs] == [4, 8]
    np.testing.assert_allclose([event.value for event in epochs], [record.loss for record in records], rtol=1e-6)
    assert len(written.Scalars("dense training/loss")) == 8


def test_no_tracker_writes_nothing(small, tmp_path):
    processes = Processes("cpu", compute=ComputeConfig(tracker="none"), folder=tmp_path)
    batches = CachedBatches(*small.data(), 8, seed=0)
    train_dense(small.dense(), batches, DenseConfig(epochs=1), seed=0, cached=True, processes=processes)
    processes.close()
    assert not list(tmp_path.iterdir())


def test_no_other_tracker_is_imported():
    code = """
import sys, tempfile, pathlib
from chiqpm.processes import Processes
processes = Processes("cpu", folder=pathlib.Path(tempfile.mkdtemp()))
processes.log({"loss": 1.0}, 1)
processes.close()
trackers = {"wandb", "comet_ml", "aim", "mlflow", "clearml", "dvclive", "swanlab", "trackio"}
assert not trackers & set(sys.modules), trackers & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        ({"precision": "fp16"}, "fp16"),
        ({"tracker": "tensorbored"}, "choose auto, none, .*tensorboard"),
        ({"tracker": "swanlab"}, "swanlab.*not installed"),
    ],
)
def test_what_cannot_be_had_here_is_refused(tmp_path, compute, message):
    with pytest.raises(ChiqpmError, match=message):
        Processes("cpu", compute=ComputeConfig(**compute), folder=tmp_path)


@pytest.mark.parametrize(("accumulation", "message"), [(0, "1 or more"), (7, "1 processes times 7 parts need")])
def test_parts_without_images_are_refused(small, accumulation, message):
    with pytest.raises(ChiqpmError, match=message):
        losses(small, small.dense(), accumulation=accumulation)


def refuse(small, out, message, device):
    with pytest.raises(ChiqpmError, match=message):
        processes = Processes(device, compute=ComputeConfig(tracker="none"))
        batches = CachedBatches(*small.data(), 2, seed=0)
        config = DenseConfig(epochs=1, optimiser=OptimiserConfig(batch_size=2))
        train_dense(small.dense(), batches, config, seed=0, cached=True, processes=processes)
    (out / "refused").touch()


@pytest.mark.parametrize(
    ("device", "message"), [("cpu", "3 processes times 1 parts need at least 3"), ("cpu:0", "can't share the device")]
)
def test_more_processes_than_images_in_a_batch_are_refused_by_all(together, small, tmp_path, device, message):
    assert together(3, refuse, small, tmp_path, message, device) == [0, 0, 0]
    assert (tmp_path / "refused").exists()


def fail_in_main(out):
    processes = Processes("cpu")
    with pytest.raises(OSError, match="No space"):
        processes.on_main(lambda: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert processes.on_main(lambda: processes.rank) == 0
    (out / str(processes.rank)).touch()


def test_an_error_of_the_main_process_is_the_error_of_all(together, tmp_path):
    assert together(2, fail_in_main, tmp_path) == [0, 0]
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}


def test_a_dense_classifier_keeps_its_own_dropout(small):
    model: DenseClassifier = small.dense()
    losses(small, model)
    assert type(model.dropout) is nn.Dropout
