"""Folded batch norm computes the same, and is given up where it would not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from chiqpm.backbone import build_backbone, fold_batch_norm
from chiqpm.config import BackboneConfig


def build(name, frozen="all", size=64):
    torch.manual_seed(0)
    config = BackboneConfig(name=name, pretrained=False, frozen=frozen, cut=None, head_channels=None)
    backbone = build_backbone(config, image_size=size)
    generator = torch.Generator().manual_seed(1)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            module.weight.data.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            module.bias.data.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
    return backbone


def images(size=64):
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "tf_efficientnet_lite0", "mobilenetv2_100", "mobilenetv3_small_050"]
)
def test_the_folded_copy_gives_the_same_activations_without_batch_norm(name):
    backbone = build(name)
    folded = fold_batch_norm(backbone, images()[:1])
    assert folded is not backbone
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.trunk.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.trunk.modules())
    with torch.inference_mode():
        expected, found = backbone.eval().forward_frozen(images()), folded.forward_frozen(images())
    assert torch.allclose(expected, found, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_backbone_stays_as_it_was():
    backbone = build("resnet18", frozen="layer2")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.train()
    fold_batch_norm(backbone, images()[:1])
    assert backbone.training
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


def test_a_network_without_batch_norm_is_returned_itself():
    backbone = build("vit_tiny_patch16_224")
    assert fold_batch_norm(backbone, images()) is backbone


def test_modules_that_do_not_follow_each_other_are_left_alone():
    backbone = build("resnet18")
    block = backbone.trunk.layer1[0]
    # The convolution and the batch norm beside it no longer belong together.
    block.conv2.forward = lambda hidden: nn.Conv2d.forward(block.conv2, hidden) * 3.0 + 1.0
    block.bn2.forward = lambda hidden: nn.BatchNorm2d.forward(block.bn2, torch.tanh(hidden))
    assert fold_batch_norm(backbone, images()[:1]) is backbone
