"""One streaming pass keeps what a plain look at all images at once would find."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.errors import ChiqpmError
from chiqpm.explain import FeatureObserver


def outputs(images: int, features: int = 4, classes: int = 3, seed: int = 0):
    generator = np.random.default_rng(seed)
    # Rounded, so that activations tie.
    values = np.maximum(0.0, generator.normal(0.5, 1.0, (images, features))).round(1).astype(np.float32)
    maps = generator.random((images, features, 4, 5)).astype(np.float32)
    return values, maps, generator.integers(classes, size=images)


def observed(values, maps, labels, batch: int, **options):
    observer = FeatureObserver(3, values.shape[1], **options)
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        observer.update(values[part], maps[part], labels[part])
    return observer.observations()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 12), st.integers(0, 5))
def test_the_pass_agrees_with_a_look_at_everything(images: int, batch: int, top: int, seed: int) -> None:
    values, maps, labels = outputs(images, seed=seed)
    found = observed(values, maps, labels, batch, top=top)
    assert found.num_images == images
    for label in range(3):
        mine = values[labels == label]
        np.testing.assert_allclose(found.sum_CK[label], mine.sum(axis=0), atol=1e-4)
        if len(mine):
            np.testing.assert_allclose(found.variance_CK[label], mine.var(axis=0), atol=1e-4)
    assert (found.active_K == (values > 0).sum(axis=0)).all()
    cell = maps.reshape(images, 4, -1).argmax(axis=2)
    border = np.isin(cell // 5, (0, 3)) | np.isin(cell % 5, (0, 4))
    total = values.sum(axis=0)
    np.testing.assert_allclose(found.border_K, (values * border).sum(axis=0) / np.maximum(total, 1e-12), atol=1e-5)
    for k in range(4):
        order = [i for i in np.argsort(-values[:, k], kind="stable").tolist() if values[i, k] > 0][:top]
        assert found.top_KT[k][: len(order)].tolist() == order
        assert (found.top_KT[k][len(order) :] == -1).all()
        for t, i in enumerate(order):
            assert found.top_label_KT[k, t] == labels[i]
            assert (found.top_maps_KTHW[k, t] == maps[i, k]).all()
            assert (found.top_context_KTK[k, t] == maps[i].reshape(4, -1)[:, cell[i, k]]).all()
    assert (found.sample_SK == values).all()


def test_the_batches_make_no_difference() -> None:
    values, maps, labels = outputs(200)
    one, other = (observed(values, maps, labels, batch, sample=20) for batch in (1, 64))
    for name, array in vars(one).items():
        np.testing.assert_allclose(array, getattr(other, name), rtol=1e-12, err_msg=name)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.lists(st.integers(0, 60), min_size=1, max_size=3), st.integers(1, 12), st.integers(0, 5))
def test_observers_of_parts_agree_with_one_of_all(images: int, cuts: list[int], top: int, seed: int) -> None:
    values, maps, labels = outputs(images, seed=seed)
    whole = observed(values, maps, labels, 7, top=top, sample=20, seed=seed)
    edges = [0, *sorted(min(cut, images) for cut in cuts), images]
    observers = []
    for start, end in pairwise(edges):
        observers.append(FeatureObserver(3, 4, top=top, sample=20, seed=seed, first=start))
        observers[-1].update(values[start:end], maps[start:end], labels[start:end])
    for other in observers[1:]:
        observers[0].merge(other)
    for name, array in vars(observers[0].observations()).items():
        np.testing.assert_allclose(array, getattr(whole, name), rtol=1e-12, err_msg=name)


def test_the_sample_is_drawn_evenly_and_memory_stays() -> None:
    values = np.arange(2000, dtype=np.float32)[:, None]
    labels = np.zeros(2000, dtype=np.int64)
    maps = np.ones((2000, 1, 2, 2), dtype=np.float32)
    means = [observed(values, maps, labels, 500, sample=50, seed=seed).sample_SK.mean() for seed in range(20)]
    found = observed(values, maps, labels, 500, sample=50, top=3)
    assert found.sample_SK.shape == (50, 1) and found.top_maps_KTHW.shape == (1, 3, 2, 2)
    # The mean of 20 × 50 draws from 0..1999 has a standard error of 18.
    assert abs(float(np.mean(means)) - 999.5) < 80


def test_wrong_outputs_are_refused() -> None:
    values, maps, labels = outputs(4)
    observer = FeatureObserver(3, 4)
    with pytest.raises(ChiqpmError, match="no image was seen"):
        observer.observations()
    with pytest.raises(ChiqpmError, match=r"features must have shape \(4, 4\)"):
        observer.update(values[:, :3], maps, labels)
    with pytest.raises(ChiqpmError, match=r"labels must lie in 0\.\.2, received"):
        observer.update(values, maps, labels + 3)
    with pytest.raises(ChiqpmError, match="finite"):
        observer.update(values * np.nan, maps, labels)
    observer.update(values, maps, labels)
    with pytest.raises(ChiqpmError, match="same grid"):
        observer.update(values + 9, maps[:, :, :3], labels)
    with pytest.raises(ChiqpmError, match=r"can't merge .* \(4, 48, 16384, 3, 0\) with \(4, 48, 16384, 3, 1\)"):
        observer.merge(FeatureObserver(3, 4, seed=1))
    with pytest.raises(ChiqpmError, match="at least 1 each"):
        FeatureObserver(0, 4)
