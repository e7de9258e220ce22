"""Many pictures into one file: complete, in order, once each, whatever stops it."""

from __future__ import annotations

import csv
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import chiqpm
from chiqpm.bulk import COLUMNS, count_pictures, list_pictures, load_chunks, predict_files
from chiqpm.bulk.output import Output
from chiqpm.bulk.rows import decode, encode
from chiqpm.cli import main
from chiqpm.errors import ChiqpmError


@pytest.fixture(scope="module")
def classifier(make_classifier):
    return make_classifier()


@pytest.fixture(scope="module")
def mixed(pictures, tmp_path_factory):
    """Twelve pictures and three files that only look like some."""
    folder = Path(shutil.copytree(pictures, tmp_path_factory.mktemp("mixed") / "images"))
    (folder / "a" / "021.jpg").write_bytes(b"")
    (folder / "b" / 'text, "quoted"\nand broken.png').write_text("no picture")
    (folder / "b" / "cut.png").write_bytes((folder / "b" / "11.png").read_bytes()[:200])
    return folder


@pytest.fixture(scope="module", params=["csv", "jsonl"])
def whole(request, classifier, mixed, tmp_path_factory):
    """The file of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / f"all.{request.param}"
    predict_files(classifier, [mixed], out, batch_size=4, workers=0)
    return out


def rows(file):
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text().splitlines()]
    with file.open(newline="") as stream:
        found = list(csv.DictReader(stream))
    for row in found:
        for name, value in row.items():
            if value == "":
                row[name] = None
            elif name not in ("path", "label", "model", "error"):
                row[name] = json.loads(value)
    return found


def test_every_picture_has_one_row_with_the_answer_of_predict(whole, classifier, mixed):
    found = rows(whole)
    assert [row["path"] for row in found] == [str(path) for path in sorted(mixed.rglob("*")) if path.is_file()]
    for row in found:
        assert tuple(row) == COLUMNS
        assert row["coverage"] == 0.9 and row["model"] == classifier.fingerprint()[:12]
        if row["error"] is not None:
            assert all(row[name] is None for name in COLUMNS[1:8])
            continue
        prediction = classifier.predict(row["path"])
        assert row["label"] == prediction.label
        assert tuple(row["set"]) == prediction.prediction_set and row["set_size"] == len(row["set"])
        features = prediction.explanation.features
        assert row["features"] == [feature.index for feature in features]
        assert row["activations"] == pytest.approx([feature.activation for feature in features], rel=1e-4, abs=1e-5)
        levels = [rival.level for rival in prediction.explanation.rivals]
        assert row["depth"] == min(levels, default=len(features))
        assert 0 < row["softmax"] <= 1
    assert sum(row["error"] is not None for row in found) == 3


def test_both_formats_hold_the_same(classifier, mixed, tmp_path):
    for name in ("a.csv", "a.jsonl"):
        predict_files(classifier, [mixed], tmp_path / name, batch_size=4, workers=0)
    assert rows(tmp_path / "a.csv") == rows(tmp_path / "a.jsonl")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_a_file_cut_anywhere_is_completed_to_the_same_bytes(whole, classifier, mixed, tmp_path, share):
    content = whole.read_bytes()
    out = tmp_path / whole.name
    out.write_bytes(content[: round(share * len(content))])
    summary = predict_files(classifier, [mixed], out, batch_size=4, workers=0)
    assert out.read_bytes() == content
    assert (summary.images, summary.unreadable) == (15, 3)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_on_a_disk_that_is_full_what_is_written_stays_and_is_completed(
    classifier, mixed, pictures, disk, tmp_path, ending
):
    """The disk is real and holds the first 4 kB."""
    out, elsewhere = disk.folder / f"some.{ending}", tmp_path / f"all.{ending}"
    job = {"classifier": classifier, "paths": [mixed, pictures], "batch_size": 4, "workers": 0}
    predict_files(out=elsewhere, **job)
    disk.leave(4)
    with pytest.raises(OSError, match=f"No space left on device: '{out}'"):
        predict_files(out=out, **job)
    assert 0 < out.stat().st_size <= 4096
    assert elsewhere.read_bytes().startswith(out.read_bytes())
    disk.leave(1000)
    predict_files(out=out, **job)
    assert out.read_bytes() == elsewhere.read_bytes()


def test_a_finished_file_is_left_alone(whole, classifier, mixed, monkeypatch, tmp_path):
    out = Path(shutil.copy(whole, tmp_path))
    monkeypatch.setattr(type(classifier), "start_batch", lambda *_: pytest.fail("computed again"))
    summary = predict_files(classifier, [mixed], out, batch_size=5, workers=0)
    assert out.read_bytes() == whole.read_bytes()
    assert summary.done_before == 15 and summary.unreadable == 3


def test_what_was_computed_before_an_error_is_written(whole, classifier, mixed, monkeypatch, tmp_path):
    start, calls = type(classifier).start_batch, []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return start(*arguments)

    out = tmp_path / whole.name
    monkeypatch.setattr(type(classifier), "start_batch", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        predict_files(classifier, [mixed], out, batch_size=4, workers=0)
    assert len(rows(out)) == 8 and whole.read_bytes().startswith(out.read_bytes())


def test_workers_change_nothing(whole, classifier, mixed, tmp_path):
    out = tmp_path / whole.name
    predict_files(classifier, [mixed], out, batch_size=4, workers=1)
    assert out.read_bytes() == whole.read_bytes()


def test_a_continued_run_computes_with_as_many_threads_as_the_whole_one(classifier, pictures, monkeypatch, tmp_path):
    """Threads decide last digits, and workers take theirs: few pictures that are left must not mean fewer workers."""
    chosen = []

    def load(*arguments, workers, **options):
        chosen.append(workers)
        return load_chunks(*arguments, workers=0, **options)

    monkeypatch.setattr("chiqpm.bulk.run.load_chunks", load)
    monkeypatch.setattr("chiqpm.bulk.run.count_cores", lambda: 4)
    monkeypatch.setattr("chiqpm.loading._FEW_IMAGES", 9)
    out = tmp_path / "all.csv"
    predict_files(classifier, [pictures], out, batch_size=4)
    whole = out.read_bytes()
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:10]))
    predict_files(classifier, [pictures], out, batch_size=4)
    assert out.read_bytes() == whole
    assert chosen[0] > 0 and chosen == [chosen[0]] * 2


def test_another_job_does_not_mix_with_a_file(whole, make_classifier, mixed, pictures, tmp_path):
    classifier = make_classifier()
    out = Path(shutil.copy(whole, tmp_path))
    with pytest.raises(ChiqpmError, match=r"line \d+ the path is .*Choose another file"):
        predict_files(classifier, [pictures], out, workers=0)
    with pytest.raises(ChiqpmError, match=r"the coverage is 0\.9, now it is 0\.8"):
        predict_files(classifier, [mixed], out, coverage=0.8, workers=0)
    with pytest.raises(ChiqpmError, match=r"the model is '[0-9a-f]{12}', now it is"):
        predict_files(make_classifier(seed=3), [mixed], out, workers=0)
    with pytest.raises(ChiqpmError, match="now it is 'no further picture'"):
        predict_files(classifier, [mixed / "a"], out, workers=0)
    assert out.read_bytes() == whole.read_bytes()
    predict_files(classifier, [mixed / "a"], out, workers=0, overwrite=True)
    assert len(rows(out)) == 7


@pytest.mark.parametrize("content", [b"hello", b"a,b\n1,2\n", b'{"a": 1}\n', b"\xff\xfe\x00\n", b"path,label\n", b"\n"])
@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_a_file_of_something_else_is_never_touched(classifier, pictures, tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ChiqpmError, match="something else"):
        predict_files(classifier, [pictures], tmp_path / name, workers=0)
    assert (tmp_path / name).read_bytes() == content


def test_a_damaged_line_is_named(whole, classifier, mixed, tmp_path):
    lines = whole.read_bytes().split(b"\n")
    lines[2] = lines[2][:-5]
    out = tmp_path / whole.name
    out.write_bytes(b"\n".join(lines))
    with pytest.raises(ChiqpmError, match="line 3"):
        predict_files(classifier, [mixed], out, workers=0)


def test_wrong_inputs_are_said(classifier, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ChiqpmError, match="no pictures in"):
        predict_files(classifier, [tmp_path / "empty"], tmp_path / "a.csv")
    with pytest.raises(ChiqpmError, match="no pictures in the arguments"):
        predict_files(classifier, [], tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError, match="gone"):
        predict_files(classifier, [pictures, tmp_path / "gone"], tmp_path / "a.csv")
    with pytest.raises(ChiqpmError, match=r"\.csv or a \.jsonl file, received .*a\.xlsx"):
        predict_files(classifier, [pictures], tmp_path / "a.xlsx")
    for options in ({"batch_size": 0}, {"workers": -1}):
        with pytest.raises(ChiqpmError, match="batch_size must be 1 or more and workers 0 or more"):
            predict_files(classifier, [pictures], tmp_path / "a.csv", **options)
    for coverage in (0, 1.5, float("nan")):
        with pytest.raises(ChiqpmError, match="coverage"):
            predict_files(classifier, [pictures], tmp_path / "a.csv", coverage=coverage)
    assert not (tmp_path / "a.csv").exists()
    with pytest.raises(OSError, match="directory"):
        predict_files(classifier, [pictures], (tmp_path / "folder.csv").mkdir() or tmp_path / "folder.csv")


@pytest.mark.skipif(sys.platform == "win32", reason="files are locked elsewhere only")
def test_two_runs_do_not_write_one_file(classifier, pictures, tmp_path):
    first = Output(tmp_path / "a.csv")
    with pytest.raises(ChiqpmError, match="another run is writing"):
        predict_files(classifier, [pictures], tmp_path / "a.csv")
    other = [sys.executable, "-c", "import sys; from pathlib import Path; from chiqpm.bulk.output import Output"]
    other[-1] += "; Output(Path(sys.argv[1]))"
    refused = subprocess.run([*other, str(tmp_path / "a.csv")], capture_output=True, text=True, check=False)
    assert "ChiqpmError: another run is writing" in refused.stderr
    first.close()
    predict_files(classifier, [pictures], tmp_path / "a.csv", workers=0)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_unicode_come_back(classifier, pictures, tmp_path):
    name = os.fsencode(str(tmp_path / "images")) + b'/caf\xe9 \n"x".png'
    (tmp_path / "images").mkdir()
    shutil.copy(next(pictures.rglob("*.png")), os.fsdecode(name))
    for out in (tmp_path / "a.csv", tmp_path / "a.jsonl"):
        predict_files(classifier, [tmp_path / "images"], out, workers=0)
        again = predict_files(classifier, [tmp_path / "images"], out, workers=0)
        assert again.done_before == 1
    assert os.fsencode(json.loads((tmp_path / "a.jsonl").read_text())["path"]) == name


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(
    row=st.fixed_dictionaries(
        {
            "path": TEXT.filter(bool),
            "label": st.none() | TEXT.filter(bool),
            "softmax": st.none() | st.floats(0, 1),
            "set": st.none() | st.lists(TEXT, max_size=3),
            "set_size": st.none() | st.integers(0, 9),
            "depth": st.none() | st.integers(0, 9),
            "features": st.none() | st.lists(st.integers(0, 50), max_size=3),
            "activations": st.none() | st.lists(st.floats(0, 9), max_size=3),
            "coverage": st.floats(0.1, 0.9),
            "model": TEXT.filter(bool),
            "error": st.none() | TEXT.filter(bool),
        }
    ),
    form=st.sampled_from(["csv", "jsonl"]),
)
def test_any_row_comes_back(row, form):
    assert decode(encode(row, form), form) == row


def test_the_order_is_that_of_sorted_paths_and_links_to_folders_are_not_followed(tmp_path):
    for name in ("b/1.png", "b/2.txt", "b-c/0.png", "a.png", "b.png", "b/x/0.jpg", "B/0.PNG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found = list(list_pictures([tmp_path]))
    assert found == [str(path) for path in sorted(map(Path, found))]
    assert count_pictures([tmp_path]) == len(found) == 6
    assert list(list_pictures([tmp_path / "b.png", tmp_path / "b" / "2.txt"])) == [
        str(tmp_path / "b.png"),
        str(tmp_path / "b" / "2.txt"),
    ]


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    def fake(count):
        return (f"/images/{number // 1000}/{number}.jpg" for number in range(count))

    empty = dict.fromkeys(COLUMNS) | {"coverage": 0.9, "model": "m", "error": "the file is gone"}
    kept = []
    for count in (1_000, 4_000):
        out = Output(tmp_path / f"{count}.jsonl")
        out.continue_after(fake(count), coverage=0.9, model="m")
        gc.collect()
        tracemalloc.start()
        for chunk in load_chunks(fake(count), lambda image: image, size=16, max_pixels=10, workers=0):
            out.append([{**empty, "path": path} for path in chunk.paths])
            if chunk.paths[-1].endswith(f"/{count - 1}.jpg"):
                gc.collect()
                kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert out.continue_after(fake(count), coverage=0.9, model="m") == (count, count)
        assert tracemalloc.get_traced_memory()[1] - before < 200_000
        tracemalloc.stop()
        out.close()
    assert kept[1] < kept[0] + 30_000


def test_loading_yields_chunks_in_order_and_stops_early(pictures):
    paths = list(list_pictures([pictures]))
    chunks = load_chunks(paths, lambda image: __import__("torch").zeros(3), size=5, max_pixels=10**6, workers=0)
    assert [len(chunk.paths) for chunk in islice(chunks, 2)] == [5, 5]
    chunks.close()


def test_the_command_writes_reports_and_says_what_it_could_not_read(classifier, mixed, capsys, tmp_path):
    classifier.save(tmp_path / "run")
    arguments = ["predict", str(tmp_path / "run"), str(mixed), "--out", str(tmp_path / "new" / "p.jsonl"), "--quiet"]
    assert main(arguments) == 3
    text = capsys.readouterr().out
    assert "15 pictures; 3 can't be read" in text and "p.jsonl" in text
    assert main([*arguments, "--json"]) == 3
    summary = json.loads(capsys.readouterr().out)
    assert summary["done_before"] == 15 and summary["unreadable"] == 3
    assert main(["predict", str(tmp_path / "run"), str(mixed / "a" / "00.png"), "--out", str(tmp_path / "q.csv")]) == 0
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), str(mixed)]) == 3
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 12
    assert main(["predict", str(tmp_path / "run"), str(mixed / "b" / "cut.png")]) == 3
    assert main(["predict", str(tmp_path / "run"), str(mixed), "--out", str(tmp_path / "p.txt")]) == 2
    assert main(["--version"]) == 0
    assert "chiqpm 0." in capsys.readouterr().out


@pytest.fixture
def _interruptible():
    """Programs that a test starts can be interrupted, even where a shell has started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("_interruptible")
def test_killed_and_interrupted_runs_end_in_the_same_file(make_classifier, capsys, tmp_path):
    make_classifier(image_size=128).save(tmp_path / "run")
    random = np.random.default_rng(0)
    for number in range(300):
        folder = tmp_path / "images" / f"{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((200, 160)).save(
            folder / f"{number}.jpg"
        )
    (tmp_path / "images" / "3" / "broken.jpg").write_bytes(b"x")
    images, out = tmp_path / "images", tmp_path / "killed.csv"
    options = [str(images), "--quiet", "--workers", "1"]
    command = [sys.executable, "-m", "chiqpm", "predict", str(tmp_path / "run"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    said = tmp_path / "said.txt"

    def start():
        with said.open("w") as file:
            return subprocess.Popen([*command, "--out", str(out)], env=environment, stdout=file, stderr=file)

    for how in (signal.SIGKILL, signal.SIGINT):
        before = out.stat().st_size if out.exists() else 0
        process = start()
        while process.poll() is None and (not out.exists() or out.stat().st_size < before + random.integers(1, 9000)):
            time.sleep(0.002)
        process.send_signal(how)
        # The next one starts at once: a killed one's worker process is still there then.
        assert process.wait() == (130 if how == signal.SIGINT else -how), said.read_text()
        assert "Traceback" not in said.read_text()
        with out.open("r+b") as file:  # as if the system had stopped in the middle of a line, too
            file.truncate(out.stat().st_size - 3)
    assert main([*command[3:], "--out", str(out)]) == 3
    text = capsys.readouterr().out
    assert "301 pictures" in text and "1 can't be read" in text
    predict_files(chiqpm.load(tmp_path / "run", device="cpu"), [images], tmp_path / "whole.csv", workers=0)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert len(rows(out)) == len({row["path"] for row in rows(out)}) == 301
