"""One colour for each feature, the same in every figure, and the few that have a meaning of their own."""

from __future__ import annotations

SET_GREEN = "#1B7837"
SET_FILL = "#DDF1DA"
INK = "#1C1C1C"
GREY = "#5F5F5F"
PALE = "#D5D5D5"
PAPER = "#FFFFFF"
WARNING = "#9A3B00"

# Chosen one after the other, each as far as possible from all before it as seen with normal vision and
# without the cones for red, green or blue; no greens, which mean "in the set". The first five are by Okabe
# and Ito.
# fmt: off
_FEATURES = (
    "#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#8700F0", "#962D5A", "#A50000", "#9678FF",
    "#D2C369", "#FF0F5A", "#4B3CB4", "#872D87", "#F07887", "#961E2D", "#7896F0", "#874BF0", "#B4963C",
    "#F01E87", "#D21EB4", "#B45A2D", "#695AD2", "#E1B44B", "#F078D2", "#D20000", "#C32D5A", "#B40F78",
    "#692DD2", "#B469D2", "#FF96D2", "#E1871E", "#782D96", "#A54B96", "#C30FD2", "#2D00FF", "#E196F0",
    "#E14B78", "#D269B4", "#3C4BFF", "#B43C3C", "#B44B78", "#E178FF", "#FFB400", "#F00F2D", "#FF9678",
    "#964BA5", "#E16969", "#7869F0", "#965A0F", "#6978E1",
)
# fmt: on
_DASHES: tuple[tuple[float, ...], ...] = ((), (5.0, 1.2), (2.2, 1.0), (6.0, 1.1, 2.0, 1.1))


def feature_colour(index: int) -> str:
    """Return the colour of a feature as "#RRGGBB"; beyond 50 features colours come again with other dashes.

    >>> feature_colour(0)
    '#0072B2'
    """
    return _FEATURES[index % len(_FEATURES)]


def feature_dashes(index: int) -> tuple[float, ...]:
    """Return the dashes of a feature's outline, on and off in line widths; () is solid.

    Colours far down the list are closer to each other; the dashes, which change every 13 features, tell
    them apart.

    >>> feature_dashes(0), feature_dashes(13)
    ((), (5.0, 1.2))
    """
    cycle, place = divmod(index, len(_FEATURES))
    return _DASHES[(place // 13 + cycle) % len(_DASHES)]


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue in 0..255.

    >>> rgb("#0072B2")
    (0, 114, 178)
    """
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def ink_on(colour: str) -> str:
    """Return black or white, whichever contrasts more with a background.

    >>> ink_on("#0072B2"), ink_on("#E69F00")
    ('#FFFFFF', '#1C1C1C')
    """
    linear = [c / 3294.6 if c <= 10.0 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return PAPER if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.061 else INK
