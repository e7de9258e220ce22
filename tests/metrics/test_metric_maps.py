"""Spatial diversity, peaks, part grounding and pivot faithfulness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.metrics import (
    map_peaks,
    modal_parts,
    part_grounding,
    pivot_faithfulness,
    spatial_diversity,
    spatial_diversity_per_sample,
)

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "metrics_sid_n5.npz")
few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


# --- spatial diversity -------------------------------------------------------------------------------------


def plain_spatial_diversity(maps: np.ndarray, weight: np.ndarray, predicted: int, k: int) -> float:
    chosen = sorted(range(len(weight[0])), key=lambda f: (-weight[predicted][f], f))[:k]
    distributions = []
    for f in chosen:
        scaled = maps[f] / max(np.abs(maps[f]).mean(), 1e-5)
        exponential = np.exp(scaled - scaled.max())
        distributions.append(exponential / exponential.sum())
    return sum(max(p[y, x] for p in distributions) for y in range(maps.shape[1]) for x in range(maps.shape[2])) / k


def test_spatial_diversity_golden() -> None:
    maps, weight, predicted = GOLDEN["maps"], GOLDEN["weight"], GOLDEN["logits"].argmax(1)
    values = spatial_diversity_per_sample(maps, weight, predicted, 5)
    assert values.numpy() == pytest.approx(GOLDEN["per_sample_at_k"], rel=1e-5)
    assert spatial_diversity(maps, weight, predicted) == pytest.approx(float(GOLDEN["local_full_batches"][4]), rel=1e-5)
    whole_batches = float(values[:300].mean())
    assert whole_batches == pytest.approx(float(GOLDEN["SID5_reference"]), rel=1e-5)
    assert spatial_diversity(maps, weight, predicted, 1) == pytest.approx(1, rel=1e-5)


@few
@given(seeds, st.integers(1, 4))
def test_spatial_diversity_plain(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    maps, weight = rng.normal(size=(3, 4, 2, 3)), rng.uniform(0.1, 1, (2, 4)).round(1)
    maps[0, 1] = 0
    predicted = rng.integers(0, 2, 3)
    expected = [plain_spatial_diversity(m, weight, c, k) for m, c in zip(maps, predicted, strict=True)]
    values = spatial_diversity_per_sample(maps, weight, predicted, k)
    assert values.dtype == torch.float64
    assert values.numpy() == pytest.approx(expected, abs=1e-12)
    assert (values >= 1 / k - 1e-12).all() and (values <= 1 + 1e-12).all()
    scale = rng.uniform(1, 9, (3, 4, 1, 1))
    assert spatial_diversity(maps * scale, weight, predicted, k) == pytest.approx(np.mean(expected), abs=1e-9)


def test_spatial_diversity_takes_batches_half_precision_and_gradients() -> None:
    torch.manual_seed(0)
    maps = torch.rand(6, 5, 4, 4, requires_grad=True)
    weight, predicted = torch.ones(2, 5), torch.tensor([0, 1, 0, 1, 0, 1])
    whole = spatial_diversity(maps, weight, predicted)
    parts = [spatial_diversity_per_sample(maps[i : i + 4], weight, predicted[i : i + 4]) for i in (0, 4)]
    assert float(torch.cat(parts).mean()) == pytest.approx(whole, rel=1e-6)
    assert not parts[0].requires_grad
    for dtype in (torch.bool, torch.uint8, torch.int64):
        assert spatial_diversity(maps, weight.to(dtype), predicted) == whole
    for dtype in (torch.float16, torch.bfloat16):
        half = spatial_diversity_per_sample(maps.to(dtype), weight.to(dtype), predicted.to(torch.int16))
        assert half.dtype == torch.float32
        assert float(half.mean()) == pytest.approx(whole, abs=5e-3)


# --- peaks -------------------------------------------------------------------------------------------------


@few
@given(seeds, st.integers(1, 5), st.integers(1, 5))
def test_peaks_are_those_of_the_upsampled_map(seed: int, height: int, width: int) -> None:
    torch.manual_seed(seed)
    maps = torch.randn(2, 3, height, width, dtype=torch.float64)
    # An odd factor puts a pixel onto the centre of every cell; the border of an upsampled map is flat.
    size = (height * 9, width * 9)
    upsampled = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    peaks = torch.from_numpy(map_peaks(maps))
    pixels = (peaks * torch.tensor(size)).floor().long()
    at_peak = upsampled.flatten(2).gather(2, (pixels[..., 0] * size[1] + pixels[..., 1])[..., None])[..., 0]
    assert torch.allclose(at_peak, upsampled.flatten(2).amax(2), rtol=0, atol=1e-12)


def test_peak_of_ties() -> None:
    maps = torch.zeros(1, 4, 5, 5)
    maps[0, 1, :3, 2] = 1.0
    maps[0, 2, 4, 4] = 1.0
    maps[0, 3, 0, :2] = 2.0
    peaks = map_peaks(maps)[0]
    assert peaks == pytest.approx(np.array([[0.5, 0.5], [0.3, 0.5], [0.9, 0.9], [0.1, 0.1]]))


# --- part grounding ----------------------------------------------------------------------------------------


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    images, kept, parts, height, width = 12, 4, 3, 10, 8
    rng = np.random.default_rng(seed)
    masks = rng.random((images, parts, height, width)) < 0.05
    visible = rng.random((images, parts)) < 0.8
    return rng.random((images, kept, 2)), masks, visible, rng.random((images, kept)) < 0.7


def plain_distance(peak: np.ndarray, mask: np.ndarray) -> float:
    height, width = mask.shape
    longer = max(mask.shape)
    distances = [
        np.hypot((peak[0] * height - y - 0.5) / longer, (peak[1] * width - x - 0.5) / longer)
        for y in range(height)
        for x in range(width)
        if mask[y, x]
    ]
    return min(distances, default=np.inf)


@few
@given(seeds)
def test_part_grounding_plain(seed: int) -> None:
    peaks, masks, visible, active = scene(seed)
    parts = modal_parts(peaks, masks, active, visible=visible)
    seen = visible & masks.any(axis=(2, 3))
    explaining = np.random.default_rng(seed + 1).random(active.shape) < 0.6
    result = part_grounding(peaks, masks, active, parts, explaining=explaining, visible=visible, tolerance=0.15)

    hits, hidden, per_feature = [], [], {}
    for k in range(active.shape[1]):
        votes = [0, 0, 0]
        for b in range(len(active)):
            distance = [plain_distance(peaks[b, k], masks[b, p]) if seen[b, p] else np.inf for p in range(3)]
            if active[b, k] and min(distance) < np.inf:
                votes[int(np.argmin(distance))] += 1
            if active[b, k] and explaining[b, k] and parts[k] >= 0:
                hits.append(distance[parts[k]] <= 0.15)
                hidden.append(not seen[b, parts[k]])
                per_feature.setdefault(k, []).append(hits[-1])
        assert parts[k] == (int(np.argmax(votes)) if sum(votes) else -1)
    assert result.cases == len(hits)
    if hits:
        assert result.hit == pytest.approx(np.mean(hits))
        assert result.hidden == pytest.approx(np.mean(hidden))
    for k in range(active.shape[1]):
        expected = np.mean(per_feature[k]) if k in per_feature else np.nan
        assert result.hit_K[k] == pytest.approx(expected, nan_ok=True)


def wandering(images: int = 300, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Two parts of one feature each that wander through the image, and peaks on them."""
    rng = np.random.default_rng(0)
    corner = rng.integers(0, size - 4, (images, 2, 2))
    masks = np.zeros((images, 2, size, size), dtype=bool)
    for b in range(images):
        for p in range(2):
            y, x = corner[b, p]
            masks[b, p, y : y + 4, x : x + 4] = True
    return (corner + 2) / size, masks


def test_grounded_features_beat_every_control() -> None:
    peaks, masks = wandering()
    active = np.ones((300, 2), dtype=bool)
    parts = modal_parts(peaks[:100], masks[:100], active[:100])
    assert parts.tolist() == [0, 1]
    result = part_grounding(peaks[100:], masks[100:], active[100:], parts)
    assert result.cases == 400 and result.hit == 1 and result.hidden == 0 and result.hit_K.tolist() == [1, 1]
    # 4 pixels and 2 beyond on either side of 40, corners rounded: about 61 of 1600.
    assert result.random_image == pytest.approx(0.035, abs=0.03)
    assert result.other_image == pytest.approx(0.035, abs=0.04)
    assert result.random_object == pytest.approx(0.52, abs=0.08)
    again = part_grounding(peaks[100:], masks[100:], active[100:], parts)
    other = part_grounding(peaks[100:], masks[100:], active[100:], parts, seed=1)
    assert again.other_image == result.other_image and again.random_object == result.random_object
    assert other.hit == result.hit and other.random_image != result.random_image


def test_peaks_that_ignore_the_image_are_no_better_than_their_control() -> None:
    _, masks = wandering()
    masks[:, 0] = np.roll(masks[:1, 0], 0, axis=0)
    centre = np.argwhere(masks[0, 0]).mean(axis=0) / 40
    result = part_grounding(np.broadcast_to(centre, (300, 1, 2)), masks, np.ones((300, 1)), np.array([0]))
    assert result.hit == 1 and result.other_image == 1


def test_hidden_parts_objects_and_features_without_part() -> None:
    peaks, masks = wandering(images=4)
    active = np.ones((4, 2), dtype=bool)
    visible = np.ones((4, 2), dtype=bool)
    visible[0, 0] = False
    result = part_grounding(peaks, masks, active, np.array([0, -1]), visible=visible)
    assert result.cases == 4 and result.hit == 0.75 and result.hidden == 0.25
    assert np.isnan(result.hit_K[1])
    everywhere = part_grounding(peaks, masks, active, np.array([0, 1]), objects=np.ones((4, 40, 40), dtype=bool))
    assert everywhere.random_object < 0.6
    nowhere = part_grounding(peaks, masks, active, np.array([0, 1]), objects=np.zeros((4, 40, 40), dtype=bool))
    assert np.isnan(nowhere.random_object) and nowhere.hit == 1
    alone = part_grounding(peaks, masks, np.eye(4, 2, dtype=bool), np.array([0, 1]))
    assert alone.cases == 2 and np.isnan(alone.other_image)
    none = part_grounding(peaks, masks, np.zeros((4, 2), dtype=bool), np.array([0, 1]))
    assert none.cases == 0 and np.isnan(none.hit) and np.isnan(none.hidden)
    assert modal_parts(peaks, masks, np.eye(4, 2, dtype=bool), visible=np.zeros((4, 2))).tolist() == [-1, -1]


def test_partner_is_another_image_in_which_the_feature_is_active() -> None:
    images = 30
    masks = np.zeros((images, 1, 10, 10), dtype=bool)
    active = np.zeros((images, 1), dtype=bool)
    active[::3] = True
    masks[::3, 0, 2, 2] = True
    masks[0, 0] = False
    masks[0, 0, 8, 8] = True
    peaks = np.full((images, 1, 2), 0.25)
    explaining = np.zeros((images, 1), dtype=bool)
    explaining[0] = True
    for seed in range(5):
        result = part_grounding(peaks, masks, active, np.array([0]), explaining=explaining, seed=seed)
        assert result.cases == 1 and result.hit == 0 and result.other_image == 1


def test_distance_is_in_longer_sides() -> None:
    masks = np.zeros((1, 1, 10, 40), dtype=bool)
    masks[0, 0, 5, 0] = True
    peaks = np.array([[[0.95, 0.5 / 40]]])
    near = part_grounding(peaks, masks, np.ones((1, 1)), np.array([0]), tolerance=0.1001)
    far = part_grounding(peaks, masks, np.ones((1, 1)), np.array([0]), tolerance=0.0999)
    assert (near.hit, far.hit) == (1, 0)


# --- pivot faithfulness ------------------------------------------------------------------------------------


@few
@given(seeds)
def test_pivot_faithfulness_plain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, swapped, control = rng.random((3, 20, 5)).round(1)
    own = rng.integers(0, 5, 20)
    other = (own + rng.integers(1, 5, 20)) % 5
    sibling, after, beside = rng.integers(0, 3, (3, 20))
    result = pivot_faithfulness(
        before=before,
        swapped=swapped,
        control=torch.from_numpy(control),
        own_pivot=own,
        sibling_pivot=other,
        sibling=sibling,
        swapped_predicted=after,
        control_predicted=beside,
    )
    falls = [swapped[i, own[i]] < before[i, own[i]] for i in range(20)]
    rises = [swapped[i, other[i]] > before[i, other[i]] for i in range(20)]
    control_falls = [control[i, own[i]] < before[i, own[i]] for i in range(20)]
    control_rises = [control[i, other[i]] > before[i, other[i]] for i in range(20)]
    assert result.samples == 20
    assert result.own_falls == pytest.approx(np.mean(falls))
    assert result.sibling_rises == pytest.approx(np.mean(rises))
    assert result.faithful == pytest.approx(np.mean(np.array(falls) & np.array(rises)))
    assert result.control_own_falls == pytest.approx(np.mean(control_falls))
    assert result.control_sibling_rises == pytest.approx(np.mean(control_rises))
    assert result.control_faithful == pytest.approx(np.mean(np.array(control_falls) & np.array(control_rises)))
    assert result.flip_rate == pytest.approx(np.mean(after == sibling))
    assert result.control_flip_rate == pytest.approx(np.mean(beside == sibling))


def test_rounding_noise_is_no_change() -> None:
    before = np.array([[1.0, 0.0]])
    index = np.array([0])
    fixed = {
        "before": before,
        "own_pivot": index,
        "sibling_pivot": index + 1,
        "sibling": index,
        "swapped_predicted": index,
    }
    noise = before + np.array([[-1e-9, 1e-9]])
    result = pivot_faithfulness(swapped=noise, control=before, control_predicted=index, **fixed)
    assert result.own_falls == result.sibling_rises == 0
    strict = pivot_faithfulness(swapped=noise, control=before, control_predicted=index, margin=0, **fixed)
    assert strict.faithful == 1 and strict.control_faithful == 0


def test_read_only_and_reversed_arrays() -> None:
    maps = np.random.default_rng(0).random((2, 3, 4, 4))
    weight, predicted = np.ones((2, 3)), np.array([0, 1])
    expected = spatial_diversity(maps, weight, predicted, 3), map_peaks(maps)
    mirrored = np.ascontiguousarray(maps[..., ::-1])[..., ::-1]
    maps.flags.writeable = weight.flags.writeable = predicted.flags.writeable = False
    for given_maps in (maps, mirrored):
        assert spatial_diversity(given_maps, weight, predicted, 3) == expected[0]
        assert (map_peaks(given_maps) == expected[1]).all()
