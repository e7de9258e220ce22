"""The report: complete, self-contained, escaped, readable with half of the run missing."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from chiqpm.cli import main
from chiqpm.errors import ChiqpmError
from chiqpm.report import ReportOptions, write_report
from chiqpm.run_explanation import OBSERVATIONS

SECTIONS = ("summary", "warnings", "model", "coverage", "errors", "gallery", "global", "faithfulness", "reproduce")


class Page(HTMLParser):
    """Tags, pictures and headings of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.ids, self.scripts = [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        self.scripts += tag == "script"
        if tag == "img":
            self.images.append(values)
        if "id" in values:
            self.ids.append(values["id"])


def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def report(run, tmp_path, **options):
    return write_report(run, tmp_path / "report.html", device="cpu", **options).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(small_run, tmp_path_factory):
    return report(small_run, tmp_path_factory.mktemp("report"))


def test_the_report_has_every_section_and_stands_alone(text):
    page = Page(text)
    assert [name for name in SECTIONS if name not in page.ids] == []
    assert len(page.ids) == len(set(page.ids))
    addresses = [v for _, a in page.tags for k, v in a.items() if k in {"src", "href", "srcset", "action", "data"}]
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in addresses)
    assert "@import" not in text
    assert "url(" not in text
    assert not re.search(r"https?://", text)
    assert page.scripts == 1
    assert len(text) < 15_000_000


def test_every_picture_is_described_and_every_link_leads_somewhere(text):
    page = Page(text)
    assert page.images
    assert all(image["alt"].strip() for image in page.images)
    charts = [a for tag, a in page.tags if tag == "svg" and a.get("role") == "img"]
    assert len(charts) >= 5
    assert all(chart["aria-label"].strip() for chart in charts)
    targets = [a["href"][1:] for tag, a in page.tags if tag == "a"]
    assert set(targets) <= set(page.ids)


def test_the_numbers_of_the_run_are_in_the_report(small_run, text):
    with np.load(small_run / "test_answers.npz") as answers:
        accuracy = (answers["logits_NC"].argmax(axis=1) == answers["labels_N"]).mean()
    assert f"{100 * accuracy:.1f}%" in text
    assert "No choice whatsoever can be better by more than 5%" in text
    assert "16 train, 20 calibration, 16 test" in text
    assert "Contrastiveness" in text
    assert "Higher is better; 0 to 1." in text
    assert "branch (in use)" in text
    assert len(re.findall(r"</strong>, which is (not )?in the set", text)) == text.count('class="example wrong"') > 0
    assert "0.810, size 1.25" in text
    assert f"chiqpm fit {small_run / 'images'} --out NEW_RUN --config {small_run / 'config.yaml'}" in text


NASTY = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{7*7}}${7*7}", "a & b 'c'")


def test_names_of_classes_cannot_become_markup(write_run, tmp_path):
    run = write_run(tmp_path / "<b>run", classes=4, names=NASTY)
    (run / "features.yaml").write_text('0: "<script>alert(3)</script>"\n', encoding="utf-8")
    page = Page(found := report(run, tmp_path))
    assert page.scripts == 1
    assert not [image for image in page.images if image.get("src") == "x"]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "<script>alert" not in found
    assert "&lt;script&gt;alert(3)" in found
    assert "{{7*7}}${7*7}" in found


def test_without_images_the_report_says_so_and_shows_the_rest(small_run, tmp_path):
    run = copy(small_run, tmp_path)
    shutil.rmtree(run / "images")
    config = (run / "config.yaml").read_text(encoding="utf-8").replace(str(small_run), "/gone")
    (run / "config.yaml").write_text(config, encoding="utf-8")
    found = report(run, tmp_path)
    assert "no longer in /gone/images" in found
    assert "--data DIR" in found
    assert "The image is gone" in found
    assert "going on with:" in found
    again = report(run, tmp_path, data_folder=small_run / "images")
    assert "The image is gone" not in again


def test_images_that_moved_with_their_run_are_found(small_run, tmp_path):
    run = copy(small_run, tmp_path)
    config = (run / "config.yaml").read_text(encoding="utf-8").replace(str(small_run), "/gone")
    (run / "config.yaml").write_text(config, encoding="utf-8")
    assert "The image is gone" not in report(run, tmp_path)


def test_without_calibration_the_report_names_the_command(small_run, tmp_path):
    run = copy(small_run, tmp_path)
    (run / "calibration.npz").unlink()
    found = report(run, tmp_path)
    assert f"chiqpm calibrate {run} IMAGES" in found
    assert "There are no prediction sets to measure" in found


@pytest.mark.parametrize(
    "names",
    [
        ("metrics.json",),
        ("test_answers.npz",),
        ("train_answers.npz", OBSERVATIONS),
        ("split.csv",),
        ("config.yaml",),
        ("assignment.npz", "examples.npz", "calibration_answers.npz"),
    ],
)
def test_whatever_is_missing_the_rest_is_shown(small_run, tmp_path, names):
    run = copy(small_run, tmp_path)
    for name in names:
        (run / name).unlink()
    page = Page(found := report(run, tmp_path))
    assert [name for name in SECTIONS if name not in page.ids] == []
    if names != ("train_answers.npz", OBSERVATIONS):
        assert "Missing in this report" in found


def test_an_unfinished_run_names_the_command_that_finishes_it(small_run, tmp_path, capsys):
    run = copy(small_run, tmp_path)
    (run / "model.safetensors").unlink()
    (run / "stages.json").write_text(json.dumps({"format": 1, "stages": {"split": {}, "dense": {}}}))
    assert main(["report", str(run)]) == 2
    told = capsys.readouterr().err
    assert f"chiqpm fit {small_run / 'images'} --out {run}" in told
    assert "its last finished stage is dense" in told
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "chiqpm fit IMAGES" in capsys.readouterr().err


def test_a_damaged_file_is_named(small_run, tmp_path):
    run = copy(small_run, tmp_path)
    (run / "metrics.json").write_text("{")
    with pytest.raises(ChiqpmError, match=r"metrics\.json is damaged"):
        write_report(run, device="cpu")


def test_answers_of_another_model_are_refused(small_run, write_run, tmp_path):
    run, other = copy(small_run, tmp_path), write_run(tmp_path / "other", classes=5, pictures=False)
    shutil.copy(other / "test_answers.npz", run)
    with pytest.raises(ChiqpmError, match="5 classes and 6 features, the classifier has 4 and 6"):
        write_report(run, device="cpu")


def test_the_command_says_where_the_report_is(small_run, tmp_path, capsys):
    run = copy(small_run, tmp_path)
    assert main(["report", str(run), "--json", "--examples", "1", "--features", "2", "--device", "cpu"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["report"] == str(run / "report.html")
    assert told["bytes"] == (run / "report.html").stat().st_size
    assert main(["report", str(run), "--out", str(tmp_path / "no" / "r.html")]) == 2


def test_sizes_that_cannot_be():
    with pytest.raises(ChiqpmError, match="examples of a report must be 0 or more, received -1"):
        ReportOptions(examples=-1)


def test_a_report_without_pictures_is_a_report(small_run, tmp_path):
    nothing = ReportOptions(examples=0, features=0, pairs=0, faithfulness_images=0)
    page = Page(report(small_run, tmp_path, options=nothing))
    assert [name for name in SECTIONS if name not in page.ids] == []
    assert page.images == []


@pytest.mark.slow
def test_a_thousand_classes_make_a_page_of_bearable_size(write_run, tmp_path):
    counts = {"train": 2, "calibration": 2, "test": 2}
    names = [f"a rather long name of a class, number {c} of all" for c in range(1000)]
    run = write_run(
        tmp_path / "run", classes=1000, features=40, per_class=5, names=names, counts=counts, pictures=False
    )
    found = report(run, tmp_path, options=ReportOptions(examples=1, features=5))
    assert len(found) < 3_000_000
    assert "1,000" in found
