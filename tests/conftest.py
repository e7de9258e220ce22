"""What all tests share."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

# Several test processes share the cores; threads that wait for each other by spinning make all of them slower.
torch.set_num_threads(1)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A finished run of 4 synthetic species, trained for two epochs on 48 small images; it is read, never changed."""
    from chiqpm import config_file
    from chiqpm.data.birds import BirdsConfig, write_birds
    from chiqpm.pipeline import fit

    out = tmp_path_factory.mktemp("tiny")
    birds = BirdsConfig(families=2, genera=1, siblings=2, image_size=64)
    write_birds(out / "birds", config=birds, train=12, calibration=8, test=6, processes=1)
    plain = {
        "data": {"image_size": 64},
        "backbone": {"head_channels": 24},
        "dense": {"epochs": 1},
        "assignment": {"kept_features": 6, "features_per_class": 2, "time_limit": 1},
        "finetune": {"rounds": [1], "grounding_epochs": 1},
        "calibration": {"coverage": 0.8, "targets": [0.8]},
        "cached_views": 1,
        "device": "cpu",
        "workers": 0,
    }
    fit(out / "birds", out / "run", config=config_file.from_dict(plain))
    return out / "run"


@pytest.fixture
def golden():
    """Return a function from a name to the recorded arrays of the published implementation."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    return read


def _load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def write_run():
    """Return the function that writes a run directory without training."""
    return _load("synthetic_run").write_run


@pytest.fixture(scope="session")
def small_run(write_run, tmp_path_factory):
    """A finished run of four classes; not to be written to."""
    return write_run(tmp_path_factory.mktemp("synthetic") / "run")


@pytest.fixture(scope="session")
def visit():
    """Return a function from an address to a page in a real browser, open until the end of the tests."""
    module = _load("browser")
    with module.launched() as browser:
        yield lambda address, **options: module.Visit(browser, address, **options)
