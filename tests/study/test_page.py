"""The questionnaire in a browser: from file:// and from its server, by keyboard, on a phone, with axe."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chiqpm.study import ARMS, read_answers
from chiqpm.study.server import StudyServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    problems = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: problems.append(request.url) if _foreign(request.url) else None)
    yield opened
    context.close()
    assert problems == []


def _foreign(url):
    return not url.startswith(("file://", "data:", "blob:", "http://127.0.0.1"))


def begin(page, url, number=None):
    page.goto(url)
    page.get_by_label("I have read this and agree").check()
    page.get_by_role("button", name="Begin").click()
    if number is not None:
        page.get_by_label("Number that you were given").fill(str(number))
        page.get_by_role("button", name="Go on").click()
    page.get_by_role("heading", name="What to do").wait_for()
    page.get_by_role("button", name="Go on").click()


def answer(page, name="bird c", sure="60 %"):
    page.locator("main[data-ready=yes]").wait_for()
    page.get_by_role("radio", name=name, exact=True).check()
    page.get_by_role("radio", name=sure).check()
    page.get_by_role("button", name="Next").click()


def whole_session(page, key, look=lambda name: None):
    for block in range(len(ARMS)):
        look(f"part {block + 1}")
        page.get_by_role("button", name="Show the practice picture").click()
        answer(page)
        page.get_by_role("button", name="Show the first picture").click()
        for number in range(key.trials_per_arm["none"]):
            page.get_by_role("heading", name=re.compile("Picture [0-9]+ of")).wait_for()
            if number == 0:
                page.locator("main[data-ready=yes]").wait_for()
                look(f"trial {block + 1}")
            answer(page, f"bird {'abcdefghij'[(block + number) % 10]}")
    look("ratings")
    for group in page.get_by_role("group").all():
        group.get_by_role("radio").nth(1).check()
    page.get_by_role("button", name="Next").click()
    page.get_by_label("If you like, tell us more").fill('=cmd(), "quoted"')
    page.get_by_role("button", name="Finish").click()
    page.get_by_role("heading", name="Thank you").wait_for()


def test_without_a_server_the_answers_are_downloaded(page, study, key, tmp_path):
    begin(page, (study / "index.html").as_uri(), number=3)
    whole_session(page, key)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download my answers").click()
    file = tmp_path / "answers.csv"
    download.value.save_as(file)
    rows = read_answers([file])
    plan = key.plans[2]
    trials = [row for row in rows if row.kind == "trial"]
    assert [(row.arm, row.item) for row in trials] == [(b.arm, item) for b in plan.blocks for item in b.trials]
    assert {row.reader for row in rows} == {"3"} and {row.simulated for row in rows} == {0}
    assert all(row.confidence == 60 and 0 < row.seconds < 60 and row.hidden_seconds == 0 for row in trials)
    assert [row.answer for row in rows if row.kind == "comment"] == ['\'=cmd(), "quoted"']
    assert len([row for row in rows if row.kind == "rating"]) == 6
    assert [row.answer for row in rows if row.kind == "preference"] == ["flat"]


def test_an_interrupted_session_goes_on_and_can_be_withdrawn(page, study, key):
    url = (study / "index.html").as_uri()
    begin(page, url, number=1)
    page.get_by_role("button", name="Show the practice picture").click()
    answer(page)
    page.goto(url)
    page.get_by_role("button", name="Go on with it").click()
    page.get_by_role("button", name="Show the first picture").wait_for()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Stop and delete my answers").click()
    page.get_by_role("heading", name="You have stopped").wait_for()
    page.goto(url)
    page.get_by_label("I have read this and agree").wait_for()


def test_nothing_is_taken_without_an_answer_and_a_confidence(page, study):
    begin(page, (study / "index.html").as_uri(), number=1)
    page.get_by_role("button", name="Show the practice picture").click()
    page.locator("main[data-ready=yes]").wait_for()
    page.get_by_role("button", name="Next").click()
    assert page.get_by_role("alert").inner_text() == "Please choose a class."
    page.get_by_label("Find a class").fill("BIRD J")
    assert page.locator("label.card:visible").count() == 1
    page.get_by_label("Find a class").fill("zebra")
    assert page.get_by_role("status").inner_text() == "No class has this in its name."
    page.get_by_label("Find a class").fill("")
    page.get_by_role("radio", name="bird a", exact=True).check()
    page.get_by_role("button", name="Next").click()
    assert "how likely" in page.get_by_role("alert").inner_text()


def test_consent_is_needed_and_a_number(page, study):
    page.goto((study / "index.html").as_uri())
    page.get_by_role("button", name="Begin").click()
    assert "tick the box" in page.get_by_role("alert").inner_text()
    assert "a <b> person" in page.content().replace("&lt;", "<").replace("&gt;", ">")
    page.get_by_label("I have read this and agree").check()
    page.get_by_role("button", name="Begin").click()
    page.get_by_label("Number that you were given").fill("0")
    page.get_by_role("button", name="Go on").click()
    assert "whole number" in page.get_by_role("alert").inner_text()


def test_the_page_holds_no_truth_of_an_image_that_counts(study, key):
    text = (study / "index.html").read_text(encoding="utf-8")
    content = json.loads(re.search(r'id="study">(.*?)</script>', text, re.S).group(1))
    practice = {name for block in key.plans[0].blocks for name in block.practice}
    assert set(content["practiceTruth"]) == practice
    assert all("truth" not in item and "path" not in item for item in content["items"].values())
    assert "test/image-" not in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)


def test_the_served_page_collects_answers_of_several_readers_at_once(browser, study, key):
    with StudyServer(study, port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        contexts = [browser.new_context() for _ in range(2)]
        first, second = (context.new_page() for context in contexts)
        for page in (first, second):
            begin(page, server.url)
        second.get_by_role("button", name="Show the practice picture").click()
        whole_session(first, key)
        first.get_by_text("Your answers are saved").wait_for()
        answer(second)
        second.get_by_role("button", name="Show the first picture").wait_for()
        second.on("dialog", lambda dialog: dialog.accept())
        second.get_by_role("button", name="Stop and delete my answers").click()
        second.get_by_text("Your answers are deleted. You can").wait_for()
        for context in contexts:
            context.close()
        server.shutdown()
        thread.join()
    kinds = {}
    for row in read_answers(sorted((study / "answers").glob("*.csv"))):
        kinds.setdefault(row.reader, []).append(row.kind)
    assert kinds["2"] == ["withdrawn"]
    assert {kind: kinds["1"].count(kind) for kind in set(kinds["1"])} == {
        "practice": 3,
        "trial": 6,
        "rating": 6,
        "preference": 1,
        "comment": 1,
    }


def test_every_screen_is_accessible_and_fits_phones_and_laptops(browser, study, key):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context()
    page = context.new_page()
    found = {}

    def look(name):
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{name} is {wide} pixels too wide for {width}"
        violations = axe.run(page).response["violations"]
        found[name] = [(v["id"], v["nodes"][0]["html"][:200]) for v in violations]

    page.goto((study / "index.html").as_uri())
    look("consent")
    begin(page, (study / "index.html").as_uri(), number=2)
    whole_session(page, key, look)
    look("end")
    context.close()
    assert {name: problems for name, problems in found.items() if problems} == {}
    assert len(found) == 9


def test_a_session_needs_no_mouse(page, study):
    page.goto((study / "index.html").as_uri())
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("4")
    page.keyboard.press("Enter")
    for _ in range(2):
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
    page.locator("main[data-ready=yes]").wait_for()
    page.get_by_role("heading", name="Practice picture").wait_for()


def test_readers_are_admitted_once_each(study):
    with StudyServer(study, port=0) as server, StudyServer(study, port=0) as other, ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda place: (server if place % 2 else other).admit(), range(40)))
    assert sorted(number for number, _ in given) == list(range(1, 41))
    assert len({token for _, token in given}) == 40
