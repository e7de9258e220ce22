from __future__ import annotations

import logging
import os
import time
import unicodedata

import numpy as np
import pytest
from PIL import Image

from chiqpm.config import DataConfig
from chiqpm.data import open_folder
from chiqpm.data.threads import in_threads
from chiqpm.errors import ChiqpmError

CONFIG = DataConfig(find_duplicates=False)


def put(root, *paths):
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if path.lower().endswith((".jpg", ".png")):
            Image.new("RGB", (6, 5), (number * 7 % 256, 10, 20)).save(root / path)
        else:
            (root / path).write_text("text")
    return root


def test_class_folders(tmp_path, caplog):
    root = put(
        tmp_path / "photos",
        *("jay/b 2.JPG", "jay/a.png", "jay/2021/may/c.jpg", "owl/ü.jpg", "owl/notes.txt", "owl/.hidden.jpg"),
        *(
            "owl/Thumbs.db",
            "owl/.DS_Store",
            "README.md",
            "labels.json",
            ".cache/x/1.jpg",
            "__MACOSX/jay/1.jpg",
        ),
        "stray.jpg",
    )
    with caplog.at_level(logging.WARNING):
        table = open_folder(str(root), DataConfig())
    assert table.paths == ("jay/2021/may/c.jpg", "jay/a.png", "jay/b 2.JPG", "owl/ü.jpg")
    assert table.labels_N.tolist() == [0, 0, 0, 1]
    assert table.classes == ("jay", "owl")
    assert table.parts is None and table.groups is None
    assert dict(table.skipped) == {
        "owl/notes.txt": "not an image",
        "stray.jpg": "it lies outside the class folders, so it has no class",
    }
    assert "left out 2 files" in caplog.text
    assert table.fingerprints is not None and len(set(table.fingerprints.digest_N.tolist())) == 4
    assert table.path(1) == root / "jay" / "a.png"
    assert table.path(1).is_file()


def test_parts(tmp_path):
    parts = ("Train", "val", "test")
    put(tmp_path, *(f"{part}/{name}/{i}.jpg" for part in parts for name in "ab" for i in range(2)))
    table = open_folder(tmp_path, CONFIG)
    assert len(table) == 12 and table.classes == ("a", "b")
    assert table.parts.tolist() == [p for p in ("train", "test", "calibration") for _ in range(4)]
    put(tmp_path, "calibration/a/1.jpg", "calibration/b/1.jpg")
    table = open_folder(tmp_path, CONFIG)
    assert table.class_counts("calibration").tolist() == [1, 1]
    assert table.skipped == (("val", "left out: the folder calibration is used instead"),)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "no images;"),
        (["CUB_200_2011.tgz", "notes.txt"], r"no images, but CUB_200_2011\.tgz, which has to be unpacked;"),
        (["a.jpg", "b.jpg"], r"2 images directly in it .* but no class folders"),
        (["only/1.jpg"], r"only one class \(only\)"),
        (["a/1.jpg", "b/x.txt"], "1 class folder holds no image: b"),
        (["train/1.jpg"], "no class folders"),
        (["test/a/1.jpg", "val/a/1.jpg"], "no folder train"),
        (["train/a/1.jpg", "test/a/1.jpg", "masks/1.jpg"], r"split \(train, test\) and others \(masks\)"),
        (["train/a/1.jpg", "val/a/1.jpg", "validation/a/1.jpg"], "both val and validation"),
        (["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg"], "folder test lacks b"),
        (["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/c/1.jpg"], "lacks b and has in addition c"),
        (["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/b/1.txt"], "holds no image: test/b"),
    ],
)
def test_folders_that_do_not_work(tmp_path, paths, message):
    (tmp_path / "photos").mkdir()
    put(tmp_path / "photos", *paths)
    with pytest.raises(ChiqpmError, match=message):
        open_folder(tmp_path / "photos", CONFIG)


def test_missing_folder_and_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        open_folder(tmp_path / "none", CONFIG)
    with pytest.raises(ChiqpmError, match="is a file, not a folder"):
        open_folder(put(tmp_path, "a.jpg") / "a.jpg", CONFIG)


def test_two_spellings_of_train(tmp_path):
    put(tmp_path, "train/a/1.jpg", "Train/a/1.jpg")
    if len(list(tmp_path.iterdir())) == 2:
        with pytest.raises(ChiqpmError, match="folders Train and train; keep one"):
            open_folder(tmp_path, CONFIG)


def test_a_class_may_be_called_train(tmp_path):
    assert open_folder(put(tmp_path, "bus/1.jpg", "train/1.jpg"), CONFIG).classes == ("bus", "train")


def broken(root):
    put(root, "a/1.jpg", "a/2.jpg", "b/1.jpg")
    (root / "a/2.jpg").write_bytes((root / "a/2.jpg").read_bytes()[:200])
    (root / "b/0.jpg").write_bytes(b"")
    return root


def test_unreadable_images_are_left_out_or_refused(tmp_path):
    table = open_folder(broken(tmp_path), CONFIG)
    assert table.paths == ("a/1.jpg", "b/1.jpg")
    assert [path for path, _ in table.skipped] == ["a/2.jpg", "b/0.jpg"]
    assert dict(table.skipped)["b/0.jpg"] == "the file is empty (0 bytes)"
    with pytest.raises(ChiqpmError, match=r"2 of 4 images .*a/2\.jpg \(.*bad_images"):
        open_folder(tmp_path, DataConfig(bad_images="refuse"))
    (tmp_path / "b/1.jpg").write_bytes(b"")
    with pytest.raises(ChiqpmError, match=r"no readable image is left in b: 3 files"):
        open_folder(tmp_path, CONFIG)


def test_max_pixels(tmp_path):
    put(tmp_path, "a/1.jpg", "b/1.jpg")
    Image.new("RGB", (50, 50)).save(tmp_path / "a/big.png")
    assert "50×50" in open_folder(tmp_path, DataConfig(max_pixels=100)).skipped[0][1]


def test_links(tmp_path):
    root = put(tmp_path / "root", "a/1.jpg", "b/1.jpg")
    put(tmp_path / "elsewhere", "c/1.jpg", "2.jpg")
    try:
        (root / "a/linked.jpg").symlink_to(tmp_path / "elsewhere/2.jpg")
    except OSError:
        pytest.skip("no symbolic links here")
    (root / "c").symlink_to(tmp_path / "elsewhere/c")
    (root / "a/loop").symlink_to(root / "a")
    (root / "b/up").symlink_to(root / "b/up")
    (root / "b/self.jpg").symlink_to(root / "b/self.jpg")
    (root / "b/gone.jpg").symlink_to(root / "nothing.jpg")
    table = open_folder(root, CONFIG)
    assert table.paths == ("a/1.jpg", "a/linked.jpg", "b/1.jpg", "c/1.jpg")
    assert dict(table.skipped) == {
        "b/up": "not an image",
        "b/gone.jpg": "the link leads nowhere",
        "b/self.jpg": "the link leads nowhere",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(put(tmp_path, "a/1.jpg", "b/1.jpg") / "a/pipe.jpg")
    assert open_folder(tmp_path, CONFIG).skipped == (("a/pipe.jpg", "not a regular file"),)


def test_unicode_forms(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Käuze") for form in ("NFC", "NFD"))
    put(tmp_path, f"train/{composed}/1.jpg", "train/b/1.jpg", f"test/{decomposed}/1.jpg", "test/b/1.jpg")
    table = open_folder(tmp_path, CONFIG)
    assert set(table.classes) == {composed, "b"}
    assert all(table.path(i).is_file() for i in range(len(table)))
    put(tmp_path, f"test/b/{composed}.jpg", f"test/b/{decomposed}.jpg")
    if len(list((tmp_path / "test/b").iterdir())) == 3:
        assert "another Unicode form" in open_folder(tmp_path, CONFIG).skipped[0][1]


def test_names_that_are_not_unicode(tmp_path):
    put(tmp_path, "a/1.jpg", "b/1.jpg")
    try:
        (tmp_path / os.fsdecode(b"a/\xff.jpg")).write_bytes(b"x")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes Unicode names only")
    assert open_folder(tmp_path, CONFIG).skipped == (("a/?.jpg", "its name isn't valid Unicode; rename it"),)


def test_groups_of_the_configuration(tmp_path):
    put(tmp_path, "a/ann_1.jpg", "a/ann_2.jpg", "b/bo_1.jpg")
    assert open_folder(tmp_path, DataConfig(groups=r"/([a-z]+)_")).groups == ("ann", "ann", "bo")


def test_unlistable_folder(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    put(tmp_path, "a/1.jpg")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ChiqpmError, match=r"can't list the folder .*Permission denied"):
        open_folder(tmp_path, CONFIG)


def test_a_file_that_vanishes(tmp_path, monkeypatch):
    from chiqpm.data import table

    def load(path, *, max_pixels):
        if path.name == "2.jpg":
            raise FileNotFoundError(path)
        return Image.new("RGB", (2, 2))

    put(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")
    monkeypatch.setattr(table, "load_image", load)
    assert open_folder(tmp_path, CONFIG).skipped == (("a/2.jpg", "it vanished while the folder was read"),)


def test_threads_keep_the_order_and_pass_on_errors():
    seen = []
    assert in_threads(lambda n: n * n, range(100), lambda *at: seen.append(at)) == [n * n for n in range(100)]
    assert seen == [(32, 100), (64, 100), (96, 100), (100, 100)]
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda n: 1 // n, range(100), None)
    assert in_threads(str, [], None) == []


@pytest.mark.slow
def test_ten_thousand_images(tmp_path):
    data = (put(tmp_path, "x.jpg") / "x.jpg").read_bytes()
    for c in range(20):
        folder = tmp_path / "photos" / f"class {c}"
        folder.mkdir(parents=True)
        for i in range(500):
            (folder / f"bïrd {i}.jpg").write_bytes(data)
    start = time.monotonic()
    table = open_folder(tmp_path / "photos", DataConfig())
    assert len(table) == 10_000 and (np.diff(table.labels_N) >= 0).all()
    assert time.monotonic() - start < 30
