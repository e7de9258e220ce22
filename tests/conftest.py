"""What all tests share."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from chiqpm.cli.memory import keep_freed_memory

# Several test processes share the cores; threads that wait for each other by spinning make all of them slower.
torch.set_num_threads(1)
# As the command does: giving memory back after every layer costs a fifth of the time of tests that run networks.
keep_freed_memory()
# cuBLAS reads it at its first product and never again; without it the deterministic mode is refused on GPUs.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

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


class Disk:
    """A file system of its own, in memory, that is full when a test wants it to be.

    Attributes:
        folder: its root.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def leave(self, kilobytes: int) -> None:
        """Make it so large that this much is free."""
        found = os.statvfs(self.folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize // 1024
        subprocess.run(["mount", "-o", f"remount,size={max(4, used + kilobytes)}k", self.folder], check=True)


@pytest.fixture
def disk(tmp_path):
    """Return a real disk that can be full; mounting one takes Linux and root."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode()}")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def browser():
    """Return a real browser, the only one of its process: two would need two event loops in one thread."""
    with _load("browser").launched() as opened:
        yield opened


@pytest.fixture(scope="session")
def visit(browser):
    """Return a function from an address to a page in a real browser, open until the end of the tests."""
    module = _load("browser")
    return lambda address, **options: module.Visit(browser, address, **options)


@pytest.fixture(scope="session")
def make_classifier():
    """Return a function that makes a small calibrated classifier with random weights."""
    from chiqpm.backbone import build_backbone
    from chiqpm.classifier import Classifier
    from chiqpm.config import BackboneConfig, DataConfig
    from chiqpm.conformal import ConformalPredictor, HierarchicalScore
    from chiqpm.model import CHiQPM, keep_features

    def make(
        name: str = "lite0",
        *,
        classes: int = 4,
        features: int = 6,
        per_class: int = 2,
        image_size: int = 64,
        seed: int = 0,
        score=HierarchicalScore,
        images: int = 40,
        **backbone,
    ) -> Classifier:
        torch.manual_seed(seed)
        config = BackboneConfig(name=name, pretrained=False, **{"head_channels": 12, **backbone}).resolved()
        network = build_backbone(config, image_size=image_size)
        selection_K = torch.randperm(network.num_features)[:features].sort().values
        weight_CK = torch.zeros(classes, features)
        for row, chosen in enumerate(itertools.islice(itertools.combinations(range(features), per_class), classes)):
            weight_CK[row, list(chosen)] = 1
        kept_K = keep_features(network, selection_K)
        model = CHiQPM(network, kept_K, weight_CK, torch.zeros(features), torch.ones(features), pooled_share=0.2)
        model.eval()
        examples = torch.randn(images, 3, image_size, image_size)
        with torch.inference_mode():
            pooled = torch.cat([model(part).features for part in examples.split(16)])
        # Features that vary as those of a trained model: centred and scaled by what they are on some images.
        model.mean_K.copy_(pooled.mean(dim=0))
        model.std_K.copy_(pooled.std(dim=0).clamp_min(1e-6))
        with torch.inference_mode():
            outputs = [model(part) for part in examples.split(16)]
        logits, answers = (torch.cat([part[i] for part in outputs]) for i in (0, 1))
        labels = torch.multinomial(logits.softmax(dim=1), 1)[:, 0]
        predictor = ConformalPredictor(score(weight_CK) if score is HierarchicalScore else score())
        return Classifier(
            model,
            backbone=config,
            data=DataConfig(image_size=image_size),
            class_names=[f"class {index}" for index in range(classes)],
            active_mean_K=answers.mean(dim=0).numpy().astype(float),
            predictor=predictor.calibrate(logits, labels, answers),
        )

    return make


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Return a folder of 12 small pictures in two subfolders."""
    folder = tmp_path_factory.mktemp("pictures") / "images"
    random = np.random.default_rng(0)
    for number in range(12):
        place = folder / ("a" if number < 6 else "b")
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((90, 70)).save(place / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def emulated_gpu():
    """Return a context manager within which there is a GPU, of tensors that are refused where real ones would be."""
    return _load("emulated_gpu").emulated_gpu


@pytest.fixture(scope="session")
def real_gpu():
    """Return a context manager within which there is the GPU of this machine; without one, the test is skipped."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return nullcontext


@pytest.fixture(scope="session", params=["emulated", "real"])
def gpu(request):
    """Return either of the two."""
    return request.getfixturevalue(f"{request.param}_gpu")
