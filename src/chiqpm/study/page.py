"""The questionnaire as one HTML file: pictures, styles and script are all inside it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from PIL import Image

from chiqpm.study.answers import COLUMNS, CONFIDENCES, RATINGS, STATEMENTS
from chiqpm.study.key import StudyKey

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PIXELS_WIDE, _NARROWEST = 1100, 6.5


@dataclass(frozen=True, kw_only=True)
class Help:
    """What one arm shows for an image.

    Attributes:
        classes: the set.
        sentence: the explanation in a sentence; empty for a flat set.
        figure: drawn explanation as a data URI; empty for a flat set.
        narrow: the same, laid out for a phone.
        text: the explanation in words.
    """

    classes: tuple[int, ...]
    sentence: str = ""
    figure: str = ""
    narrow: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the page holds of one image.

    Attributes:
        picture: data URI.
        options: classes that can be answered.
        predicted: the class that the computer suggests.
        flat: help of the arm `flat`.
        hierarchical: help of the arm `hierarchical`.
    """

    picture: str
    options: tuple[int, ...]
    predicted: int
    flat: Help
    hierarchical: Help


def render_page(
    key: StudyKey,
    shown: Mapping[str, Shown],
    examples: Mapping[int, str],
    *,
    practice_truth: Mapping[str, int],
    title: str,
    contact: str = "",
) -> str:
    """Return the page.

    Args:
        key: the study; of the truths, only those given as `practice_truth` get into the page.
        shown: image -> what is shown of it.
        examples: class -> example picture as a data URI.
        practice_truth: image for practice -> its true class.
        title: heading.
        contact: whom readers can ask.
    """
    content = {
        "id": key.study,
        "coverage": key.coverage,
        "classes": [{"name": name, "picture": examples.get(index)} for index, name in enumerate(key.classes)],
        "items": {name: asdict(item) for name, item in shown.items()},
        "plans": [plan.to_dict()["blocks"] for plan in key.plans],
        "practiceTruth": dict(practice_truth),
        "columns": COLUMNS,
        "confidences": CONFIDENCES,
        "ratings": RATINGS,
        "statements": STATEMENTS,
        "contact": contact,
        "title": title,
    }
    return _template().render(
        title=title, style=_asset("study.css"), script=_asset("study.js"), content=_inline(content)
    )


def picture_uri(picture: Any) -> str:
    """Return a picture, Pillow image or array of bytes (H, W, 3), as a data URI."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(np.asarray(picture))
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "WEBP", quality=88)
    return _data_uri(stream.getvalue())


def figure_uri(figure: Figure) -> str:
    """Return a figure as a data URI, with more pixels an inch where it is narrow."""
    dpi = _PIXELS_WIDE / max(figure.get_figwidth(), _NARROWEST)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    stream.seek(0)
    with Image.open(stream) as image:
        return picture_uri(image)


def _data_uri(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode('ascii')}"


def _inline(content: Any) -> str:
    """Return JSON that can't end the element that it stands in."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _asset(name: str) -> str:
    return (files("chiqpm.study") / "assets" / name).read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_asset("page.html"))
