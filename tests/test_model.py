"""The two networks against recorded outputs, their options, and wrong inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from chiqpm.errors import ChiqpmError
from chiqpm.model import CHiQPM, DenseClassifier, _keep_maps, keep_features
from chiqpm.pooling import pool_maps


class Maps(nn.Module):
    """A backbone that takes its maps as images."""

    num_features = 24

    def forward(self, images):
        return images


class Recorded(nn.Module):
    """Dropout with a given multiplier."""

    def __init__(self, multiplier):
        super().__init__()
        self.multiplier = multiplier

    def forward(self, values):
        return values * self.multiplier


def sparse(recorded, **options):
    t = {name: torch.tensor(value) for name, value in recorded.items()}
    selection = t["selection"]
    return CHiQPM(Maps(), selection, t["weight"], t["mean_full"][selection], t["std_full"][selection], **options)


def test_head_is_the_published_one(golden):
    recorded = golden("final_layer")
    maps = torch.tensor(recorded["maps"])
    output = sparse(recorded).eval()(maps)
    torch.testing.assert_close(output.logits, torch.tensor(recorded["logits_relu1_bias0"]))
    torch.testing.assert_close(output.features, torch.tensor(recorded["features_relu1_bias0"]))
    torch.testing.assert_close(output.maps, torch.tensor(recorded["selected_maps"]))
    plain = sparse(recorded, rectify=False).eval()(maps)
    torch.testing.assert_close(plain.logits, torch.tensor(recorded["logits_relu0_bias0"]))


def test_dropout_sits_where_the_published_one_does(golden):
    recorded = golden("final_layer")
    model = sparse(recorded).train()
    model.dropout = Recorded(torch.tensor(recorded["train_dropout_multiplier"]))
    output = model(torch.tensor(recorded["maps"]))
    torch.testing.assert_close(output.logits, torch.tensor(recorded["train_logits"]))
    torch.testing.assert_close(output.features, torch.tensor(recorded["train_features"]))


def test_dropout_after_the_normalisation_silences_a_feature(golden):
    recorded = golden("final_layer")
    model = sparse(recorded, dropout_place="normalised").train()
    model.dropout = Recorded(torch.zeros(5, 8))
    assert not model(torch.tensor(recorded["maps"])).features.any()


def test_dense_head_is_the_published_one(golden):
    recorded = golden("final_layer")
    model = DenseClassifier(Maps(), 10).eval()
    model.classifier.weight.data = torch.tensor(recorded["dense_weight"])
    model.classifier.bias.data = torch.tensor(recorded["dense_bias"])
    output = model(torch.tensor(recorded["maps"]))
    torch.testing.assert_close(output.logits, torch.tensor(recorded["dense_logits"]))
    torch.testing.assert_close(output.features, torch.tensor(recorded["dense_features"]))


def test_the_assignment_does_not_train(golden):
    model = sparse(golden("final_layer"))
    assert not list(model.parameters())
    assert {"weight_CK", "mean_K", "std_K", "selection_K"} <= set(model.state_dict())


def test_a_constant_feature_does_not_divide_by_zero():
    weight = torch.eye(2)
    model = CHiQPM(Maps(), torch.tensor([0, 1]), weight, torch.zeros(2), torch.zeros(2)).eval()
    assert torch.isfinite(model(torch.rand(1, 24, 2, 2)).logits).all()


class Headed(nn.Module):
    num_features = 6

    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU())

    def forward(self, images):
        return self.head(images)


def test_dropping_unused_channels_changes_nothing_else():
    torch.manual_seed(0)
    backbone = Headed()
    backbone.train()(torch.rand(8, 3, 4, 4))
    backbone.eval()
    images, selection = torch.rand(2, 3, 5, 5), torch.tensor([1, 4, 5])
    expected = backbone(images)[:, selection]
    remaining = keep_features(backbone, selection)
    torch.testing.assert_close(backbone.eval()(images), expected)
    assert remaining.tolist() == [0, 1, 2]
    assert backbone.num_features == 3
    assert keep_features(Maps(), selection) is selection


def test_pooling_the_largest_cells():
    maps = torch.arange(12.0).reshape(1, 1, 3, 4)
    assert pool_maps(maps).item() == pytest.approx(5.5)
    assert pool_maps(maps, 0.25).item() == pytest.approx(10)
    assert pool_maps(maps, 1e-9).item() == pytest.approx(11)
    for share in (0.0, -1.0, 1.1):
        with pytest.raises(ChiqpmError, match="share"):
            pool_maps(maps, share)


def test_wrong_inputs_are_named():
    weight, one = torch.eye(2), torch.ones(2)
    with pytest.raises(ChiqpmError, match="at least 2 classes"):
        DenseClassifier(Maps(), 1)
    with pytest.raises(ChiqpmError, match="num_features"):
        DenseClassifier(nn.Identity(), 2)
    with pytest.raises(ChiqpmError, match="ascending"):
        CHiQPM(Maps(), torch.tensor([1, 0]), weight, one, one)
    with pytest.raises(ChiqpmError, match=r"\[0, 24\)"):
        CHiQPM(Maps(), torch.tensor([1, 24]), weight, one, one)
    with pytest.raises(ChiqpmError, match="must be"):
        CHiQPM(Maps(), torch.tensor([0, 1, 2]), weight, one, one)
    with pytest.raises(ChiqpmError, match="binary"):
        CHiQPM(Maps(), torch.tensor([0, 1]), weight * 0.5, one, one)
    with pytest.raises(ChiqpmError, match="dropout_place"):
        CHiQPM(Maps(), torch.tensor([0, 1]), weight, one, one, dropout_place="late")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_the_kept_maps_is_autograds_and_lies_as_the_maps_do(layout, dtype):
    """In another layout all gradients before it would be copied."""
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(3, 8, 4, 5, generator=generator).to(dtype).contiguous(memory_format=layout)
    kept_K = torch.tensor([1, 4, 7])
    slope = torch.randn(3, 3, 4, 5, generator=generator).to(dtype)
    gradients = []
    for keep in (_keep_maps, lambda maps, kept: maps[:, kept]):
        maps = whole.clone(memory_format=torch.preserve_format).requires_grad_()
        keep(maps, kept_K).backward(slope)
        gradients.append(maps.grad)
    assert torch.equal(*gradients) and gradients[0].dtype == dtype
    assert gradients[0].is_contiguous(memory_format=layout)
