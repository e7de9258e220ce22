from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from chiqpm.config import DataConfig
from chiqpm.data.transforms import Lighting, evaluation_transform, training_transform
from chiqpm.errors import ChiqpmError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(width=70, height=50):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_evaluation_is_torchvisions_resize_and_normalise():
    config = DataConfig(image_size=32)
    resized = v2.functional.pil_to_tensor(v2.Resize((32, 32))(picture()))
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    expected = (resized.float() / 255 - mean) / std
    got = evaluation_transform(config, MEAN, STD)(picture())
    assert type(got) is torch.Tensor and got.dtype == torch.float32
    torch.testing.assert_close(got, expected)


def test_a_share_of_the_centre_is_resize_256_and_centre_crop_224():
    image = picture(8, 6).resize((400, 300), Image.Resampling.BICUBIC)
    config = DataConfig(image_size=224, resize="crop", centre_share=0.875)
    got = evaluation_transform(config, (0, 0, 0), (1, 1, 1))(image)
    expected = v2.functional.pil_to_tensor(v2.CenterCrop(224)(v2.Resize(256)(image))).float() / 255
    # Resize(256) rounds the long side and the crop's corner to whole pixels, which moves the picture by up to a half.
    assert got.shape == (3, 224, 224)
    assert (got - expected).abs().mean() < 0.01


def test_lighting_moves_along_the_principal_axes():
    image = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    moved = Lighting(0.05)(image) - image
    torch.manual_seed(1)
    red, green, blue = (torch.randn(3) * 0.05).tolist()
    scaled = (red * 0.2175, green * 0.0188, blue * 0.0045)
    axes = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
    for channel in range(3):
        shift = sum(axis * amount for axis, amount in zip(axes[channel], scaled, strict=True))
        torch.testing.assert_close(moved[channel], torch.full((4, 5), shift), atol=1e-6, rtol=1e-4)
    assert torch.equal(Lighting(0)(image), image)


def test_the_published_augmentations_step_by_step():
    def names(**options):
        composed = training_transform(DataConfig(image_size=224, **options), MEAN, STD)
        return [type(step).__name__ for step in composed.transforms]

    last = ["PILToTensor", "ToDtype", "Normalize"]
    colours = ["RandomHorizontalFlip", "ColorJitter", "TrivialAugmentWide"]
    assert names(augmentation="paper", resize="crop") == ["Resize", "RandomCrop", *colours, *last]
    assert names(augmentation="paper", resize="squash") == ["ToSquare", *colours, *last]
    assert names(augmentation="imagenet", resize="crop") == [
        *("RandomResizedCrop", "RandomHorizontalFlip", "ColorJitter", "PILToTensor", "ToDtype", "Lighting", "Normalize")
    ]
    composed = training_transform(DataConfig(image_size=224, augmentation="paper", resize="crop"), MEAN, STD)
    crop, jitter = composed.transforms[1], composed.transforms[3]
    assert (tuple(crop.size), crop.padding) == ((224, 224), [4, 4, 4, 4])
    assert jitter.brightness == jitter.contrast == jitter.saturation == (0.9, 1.1) and jitter.hue is None
    assert composed.transforms[0].size == [224]


def test_imagenet_augmentation():
    config = DataConfig(image_size=32, augmentation="imagenet", resize="crop", centre_share=0.875)
    transform = pickle.loads(pickle.dumps(training_transform(config, MEAN, STD)))
    torch.manual_seed(0)
    first, second = transform(picture()), transform(picture())
    assert first.shape == second.shape == (3, 32, 32)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("augmentation", ["none", "light", "paper"])
def test_training_keeps_the_frame(resize, augmentation):
    """Averaged over many draws the training picture is the evaluation picture, a little softer."""
    config = DataConfig(image_size=32, resize=resize, augmentation=augmentation, flip=False)
    image = Image.new("RGB", (64, 48), "black")
    image.paste("white", (24, 16, 40, 32))
    still = evaluation_transform(config, (0, 0, 0), (1, 1, 1))(image)
    moving = training_transform(config, (0, 0, 0), (1, 1, 1))
    torch.manual_seed(0)
    mean = torch.stack([moving(image) for _ in range(300 if augmentation != "none" else 1)]).mean(0)
    assert mean.shape == still.shape == (3, 32, 32)

    def centre(maps_3HW):
        mass = maps_3HW.mean(0)
        grid = torch.arange(32.0)
        return torch.stack([(mass.sum(0) * grid).sum(), (mass.sum(1) * grid).sum()]) / mass.sum()

    if augmentation == "none":
        assert torch.equal(mean, still)
    else:
        assert (centre(mean) - centre(still)).abs().max() < 1.5
        assert mean.std() > 0.3 * still.std()


def test_flip():
    image = Image.new("RGB", (32, 32), "black")
    image.paste("white", (0, 0, 16, 32))
    for flip in (True, False):
        for augmentation in ("light", "paper"):
            config = DataConfig(image_size=32, augmentation=augmentation, flip=flip)
            transform = training_transform(config, MEAN, STD)
            torch.manual_seed(0)
            views = [transform(image) for _ in range(40)]
            mirrored = sum(bool(view[:, :, :8].mean() < view[:, :, 24:].mean()) for view in views)
            # TrivialAugmentWide can invert (solarise) or turn a picture, so a few may look mirrored.
            assert (mirrored > 10) if flip else (mirrored <= 6), (flip, augmentation, mirrored)


def test_transforms_can_be_pickled():
    config = DataConfig(image_size=16, augmentation="paper", resize="crop")
    for make in (evaluation_transform, training_transform):
        again = pickle.loads(pickle.dumps(make(config, MEAN, STD)))
        assert again(picture()).shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("changes", "mean", "std", "message"),
    [
        ({"augmentation": "strong"}, MEAN, STD, "none, light, paper or imagenet; received 'strong'"),
        ({"resize": "stretch"}, MEAN, STD, "received 'stretch'"),
        ({"image_size": 0}, MEAN, STD, "image_size must be 1 or more"),
        ({}, (0.5,), STD, r"mean must have one value per colour \(3\); received 1"),
        ({}, MEAN, (0.5,), "std must have"),
        ({}, MEAN, (0, 1, 1), "std must have one positive"),
    ],
)
def test_wrong_input(changes, mean, std, message):
    with pytest.raises(ChiqpmError, match=message):
        training_transform(DataConfig(**changes), mean, std)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"centre_share": 0.0, "resize": "crop"}, r"centre_share must be in \(0, 1\]; received 0"),
        ({"centre_share": 1.1, "resize": "crop"}, "received 1.1"),
        ({"centre_share": 0.9, "resize": "pad"}, "goes with resize = 'crop' only; received 'pad'"),
    ],
)
def test_wrong_shares_of_the_centre(changes, message):
    with pytest.raises(ChiqpmError, match=message):
        evaluation_transform(DataConfig(image_size=8, **changes), MEAN, STD)(picture())
