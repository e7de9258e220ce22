from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from chiqpm.config import DataConfig
from chiqpm.data import ImageTable, UnreadableImageError
from chiqpm.data.dataset import ImageDataset
from chiqpm.data.transforms import training_transform
from chiqpm.errors import ChiqpmError


def make(root, count=6, **options):
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(root / f"{i}.png")
    table = ImageTable(root, tuple(f"{i}.png" for i in range(count)), np.arange(count) % 2, ("a", "b"))
    config = DataConfig(image_size=16, augmentation="paper", resize="crop")
    transform = training_transform(config, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    return ImageDataset(table, [5, 0, 3], transform, **options)


def test_items(tmp_path):
    data = make(tmp_path)
    assert len(data) == 3
    tensor, label, index = data[0]
    assert tensor.shape == (3, 16, 16) and (label, index) == (1, 5)
    assert type(label) is int and type(index) is int


def test_changes_depend_on_seed_epoch_and_image_alone(tmp_path):
    data = make(tmp_path, seed=3)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = [data[i][0] for i in range(3)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert all(torch.equal(data[i][0], first[i]) for i in (2, 0, 1))
    other_order = ImageDataset(data.table, [3, 5], data.transform, seed=3)
    assert torch.equal(other_order[0][0], first[2]) and torch.equal(other_order[1][0], first[0])
    data.set_epoch(1)
    assert not all(torch.equal(data[i][0], first[i]) for i in range(3))
    data.set_epoch(0)
    assert torch.equal(data[1][0], first[1])
    assert not all(torch.equal(make(tmp_path, seed=4)[i][0], first[i]) for i in range(3))
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy[2][0], first[2])


@pytest.mark.slow
def test_workers_that_live_on_see_the_epoch(tmp_path):
    data = make(tmp_path)
    expected = {}
    for epoch in (0, 1):
        data.set_epoch(epoch)
        expected[epoch] = [data[i][0] for i in range(3)]
    loader = DataLoader(data, num_workers=2, persistent_workers=True, multiprocessing_context="spawn")
    for epoch in (0, 1):
        data.set_epoch(epoch)
        got = [tensor[0] for tensor, _, _ in loader]
        assert all(torch.equal(a, b) for a, b in zip(got, expected[epoch], strict=True))
    del loader


def test_wrong_input(tmp_path):
    data = make(tmp_path)
    for indices in ([6], [-1], [[0]]):
        with pytest.raises(ChiqpmError, match=r"0\.\.5 for 6 images"):
            ImageDataset(data.table, indices, data.transform)
    with pytest.raises(ChiqpmError, match="seed must be 0 or more; received -1"):
        ImageDataset(data.table, [0], data.transform, seed=-1)
    with pytest.raises(ChiqpmError, match="epoch must be 0 or more"):
        data.set_epoch(-1)
    (tmp_path / "5.png").write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=r"5\.png"):
        data[0]
    assert len(ImageDataset(data.table, [], data.transform)) == 0


def test_the_room_does_not_need_torch():
    source = Path(__file__).parents[2] / "src"
    code = "import sys, chiqpm.data; print([m for m in ('torch', 'torchvision') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(source)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
