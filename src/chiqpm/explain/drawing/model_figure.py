"""The figure of a model: the class tree beside the class-feature matrix, and what not to trust."""

from __future__ import annotations

from matplotlib.figure import Figure, SubFigure

from chiqpm.explain.drawing.class_tree import draw_class_tree, draw_matrix
from chiqpm.explain.drawing.colours import GREY, INK, WARNING, feature_colour
from chiqpm.explain.drawing.page import NARROW, Page, check_width, line_height, root
from chiqpm.explain.drawing.typeface import Typeface
from chiqpm.explain.model_values import ModelExplanation

_TITLE, _BODY, _SMALL, _LABEL = 14.0, 10.5, 8.5, 7.5
_ROW, _TALLEST = 0.155, 11.0
_WARNINGS = 16
_CAPTION = (
    "Left: classes that share more features meet further right; the axis counts shared features. Middle: a column for "
    "each feature, in its colour where a class has it."
)
_FLAGGED = " Columns with ! have a warning."


def draw_model(model: ModelExplanation, *, width: float = 10.0, figure: Figure | SubFigure | None = None) -> Figure:
    """Draw a model: the tree of its classes, which class has which features, and the features nobody should trust.

    With many classes the rows become thin, and neighbouring rows share a label.

    Args:
        model: the values.
        width: width of the page in inches, at least 3.
        figure: a figure or subfigure to draw in; None makes one.

    Returns:
        The figure.

    Raises:
        ChiqpmError: too narrow a page.
    """
    margin = check_width(width)
    narrow = width < NARROW
    room = width - 2 * margin
    evidence = [sentence for feature in model.untrusted for sentence in feature.evidence]
    typeface = Typeface([*model.class_names, *(f.name for f in model.features), *evidence, "⚠"])
    title = typeface.wrap("Classes and their features", room, _TITLE, lines=1, bold=True)
    sentence = typeface.wrap(typeface.clean(model.sentence()), room, _BODY, lines=5)
    words = _CAPTION + (_FLAGGED if model.untrusted else "")
    caption = typeface.wrap(words, room, _SMALL, lines=6)
    warnings = [
        line
        for feature in model.untrusted
        for line in typeface.wrap(
            f"⚠ {typeface.clean_label(feature)}: {typeface.clean(' '.join(feature.evidence))}", room, _SMALL, lines=4
        )
    ]
    if len(warnings) > _WARNINGS:
        warnings = [*warnings[: _WARNINGS - 1], "… and more, see the text version"]
    rows = len(model.class_names)
    height = min(_TALLEST, rows * _ROW)
    labels = 1.3 if narrow else 2.2
    tree = (0.22 if narrow else 0.2) * room
    heads = _column_heads(model, typeface, (room - tree - labels) / len(model.features))
    head = 0.3 + max([0.0, *(typeface.width(label, _LABEL) for label in heads.values())])
    top = margin + 0.3 + len(sentence) * line_height(_BODY) + head + 0.2
    below = top + height + 0.4
    bottom = below + len(caption) * line_height(_SMALL) + 0.1 + len(warnings) * line_height(_SMALL)
    page = Page(width, bottom + 0.2, typeface, figure)
    page.text(margin, margin + 0.1, title, _TITLE, bold=True)
    page.text(margin, margin + 0.44, sentence, _BODY)
    matrix = (margin + tree, top, room - tree - labels, height)
    draw_class_tree(page.inset((margin, top, tree - 0.03, height)), model, scale=page.scale)
    draw_matrix(page.inset(matrix), model, scale=page.scale)
    _draw_heads(page, model, heads, matrix)
    _draw_labels(page, model, matrix, labels - 0.08)
    page.text(margin, below, caption, _SMALL, colour=GREY)
    page.text(margin, below + len(caption) * line_height(_SMALL) + 0.08, warnings, _SMALL, colour=WARNING)
    return root(page.figure)


def _column_heads(model: ModelExplanation, typeface: Typeface, pitch: float) -> dict[int, str]:
    """Labels of the columns by place: of features with a warning first, then of others as far as they fit."""
    flagged = {feature.index for feature in model.untrusted}
    heads: dict[int, str] = {}
    for warned in (True, False):
        for place, k in enumerate(model.feature_order):
            near = min((abs(place - other) for other in heads), default=len(model.features))
            if (k in flagged) == warned and near * pitch >= line_height(_LABEL):
                label = typeface.clean_label(model.features[k]) + (" !" if warned else "")
                heads[place] = typeface.shorten_name(label, 1.2, _LABEL)
    return heads


def _draw_heads(
    page: Page, model: ModelExplanation, heads: dict[int, str], box: tuple[float, float, float, float]
) -> None:
    x, y, width, _ = box
    for place, label in heads.items():
        k = model.feature_order[place]
        left = x + (place + 0.5) * width / len(model.features)
        page.line((left, left), (y - 0.06, y - 0.01), colour=feature_colour(k), width=2.0)
        warned = label.endswith(" !")
        page.text(
            left, y - 0.09, label, _LABEL, align="center", upright=True, bold=warned, colour=WARNING if warned else INK
        )


def _draw_labels(page: Page, model: ModelExplanation, box: tuple[float, float, float, float], room: float) -> None:
    """Names of the classes beside their rows; of every few together where rows are thin."""
    x, y, width, height = box
    count = len(model.class_order)
    pitch = height / count
    left = x + width + 0.08
    per_label = max(1, -(-int(1000 * line_height(_LABEL)) // max(1, int(1000 * pitch))))
    for start in range(0, count, per_label):
        group = model.class_order[start : start + per_label]
        rest = len(group) - 1
        note = f" +{rest}" if rest else ""
        name = page.typeface.clean_name(model.class_names[group[0]], f"class {group[0]}")
        name = page.typeface.shorten_name(name, room - page.typeface.width(note, _LABEL), _LABEL)
        middle = y + (start + len(group) / 2) * pitch
        if rest:
            page.line(
                (left - 0.05, left - 0.05),
                (y + start * pitch + 0.01, y + (start + len(group)) * pitch - 0.01),
                colour=GREY,
                width=0.7,
            )
        page.text(left, middle, name + note, _LABEL)
