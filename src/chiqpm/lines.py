"""Texts of others in one line of a terminal, a table or a figure."""

from __future__ import annotations

import unicodedata

# Control characters, lone surrogates, ends of lines and paragraphs.
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})
# These turn the direction of what follows, and so can show another text than there is.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_line(text: str) -> bool:
    r"""Whether a text shows as it is in one line: not blank, no line breaks, no control characters.

    >>> is_line("Grauschnäpper, juv."), is_line("a\nb"), is_line("\x1b[31mred"), is_line(" ")
    (True, False, False, False)
    """
    return bool(text.strip()) and not any(map(_is_unfit, text))


def as_line(text: str) -> str:
    r"""Return a text with an escape, as in Python, for what would leave its line or change the terminal.

    >>> as_line("a\nb.jpg"), as_line("ä b.jpg")
    ('a\\nb.jpg', 'ä b.jpg')
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii") if _is_unfit(character) else character for character in text
    )


def _is_unfit(character: str) -> bool:
    return character in _TURNING or unicodedata.category(character) in _UNFIT
