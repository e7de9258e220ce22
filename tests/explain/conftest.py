"""Made-up samples of any size for the tests of explanations."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from chiqpm.conformal.hierarchy import tree
from chiqpm.explain import Explanation, explain_sample


def assignment(classes: int, features: int, per_class: int, seed: int = 0) -> NDArray[np.float64]:
    """Distinct classes, half of which differ from an earlier one in a single feature."""
    generator = np.random.default_rng(seed)
    rows: list[frozenset[int]] = []
    while len(rows) < classes:
        if rows and generator.random() < 0.5:
            kept = sorted(rows[generator.integers(len(rows))])
            kept.pop(int(generator.integers(per_class)))
            row = frozenset([*kept, int(generator.integers(features))])
        else:
            row = frozenset(generator.choice(features, per_class, replace=False).tolist())
        if len(row) == per_class and row not in rows:
            rows.append(row)
    weight = np.zeros((classes, features))
    for index, row in enumerate(rows):
        weight[index, sorted(row)] = 1
    return weight


def maps(features: int, seed: int = 0, side: int = 10) -> NDArray[np.float32]:
    """One noisy bump for every feature."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / (side - 1)
    bumps = [
        np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s**2)) + 0.03 * generator.random((side, side))
        for a, b, s in generator.uniform([0.1, 0.1, 0.07], [0.9, 0.9, 0.16], (features, 3))
    ]
    return np.stack(bumps).astype(np.float32)


def picture(seed: int = 0, size: tuple[int, int] = (160, 160)) -> Image.Image:
    """Something like a bird."""
    generator = np.random.default_rng(seed)
    width, height = size
    noise = generator.integers(60, 200, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for box in ((0.3, 0.35, 0.75, 0.75), (0.2, 0.25, 0.42, 0.48), (0.45, 0.42, 0.7, 0.62)):
        colour = tuple(int(v) for v in generator.integers(0, 255, 3))
        draw.ellipse((box[0] * width, box[1] * height, box[2] * width, box[3] * height), fill=colour)
    return image


def sample(
    classes: int = 48,
    per_class: int = 5,
    set_size: int = 2,
    *,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    **options: Any,
) -> Explanation:
    """An explanation whose set holds the classes that leave the path last."""
    generator = np.random.default_rng(seed)
    features = max(per_class + 3, 50 if classes > 4 else 0)
    weight = assignment(classes, features, per_class, seed)
    predicted = 3 % classes
    activation = np.maximum(0.0, generator.normal(0.0, 0.6, features))
    activation[weight[predicted] == 1] = generator.uniform(1.0, 3.6, per_class)
    logits = activation @ weight.T
    logits[predicted] += 1.0
    shared = np.asarray(tree(activation[None], weight, np.array([predicted])).shared_BC)[0]
    members = np.zeros(classes, dtype=bool)
    members[np.argsort(-shared, kind="stable")[:set_size]] = True
    return explain_sample(
        activation,
        maps(features, seed),
        logits,
        weight,
        members,
        active_mean_K=np.full(features, 2.6),
        class_names=class_names or [f"Jay-{i // 4}, {('bib', 'band', 'bare', 'bar')[i % 4]}" for i in range(classes)],
        coverage=0.9,
        **options,
    )


@pytest.fixture(scope="session")
def cases() -> SimpleNamespace:
    return SimpleNamespace(assignment=assignment, maps=maps, picture=picture, sample=sample)
