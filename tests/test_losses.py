"""The losses against recorded values, a plain version of the formulas, and wrong inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.errors import ChiqpmError
from chiqpm.losses import feature_diversity_loss, feature_grounding_loss


def relative(actual, expected):
    expected = np.asarray(expected, dtype=np.float64)
    return np.abs(np.asarray(actual, dtype=np.float64) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", ["fdl_dense", "fdl_binary"])
def test_diversity_loss_and_its_gradients_match_the_published_ones(golden, name):
    recorded = golden(name)
    maps = torch.tensor(recorded["maps"], requires_grad=True)
    weight = torch.tensor(recorded["weight"], requires_grad=True)
    logits = torch.tensor(recorded["logits"], requires_grad=True)
    loss = feature_diversity_loss(maps, logits, weight, float(recorded["beta"]))
    loss.backward()
    assert relative(loss.item(), recorded["loss"]) < 1e-5
    assert relative(maps.grad, recorded["grad_maps"]) < 1e-5
    assert relative(weight.grad, recorded["grad_weight"]) < 1e-5
    assert logits.grad is None


def test_grounding_loss_and_its_gradient_match_the_published_ones(golden):
    recorded = golden("fgl_relu")
    features = torch.tensor(recorded["features"], requires_grad=True)
    target, weight = torch.tensor(recorded["target"]), torch.tensor(recorded["weight"])
    loss = feature_grounding_loss(features, target, weight)
    loss.backward()
    assert relative(loss.item(), recorded["loss"]) < 1e-5
    assert relative(features.grad, recorded["grad_features"]) < 1e-5
    singles = [feature_grounding_loss(features[i : i + 1], target[i : i + 1], weight).item() for i in range(8)]
    assert relative(singles, recorded["per_sample"]) < 1e-5


def plain_diversity(maps, logits, weight, beta):
    total = 0.0
    for sample in range(len(maps)):
        row = np.abs(weight[logits[sample].argmax()])
        row = row / (np.linalg.norm(row) + 1e-5)
        mean = maps[sample].mean(axis=(1, 2))
        scale = mean / max(mean.max(), 1e-6)
        cells = maps[sample].reshape(len(row), -1)
        softmax = np.exp(cells - cells.max(axis=1, keepdims=True))
        softmax /= softmax.sum(axis=1, keepdims=True)
        total += (softmax * (scale * row)[:, None]).max(axis=0).sum()
    return -beta * total / len(maps)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 6), st.integers(2, 5), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_diversity_loss_is_the_plain_formula(seed, batch, features, classes, side):
    generator = np.random.default_rng(seed)
    maps = np.maximum(generator.normal(size=(batch, features, side, side)), 0)
    logits, weight = generator.normal(size=(batch, classes)), generator.normal(size=(classes, features))
    loss = feature_diversity_loss(*(torch.tensor(array) for array in (maps, logits, weight)), beta=0.5)
    assert loss.item() == pytest.approx(plain_diversity(maps, logits, weight, 0.5), rel=1e-9, abs=1e-12)
    assert -0.5 * np.sqrt(features) - 1e-9 <= loss.item() <= 0


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 7))
@settings(max_examples=40, deadline=None)
def test_grounding_loss_is_the_plain_formula(seed, batch, kept):
    generator = np.random.default_rng(seed)
    features = np.maximum(generator.normal(size=(batch, kept)), 0)
    weight = np.zeros((3, kept))
    for row in weight:
        row[generator.choice(kept, size=generator.integers(1, kept), replace=False)] = 1
    target = generator.integers(3, size=batch)
    expected = []
    for f, y in zip(features, target, strict=True):
        a, m = weight[y], weight[y].sum()
        out, inside = 2 * (f * (1 - a)).sum() / (kept - m), (f * a).sum() / m
        expected.append((out - inside) / max(np.abs(f).max(), 0.01))
    loss = feature_grounding_loss(torch.tensor(features), torch.tensor(target), torch.tensor(weight))
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-9, abs=1e-12)
    assert loss.item() >= -1 - 1e-9


def test_no_gradient_passes_through_the_scale_of_dead_maps():
    maps = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = feature_diversity_loss(maps, torch.zeros(2, 2), torch.ones(2, 3))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(maps.grad).all()


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3, 4), (2, 5), (5, 3)),
        ((2, 3, 4, 4), (3, 5), (5, 3)),
        ((2, 3, 4, 4), (2, 5), (4, 3)),
        ((2, 3, 4, 4), (2, 5), (5, 2)),
    ],
)
def test_diversity_loss_names_shapes_that_do_not_fit(shapes):
    with pytest.raises(ChiqpmError, match="received"):
        feature_diversity_loss(*(torch.zeros(shape) for shape in shapes))


def test_grounding_loss_refuses_what_is_undefined():
    features, target = torch.rand(2, 3), torch.tensor([0, 1])
    with pytest.raises(ChiqpmError, match="between 1 and 2"):
        feature_grounding_loss(features, target, torch.ones(2, 3))
    with pytest.raises(ChiqpmError, match="between 1 and 2"):
        feature_grounding_loss(features, target, torch.zeros(2, 3))
    with pytest.raises(ChiqpmError, match="share K"):
        feature_grounding_loss(features, target, torch.ones(2, 4))
    with pytest.raises(ChiqpmError, match="target"):
        feature_grounding_loss(features, torch.tensor([0]), torch.eye(3))
