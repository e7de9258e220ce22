from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch

from chiqpm.backbone import build_backbone, pretrained_classifier
from chiqpm.config import BackboneConfig

RESNET = BackboneConfig(name="resnet18.tv_in1k", cut=None, frozen=None, head_channels=None)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are the same in every call stand for those that would be fetched."""
    create = timm.create_model

    def seeded(name: str, pretrained: bool = False, **options: Any) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", seeded)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: [])


def same_weights(config: BackboneConfig) -> Any:
    """A backbone with the weights of the whole model."""
    backbone = build_backbone(config, image_size=64)
    state = timm.create_model(config.name, pretrained=True).state_dict()
    backbone.trunk.load_state_dict({name: state[name] for name in backbone.trunk.state_dict()})
    return backbone


def test_the_models_own_classifier_is_found() -> None:
    backbone = same_weights(RESNET)
    linear = pretrained_classifier(RESNET, backbone, 1000, image_size=64)
    assert linear is not None and linear.weight.shape == (1000, 512)
    model, images = timm.create_model(RESNET.name, pretrained=True).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(linear(backbone(images).mean(dim=(2, 3))), model(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "num_classes"),
    [
        ({}, 200),
        ({"pretrained": False}, 1000),
        ({"name": "lite0"}, 1000),
        ({"output_stride": 8}, 1000),
        ({"name": "mobilenetv3_small_050"}, 1000),
    ],
)
def test_where_no_classifier_fits(changes: dict[str, Any], num_classes: int) -> None:
    config = replace(RESNET, **changes)
    backbone = build_backbone(config, image_size=64) if config.name == "lite0" else same_weights(config)
    assert pretrained_classifier(config, backbone, num_classes, image_size=64) is None
