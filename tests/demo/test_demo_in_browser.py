"""The demo as its users meet it: a real server, a real browser, several people at once."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from chiqpm.data.birds.workers import child_environment

pytest.importorskip("gradio", reason="needs chiqpm[demo]")
pytestmark = pytest.mark.slow


def start(run, *arguments, home):
    """Start the command and return process and address; all that it may write lies in `home`."""
    command = [sys.executable, "-m", "chiqpm", "demo", str(run), "--port", "0", "--json", "--device", "cpu", *arguments]
    (home / "tmp").mkdir(parents=True)
    environment = {**os.environ, **child_environment(), "HOME": str(home), "TMPDIR": str(home / "tmp")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=home
    )
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith("}"):
            return process, json.loads(text)["address"]
    raise AssertionError(f"exit code {process.wait()} after {text!r}: {process.stderr.read()}")


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)
    process.stdout.close()
    process.stderr.close()


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


NAMES = ("<script>alert(1)</script>", "{{7*7}}${7*7}", "Öland 蓝喉歌鸲", "a rather long name of a class")


@pytest.fixture(scope="module")
def server(write_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    run = write_run(folder / "run", names=NAMES)
    before = files(run)
    process, address = start(run, "--max-megabytes", "1", home=folder / "home")
    pictures = sorted((run / "images" / "test").rglob("*.jpg"))
    yield SimpleNamespace(address=address, run=run, pictures=pictures, home=folder / "home", before=before)
    stop(process)
    # Nothing is left behind but caches of libraries.
    assert list((folder / "home" / "tmp").glob("chiqpm-demo-*")) == []
    assert files(run) == before


@pytest.fixture
def seen(visit, server):
    seen = visit(server.address, viewport={"width": 1280, "height": 900})
    seen.page.wait_for_selector("#result .demo-welcome")
    yield seen
    assert seen.errors == []
    assert seen.elsewhere(server.address) == []
    seen.context.close()


def give(page, file):
    page.set_input_files("#picture input[type=file]", str(file))
    page.wait_for_selector("#result .demo-result, #result .demo-problem")


def set_line(page):
    return page.locator("#result .set-line").inner_text()


def move(page, coverage):
    field = page.locator("#coverage input[type=number]")
    field.fill(str(coverage))
    field.press("Enter")
    page.wait_for_function(
        f"document.querySelector('#result .set-line').textContent.includes('at {100 * coverage:g}%')"
    )


def test_upload_slide_compare_and_save(seen, server, tmp_path):
    page = seen.page
    give(page, server.pictures[0])
    assert "at 80%" in set_line(page)
    move(page, 0.99)
    assert set_line(page).startswith("4 classes")
    page.locator("#coverage input[type=range]").focus()
    page.keyboard.press("Home")
    page.wait_for_function("document.querySelector('#result .set-line').textContent.includes('at 50%')")
    assert set_line(page).startswith("1 class")
    page.locator("#result button[data-class]").first.click()
    page.wait_for_selector("#comparison .demo-comparison")
    assert page.locator("#comparison img").count() >= 2
    for form in ("PNG", "SVG", "JSON"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save {form}").click()
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
        assert file.name == f"explanation.{form.lower()}"
        assert file.stat().st_size > 1000
    values = json.loads((tmp_path / "explanation.json").read_text(encoding="utf-8"))
    assert values["coverage"] == 0.5
    assert sorted(values["class_names"]) == sorted(NAMES)
    with Image.open(tmp_path / "explanation.png") as image:
        image.verify()


def test_names_are_text_and_nothing_else(seen, server):
    give(seen.page, server.pictures[0])
    text = seen.page.locator("#result").inner_text()
    for name in NAMES:
        assert name in text
    assert seen.page.locator("#result script").count() == 0


def test_what_is_no_picture_is_said_and_the_page_goes_on(seen, server, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    give(seen.page, tmp_path / "text.jpg")
    assert "can't be used as a picture" in seen.page.locator("#result [role=alert]").inner_text()
    seen.page.get_by_label("Remove Image").click()
    seen.page.wait_for_selector("#result .demo-welcome")
    give(seen.page, server.pictures[1])
    assert seen.page.locator("#result .demo-result").count() == 1


def test_features_and_classes(seen):
    page = seen.page
    page.get_by_role("tab", name="Features").click()
    page.locator("#features button[data-feature='3']").click()
    page.wait_for_selector("#feature .demo-feature")
    assert "f3" in page.locator("#feature h2").inner_text()
    page.get_by_role("tab", name="Classes").click()
    page.locator("#class input").click()
    page.get_by_role("option").nth(1).click()
    page.wait_for_selector("#about .demo-class")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_is_accessible(visit, server, scheme):
    seen = visit(server.address, viewport={"width": 360, "height": 800}, color_scheme=scheme)
    page = seen.page
    page.wait_for_selector("#result .demo-welcome")
    found = seen.serious()
    give(page, server.pictures[0])
    page.locator("#result button[data-class]").first.click()
    page.wait_for_selector("#comparison .demo-comparison")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    found += seen.serious()
    page.get_by_role("tab", name="Features").click()
    page.locator("#features button[data-feature='3']").click()
    page.wait_for_selector("#feature .demo-feature")
    found += seen.serious()
    page.get_by_role("tab", name="Classes").click()
    found += seen.serious()
    assert found == []
    seen.context.close()


def test_ten_users_at_once_see_their_own_pictures(visit, server):
    visits = [visit(server.address, viewport={"width": 800, "height": 600}) for _ in range(10)]
    for seen in visits:
        seen.page.wait_for_selector("#result .demo-welcome")
    for number, seen in enumerate(visits):
        seen.page.set_input_files("#picture input[type=file]", str(server.pictures[number]))
    sources = []
    for seen in visits:
        seen.page.wait_for_selector("#result .demo-result")
        sources.append(seen.page.locator("#result img.map").first.get_attribute("src"))
    assert len(set(sources)) == 10
    for number, seen in enumerate(visits):
        move(seen.page, 0.6 + 0.03 * number)
    for number, seen in enumerate(visits):
        assert f"at {60 + 3 * number}%" in set_line(seen.page)
        assert seen.page.locator("#result img.map").first.get_attribute("src") == sources[number]
        assert seen.errors == []
        seen.context.close()


def test_an_update_is_quick_in_the_browser(seen, server):
    give(seen.page, server.pictures[0])
    seconds = []
    for coverage in (0.6, 0.95, 0.55, 0.9, 0.7):
        start = time.perf_counter()
        move(seen.page, coverage)
        seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[2] < 1.0


def test_a_file_beyond_the_limit_is_refused(visit, server, tmp_path):
    seen = visit(server.address)
    seen.page.wait_for_selector("#result .demo-welcome")
    large = tmp_path / "large.png"
    Image.effect_noise((1200, 1200), 90).save(large)
    assert large.stat().st_size > 1_000_000
    seen.page.set_input_files("#picture input[type=file]", str(large))
    seen.page.get_by_text(re.compile("exceed|too large", re.IGNORECASE)).first.wait_for()
    assert seen.page.locator("#result .demo-result").count() == 0
    # Nor does the server take it from whoever goes round the page.
    sent = {"files": {"name": "large.png", "mimeType": "image/png", "buffer": large.read_bytes()}}
    assert seen.page.request.post(f"{server.address}gradio_api/upload", multipart=sent).status == 413
    seen.context.close()


def test_the_server_listens_on_loopback_alone(server):
    port = int(re.search(r":(\d+)", server.address).group(1))
    assert server.address.startswith("http://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for other in addresses - {"127.0.0.1"}:
        with pytest.raises(OSError), socket.create_connection((other, port), timeout=2):
            pass


def test_files_of_the_machine_cannot_be_fetched(server):
    for file in (server.run / "config.yaml", Path("/etc/hostname"), server.pictures[0]):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.address}gradio_api/file={file}", timeout=10)
        assert refused.value.code in {403, 404}
        refused.value.close()
