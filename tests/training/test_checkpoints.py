"""A training that is interrupted, damaged or short of disk ends in the same weights, bit for bit."""

from __future__ import annotations

import logging
import os
from itertools import count as counted

import numpy as np
import pytest
import torch

from chiqpm.config import ComputeConfig, DenseConfig, FineTuneConfig, OptimiserConfig
from chiqpm.errors import ChiqpmError
from chiqpm.processes import Processes
from chiqpm.training import CachedBatches, ImageBatches, TrainingDivergedError, fine_tune, loop, train_dense

ALWAYS = ComputeConfig(checkpoint_seconds=0.0, tracker="none")
SGD = OptimiserConfig(name="sgd", lr=0.05, head_lr=0.05, batch_size=8)
ADAMW = OptimiserConfig(lr=1e-3, head_lr=1e-3, batch_size=8)


class Drawn(torch.utils.data.Dataset):
    """Images with random changes that depend on epoch and image, as of `ImageDataset`."""

    def __init__(self, images, labels):
        self.images, self.labels, self.number = images, labels, 0

    def set_epoch(self, epoch):
        self.number = epoch

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        noise = np.random.default_rng([self.number, index]).normal(size=self.images[index].shape)
        return torch.from_numpy(self.images[index] + noise.astype(np.float32)), int(self.labels[index]), index


def train(small, file, *, optimiser=SGD, cached=True, compute=ALWAYS, key="k", epochs=2):
    """Two epochs of four steps; returns the weights and the records."""
    model, (images, labels) = small.dense(), small.data()
    if cached:
        batches = CachedBatches(images, labels, 8, seed=0)
    else:
        batches = ImageBatches(Drawn(images[0], labels), 8, seed=0, workers=0)
    config = DenseConfig(epochs=epochs, optimiser=optimiser)
    processes = Processes("cpu", compute=compute)
    records = train_dense(model, batches, config, seed=0, cached=cached, processes=processes, checkpoint=file, key=key)
    return {name: value.clone() for name, value in model.state_dict().items()}, records


def interrupt(monkeypatch, step):
    """Have the training stop before a step, counted over epochs."""
    real, number = loop._Round._step, counted()

    def stopping(*arguments):
        if next(number) == step:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(loop._Round, "_step", stopping)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def interrupted(small, file, monkeypatch, step, **options):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, step)
        train(small, file, **options)


@pytest.mark.parametrize("step", [1, 4, 6])
@pytest.mark.parametrize("options", [{"optimiser": SGD}, {"optimiser": ADAMW, "cached": False}])
def test_a_training_stopped_at_any_step_ends_in_the_same_weights(
    small, tmp_path, monkeypatch, caplog, *, step, options
):
    caplog.set_level(logging.INFO)
    whole, records = train(small, None, **options)
    interrupted(small, tmp_path / "c.safetensors", monkeypatch, step, **options)
    torch.manual_seed(999)
    found, again = train(small, tmp_path / "c.safetensors", **options)
    assert f"resuming after epoch {step // 4}" in caplog.text
    assert same(found, whole)
    assert again == records


def test_a_later_round_starts_from_the_one_before(small, tmp_path):
    images, labels = small.data()
    batches = CachedBatches(images, labels, 8, seed=0)
    config = FineTuneConfig(rounds=(1, 2), optimiser=SGD)

    def tune(file):
        model = small.sparse()
        options = {"seed": 0, "cached": True, "processes": Processes("cpu", compute=ALWAYS)}
        records = fine_tune(model, batches, DenseConfig(), config, checkpoint=file, key="k", **options)
        return model.state_dict(), records

    whole, records = tune(tmp_path / "c.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"c-{number}{kind}.safetensors" for number in (0, 1) for kind in ("", ".previous")
    }
    (tmp_path / "c-1.safetensors").unlink()
    found, again = tune(tmp_path / "c.safetensors")
    assert same(found, whole)
    assert again == records


def flip(data):
    """Change one bit in the middle of the numbers."""
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


def in_header(old, new):
    """Change what a state says besides its numbers."""

    def damage(data):
        assert data.count(old) == 1 and len(old) == len(new)
        return data.replace(old, new)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda data: data[:-9],
        lambda data: b"",
        lambda data: b"\x08" * 30,
        in_header(rb"\"step\": 3", rb"\"step\": 1"),
        in_header(rb"\"step\": 3", rb"\"step\": x"),
        in_header(rb"\"key\": \"k\"", rb"\"key\": \"j\""),
    ],
)
def test_of_a_damaged_checkpoint_the_one_before_is_used(small, tmp_path, monkeypatch, caplog, damage):
    caplog.set_level(logging.INFO)
    file, whole = tmp_path / "c.safetensors", train(small, None)[0]
    interrupted(small, file, monkeypatch, 3)
    file.write_bytes(damage(file.read_bytes()))
    before = (tmp_path / "c.previous.safetensors").read_bytes()
    interrupted(small, file, monkeypatch, 1)
    assert "c.safetensors can't be read" in caplog.text
    assert "resuming after epoch 0, step 2" in caplog.text
    assert (tmp_path / "c.previous.safetensors").read_bytes() == before, "the damaged one must not replace it"
    assert same(train(small, file)[0], whole)


def test_when_both_are_damaged_the_training_begins_again(small, tmp_path, monkeypatch, caplog):
    file, whole = tmp_path / "c.safetensors", train(small, None)[0]
    interrupted(small, file, monkeypatch, 3)
    for path in (file, tmp_path / "c.previous.safetensors"):
        path.write_bytes(b"x")
    assert same(train(small, file)[0], whole)
    assert "c.safetensors can't be read" in caplog.text
    assert "c.previous.safetensors can't be read" in caplog.text


def test_between_two_renames_the_one_before_is_there(small, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    file, whole = tmp_path / "c.safetensors", train(small, None)[0]
    interrupted(small, file, monkeypatch, 3)
    file.unlink()
    assert same(train(small, file)[0], whole)
    assert "resuming after epoch 0, step 2" in caplog.text


def test_a_checkpoint_of_another_training_is_not_used(small, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    file, whole = tmp_path / "c.safetensors", train(small, None)[0]
    interrupted(small, file, monkeypatch, 3, key="another")
    assert same(train(small, file)[0], whole)
    assert "resuming" not in caplog.text


def test_a_full_disk_costs_checkpoints_and_nothing_else(small, tmp_path, monkeypatch, caplog):
    file, whole = tmp_path / "c.safetensors", train(small, None)[0]
    interrupted(small, file, monkeypatch, 3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert same(train(small, file)[0], whole)
    assert f"can't be kept ([Errno 28] No space left on device: '{file}'); the training goes on" in caplog.text
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert same(train(small, file)[0], whole)


@pytest.mark.parametrize("free", [0, 8])
def test_on_a_disk_that_is_full_the_training_goes_on_and_the_last_good_state_stays(
    small, disk, monkeypatch, caplog, free
):
    """The disk is real; with 8 kB left, part of a state is written before it is full."""
    caplog.set_level(logging.INFO)
    file, whole = disk.folder / "c.safetensors", train(small, None)[0]
    interrupted(small, file, monkeypatch, 3)
    before = {path.name: path.read_bytes() for path in disk.folder.iterdir()}
    assert set(before) == {"c.safetensors", "c.previous.safetensors"}
    disk.leave(free)
    assert same(train(small, file)[0], whole)
    assert f"[Errno 28] No space left on device: '{file}'); the training goes on" in caplog.text
    assert {path.name: path.read_bytes() for path in disk.folder.iterdir()} == before
    disk.leave(1000)
    caplog.clear()
    assert same(train(small, file)[0], whole)
    assert "resuming after epoch 0, step 3" in caplog.text
    assert "No space" not in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own
@pytest.mark.parametrize("step", [0, 3])
def test_on_a_full_disk_the_training_goes_on_without_its_record(small, disk, monkeypatch, caplog, step):
    pytest.importorskip("tensorboard")
    epochs = 20  # so that what is recorded is more than a block of the disk
    whole, records = train(small, None, epochs=epochs)
    real, number = loop._Round._step, counted()

    def filling(*arguments):
        if next(number) == step:
            disk.leave(0)
        real(*arguments)

    monkeypatch.setattr(loop._Round, "_step", filling)
    processes = Processes("cpu", compute=ComputeConfig(), folder=disk.folder)
    model, batches = small.dense(), CachedBatches(*small.data(), 8, seed=0)
    config = DenseConfig(epochs=epochs, optimiser=SGD)
    again = train_dense(model, batches, config, seed=0, cached=True, processes=processes)
    processes.close()
    assert same(model.state_dict(), whole)
    assert again == records
    assert caplog.text.count("the training is no longer recorded by tensorboard") == 1
    assert "No space left on device" in caplog.text


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_loss_that_the_last_step_of_a_stage_spoils_is_noticed_in_that_stage(small, tmp_path, monkeypatch, epochs):
    """The weights stay finite; of what they give for images, no loss can be computed any more."""
    file, real = tmp_path / "c.safetensors", loop.build_schedule
    last = 4 * epochs - 1

    def jump(*arguments, **options):
        schedule = real(*arguments, **options)
        return lambda number: 1e25 if number == last else schedule(number)

    kept = "the state after epoch 1 is kept" if epochs == 2 else "no epoch was complete"
    monkeypatch.setattr(loop, "build_schedule", jump)
    with pytest.raises(TrainingDivergedError, match=f"loss of the dense training.* after epoch {epochs}; {kept}"):
        train(small, file, epochs=epochs, compute=ComputeConfig(tracker="none"))
    assert file.exists() == (epochs == 2)
    monkeypatch.undo()
    assert same(train(small, file)[0], train(small, None)[0]), "what is kept must be good"


def test_by_default_only_epochs_are_kept(small, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    file = tmp_path / "c.safetensors"
    interrupted(small, file, monkeypatch, 7, compute=ComputeConfig(tracker="none"))
    train(small, file)
    assert "resuming after epoch 1 of 2" in caplog.text


def half(small, file, step, out):
    """Train until a step, in as many processes as there are; or to the end, and keep the weights."""
    patch = pytest.MonkeyPatch()
    if step is None:
        state, _ = train(small, file)
        np.savez(out, **state)
        return
    interrupt(patch, step)
    with pytest.raises(KeyboardInterrupt):
        train(small, file)


def look_elsewhere(small, folder):
    """Each process has a folder of its own, of which only the main one's holds a state."""
    rank = Processes("cpu").rank
    if rank == 0:
        train(small, folder / str(rank) / "c.safetensors")
    else:
        with pytest.raises(ChiqpmError, match="process 1 does not find the state"):
            train(small, folder / str(rank) / "c.safetensors")
        (folder / "refused").touch()


def test_processes_that_do_not_see_the_same_files_are_refused(together, small, tmp_path, monkeypatch):
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
    interrupted(small, tmp_path / "0" / "c.safetensors", monkeypatch, 3)
    together(2, look_elsewhere, small, tmp_path)
    assert (tmp_path / "refused").exists()


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_processes_goes_on_exactly(together, small, tmp_path, before, after):
    whole, _ = train(small, None)
    file, out = tmp_path / "c.safetensors", tmp_path / "end.npz"
    assert together(before, half, small, file, 6, out) == [0] * before
    assert together(after, half, small, file, None, out) == [0] * after
    with np.load(out) as found:
        for name, value in whole.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
