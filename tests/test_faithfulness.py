"""Faithfulness of made-up models whose truth is known, and the stratified sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from chiqpm.data import ImageTable
from chiqpm.errors import ChiqpmError
from chiqpm.experiments.faithfulness import stratified
from chiqpm.experiments.perturbation import FRACTIONS, measure_perturbation
from chiqpm.experiments.randomisation import measure_randomisation
from chiqpm.model import CHiQPM


class Patches(nn.Module):
    """Maps that show where an image is bright, in two colours; `blind` ones show the upper left corner instead."""

    num_features = 2

    def __init__(self, *, blind: bool = False) -> None:
        super().__init__()
        self.blind = blind
        self.layer = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[9.0, 0.0, -9.0], [-9.0, 0.0, 9.0]]).view(2, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(nn.functional.avg_pool2d(self.layer(images), 4))
        if self.blind:
            # The same values at other places: the prediction stays, the map lies.
            return maps.flatten(2).sort(dim=2, descending=True).values.view_as(maps)
        return maps


def model(*, blind: bool = False) -> CHiQPM:
    return CHiQPM(Patches(blind=blind), torch.arange(2), torch.eye(2), torch.zeros(2), torch.full((2,), 0.05)).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    found = torch.zeros(6, 3, 32, 32)
    for number in range(6):
        y, x = 4 * (1 + number % 6), 4 * (7 - number % 5)
        found[number, 2 * (number % 2), y : y + 4, x : x + 4] = 1.0
    return found


def test_maps_that_tell_the_truth_beat_both_controls_and_maps_that_lie_do_not(images: torch.Tensor) -> None:
    honest = measure_perturbation(model(), images, active_mean_K=np.ones(2))
    blind = measure_perturbation(model(blind=True), images, active_mean_K=np.ones(2))
    for name in ("random", "centre"):
        assert honest.deletion["map"].auc < honest.deletion[name].auc
        assert honest.insertion["map"].auc > honest.insertion[name].auc
    assert honest.deletion["map"].auc < blind.deletion["map"].auc
    assert honest.insertion["map"].auc > blind.insertion["map"].auc
    whole = honest.deletion["map"].means[0]
    assert whole == honest.insertion["centre"].means[-1] == honest.deletion["random"].means[0]
    assert honest.deletion["map"].fractions == FRACTIONS
    assert honest.to_dict() == measure_perturbation(model(), images, active_mean_K=np.ones(2)).to_dict()


def test_maps_that_depend_on_weights_change_with_them(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    noisy = images + 0.3 * torch.rand_like(images)
    original = model()
    before = {name: value.clone() for name, value in original.state_dict().items()}
    found = measure_randomisation(original, noisy, seed=3)
    assert all(torch.equal(before[name], value) for name, value in original.state_dict().items())
    assert found.depths[-1].share == 1.0 and found.images == 6
    assert found.depths[-1].similarity < 0.9
    assert -1 <= found.unrelated < 0.5
    with pytest.raises(ChiqpmError, match="2 images and 2 steps"):
        measure_randomisation(original, noisy[:1])


def test_a_sample_takes_from_every_class_before_it_takes_twice() -> None:
    labels = np.repeat(np.arange(5), [50, 3, 20, 1, 7])
    paths = tuple(f"{i}.jpg" for i in range(len(labels)))
    table = ImageTable(root=Path(), paths=paths, labels_N=labels, classes=tuple("abcde"))
    rows = np.arange(len(labels))
    for count, counts in ((5, [1, 1, 1, 1, 1]), (11, None), (200, [50, 3, 20, 1, 7])):
        chosen = stratified(table, rows, count, seed=1)
        assert len(set(chosen.tolist())) == len(chosen) == min(count, len(labels))
        found = np.bincount(labels[chosen], minlength=5)
        if counts is not None:
            assert found.tolist() == counts
        else:
            assert found.min() == 1 and found.max() <= 3
    few = [stratified(table, rows, 3, seed=seed) for seed in range(5)]
    assert len({tuple(labels[rows]) for rows in few}) > 1
