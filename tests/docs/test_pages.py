"""The documentation: every block of code runs, every page builds, nothing is fetched from elsewhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from chiqpm.cli import main
from chiqpm.cli.main import parse
from chiqpm.experiments.registry import EXPERIMENTS
from chiqpm.experiments.running import result_markdown

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"(?:<!-- no-run: (?P<reason>.+?) -->\n)?```(?P<kind>python|console)\n(?P<code>.*?)```", re.S)
PAGES = sorted(path for path in DOCS.rglob("*.md") if BLOCK.search(path.read_text(encoding="utf-8")))


@pytest.fixture
def workplace(tiny_run, tmp_path, monkeypatch):
    """A folder as the pages assume it: photos/, a finished run, a new picture, a stream."""
    birds = tiny_run.parent / "birds"
    shutil.copytree(birds, tmp_path / "photos")
    shutil.copytree(tiny_run, tmp_path / "runs" / "mine")
    shutil.copytree(birds / "test", tmp_path / "new-photos")
    shutil.copytree(birds / "calibration", tmp_path / "other-new-photos")
    pictures = sorted((birds / "test").rglob("*.jpg"))
    shutil.copyfile(pictures[0], tmp_path / "new.jpg")
    lines = [f"photos/test/{picture.parent.name}/{picture.name},{picture.parent.name}" for picture in pictures]
    (tmp_path / "stream.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(code):
    """The command lines of a console block; `fit` gets the options of its finished run, so that it ends at once."""
    for line in code.splitlines():
        if line.startswith("$ "):
            words = shlex.split(line[2:])
            assert words[0] == "chiqpm", line
            yield words[1:] + (["--config", "runs/mine/config.yaml"] if words[1] == "fit" else [])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_all_code_of_a_page_runs(page, workplace):
    names: dict[str, object] = {"__name__": "page"}
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["reason"]:
            continue
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()) as said:
            warnings.simplefilter("ignore")
            if block["kind"] == "python":
                exec(compile(block["code"], str(page), "exec"), names)
            else:
                for words in commands(block["code"]):
                    assert main([*words, "--quiet"]) == 0, f"chiqpm {shlex.join(words)}: {said.getvalue()}"


def test_commands_that_do_not_run_exist_at_least():
    for page in PAGES:
        for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
            if block["reason"] and block["kind"] == "console":
                for line in re.findall(r"chiqpm (\S+)", block["code"]):
                    with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(io.StringIO()):
                        main([line, "--help"])
                    assert ended.value.code == 0, f"{page}: chiqpm {line}"


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "training.md"], ids=lambda page: page.name)
def test_indented_commands_are_whole(page):
    lines = re.findall(r"^    (?:\S.* -m )?chiqpm ([^#\n]+)", page.read_text(encoding="utf-8"), re.M)
    assert len(lines) > (15 if page.name == "README.md" else 3)
    for line in lines:
        parse(shlex.split(line))


def test_blocks_that_do_not_run_are_few():
    blocks = [block for page in PAGES for block in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    assert sum(bool(block["reason"]) for block in blocks) <= len(blocks) / 3


def test_committed_results_are_whole_and_of_full_size():
    for file in (DOCS / "benchmarks" / "experiments").glob("*.json"):
        result = json.loads(file.read_text(encoding="utf-8"))
        assert result["experiment"] == file.stem and file.stem in EXPERIMENTS
        assert not result["made"]["reduced"]
        assert result["made"]["command"].startswith(f"chiqpm experiment {file.stem}")
        assert "/" not in result["made"]["machine"]
        assert f"`{result['made']['command']}`" in result_markdown(result)


def test_the_site_builds_strictly_and_asks_nobody_for_anything(tmp_path):
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"?(https?:[^\s\">]+)", text)
        loaded += re.findall(
            r"<link[^>]+rel=\"?(?:stylesheet|preconnect|icon|preload)[^>]+href=\"?(https?:[^\s\">]+)", text
        )
        assert not loaded, f"{page.name} loads {loaded[0]}"
        assert "not measured" not in text.lower() or page.name == "claims.html"
        assert "&lt;!-- result" not in text and "<!-- result" not in text
    styles = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.css"))
    assert not re.search(r"@import|url\((?!data:|\"data:|'data:|#)['\"]?https?:", styles)
