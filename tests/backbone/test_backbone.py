from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from chiqpm.backbone import Backbone, build_backbone
from chiqpm.backbone.module import to_maps
from chiqpm.backbone.stride import pixels_per_cell
from chiqpm.config import BackboneConfig

WHOLE_TRUNK = BackboneConfig(pretrained=False, cut=None, frozen=None, head_channels=None)


def build(name: str = "lite0", image_size: int = 64, **options: Any) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(replace(WHOLE_TRUNK, name=name, **options), image_size=image_size)


def images(image_size: int = 64, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))


def check(backbone: Backbone, image_size: int = 64) -> None:
    """What holds for every backbone: shapes, signs, gradients, composition, frozen state."""
    pictures = images(image_size)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    maps = backbone.train()(pictures)
    assert maps.shape == (2, backbone.num_features, *backbone.grid)
    assert maps.min() >= 0

    trainable = list(backbone.trainable_parameters())
    frozen = list(backbone.frozen_parameters())
    assert len(trainable) + len(frozen) == len(list(backbone.parameters()))
    if trainable:
        weights = torch.randn(maps.shape, generator=torch.Generator().manual_seed(2))
        (maps * weights).sum().backward()
    assert all(parameter.grad is not None for parameter in trainable)
    assert all(parameter.grad is None for parameter in frozen)

    # Only batch norm statistics may have moved, and none of a frozen part's.
    trained = {name.rpartition(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    moved = [name for name, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[name])]
    assert all("running" in name or "num_batches" in name for name in moved)
    assert {name.rpartition(".")[0] for name in moved} <= trained

    backbone.eval()
    with torch.no_grad():
        hidden = backbone.forward_frozen(pictures)
        kept = hidden.clone()
        assert torch.equal(backbone.forward_trainable(hidden), backbone(pictures))
        assert torch.equal(hidden, kept)  # cached activations must survive being used


QUICK = [
    ("lite0", {"cut": "blocks.4.0", "frozen": "blocks.3.0", "head_channels": 8}),
    ("resnet18", {"frozen": "layer2", "output_stride": 8}),
    ("convnext_atto", {"frozen": "stages.1"}),
    ("vit_tiny_patch16_224", {"frozen": "blocks.5"}),
]
SLOW = [
    ("resnet34", {"output_stride": 16}),
    ("resnet50", {"output_stride": 8}),
    ("resnet50d", {"output_stride": 8, "frozen": "stem"}),
    ("resnetblur50", {"output_stride": 8}),
    ("convnext_atto", {"output_stride": 16}),
    ("efficientnet_b0", {"frozen": "blocks.2"}),
    ("efficientnet_b0", {"output_stride": 8}),
    ("mobilenetv2_050", {"cut": "blocks.5", "frozen": "blocks.3"}),
    ("mobilenetv3_small_050", {"frozen": "stem", "output_stride": 16}),
    ("inception_v3", {}),
    ("inception_v3", {"frozen": "all", "head_channels": 16}),
    ("swin_tiny_patch4_window7_224", {"frozen": "layers.2.blocks.3"}),
    ("swin_tiny_patch4_window7_224", {"cut": "layers.2", "head_channels": 16}),
    ("swinv2_tiny_window8_256", {}),
    ("maxvit_tiny_tf_224", {}),
    ("regnety_002", {"output_stride": 16}),
    ("vit_small_patch14_dinov2", {"frozen": "all", "head_channels": 16}),
    ("vit_small_patch14_reg4_dinov2", {"frozen": "patch_embed"}),
    ("deit_tiny_distilled_patch16_224", {"cut": "blocks.6"}),
    ("eva02_tiny_patch14_224", {}),
]


@pytest.mark.parametrize(("name", "options"), QUICK)
def test_every_backbone(name: str, options: dict[str, Any]) -> None:
    check(build(name, **options))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), SLOW)
def test_many_backbones(name: str, options: dict[str, Any]) -> None:
    # Patches of 14 pixels, and a network whose convolutions have no padding.
    image_size = 70 if "patch14" in name else 128 if "inception" in name else 64
    check(build(name, image_size, **options), image_size)


def test_lite0_parts_and_attributes() -> None:
    backbone = build(cut="blocks.4.0", frozen="blocks.3.0", head_channels=8, image_size=160)
    assert (backbone.num_features, backbone.grid, backbone.stride) == (8, (10, 10), 16)
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert backbone.unit_names[:3] == ("stem", "blocks.0.0", "blocks.1.0")
    assert backbone.unit_names[-2:] == ("blocks.6.0", "conv_head")
    assert backbone.forward_frozen(images(160)).shape == (2, 80, 10, 10)
    assert isinstance(backbone.head, nn.Module)
    trainable = list(backbone.trainable_parameters())
    head = list(backbone.head.parameters())
    assert [id(p) for p in trainable[-len(head) :]] == [id(p) for p in head]
    names = [name for name, p in backbone.named_parameters() if p.requires_grad]
    parts = {".".join(name.split(".")[1:4]) for name in names if name.startswith("trunk.")}
    assert parts == {"blocks.3.1", "blocks.3.2", "blocks.4.0"}


def test_auto_divides_the_bundled_network_alone() -> None:
    automatic = build_backbone(BackboneConfig(), image_size=64)
    assert (automatic.num_features, automatic.stride) == (512, 16)
    assert list(automatic.frozen_parameters())
    other = build_backbone(BackboneConfig(name="resnet18", pretrained=False), image_size=64)
    assert (other.num_features, other.head, list(other.frozen_parameters())) == (512, None, [])


def test_what_is_cut_off_is_not_saved() -> None:
    names = list(build(cut="blocks.2").state_dict())
    assert any(name.startswith("trunk.blocks.2.1.") for name in names)
    assert not any(name.startswith(("trunk.blocks.3", "trunk.conv_head", "trunk.bn2")) for name in names)


def test_the_front_of_a_name_means_its_last_part() -> None:
    whole_stage = build("resnet18", cut="layer2").state_dict()
    last_block = build("resnet18", cut="layer2.1").state_dict()
    assert whole_stage.keys() == last_block.keys()


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "lite0", "vit_tiny_patch16_224"])
def test_the_parts_are_timms_features(name: str) -> None:
    backbone = build(name, rectify=False).eval()
    pictures = images()
    with torch.no_grad():
        features = backbone.trunk.forward_features(pictures)  # type: ignore[operator]
        if features.ndim == 3:
            features = features[:, 1:].transpose(1, 2).reshape(2, -1, 4, 4)
        assert torch.equal(backbone(pictures), features)


def test_a_family_that_is_put_together_differently_is_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.models.resnet import ResNet

    original = ResNet.forward_features
    monkeypatch.setattr(ResNet, "forward_features", lambda self, x: 2 * original(self, x))
    assert build("resnet18").unit_names == ("forward_features",)


def test_resnet_strides_as_published_and_without_dilation() -> None:
    fine, coarse = build("resnet18", 224, output_stride=8), build("resnet18", 64)
    assert (fine.grid, fine.stride) == ((28, 28), 8)
    assert (coarse.grid, coarse.stride) == ((2, 2), 32)
    assert all(m.dilation == (1, 1) for m in fine.modules() if isinstance(m, nn.Conv2d))
    assert fine.state_dict().keys() == coarse.state_dict().keys()


def test_training_mode_leaves_frozen_parts_in_evaluation() -> None:
    backbone = build("resnet18", frozen="layer1", head_channels=4)
    for mode in (True, False, True):
        backbone.train(mode)
        frozen = [backbone.trunk.get_submodule(path) for path in ("bn1", "layer1.1.bn2")]
        free = [backbone.trunk.get_submodule("layer2.0.bn1"), backbone.head]
        assert not any(module.training for module in frozen)
        assert all(module is not None and module.training is mode for module in free)
        assert backbone.training is mode


def test_frozen_dropout_is_off_in_training() -> None:
    backbone = build("vit_tiny_patch16_224", frozen="blocks.0")
    vars(backbone.trunk.get_submodule("pos_drop"))["p"] = 0.5
    first, second = (backbone.train().forward_frozen(images()) for _ in range(2))
    assert torch.equal(first, second)
    assert not backbone.trunk.get_parameter("cls_token").requires_grad


def test_all_frozen_without_a_head_has_nothing_to_train() -> None:
    backbone = build("resnet18", frozen="all")
    assert list(backbone.trainable_parameters()) == []
    check(backbone)


def test_nothing_frozen_gives_the_images_back() -> None:
    pictures = images()
    assert build("resnet18").forward_frozen(pictures) is pictures


@pytest.mark.parametrize(
    ("name", "options", "rectified", "negative"),
    [
        ("lite0", {}, False, False),
        ("resnet18", {}, False, False),
        ("resnet18", {"cut": "stem"}, True, False),
        ("lite0", {"cut": "blocks.4.0"}, True, False),
        ("lite0", {"cut": "blocks.4.0", "rectify": False}, False, True),
        ("convnext_atto", {}, True, False),
        ("convnext_atto", {"rectify": False}, False, True),
        ("convnext_atto", {"rectify": False, "head_channels": 4}, False, False),
        ("resnet18", {"rectify": True}, True, False),
    ],
)
def test_rectify(name: str, options: dict[str, Any], rectified: bool, negative: bool) -> None:
    backbone = build(name, **options)
    assert backbone.rectify is rectified
    assert bool(backbone(images()).min() < 0) is negative


def test_the_head_is_he_initialised_and_seeded() -> None:
    torch.manual_seed(3)
    config = replace(WHOLE_TRUNK, head_channels=256)
    first = build_backbone(config, image_size=64)
    torch.manual_seed(3)
    second = build_backbone(config, image_size=64)
    assert first.head is not None and second.head is not None
    weight = first.head[0].weight
    assert isinstance(weight, torch.Tensor)
    assert torch.equal(weight, second.head[0].weight)  # type: ignore[arg-type]
    assert weight.std().item() == pytest.approx((2 / 1280) ** 0.5, rel=0.02)
    assert first.head[0].bias is None


def test_copies_are_independent() -> None:
    backbone = build("resnet18", frozen="layer3").eval()
    twin = copy.deepcopy(backbone)
    expected = twin(images())
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
    assert torch.equal(twin(images()), expected)


def test_gradients_reach_the_image_through_frozen_parts() -> None:
    pictures = images().requires_grad_()
    build("resnet18", frozen="all").eval()(pictures).sum().backward()
    assert pictures.grad is not None and pictures.grad.abs().sum() > 0


@given(cells=st.integers(2, 12), stride=st.sampled_from([4, 8, 16, 32]), short=st.integers(0, 31))
@settings(max_examples=50, deadline=None)
def test_the_stride_is_found_whatever_the_border(cells: int, stride: int, short: int) -> None:
    image_size = cells * stride - short % stride
    found = pixels_per_cell(image_size, cells, exact=False)
    assert found == stride or -(-image_size // found) == cells


def test_the_stride_of_patches_and_of_networks_without_padding() -> None:
    assert pixels_per_cell(224, 16, exact=True) == 14
    assert pixels_per_cell(299, 8, exact=False) == 32
    assert pixels_per_cell(96, 1, exact=False) == 64


def test_layouts() -> None:
    maps = torch.randn(2, 5, 3, 3)
    prefix = torch.zeros(2, 2, 5)
    tokens = torch.cat([prefix, maps.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(to_maps(tokens, "NLC", 2, (3, 3)), maps)
    assert torch.equal(to_maps(maps.permute(0, 2, 3, 1), "NHWC", 0, (3, 3)), maps)
    assert to_maps(maps, "NCHW", 0, (3, 3)) is maps
