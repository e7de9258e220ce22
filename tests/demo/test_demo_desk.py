"""What the demo shows, without a server: complete, escaped, quick, one forward pass a picture."""

from __future__ import annotations

import shutil
import socket
import sys
import time
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from chiqpm.cli import main
from chiqpm.data import UnreadableImageError
from chiqpm.demo.desk import Desk
from chiqpm.demo.serving import serve
from chiqpm.errors import ChiqpmError
from chiqpm.inspection import read_record


@pytest.fixture(scope="module")
def desk(small_run):
    return Desk(read_record(small_run, device="cpu"))


@pytest.fixture
def file(small_run):
    return next((small_run / "images" / "test").rglob("*.jpg"))


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_a_picture_gives_a_sentence_a_set_and_a_tree_with_maps(desk, file):
    view = desk.look(file)
    tags = Tags(found := desk.result(view, 0.8))
    explanation = desk.explain(view, 0.8)
    assert explanation.sentence() in found
    maps = [a for a in tags.named("img") if a.get("class") == "map"]
    assert len(maps) == len(explanation.features)
    assert all(a["alt"].startswith("feature ") for a in maps)
    buttons = {int(a["data-class"]) for a in tags.named("button")}
    assert buttons == set(range(4)) - {explanation.predicted}


def test_moving_and_comparing_run_no_model(desk, file, monkeypatch):
    view = desk.look(file)
    monkeypatch.setattr(desk.classifier.model, "forward", lambda *_: pytest.fail("a second forward pass"))
    predicted = int(view.examined.logits_C.argmax())
    assert desk.result(view, 0.5) != desk.result(view, 0.99)
    other = (predicted + 1) % 4
    assert desk.classifier.class_names[other] in desk.comparison(view, other)
    assert desk.comparison(view, predicted) == desk.comparison(view, -1) == desk.comparison(view, 4) == ""
    assert desk.download(view, 0.9, "json").startswith(b"{")


def test_too_small_a_calibration_is_said_where_it_shows(desk, file):
    view = desk.look(file)
    assert "too few" not in desk.result(view, 0.9)
    assert "20 calibration images are too few for 99%" in desk.result(view, 0.99)


def test_features_and_classes_can_be_browsed(desk):
    assert len(Tags(desk.features()).named("button")) == 6
    for index in range(6):
        assert f"f{index}" in desk.feature(index)
    assert len(Tags(desk.feature(0)).named("img")) > 4
    assert "Nearest classes" in desk.about_class(0)
    assert desk.feature(6) == desk.feature(-1) == desk.about_class(4) == ""


def test_the_run_without_calibration_names_the_command(small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    (run / "calibration.npz").unlink()
    desk = Desk(read_record(run, device="cpu"))
    view = desk.look(next((run / "images" / "test").rglob("*.jpg")))
    for found in (desk.welcome(), desk.result(view, 0.9)):
        assert f"chiqpm calibrate {run} IMAGES" in found


def test_a_classifier_alone_is_enough(small_run, tmp_path, file):
    for name in ("model.safetensors", "classifier.json", "calibration.npz"):
        (tmp_path / "bare").mkdir(exist_ok=True)
        shutil.copy(small_run / name, tmp_path / "bare")
    desk = Desk(read_record(tmp_path / "bare", device="cpu"))
    view = desk.look(file)
    assert "in the set" in desk.result(view, 0.8)
    assert desk.comparison(view, (desk.explain(view, 0.8).predicted + 1) % 4)
    assert "kept no observations" in desk.feature(0)
    assert desk.about_class(1)


def test_names_cannot_become_markup(write_run, tmp_path):
    names = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{7*7}}${7*7}", "a & b")
    run = write_run(tmp_path / "run", names=names)
    desk = Desk(read_record(run, device="cpu"))
    view = desk.look(next((run / "images" / "test").rglob("*.jpg")))
    predicted = int(view.examined.logits_C.argmax())
    pages = [desk.result(view, 0.99), desk.features(), desk.welcome()]
    pages += [desk.comparison(view, c) for c in range(4) if c != predicted]
    pages += [desk.about_class(c) for c in range(4)] + [desk.feature(k) for k in range(6)]
    for page in pages:
        tags = Tags(page)
        assert tags.named("script") == []
        assert not [name for _, attributes in tags.found for name in attributes if name.startswith("on")]
        assert all(a["src"].startswith("data:image/jpeg") for a in tags.named("img"))


def bomb(path):
    """A few kilobytes that claim to be 30,000 x 30,000 pixels."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (30_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def test_what_is_no_picture_or_too_large_is_refused(desk, tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    for file in (tmp_path / "text.jpg", tmp_path / "empty.png", bomb(tmp_path / "bomb.png")):
        start = time.monotonic()
        with pytest.raises(UnreadableImageError):
            desk.look(file)
        assert time.monotonic() - start < 1.0
    assert "&lt;b&gt;" in desk.problem("<b>")


def test_pictures_are_turned_upright_and_laid_on_white(desk, tmp_path):
    array = np.zeros((60, 90, 3), dtype=np.uint8)
    array[:, 45:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    assert desk.look(tmp_path / "turned.png").examined.picture.size == (60, 90)
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert desk.look(tmp_path / "clear.png").examined.picture.getpixel((20, 20)) == (255, 255, 255)
    Image.new("L", (7, 3)).save(tmp_path / "tiny.png")
    assert "Predicted" in desk.result(desk.look(tmp_path / "tiny.png"), 0.8)


@pytest.mark.slow
def test_an_update_is_quick_with_two_hundred_classes(write_run, tmp_path):
    run = write_run(tmp_path / "run", classes=200, features=50, per_class=5, pictures=False)
    desk = Desk(read_record(run, device="cpu"))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)).save(tmp_path / "p.png")
    view = desk.look(tmp_path / "p.png")
    seconds = []
    for coverage in np.linspace(0.5, 0.99, 9):
        start = time.perf_counter()
        desk.result(view, float(coverage))
        seconds.append(time.perf_counter() - start)
    assert np.median(seconds) < 0.15


def test_a_missing_gradio_says_what_to_install(small_run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", str(small_run), "--device", "cpu"]) == 2
    assert "pip install 'chiqpm[demo]'" in capsys.readouterr().err


def test_limits_that_cannot_be_used(small_run, tmp_path):
    for options in ({"port": -1}, {"port": 70_000}, {"max_megabytes": 0}):
        with pytest.raises(ChiqpmError, match="received"):
            serve(small_run, **options)
    with pytest.raises(FileNotFoundError, match="chiqpm fit"):
        serve(tmp_path / "nowhere")


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", 0), ("::1", 0), ("localhost", 0), ("0.0.0.0", 1)])
def test_listening_to_the_network_is_warned_of(small_run, monkeypatch, caplog, host, warned):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ChiqpmError, match="Gradio"):
        serve(small_run, host=host, device="cpu")
    assert len([r for r in caplog.records if "nothing protects it" in r.message]) == warned


def test_a_taken_port_is_named_before_anything_is_loaded(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ChiqpmError, match="--port 0"):
            serve(tmp_path / "nowhere", port=taken.getsockname()[1])
