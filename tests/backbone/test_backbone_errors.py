from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch

from chiqpm.backbone import build_backbone
from chiqpm.config import BackboneConfig
from chiqpm.errors import ChiqpmError

WHOLE_TRUNK = BackboneConfig(pretrained=False, cut=None, frozen=None, head_channels=None)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"name": "resnet51"}, ["'resnet51'", "resnet50", "lite0"]),
        ({"name": "lite1"}, ["'lite1'", "lite0"]),
        ({"name": "🙃"}, ["no backbone", "timm.list_models()"]),
        ({"name": "resnet50.nonsense"}, ["'nonsense'", "a1_in1k"]),
        ({"cut": "block.4.0"}, ["cut='block.4.0'", "blocks.4.0", "stem", "conv_head"]),
        ({"frozen": "blocks.9"}, ["frozen='blocks.9'", "Near names: blocks"]),
        ({"frozen": "~"}, ["frozen='~'", "first to last: stem"]),
        ({"cut": "blocks.3.0", "frozen": "blocks.4.0"}, ["behind cut='blocks.3.0'", "frozen='all'"]),
        ({"name": "regnety_002", "cut": "features"}, ["cut='features'", "Leave cut out."]),
        ({"name": "regnety_002", "frozen": "features"}, ["frozen='features'", "frozen='all'"]),
        ({"output_stride": 12}, ["output_stride=12", "32, 16, 8, 4, 2"]),
        ({"output_stride": 64}, ["output_stride=64", "Possible: 32"]),
        ({"cut": "blocks.4", "output_stride": 32}, ["output_stride=32", "Possible: 16, 8, 4, 2"]),
        ({"output_stride": 0}, ["output_stride", "received 0"]),
        ({"head_channels": 0}, ["head_channels", "received 0"]),
        ({"name": "vit_tiny_patch16_224", "output_stride": 8}, ["output_stride=8", "patches", "image_size"]),
        ({"name": "densenet121", "output_stride": 8}, ["output_stride=8", "densenet121"]),
        (
            {"name": "convnext_atto", "output_stride": 8, "cut": "stages.0"},
            ["output_stride=8", "stride 4", "another cut"],
        ),
    ],
)
def test_what_the_configuration_can_have_wrong(options: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ChiqpmError) as error:
        build_backbone(replace(WHOLE_TRUNK, **options), image_size=64)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("name", "image_size", "parts"),
    [
        ("lite0", 8, ["at least 32", "received 8"]),
        ("lite0", -1, ["received -1"]),
        ("vit_small_patch14_dinov2", 64, ["patches of 14", "image_size=64", "56 or 70"]),
        ("inception_v3", 40, ["inception_v3", "40×40", "another image_size"]),
    ],
)
def test_image_sizes(name: str, image_size: int, parts: list[str]) -> None:
    with pytest.raises(ChiqpmError) as error:
        build_backbone(replace(WHOLE_TRUNK, name=name), image_size=image_size)
    for part in parts:
        assert part in str(error.value)


def test_weights_that_do_not_exist() -> None:
    with pytest.raises(ChiqpmError, match=r"no pretrained weights for mixer_s16_224.*pretrained=False"):
        build_backbone(replace(WHOLE_TRUNK, name="mixer_s16_224", pretrained=True), image_size=64)


@pytest.fixture
def _connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])


def test_without_a_connection_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("chiqpm.backbone.create.getproxies", dict)
    monkeypatch.setattr("chiqpm.backbone.create.try_to_load_from_cache", lambda *_: None)
    start = time.monotonic()
    with pytest.raises(ChiqpmError) as error:
        build_backbone(replace(WHOLE_TRUNK, name="resnet18", pretrained=True), image_size=64)
    assert time.monotonic() - start < 10
    for part in ("resnet18 can't be fetched", "no connection to the hub", "'lite0', whose weights come with this"):
        assert part in str(error.value)


@pytest.mark.usefixtures("_connected")
def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    create: Callable[..., Any] = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise ConnectionError("no route to the hub")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ChiqpmError) as error:
        build_backbone(replace(WHOLE_TRUNK, name="resnet18", pretrained=True), image_size=64)
    for part in ("resnet18", "no route to the hub", "'lite0'", "pretrained=False"):
        assert part in str(error.value)


@pytest.mark.usefixtures("_connected")
def test_weights_that_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    create: Callable[..., Any] = timm.create_model

    def with_zeros(name: str, pretrained: bool = False, **options: Any) -> Any:
        model = create(name, pretrained=False, **options)
        if pretrained:
            torch.nn.init.zeros_(model.conv1.weight)
        return model

    monkeypatch.setattr(timm, "create_model", with_zeros)
    backbone = build_backbone(replace(WHOLE_TRUNK, name="resnet18", pretrained=True), image_size=64)
    assert backbone.trunk.conv1.weight.abs().sum() == 0  # type: ignore[operator, union-attr]
    assert backbone.mean == (0.485, 0.456, 0.406)


def test_a_network_that_cannot_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("no such window")

    monkeypatch.setattr(timm, "create_model", broken)
    with pytest.raises(ChiqpmError, match="can't be built for 64 pixels: no such window"):
        build_backbone(WHOLE_TRUNK, image_size=64)


@pytest.mark.parametrize("features", [(1, 7, 512), (1, 512)])
def test_features_that_are_no_maps(monkeypatch: pytest.MonkeyPatch, features: tuple[int, ...]) -> None:
    from timm.models.regnet import RegNet

    monkeypatch.setattr(RegNet, "forward_features", lambda self, x: torch.zeros(features))
    with pytest.raises(ChiqpmError, match=r"regnety_002 gives no feature maps.*512.*allowed are maps"):
        build_backbone(replace(WHOLE_TRUNK, name="regnety_002"), image_size=64)


def test_features_that_are_no_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.models.regnet import RegNet

    monkeypatch.setattr(RegNet, "forward_features", lambda self, x: [x])
    with pytest.raises(ChiqpmError, match="gives no feature maps: its features are list"):
        build_backbone(replace(WHOLE_TRUNK, name="regnety_002"), image_size=64)
