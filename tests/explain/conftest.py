"""Made-up samples of any size for the tests of explanations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from chiqpm.conformal.hierarchy import tree
from chiqpm.explain import (
    Explanation,
    FeatureExplanation,
    FeatureObserver,
    ModelExplanation,
    explain_features,
    explain_model,
    explain_sample,
)


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


LONG = "Schwarzkehl-Honigfresser mit dem ganz besonders ausführlichen Namen, Jungvogel im Schlichtkleid"


def names(kind: str, classes: int) -> list[str]:
    return {
        "plain": [f"Jay-{i // 4}, {('bib', 'band', 'bare', 'bar')[i % 4]}" for i in range(classes)],
        "long": [f"{LONG} {i}" for i in range(classes)],
        "one-word": [f"{i}" + "Donaudampfschifffahrts" * 6 for i in range(classes)],
        "greek": [f"Αετός ο χρυσός № {i} (жар-птица)" for i in range(classes)],
        "cjk": [f"紅腹錦雞 {i}" for i in range(classes)],
        "odd": [f"$x_{i}$ \\frac & <b>\n\ttab 100% _^ {i}" for i in range(classes)],
    }[kind]


def check_layout(figure: Figure) -> list[str]:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    figure.draw_without_rendering()
    renderer = canvas.get_renderer()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    page = Bbox.from_bounds(0, 0, figure.bbox.width, figure.bbox.height)
    for words, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1, f"{words!r} leaves the page sideways"
        assert page.y0 <= box.y0 and box.y1 <= page.y1, f"{words!r} leaves the page"
    for (words_a, a), (words_b, b) in combinations(boxes, 2):
        # Boxes include the free space above and below the letters: one pixel of that may touch.
        inside = Bbox.intersection(a, b)
        assert inside is None or min(inside.width, inside.height) <= 1.0, f"{words_a!r} and {words_b!r} overlap"
    for picture in figure.findobj(AxesImage):
        shown = picture.get_window_extent(renderer)
        assert page.x0 <= shown.x0 < shown.x1 <= page.x1
        assert page.y0 <= shown.y0 < shown.y1 <= page.y1
        for words, box in boxes:
            inside = Bbox.intersection(box, shown)
            assert inside is None or min(inside.width, inside.height) <= 1.0, f"{words!r} lies on a picture"
    return [words for words, _ in boxes]


def explained(
    classes: int = 48, *, kind: str = "plain", seed: int = 0
) -> tuple[list[FeatureExplanation], ModelExplanation]:
    """Features and a model with every kind of warning: 0 polysemantic, 1 on the border, the last one dead."""
    features, per_class = (50, 5) if classes > 4 else (6, 3)
    generator = np.random.default_rng(seed)
    weight = assignment(classes, features, per_class, seed)
    weight[:, -1] = 0
    labels = np.repeat(np.arange(classes), 8 if classes <= 48 else 1)
    activation = (np.roll(weight, 0)[labels] * generator.uniform(1, 3, (len(labels), features))).astype(np.float32)
    activation[:, 0] = generator.uniform(1, 3, len(labels))
    observer = FeatureObserver(classes, features, top=16)
    shown = np.repeat(maps(features, seed)[None], len(labels), axis=0)
    shown[:, 1] = 0.0
    shown[:, 1, 0, 3] = 2.0
    # Where feature 0 peaks, feature 2 or 3 shows as well.
    peak = np.unravel_index(shown[0, 0].argmax(), shown[0, 0].shape)
    other = np.where(np.arange(len(labels)) % 2, 2, 3)
    shown[np.arange(len(labels)), other, peak[0], peak[1]] += 20.0
    shown += generator.random(shown.shape).astype(np.float32) * 0.01
    observer.update(activation, shown, labels)
    class_names, feature_names = names(kind, classes), [*names(kind, features - 1), ""]
    attributes = {"attribute_names": names(kind, 7), "attributes_CA": generator.random((classes, 7)) > 0.5}
    found = explain_features(
        observer.observations(),
        weight,
        class_names=class_names,
        active_mean_K=np.full(features, 2.0),
        feature_names=feature_names if kind in ("long", "odd", "cjk") else None,
        **(attributes if kind in ("long", "odd") else {}),
    )
    model = explain_model(
        weight,
        class_names=class_names,
        feature_names=feature_names if kind in ("long", "odd", "cjk") else None,
        features=found,
        observations=observer.observations(),
    )
    return found, model


@pytest.fixture(scope="session")
def cases() -> SimpleNamespace:
    return SimpleNamespace(
        LONG=LONG,
        assignment=assignment,
        check_layout=check_layout,
        explained=cache(explained),
        maps=maps,
        names=names,
        picture=picture,
        sample=sample,
    )
