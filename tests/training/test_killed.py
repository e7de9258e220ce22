"""A run that is killed at a random moment and started again ends in the same model, bit for bit.

CHIQPM_KILLS sets how many moments are tried.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from chiqpm.config import (
    AssignmentConfig,
    BackboneConfig,
    ComputeConfig,
    DataConfig,
    DenseConfig,
    FineTuneConfig,
    FitConfig,
    OptimiserConfig,
)
from chiqpm.data.birds import BirdsConfig, write_birds
from chiqpm.pipeline import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")

KILLS = int(os.environ.get("CHIQPM_KILLS", "3"))
CONFIG = FitConfig(
    data=DataConfig(image_size=64, find_duplicates=False),
    backbone=BackboneConfig(head_channels=24),
    dense=DenseConfig(epochs=3, optimiser=OptimiserConfig(batch_size=8)),
    assignment=AssignmentConfig(kept_features=10, features_per_class=3),
    finetune=FineTuneConfig(rounds=(2, 2), grounding_epochs=1, optimiser=OptimiserConfig(batch_size=8)),
    compute=ComputeConfig(checkpoint_seconds=0.0, tracker="none", deterministic=True),
    device="cpu",
    workers=0,
)


def to_the_model(birds, out):
    """All stages that a kill could change the model in."""
    run = Run(birds, out, CONFIG)
    run.split()
    run.fine_tune(run.assign(run.measure(run.dense())))


@pytest.mark.slow
def test_killed_at_random_moments_a_run_still_ends_in_the_same_model(tmp_path):
    birds = tmp_path / "birds"
    species = BirdsConfig(families=2, genera=1, siblings=2, image_size=64)
    write_birds(birds, config=species, train=8, calibration=1, test=1, processes=1)
    context = multiprocessing.get_context("fork")

    def start(name):
        process = context.Process(target=to_the_model, args=(birds, tmp_path / name))
        process.start()
        return process

    to_the_model(birds, tmp_path / "compiled")
    began = time.monotonic()
    whole = start("whole")
    whole.join()
    seconds = time.monotonic() - began
    assert whole.exitcode == 0
    expected = load_file(tmp_path / "whole" / "model.safetensors")
    in_training = 0
    for number, share in enumerate(np.random.default_rng(0).uniform(size=KILLS)):
        process = start(str(number))
        time.sleep(share * seconds)
        process.kill()
        process.join()
        checkpoints = tmp_path / str(number) / "checkpoints"
        in_training += checkpoints.exists() and any(checkpoints.iterdir())
        again = start(str(number))
        again.join(60)
        assert again.exitcode == 0, f"killed after {share:.2f} of {seconds:.1f} s"
        found = load_file(tmp_path / str(number) / "model.safetensors")
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found), f"killed after {share:.2f}"
        assert not list(checkpoints.iterdir())
    assert in_training >= KILLS // 4, "the moments should lie in the training, too"
