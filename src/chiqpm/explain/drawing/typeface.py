"""Text that fits: measured, shortened and wrapped before it is drawn, in fonts that have its letters."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.font_manager import FontProperties

from chiqpm.explain.values import Feature

_BASE = "DejaVu Sans"
_MISSING = "\N{WHITE SQUARE}"
# Letters are rounded to whole pixels when they are drawn, at 80 dots per inch up to this much wider.
_HINTING = 1.06
# Installed families that may hold what DejaVu Sans lacks, tried in this order; any part of the name may
# match.
_FALLBACKS = (
    "Noto Sans",
    "CJK",
    "Arial Unicode",
    "Unifont",
    "Droid Sans Fallback",
    "WenQuanYi",
    "Hiragino",
    "PingFang",
    "YaHei",
    "SimSun",
    "Yu Gothic",
    "Malgun",
    "Nirmala",
    "Segoe UI",
    "Symbola",
)
_logger = logging.getLogger(__name__)


class Typeface:
    """The fonts of one figure, and the sizes of texts in them.

    Args:
        texts: everything that the figure may show; decides which fallback fonts it needs.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        letters = frozenset().union(*(set(_plain(text)) for text in texts))
        # The bold font has fewer letters than the regular one.
        known = _letters_of(font_manager.findfont(_BASE)) & _letters_of(
            font_manager.findfont(FontProperties(family=_BASE, weight="bold"))
        )
        lacking = frozenset(ord(letter) for letter in letters) - known
        fallbacks, self._missing = _find_fallbacks(lacking)
        self.families = (_BASE, *fallbacks)
        self._paths = {
            bold: [
                font_manager.findfont(FontProperties(family=family, weight="bold" if bold else "normal"))
                for family in self.families
            ]
            for bold in (False, True)
        }
        self._advances: dict[tuple[str, bool], float] = {}
        if self._missing:
            _logger.warning(
                "no installed font has %d of the characters of this figure (%s); the Noto fonts have most",
                len(self._missing),
                " ".join(chr(letter) for letter in sorted(self._missing)[:5]),
            )

    def clean(self, text: str) -> str:
        """Put a text on one line, with a square for every character that no installed font can draw."""
        return "".join(_MISSING if ord(letter) in self._missing else letter for letter in _plain(text))

    def clean_name(self, text: str, stand_in: str) -> str:
        """Return a clean name, or a stand-in if half of its characters or more can't be drawn."""
        letters = [letter for letter in _plain(text) if letter != " "]
        drawn = sum(ord(letter) not in self._missing for letter in letters)
        return self.clean(text) if 2 * drawn > len(letters) else stand_in

    def clean_label(self, feature: Feature) -> str:
        """Return a feature's short form as it can be drawn."""
        return replace(feature, name=self.clean_name(feature.name, "")).label

    def properties(self, size: float, *, bold: bool = False) -> FontProperties:
        """Return the font for a size in points."""
        return FontProperties(family=list(self.families), size=size, weight="bold" if bold else "normal")

    def width(self, text: str, size: float, *, bold: bool = False) -> float:
        """Return the width of one line of clean text in inches, at least: on coarse screens letters grow a little."""
        return sum(self._advance(letter, bold) for letter in text) * size / 72.0 * _HINTING

    def _advance(self, letter: str, bold: bool) -> float:
        """Width of a letter over the size of the font."""
        found = self._advances.get((letter, bold))
        if found is None:
            fonts = [font_manager.get_font(path) for path in self._paths[bold]]
            font = next((font for font in fonts if font.get_char_index(ord(letter))), fonts[0])
            font.set_size(100.0, 72.0)
            # By its index: a letter that no font has is the box that is drawn instead.
            found = font.load_glyph(font.get_char_index(ord(letter))).linearHoriAdvance / 6_553_600.0
            self._advances[letter, bold] = found
        return found

    def shorten(self, text: str, width: float, size: float, *, bold: bool = False) -> str:
        """Cut a clean text at its end, with an ellipsis, so that it is at most `width` inches wide."""
        return self._cut(text, width, size, bold=bold, tail=0.0)

    def shorten_name(self, name: str, width: float, size: float, *, bold: bool = False) -> str:
        """Cut a clean name in its middle: the ends of names that begin alike tell them apart."""
        return self._cut(name, width, size, bold=bold, tail=0.4)

    def wrap(
        self, text: str, width: float, size: float, *, lines: int, bold: bool = False, name: bool = False
    ) -> list[str]:
        """Break a clean text into at most so many lines.

        Lines end between words, else after a hyphen, an underscore or a slash, and anywhere between characters of
        Chinese, Japanese or Korean. The last one is cut where it is too long: in its middle for a name, else at its
        end; so is a word that can't be broken.
        """
        shorten = self.shorten_name if name else self.shorten
        found: list[str] = []
        rest = text.strip()
        while rest and len(found) < lines - 1 and self.width(rest, size, bold=bold) > width:
            cut = _last_break(rest, len(self.shorten(rest, width, size, bold=bold)) - 1, anywhere=not name)
            if cut == 0:
                break
            found.append(rest[:cut].rstrip())
            rest = rest[cut:].lstrip()
        return [*found, shorten(rest, width, size, bold=bold)] if rest else found

    def _cut(self, text: str, width: float, size: float, *, bold: bool, tail: float) -> str:
        if self.width(text, size, bold=bold) <= width:
            return text

        def keep(count: int) -> str:
            end = int(count * tail)
            return text[: count - end].rstrip() + "…" + (text[-end:].lstrip() if end else "")

        low, high = 0, len(text) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.width(keep(middle), size, bold=bold) <= width:
                low = middle
            else:
                high = middle - 1
        return keep(low)


def _last_break(text: str, fitting: int, *, anywhere: bool) -> int:
    """Return where to break a text of which so many characters fit on a line, 0 for nowhere.

    A break between words is worth a line that is up to half empty, one within them up to two thirds; any is taken
    where there is no other, if asked for.
    """
    space = text.rfind(" ", 0, fitting + 1)
    inner = max((place for place in range(1, fitting + 1) if _breaks_before(text, place)), default=0)
    if space >= fitting / 2:
        return space
    if inner >= max(1, fitting / 3):
        return inner
    return max(space, inner, 0) if anywhere else 0


def _breaks_before(text: str, place: int) -> bool:
    if place >= len(text):
        return False
    if text[place - 1] in "-_/‐–":
        return text[place] != " "
    return unicodedata.east_asian_width(text[place]) in "WF" or unicodedata.east_asian_width(text[place - 1]) in "WF"


def _plain(text: str) -> str:
    return " ".join("".join(" " if unicodedata.category(c) in {"Cc", "Cs"} else c for c in text).split())


@lru_cache(maxsize=64)
def _letters_of(path: str) -> frozenset[int]:
    return frozenset(font_manager.get_font(path).get_charmap())


@lru_cache(maxsize=256)
def _find_fallbacks(lacking: frozenset[int]) -> tuple[tuple[str, ...], frozenset[int]]:
    """Return the families that cover the characters, and the characters that none covers."""
    families: list[str] = []
    for learn in (False, True):
        # Matplotlib keeps a list of the fonts that were there when it ran first; newer ones are looked for only if
        # they are needed.
        if lacking and (not learn or _learn_new_fonts()):
            for path, name in _candidates():
                covered = lacking & _letters_of(path)
                if covered and name not in families:
                    families.append(name)
                lacking -= covered
                if not lacking:
                    break
    return tuple(families), lacking


@lru_cache(maxsize=1)
def _learn_new_fonts() -> bool:
    """Tell matplotlib of fonts that were installed after it made its list; return whether there were any."""
    known = {Path(entry.fname).name for entry in font_manager.fontManager.ttflist}
    parts = [part.replace(" ", "").lower() for part in _FALLBACKS]
    fresh = [
        path
        for path in font_manager.findSystemFonts()
        if Path(path).name not in known and any(part in Path(path).name.lower() for part in parts)
    ]
    for path in fresh:
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError):
            _logger.debug("the font %s can't be read", path)
    return bool(fresh)


def _candidates() -> list[tuple[str, str]]:
    found: dict[str, tuple[int, str]] = {}
    for entry in font_manager.fontManager.ttflist:
        ranks = [rank for rank, part in enumerate(_FALLBACKS) if part in entry.name]
        # Colour fonts hold pictures, which can't be drawn as outlines.
        if (
            ranks
            and entry.style == "normal"
            and str(entry.weight) in {"400", "normal", "regular"}
            and "Color" not in entry.name
        ):
            found.setdefault(entry.name, (ranks[0], entry.fname))
    return [(path, name) for name, (_, path) in sorted(found.items(), key=lambda item: (item[1][0], item[0]))]
