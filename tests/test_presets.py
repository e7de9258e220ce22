"""The presets hold the published numbers, and only fit their data set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from chiqpm import config_file
from chiqpm.cli import main
from chiqpm.config import FitConfig
from chiqpm.data import open_folder
from chiqpm.errors import ChiqpmError
from chiqpm.presets import PRESETS, describe_presets, preset

# The published recipe (arXiv 2511.20779), option by option.
FINE_GRAINED = {
    "dense.epochs": 150,
    "dense.optimiser.name": "sgd",
    "dense.optimiser.lr": 0.005,
    "dense.optimiser.head_lr": 0.01,
    "dense.optimiser.momentum": 0.9,
    "dense.optimiser.weight_decay": 5e-4,
    "dense.optimiser.schedule": "step",
    "dense.optimiser.step_epochs": 30,
    "dense.optimiser.step_factor": 0.4,
    "dense.optimiser.batch_size": 16,
    "dense.diversity_weight": 0.196,
    "dense.dropout": 0.2,
    "dense.label_smoothing": 0.0,
    "dense.pooled_share": 1.0,
    "assignment.kept_features": 50,
    "assignment.features_per_class": 5,
    "assignment.pair_density": 0.5,
    "assignment.pivot_weight": 0.0,
    "finetune.rounds": [10, 10, 10, 40],
    "finetune.round_decay": 0.9,
    "finetune.optimiser.name": "sgd",
    "finetune.optimiser.lr": 1e-4,
    "finetune.optimiser.head_lr": 1e-4,
    "finetune.optimiser.momentum": 0.95,
    "finetune.optimiser.weight_decay": 5e-4,
    "finetune.optimiser.schedule": "step",
    "finetune.optimiser.step_epochs": 10,
    "finetune.optimiser.step_factor": 0.4,
    "finetune.optimiser.batch_size": 16,
    "finetune.grounding_weight": 3.0,
    "finetune.grounding_epochs": 30,
    "finetune.dropout": 0.1,
    "finetune.dropout_place": "pooled",
    "finetune.rectify": True,
    "data.image_size": 224,
    "data.resize": "crop",
    "data.centre_share": 1.0,
    "data.crop_to_box": False,
    "data.augmentation": "paper",
    "data.flip": True,
    "backbone.name": "resnet50.tv_in1k",
    "backbone.pretrained": True,
    "backbone.output_stride": 8,
    "backbone.cut": None,
    "backbone.frozen": None,
    "backbone.head_channels": None,
}
CROPPED = {"data.resize": "squash", "data.crop_to_box": True}
IMAGENET = {
    "dense.epochs": 0,
    "finetune.optimiser.lr": 1.28e-4,
    "finetune.optimiser.head_lr": 1.28e-4,
    "finetune.optimiser.batch_size": 64,
    "data.centre_share": 224 / 256,
    "data.augmentation": "imagenet",
    "backbone.output_stride": None,
}
QPM = {
    "finetune.rectify": False,
    "finetune.grounding_weight": 0.0,
    "finetune.grounding_epochs": 0,
    "finetune.rounds": [40],
    "assignment.pair_density": 0.0,
}
OWN_STRIDES = {"backbone.output_stride": None}
PUBLISHED = {
    "paper": ("auto", {}),
    "cub-resnet50": ("cub", {}),
    "cub-resnet34": ("cub", {"backbone.name": "resnet34.tv_in1k"}),
    "cub-inception": ("cub", {**OWN_STRIDES, "backbone.name": "inception_v3.tv_in1k"}),
    "cub-swin": ("cub", {**OWN_STRIDES, "backbone.name": "swin_small_patch4_window7_224.ms_in1k"}),
    "cub-cropped-resnet50": ("cub", CROPPED),
    "cub-resnet50-qpm": ("cub", QPM),
    "travelingbirds-resnet50": ("travelingbirds", {}),
    "cars-resnet50": ("cars", {}),
    "aircraft-resnet50": ("aircraft", {}),
    "imagenet-resnet50": ("imagenet", IMAGENET),
    "imagenet-resnet50-qpm": ("imagenet", {**IMAGENET, **QPM}),
}


def value(config: FitConfig, option: str):
    found = config_file.to_dict(config)
    for name in option.split("."):
        found = found[name]
    return found


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_number_is_the_published_one(name):
    dataset, changes = PUBLISHED[name]
    config = preset(name)
    expected = {**FINE_GRAINED, **changes, "data.dataset": dataset}
    assert {option: value(config, option) for option in expected} == expected


def test_every_published_option_of_training_is_compared():
    """An option that is added to the training later must be added here too, or be one that doesn't change it."""
    apart = {"dense.checkpoint"}
    options = config_file.to_dict(FitConfig())
    for group in ("dense", "finetune"):
        names = {f"{group}.{name}" for name in options[group]} - {f"{group}.optimiser"}
        names |= {f"{group}.optimiser.{name}" for name in options[group]["optimiser"]}
        assert names - apart <= set(FINE_GRAINED)


def test_every_preset_has_a_line():
    lines = dict(line.split(": ", 1) for line in describe_presets().splitlines())
    assert list(lines) == list(PRESETS)
    assert all(20 < len(line) < 80 for line in lines.values())
    with pytest.raises(ChiqpmError, match="unknown preset 'cub'; choose one of default, paper"):
        preset("cub")


def test_help_lists_the_presets_and_imports_nothing_heavy():
    script = "import sys; from chiqpm.cli import main\ntry: main(['fit', '--help'])\nexcept SystemExit: pass\n"
    heavy = "{'torch', 'timm', 'matplotlib', 'sklearn', 'scipy', 'datasets', 'PIL'}"
    script += f"assert not {heavy} & set(sys.modules), sorted({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.replace("│", " ").split())
    for line in describe_presets().splitlines():
        assert line in shown


def images(root: Path) -> Path:
    for name in ("jay", "owl"):
        for i in range(4):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (40 * i, 9, 9)).save(root / name / f"{i}.png")
    return root


def test_a_preset_with_other_images(capsys, tmp_path):
    root = images(tmp_path / "own")
    for name in ("cub-resnet50", "cars-resnet50", "imagenet-resnet50", "travelingbirds-resnet50", "aircraft-resnet50"):
        code = main(["fit", str(root), "--out", str(tmp_path / "run"), "--preset", name, "--quiet"])
        message = capsys.readouterr().err
        assert code == 2
        assert "isn't a whole" in message and "To download" in message and "--dataset folder" in message
    assert not (tmp_path / "run").exists()


def test_a_preset_with_another_published_data_set(capsys, tmp_path):
    folder = tmp_path / "cars"
    for part in ("train", "test"):
        images(folder / part)
        for name in ("jay", "owl"):
            (folder / part / name).rename(folder / part / f"{name.title()} Sedan 2012")
    assert open_folder(folder, FitConfig().data).dataset == "cars"
    code = main(["fit", str(folder), "--out", str(tmp_path / "run"), "--preset", "cub-resnet50", "--quiet"])
    assert code == 2
    message = capsys.readouterr().err
    assert "holds Stanford Cars, and CUB-200-2011 was asked for (by --dataset or by the preset)" in message
    assert open_folder(folder, config_file.from_dict({"data": {"dataset": "folder"}}).data).dataset == "folder"


def test_pack(capsys, tmp_path):
    root = images(tmp_path / "own")
    assert main(["pack", str(root), "--out", str(tmp_path / "shards"), "--quiet"]) == 0
    assert "Packed 8 images into 3 shards" in capsys.readouterr().out
    assert len(open_folder(tmp_path / "shards", FitConfig().data).indices("train")) == 4
    assert main(["pack", str(root), "--out", str(tmp_path / "more"), "--quiet", "--json"]) == 0
    assert '"shards": 3' in capsys.readouterr().out
    assert main(["pack", str(root), "--out", str(tmp_path / "shards"), "--quiet"]) == 2
    assert "has shards already" in capsys.readouterr().err
