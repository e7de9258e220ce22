"""One process, two and four: the same losses, statistics, thresholds and final numbers."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import chiqpm
from chiqpm.config import (
    AssignmentConfig,
    BackboneConfig,
    CalibrationConfig,
    ComputeConfig,
    DataConfig,
    DenseConfig,
    FineTuneConfig,
    FitConfig,
    OptimiserConfig,
)
from chiqpm.data.birds import BirdsConfig, write_birds
from chiqpm.files import read_npz
from chiqpm.pipeline import Run
from chiqpm.processes import Processes
from chiqpm.run_explanation import read_observations
from chiqpm.training import CachedBatches, fine_tune, train_dense

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")

SGD = OptimiserConfig(name="sgd", lr=0.05, head_lr=0.05, momentum=0.9, weight_decay=1e-4, batch_size=8)


def train_both(small, out, compute):
    """Train on 27 images in batches of up to 8 (7, 7, 7, 6: uneven), dense and sparse, and keep the losses."""
    processes = Processes("cpu", compute=compute)
    dense, sparse = DenseConfig(epochs=2, optimiser=SGD), FineTuneConfig(rounds=(1, 1), optimiser=SGD)
    batches = CachedBatches(*small.data(), SGD.batch_size, seed=0)
    first, second = small.dense(), small.sparse()
    records = train_dense(first, batches, dense, seed=0, cached=True, processes=processes)
    records += fine_tune(second, batches, dense, sparse, seed=0, cached=True, processes=processes)
    states = {
        f"{number}.{name}": value
        for number, model in enumerate((first, second))
        for name, value in model.state_dict().items()
    }
    np.savez(
        out / f"{processes.count}-{compute.accumulation}-{processes.rank}.npz",
        losses=[record.loss for record in records],
        accuracies=[record.accuracy for record in records],
        **states,
    )


@pytest.mark.parametrize("count", [2, 4])
def test_losses_and_weights_are_those_of_one_process(together, small, tmp_path, count):
    train_both(small, tmp_path, ComputeConfig())
    assert together(count, train_both, small, tmp_path, ComputeConfig()) == [0] * count
    one = read_npz(tmp_path / "1-1-0.npz")
    assert one["losses"][1] < one["losses"][0]
    for rank in range(count):
        many = read_npz(tmp_path / f"{count}-1-{rank}.npz")
        np.testing.assert_allclose(many["losses"], one["losses"], rtol=1e-5)
        np.testing.assert_array_equal(many["accuracies"], one["accuracies"])
        for name in one.keys() - {"losses", "accuracies"}:
            np.testing.assert_allclose(many[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)


CONFIG = FitConfig(
    data=DataConfig(image_size=64, find_duplicates=False),
    backbone=BackboneConfig(head_channels=24),
    dense=DenseConfig(epochs=0, optimiser=OptimiserConfig(batch_size=10)),
    assignment=AssignmentConfig(kept_features=10, features_per_class=3),
    finetune=FineTuneConfig(rounds=(0,), optimiser=OptimiserConfig(batch_size=10)),
    calibration=CalibrationConfig(coverage=0.7, targets=(0.7,)),
    compute=ComputeConfig(tracker="none"),
    device="cpu",
    workers=0,
)


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("birds") / "images"
    config = BirdsConfig(families=2, genera=1, siblings=2, image_size=64)
    write_birds(folder, config=config, train=5, calibration=3, test=2, processes=1)
    return folder


def fit(birds, out, whole):
    """Fit, without training: that enlarges differences in the last digits."""
    run = Run(birds, out, CONFIG)
    if whole:
        run.finish()
    else:
        run.split()
        run.calibrate(run.fine_tune(run.assign(run.measure(run.dense()))))


def observations(out):
    """Those of a run, which must be of its model."""
    found = read_observations(out, chiqpm.load(out, device="cpu").model)
    assert found is not None
    return found


@pytest.mark.slow
def test_a_run_of_several_processes_is_the_run_of_one(together, birds, tmp_path):
    fit(birds, tmp_path / "1", True)
    for count in (2, 4):
        assert together(count, fit, birds, tmp_path / str(count), count == 2) == [0] * count
        for name, tolerance in (("statistics", 1e-6), ("assignment", 0), ("train_answers", 1e-6)):
            one, many = (read_npz(tmp_path / str(number) / f"{name}.npz") for number in (1, count))
            for key, value in one.items():
                scale = np.abs(value).max(initial=0.0)
                np.testing.assert_allclose(many[key] / scale, value / scale, rtol=0, atol=tolerance, err_msg=key)
        one, many = (observations(tmp_path / str(number)) for number in (1, count))
        for name, value in vars(one).items():
            np.testing.assert_allclose(getattr(many, name), value, rtol=1e-5, atol=1e-6, err_msg=name)
        one, many = (chiqpm.load(tmp_path / str(number), device="cpu").predictor for number in (1, count))
        assert many.num_calibration == one.num_calibration == 12
        np.testing.assert_allclose(many.threshold(0.7).value, one.threshold(0.7).value, rtol=1e-6)
        assert not [path for path in (tmp_path / str(count)).rglob(".*") if path.is_file() and path.name != ".lock"]
    one, many = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "12")
    assert many["images"] == one["images"] == {"train": 20, "calibration": 12, "test": 8}
    assert many["accuracy"] == one["accuracy"]
    assert many["coverage"] == one["coverage"]
    assert many["interpretability"] == pytest.approx(one["interpretability"], rel=1e-6)
