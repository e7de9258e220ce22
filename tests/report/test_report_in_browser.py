"""The report as a browser shows it: nothing fetched, nothing overflowing, nothing that a reader can't perceive."""

from __future__ import annotations

import pytest

from chiqpm.report import write_report

pytestmark = pytest.mark.slow
LONG = (
    "Ruby-throated hummingbird of the northern forest edge, subspecies no. 4 (female, juvenile)",
    "Supercalifragilisticexpialidociousextraordinarilylongunbrokenword",
    "蓝喉歌鸲",
    "شحرور أسود شائع",
)


@pytest.fixture(scope="module")
def address(write_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    run = write_run(folder / "run", names=LONG)
    return write_report(run, folder / "report.html", device="cpu").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_and_is_accessible(visit, address, width, scheme):
    seen = visit(address, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert seen.errors == []
    assert seen.elsewhere(address) == []
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert seen.serious() == []


def test_nothing_sticks_out_of_its_column(visit, address):
    seen = visit(address, viewport={"width": 360, "height": 800})
    out = seen.page.evaluate(
        """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, svg, .skip, .unseen')
          && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))"""
    )
    assert out == []


def test_the_page_prints(visit, address):
    seen = visit(address, color_scheme="dark")
    assert len(seen.page.pdf(format="A4")) > 20_000
    seen.page.emulate_media(media="print")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert seen.page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
