"""Text that fits its place, with and without fonts that have its letters."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import font_manager
from matplotlib.figure import Figure

from chiqpm.explain import Feature
from chiqpm.explain.drawing import typeface as module
from chiqpm.explain.drawing.typeface import Typeface

FACE = Typeface(["abc"])


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(codec="latin-1"), max_size=60), width=st.floats(0.3, 4.0), lines=st.integers(1, 4))
def test_shortened_and_wrapped_text_fits(text: str, width: float, lines: int) -> None:
    face = Typeface([text])
    clean = face.clean(text)
    for cut in (face.shorten(clean, width, 9.0), face.shorten_name(clean, width, 9.0)):
        assert face.width(cut, 9.0) <= width
        assert cut == clean or "…" in cut
    wrapped = face.wrap(clean, width, 9.0, lines=lines)
    assert len(wrapped) <= lines
    assert all(face.width(line, 9.0) <= width for line in wrapped)
    if not any("…" in line for line in wrapped):
        assert "".join(wrapped).replace(" ", "") == clean.replace(" ", "")


def test_a_name_keeps_its_end_and_a_sentence_its_beginning() -> None:
    assert FACE.shorten("a long sentence about birds", 1.0, 10.0).startswith("a long")
    cut = FACE.shorten_name("Black-footed Albatross, juvenile 17", 1.2, 10.0)
    assert cut.startswith("Black")
    assert cut.endswith("17")
    assert FACE.wrap("one two three four", 0.9, 10.0, lines=2, name=True)[-1].endswith("four")


def test_letters_are_as_wide_as_matplotlib_draws_them() -> None:
    figure = Figure(dpi=300)
    for bold in (False, True):
        words = "The quick brown fox, ΑΒΓ, жар-птица"
        face = Typeface([words])
        drawn = (
            figure.text(0, 0, words, fontproperties=face.properties(12.0, bold=bold)).get_window_extent().width / 300
        )
        assert drawn <= face.width(words, 12.0, bold=bold) <= 1.1 * drawn


def test_one_line_without_control_characters() -> None:
    assert FACE.clean(" a\tb\n\nc \x07d ") == "a b c d"
    assert FACE.wrap("", 1.0, 9.0, lines=3) == []


def test_names_break_at_hyphens_underscores_and_slashes_before_they_break_in_words() -> None:
    def lines(text: str, width: float, **options: Any) -> list[str]:
        return FACE.wrap(text, width, 8.5, lines=2, name=True, **options)

    assert lines("✓ oriole-a-dagger-beak", 1.2, bold=True) == ["✓ oriole-a-", "dagger-beak"]
    assert lines("Laysan_Albatross", 0.9) == ["Laysan_", "Albatross"]
    assert lines("European/shorthair", 0.9) == ["European/", "shorthair"]
    [one] = lines("Donaudampfschifffahrtsgesellschaft", 1.2)
    assert one.startswith("Donau") and "…" in one and one.endswith("chaft")
    assert FACE.wrap("a Donaudampfschifffahrtsgesellschaft", 1.2, 8.5, lines=2)[0] == "a"
    wide = Typeface(["紅腹錦雞黃腹角雉"])
    assert "".join(wide.wrap("紅腹錦雞黃腹角雉", 0.7, 8.5, lines=3)) == "紅腹錦雞黃腹角雉"


def test_fonts_that_were_installed_later_are_learnt_once_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    late = "/fonts/NotoSansLate-Regular.ttf"
    learnt: list[str] = []
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda: [late, "/fonts/Comic.ttf", font_manager.findfont("DejaVu Sans")]
    )
    monkeypatch.setattr(font_manager.fontManager, "addfont", learnt.append)
    module._learn_new_fonts.cache_clear()
    assert module._learn_new_fonts()
    assert learnt == [late]

    def broken(path: str) -> None:
        raise OSError(path)

    monkeypatch.setattr(font_manager.fontManager, "addfont", broken)
    module._learn_new_fonts.cache_clear()
    assert module._learn_new_fonts()
    module._learn_new_fonts.cache_clear()


def test_letters_without_any_font_become_squares_and_a_warning_names_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_candidates", list)
    monkeypatch.setattr(module, "_learn_new_fonts", lambda: False)
    module._find_fallbacks.cache_clear()
    face = Typeface(["金絲雀 wren", "金絲雀 7"])
    assert "no installed font has 3 of the characters of this figure (絲 金 雀)" in caplog.text
    module._find_fallbacks.cache_clear()
    assert face.clean("金絲雀 wren") == "□□□ wren"
    assert face.clean_name("金絲雀 wren", "class 7") == "□□□ wren"
    assert face.clean_name("金絲雀 7", "class 7") == "class 7"
    assert face.clean_label(Feature(4, "金絲雀")) == "f4"
    assert face.clean_label(Feature(4, "eye")) == "f4 eye"
    assert face.clean_name("", "class 7") == "class 7"


def test_an_installed_font_fills_the_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(
        name="DejaVu Serif", fname=font_manager.findfont("DejaVu Serif"), style="normal", weight=400
    )
    italic = SimpleNamespace(name="Noto Sans", fname="missing.ttf", style="italic", weight=400)
    monkeypatch.setattr(module, "_FALLBACKS", ("Noto Sans", "DejaVu Serif"))
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [italic, entry, entry])
    monkeypatch.setattr(module, "_learn_new_fonts", lambda: False)
    assert module._candidates() == [(entry.fname, "DejaVu Serif")]
    # U+E000 is in no font, U+0041 in the serif one.
    assert module._find_fallbacks.__wrapped__(frozenset({0xE000, 0x41})) == (("DejaVu Serif",), frozenset({0xE000}))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_no_warning_about_missing_glyphs(cases: SimpleNamespace, tmp_path: Path, ending: str) -> None:
    from chiqpm.explain.drawing import draw_explanation, save_figure

    names = ["金絲雀", "\U0001f426 tit", "วิหค", "حسون", "A\u0301lbum", "\ue000"]
    found: Any = cases.sample(6, 3, 3, class_names=names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(draw_explanation(found, cases.picture()), tmp_path / f"a.{ending}", description=found.text())
