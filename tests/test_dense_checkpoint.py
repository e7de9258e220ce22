"""Starting from a dense model that was trained elsewhere."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from chiqpm.backbone import build_backbone
from chiqpm.config import BackboneConfig
from chiqpm.dense_checkpoint import load_dense_checkpoint
from chiqpm.errors import ChiqpmError
from chiqpm.model import DenseClassifier


def build(name="resnet18", classes=3, **options):
    config = BackboneConfig(name=name, pretrained=False, **options).resolved()
    return DenseClassifier(build_backbone(config, image_size=64), classes)


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "vit_tiny_patch16_224"])
def test_a_fine_tuned_timm_model_keeps_its_answers(name, tmp_path):
    torch.manual_seed(0)
    size = {"img_size": 64} if name.startswith("vit") else {}
    trained = timm.create_model(name, num_classes=3, **size).eval()
    save_file(trained.state_dict(), tmp_path / "trained.safetensors")
    model = build(name)
    load_dense_checkpoint(model, tmp_path / "trained.safetensors")
    weight = dict(trained.named_parameters())
    last = next(f"{key}.weight" for key in ("fc", "head.fc", "head") if f"{key}.weight" in weight)
    torch.testing.assert_close(model.classifier.weight, weight[last])
    if name == "resnet18":
        images = torch.rand(2, 3, 64, 64)
        torch.testing.assert_close(model.eval()(images).logits, trained(images))


def test_a_torch_file_with_a_wrapped_state_dict_is_understood(tmp_path):
    trained = timm.create_model("resnet18", num_classes=3)
    wrapped = {"state_dict": {f"module.{name}": value for name, value in trained.state_dict().items()}}
    torch.save(wrapped, tmp_path / "trained.pth")
    model = build()
    load_dense_checkpoint(model, tmp_path / "trained.pth")
    torch.testing.assert_close(model.classifier.weight, trained.fc.weight)


def test_a_dense_model_of_this_package_is_taken_whole(tmp_path):
    model, again = build(), build()
    save_file(model.state_dict(), tmp_path / "dense.safetensors")
    load_dense_checkpoint(again, tmp_path / "dense.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    save_file({**model.state_dict(), "backbone.extra": torch.zeros(1)}, tmp_path / "more.safetensors")
    with pytest.raises(ChiqpmError, match=r"backbone\.extra"):
        load_dense_checkpoint(again, tmp_path / "more.safetensors")


def test_weights_that_do_not_fit_are_named(tmp_path):
    trained = timm.create_model("resnet18", num_classes=4).state_dict()
    save_file(trained, tmp_path / "four.safetensors")
    with pytest.raises(ChiqpmError, match="trained for 4 classes, the data have 3"):
        load_dense_checkpoint(build(), tmp_path / "four.safetensors")
    with pytest.raises(ChiqpmError, match="lacks the weight"):
        load_dense_checkpoint(build("resnet34", 4), tmp_path / "four.safetensors")
    with pytest.raises(ChiqpmError, match="head-channels None"):
        load_dense_checkpoint(build(head_channels=8), tmp_path / "four.safetensors")
    headless = {name: value for name, value in trained.items() if not name.startswith("fc.")}
    save_file(headless, tmp_path / "headless.safetensors")
    with pytest.raises(ChiqpmError, match="no classifier"):
        load_dense_checkpoint(build(), tmp_path / "headless.safetensors")


def test_files_that_hold_no_weights_are_refused_and_nothing_is_executed(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        load_dense_checkpoint(build(), tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ChiqpmError, match="can't be read as weights"):
        load_dense_checkpoint(build(), tmp_path / "text.pth")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(ChiqpmError, match="can't be read as weights"):
        load_dense_checkpoint(build(), tmp_path / "text.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ChiqpmError, match="no state_dict"):
        load_dense_checkpoint(build(), tmp_path / "list.pth")

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "evil.txt"), "w"))

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ChiqpmError, match="can't be read as weights"):
        load_dense_checkpoint(build(), tmp_path / "evil.pth")
    assert not (tmp_path / "evil.txt").exists()
