"""A feature as a card: its most activating images, what it saw in them, its histogram."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from markupsafe import Markup
from PIL import Image

from chiqpm.explain import FeatureExplanation
from chiqpm.explain.features import TopImage
from chiqpm.inspection.record import RunRecord
from chiqpm.markup.feature_charts import histogram_chart
from chiqpm.markup.pictures import data_url, heat_picture, panel

_MARGIN = 0.15


@dataclass(frozen=True)
class Shot:
    """One training image of a feature: URL of the picture, and the picture in words."""

    url: str
    alt: str


@dataclass(frozen=True)
class FeatureCard:
    """One feature as the page shows it.

    Attributes:
        feature: its values.
        whole: its most activating images with its heat map.
        crops: what it saw in these and further ones.
        histogram: of its activations.
    """

    feature: FeatureExplanation
    whole: tuple[Shot, ...]
    crops: tuple[Shot, ...]
    histogram: Markup


def feature_card(
    feature: FeatureExplanation, pictures: PictureReader, *, whole: int = 2, crops: int = 6
) -> FeatureCard:
    """Return the card of one feature.

    Args:
        feature: its values.
        pictures: reads them.
        whole: how many images are shown as a whole.
        crops: how many crops are shown.
    """
    positions = feature.representatives(crops)
    found = {t: pictures.read(feature.top[t].path) for t in positions if feature.top[t].path}
    there = [(feature.top[t], picture) for t, picture in found.items() if picture is not None]
    # Where there are two groups, the whole images are of both.
    first = feature.representatives(whole)
    shown = [(feature.top[t], picture) for t, picture in found.items() if picture is not None and t in first]
    return FeatureCard(
        feature,
        tuple(_whole(feature.index, image, picture) for image, picture in shown),
        tuple(_crop(image, picture) for image, picture in there),
        histogram_chart(feature.histogram, feature.index),
    )


class PictureReader:
    """Reads a run's pictures as the model sees them, small; remembers the last ones.

    Args:
        record: the run.
    """

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self.read = lru_cache(maxsize=64)(self._read)

    def _read(self, path: str) -> Image.Image | None:
        picture = self._record.picture_at(path)
        return None if picture is None else self._record.classifier.frame(picture, 480)


def _whole(index: int, image: TopImage, picture: Image.Image) -> Shot:
    words = f"Training image of {image.class_name}, activation {image.activation:.2f}"
    return Shot(heat_picture(panel(picture, side=160), index, image.map_HW, image.strength), words)


def _crop(image: TopImage, picture: Image.Image) -> Shot:
    top, left, bottom, right = image.box
    # A square a little larger than the box, so that a reader sees where on the object it lies.
    side = (1 + 2 * _MARGIN) * max((bottom - top) * picture.height, (right - left) * picture.width)
    side = min(side, float(min(picture.size)))
    y = min(max(0.0, (top + bottom) / 2 * picture.height - side / 2), picture.height - side)
    x = min(max(0.0, (left + right) / 2 * picture.width - side / 2), picture.width - side)
    cut = picture.crop((round(x), round(y), max(round(x) + 1, round(x + side)), max(round(y) + 1, round(y + side))))
    return Shot(data_url(cut.resize((96, 96)), side=96), f"What it saw in an image of {image.class_name}")
