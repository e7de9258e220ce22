"""Hugging Face data sets as a source of images."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from chiqpm.config import DataConfig
from chiqpm.data import open_folder, open_source, split
from chiqpm.data.recognise import recognise
from chiqpm.errors import ChiqpmError

datasets = pytest.importorskip("datasets")

CONFIG = DataConfig()
NAMES = ["wren", "jay", "owl"]


def content(number):
    rng = np.random.default_rng(number)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def make(labels, start=0, **columns):
    pictures = [{"bytes": content(start + i), "path": None} for i in range(len(labels))]
    features = {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=NAMES)}
    extra = {name: datasets.Value("string") for name in columns}
    return datasets.Dataset.from_dict(
        {"picture": pictures, "kind": labels, **columns}, features=datasets.Features({**features, **extra})
    )


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def test_a_data_set_is_split_as_a_folder_is():
    labels = [0] * 8 + [1] * 6 + [2] * 5
    table = open_source(make(labels, note=["x"] * 19), CONFIG)
    assert (len(table), table.classes, table.parts, table.dataset) == (19, ("wren", "jay", "owl"), None, "huggingface")
    assert table.labels_N.tolist() == labels
    assert np.array_equal(np.asarray(table.load(7)), np.asarray(Image.open(io.BytesIO(content(7)))))
    divided = split(table, CONFIG)
    assert divided.class_counts("train").tolist() == [6, 4, 3]
    assert table.fingerprints is not None
    assert table.stamp(0) == table.stamp(1)


def test_a_dictionary_has_parts():
    parts = {"train": make([0, 1, 2, 0]), "validation": make([0, 1, 2], 50), "test": make([2, 1, 0], 90)}
    table = open_source(datasets.DatasetDict(parts), CONFIG)
    assert {part: table.class_counts(part).tolist() for part in ("train", "calibration", "test")} == {
        "train": [2, 1, 1],
        "calibration": [1, 1, 1],
        "test": [1, 1, 1],
    }
    assert open_source(datasets.DatasetDict({"train": parts["train"]}), CONFIG).parts is None


def test_a_saved_data_set_is_a_folder(tmp_path):
    source = datasets.DatasetDict({"train": make([0, 1, 2] * 3), "test": make([2, 1, 0], 90)})
    source.save_to_disk(tmp_path / "dictionary")
    make([0, 1, 2] * 3).save_to_disk(tmp_path / "single")
    table = open_folder(tmp_path / "dictionary", CONFIG)
    assert recognise(tmp_path / "dictionary") == table.dataset == "huggingface"
    assert table.class_counts("train").tolist() == [3, 3, 3]
    assert open_folder(tmp_path / "single", CONFIG).parts is None
    (tmp_path / "single" / "state.json").write_text("{}")
    with pytest.raises(ChiqpmError, match="can't be read"):
        open_folder(tmp_path / "single", CONFIG)


def test_pictures_that_cannot_be_read():
    source = make([0, 1, 2, 0])
    pictures = source.cast_column("picture", datasets.Image(decode=False))[:]["picture"]
    pictures[3] = {"bytes": b"no picture", "path": None}
    features = source.features
    broken = datasets.Dataset.from_dict({"picture": pictures, "kind": [0, 1, 2, 0]}, features=features)
    assert open_source(broken, CONFIG).skipped[0][0] == "train/00000003"
    pictures[3] = None
    empty = datasets.Dataset.from_dict({"picture": pictures, "kind": [0, 1, 2, 0]}, features=features)
    assert open_source(empty, CONFIG).skipped == (("train/00000003", "the cell is empty"),)


def test_wrong_data_sets():
    good = make([0, 1, 2])
    bad = {
        "received IterableDataset; load it without streaming": good.to_iterable_dataset(),
        "has the splits train, extra; it needs train": datasets.DatasetDict({"train": good, "extra": good}),
        "has the splits test; it needs train": datasets.DatasetDict({"test": good}),
        "have two for calibration": datasets.DatasetDict({"train": good, "val": good, "validation": good}),
        r"has the columns picture \(Image\); it needs one column": good.remove_columns("kind"),
        r"kind \(ClassLabel\), other \(ClassLabel\)": good.add_column("other", [0, 0, 0]).cast_column(
            "other", datasets.ClassLabel(names=["x"])
        ),
        "split test has other columns or classes": datasets.DatasetDict(
            {"train": good, "test": good.rename_column("kind", "sort")}
        ),
        "images of 1 classes": make([1, 1]),
        "1 rows of the split train have no class: rows 1": make([0, None, 2]),
    }
    for message, source in bad.items():
        with pytest.raises(ChiqpmError, match=message):
            open_source(source, CONFIG)
    with pytest.raises(TypeError, match="a folder or a Hugging Face Dataset, received dict"):
        open_source({"train": good}, CONFIG)
