"""The losses against recorded values, a plain version of the formulas, and wrong inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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


def step_by_step(maps, logits, weight, beta):
    """The same loss, differentiated by autograd."""
    row = weight[logits.detach().argmax(dim=1)].abs()
    row = row / (row.norm(dim=1, keepdim=True) + 1e-5)
    mean = maps.mean(dim=(2, 3))
    scale = mean / mean.amax(dim=1, keepdim=True).clamp_min(1e-6)
    weighted = maps.flatten(2).softmax(dim=2) * (scale * row)[:, :, None]
    return -beta * weighted.max(dim=1).values.sum() / len(maps)


@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
@settings(max_examples=60, deadline=None)
def test_the_gradient_of_the_diversity_loss_is_that_of_autograd(seed, batch, features, side, layout):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(batch, features, side, side, generator=generator, dtype=torch.float64).relu()
    # Equal largest means share a gradient; a sample without anything that counts for its class gives none.
    maps[0, features // 2] = maps[0, 0]
    if batch > 2:
        maps[1] = 0
    logits = torch.randn(batch, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, features, generator=generator, dtype=torch.float64)
    weight[3, 1:] = 0
    found = []
    for loss in (feature_diversity_loss, step_by_step):
        leaves = [maps.clone(memory_format=layout).requires_grad_(), weight.clone().requires_grad_()]
        value = 3 * loss(leaves[0], logits, leaves[1], 0.5)
        value.backward()
        found.append([value.detach(), *(leaf.grad for leaf in leaves)])
    (value, *slopes), (plain_value, *plain_slopes) = found
    torch.testing.assert_close(value, plain_value)
    alive = (maps.amax(dim=(2, 3)) * weight[logits.argmax(dim=1)]).abs().amax(dim=1) > 0
    torch.testing.assert_close(slopes[0][alive], plain_slopes[0][alive])
    torch.testing.assert_close(slopes[1], plain_slopes[1])
    assert not slopes[0][~alive].any()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_half_precision_maps_are_taken_as_float32_ones(layout):
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(3, 40, 5, 5, generator=generator).relu().to(torch.bfloat16, memory_format=layout)
    logits, weight = torch.randn(3, 4, generator=generator), torch.randn(4, 40, generator=generator)
    found = []
    for maps in (half, half.float()):
        maps.requires_grad_()
        loss = feature_diversity_loss(maps, logits, weight)
        loss.backward()
        found.append((loss.detach(), maps.grad))
    assert found[0][0] == found[1][0]
    assert found[0][1].dtype == torch.bfloat16
    assert torch.equal(found[0][1], found[1][1].bfloat16())


class Traffic(TorchDispatchMode):
    """Counts the bytes of the maps and everything as large that calls read and write."""

    def __init__(self, least):
        super().__init__()
        self.least, self.bytes = least, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.namespace == "aten" and not func.is_view and func is not torch.ops.aten.empty_like.default:
            # `expand` makes a small tensor look large; only what is stored is read.
            for tensor in tree_leaves((args, kwargs, result)):
                if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().nbytes() >= self.least:
                    self.bytes += tensor.nbytes
        return result


def test_the_losses_pass_over_the_maps_few_times_and_never_wait_for_the_device():
    """On a GPU memory traffic and waiting are what they cost; fake tensors refuse what would need their values."""
    with FakeTensorMode():
        maps = torch.rand(4, 64, 8, 8, requires_grad=True)
        logits, weight = torch.rand(4, 5), torch.rand(5, 64, requires_grad=True)
        with Traffic(maps.nbytes) as traffic:
            feature_diversity_loss(maps, logits, weight).backward()
        # Once for the means, twice each for the softmax and the product, once for the peaks; thrice, as its result is
        # counted twice, for the gradient; twice for the cells where a feature is largest, which are few.
        assert traffic.bytes <= 11 * maps.nbytes
        with Traffic(maps.nbytes) as naive:
            step_by_step(maps, logits, weight, 0.5).backward()
        assert naive.bytes > 2 * traffic.bytes
        features, target = torch.rand(4, 64, requires_grad=True), torch.tensor([0, 1, 2, 3])
        feature_grounding_loss(features, target, weight.detach(), check_classes=False).backward()
        with pytest.raises(DataDependentOutputException):
            feature_grounding_loss(features, target, weight.detach())


def test_the_diversity_loss_can_be_differentiated_once():
    maps = torch.rand(2, 3, 4, 4, requires_grad=True)
    loss = feature_diversity_loss(maps, torch.rand(2, 2), torch.ones(2, 3))
    (slope,) = torch.autograd.grad(loss, maps, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        slope.sum().backward()


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


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 7), st.sampled_from([0.004, 0.006, 1.0]))
@settings(max_examples=60, deadline=None)
def test_the_gradient_of_the_grounding_loss_is_that_of_autograd(seed, batch, kept, step):
    """Features on a coarse grid tie for the largest, are 0 or negative, and lie below the least divisor or above it."""
    generator = torch.Generator().manual_seed(seed)
    features = step * torch.randint(-2, 3, (batch, kept), generator=generator).double()
    weight = torch.zeros(3, kept).double()
    for row in weight:
        row[torch.randperm(kept, generator=generator)[: int(torch.randint(1, kept, (), generator=generator))]] = 1
    target = torch.randint(3, (batch,), generator=generator)

    def plain(values):
        own = weight[target]
        outside = 2 * (values * (1 - own)).sum(dim=1) / (1 - own).sum(dim=1)
        difference = outside - (values * own).sum(dim=1) / own.sum(dim=1)
        return (difference / values.abs().amax(dim=1).clamp_min(0.01)).mean()

    found, wanted = (features.clone().requires_grad_() for _ in range(2))
    (3 * feature_grounding_loss(found, target, weight)).backward()
    (3 * plain(wanted)).backward()
    torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-12, atol=1e-14)


def test_the_gradient_of_the_grounding_loss_reaches_the_features_alone_and_does_not_overflow():
    weight = torch.tensor([[1.0, 0, 0]], requires_grad=True)
    assert not feature_grounding_loss(torch.ones(2, 3), torch.tensor([0, 0]), weight).requires_grad
    features = torch.full((64, 40), 0.001, dtype=torch.float16, requires_grad=True)
    weight = (torch.arange(40) < 20).float()[None]
    (feature_grounding_loss(features, torch.zeros(64, dtype=torch.long), weight).float() * 2.0**16).backward()
    assert features.grad.isfinite().all()


def test_no_gradient_passes_through_the_scale_of_dead_maps():
    maps = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = feature_diversity_loss(maps, torch.zeros(2, 2), torch.ones(2, 3))
    loss.backward()
    assert loss.item() == 0
    assert not maps.grad.any()


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
