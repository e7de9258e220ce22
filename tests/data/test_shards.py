"""Images in WebDataset shards are the images of the folder that was packed, in every order."""

from __future__ import annotations

import io
import json
import logging
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from chiqpm.config import DataConfig
from chiqpm.data import open_folder, read_split, split, write_shards, write_split
from chiqpm.data.dataset import ImageDataset
from chiqpm.data.recognise import recognise
from chiqpm.data.shard_index import INDEX, PLACES
from chiqpm.data.transforms import training_transform
from chiqpm.errors import ChiqpmError
from chiqpm.training import ImageBatches
from chiqpm.training.share import Share

CONFIG = DataConfig(find_duplicates=False, image_size=16)


@pytest.fixture
def folder(tmp_path, draw):
    for label, name in enumerate(("grüner Jay", "owl", "wren")):
        for part, count in (("train", 4 + label), ("val", 2), ("test", 3)):
            for i in range(count):
                draw(tmp_path / "own" / part / name / f"ü {i}.png", 100 * label + i + len(part), (20, 18))
    return tmp_path / "own"


@pytest.fixture
def packed(folder, tmp_path):
    table = open_folder(folder, CONFIG)
    write_shards(table, tmp_path / "shards", shard_megabytes=1)
    return tmp_path / "shards"


def pixels(table):
    """Part, class and content of every image."""
    return sorted(
        (str(table.parts[i]), table.classes[table.labels_N[i]], np.asarray(table.load(i)).tobytes())
        for i in range(len(table))
    )


def test_shards_hold_what_the_folder_held(folder, packed):
    table = open_folder(packed, CONFIG)
    assert recognise(packed) == table.dataset == "shards"
    assert pixels(table) == pixels(open_folder(folder, CONFIG))
    index = json.loads((packed / INDEX).read_text())
    assert index["images"] == len(table) == 30
    assert {entry["file"]: entry["images"] for entry in index["shards"]} == {
        "calibration-000000.tar": 6,
        "test-000000.tar": 9,
        "train-000000.tar": 15,
    }
    assert len((packed / INDEX).read_text()) < 1000


def test_size_of_shards_and_seed(folder, tmp_path, monkeypatch):
    table = open_folder(folder, CONFIG)
    from chiqpm.data import packing

    seen = []
    # A limit of 1 MB in a unit of 2 kB.
    real = packing._write_part
    monkeypatch.setattr(packing, "_write_part", lambda *a, limit: real(*a, limit=limit // 500))
    count = write_shards(
        table, tmp_path / "a", shard_megabytes=1, progress=lambda done, total: seen.append((done, total))
    )
    assert count == len(list((tmp_path / "a").glob("*.tar"))) > 10
    assert seen[-1] == (30, 30)
    write_shards(table, tmp_path / "b", shard_megabytes=1)
    write_shards(table, tmp_path / "c", shard_megabytes=1, seed=1)
    first = [(tmp_path / name / "train-000000.tar").read_bytes() for name in "abc"]
    assert first[0] == first[1] != first[2]
    assert pixels(open_folder(tmp_path / "a", CONFIG)) == pixels(table)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_of_shards_depends_on_seed_and_epoch_alone(packed, workers):
    table = open_folder(packed, CONFIG)
    transform = training_transform(CONFIG, (0.5,) * 3, (0.5,) * 3)

    def epoch(number, workers=0, rank=0, processes=1):
        dataset = ImageDataset(table, table.indices("train"), transform, seed=3)
        batches = ImageBatches(dataset, 4, seed=3, workers=workers)
        return [
            (batch.inputs, batch.labels) for batch in batches.epoch(number, share=Share(rank=rank, processes=processes))
        ]

    first, again, other = epoch(0), epoch(0, workers), epoch(1)
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert sorted(torch.cat([labels for _, labels in first]).tolist()) == [0] * 4 + [1] * 5 + [2] * 6
    assert not all(torch.equal(a[1], b[1]) for a, b in zip(first, other, strict=True))
    # Two processes have the two halves of every batch.
    halves = zip(*(epoch(0, rank=rank, processes=2) for rank in range(2)), strict=True)
    for (images, _), ((left, _), (right, _)) in zip(first, halves, strict=True):
        assert torch.equal(images, torch.cat([left, right]))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_our_shards_and_we_read_its(packed, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    table = open_folder(packed, CONFIG)
    samples = list(webdataset.WebDataset(str(packed / "train-000000.tar"), shardshuffle=False, empty_check=False))
    assert len(samples) == 15
    names = (packed / "classes.txt").read_text(encoding="utf-8").split("\n")
    assert sorted({names[int(sample["cls"])] for sample in samples}) == list(table.classes)
    theirs = tmp_path / "theirs"
    (theirs / "train").mkdir(parents=True)
    with webdataset.TarWriter(str(theirs / "train" / "000000.tar")) as writer:
        for number, i in enumerate(table.indices("train")):
            sample = {"__key__": f"some/key_{number:03d}", "png": table.load(i), "cls": int(table.labels_N[i])}
            writer.write({**sample, "json": {"note": "passed over"}})
    found = open_folder(theirs, CONFIG)
    assert found.classes == ("0", "1", "2") and set(found.parts) == {"train"}
    assert sorted(text for *_, text in pixels(found)) == sorted(
        text for part, _, text in pixels(table) if part == "train"
    )


def test_the_index_is_made_used_and_renewed(packed, caplog):
    expected = open_folder(packed, CONFIG)
    for name in (INDEX, PLACES):
        (packed / name).unlink()
    assert open_folder(packed, CONFIG).paths == expected.paths
    assert (packed / INDEX).is_file()
    content = (packed / PLACES).read_bytes()
    for damaged in (b"damaged", b"", content[:-30], content[: len(content) // 2], content.replace(b"PK", b"QK", 1)):
        (packed / PLACES).write_bytes(damaged)
        assert open_folder(packed, CONFIG).paths == expected.paths
    (packed / INDEX).write_text("{}")
    assert open_folder(packed, CONFIG).paths == expected.paths
    # One more shard.
    with tarfile.open(packed / "train-000001.tar", "w") as archive:
        for name, content in (("a.jpg", b"no picture"), ("a.cls", b"1")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with caplog.at_level(logging.WARNING):
        table = open_folder(packed, CONFIG)
    assert table.paths == expected.paths
    assert table.skipped[0][0].endswith("/a.jpg")


def test_shards_that_cannot_be_used(packed, tmp_path):
    (packed / "train-000000.tar").rename(tmp_path / "kept.tar")
    with pytest.raises(ChiqpmError, match=r"lacks 1 of the 3 shards in shards\.json: train-000000\.tar"):
        open_folder(packed, CONFIG)
    content = (tmp_path / "kept.tar").read_bytes()
    (packed / "train-000000.tar").write_bytes(content[: len(content) // 2])
    with pytest.raises(ChiqpmError, match=r"train-000000.tar is damaged or no tar file"):
        open_folder(packed, CONFIG)
    (packed / "train-000000.tar").write_bytes(content)
    (packed / "classes.txt").write_text("a\nb\n")
    with pytest.raises(ChiqpmError, match=r"have the class '2', but classes\.txt names 2 others"):
        open_folder(packed, CONFIG)
    (packed / "classes.txt").write_text("a\nb\na\n")
    with pytest.raises(ChiqpmError, match="names a class twice"):
        open_folder(packed, CONFIG)
    (packed / "classes.txt").unlink()
    (packed / "train-000000.tar").rename(packed / "more.tar")
    (packed / INDEX).unlink()
    with pytest.raises(ChiqpmError, match=r"say no part of the split: more\.tar"):
        open_folder(packed, CONFIG)
    with pytest.raises(ChiqpmError, match="has shards already"):
        write_shards(open_folder(tmp_path / "own", CONFIG), packed)
    with pytest.raises(ChiqpmError, match="1 or more; received 0"):
        write_shards(open_folder(tmp_path / "own", CONFIG), tmp_path / "new", shard_megabytes=0)


def test_a_shard_that_is_cut_off_later(packed):
    table = open_folder(packed, CONFIG)
    path = packed / "test-000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ChiqpmError, match="its shard is cut off"):
        for i in table.indices("test"):
            table.load(int(i))


def test_pictures_without_a_class(tmp_path):
    with tarfile.open(tmp_path / "train-0.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
        archive.addfile(tarfile.TarInfo("a.txt"))
    with pytest.raises(ChiqpmError, match=r"1 pictures in .* have no class: a.jpg"):
        open_folder(tmp_path, CONFIG)


def test_a_split_of_shards_is_read_again(packed, tmp_path):
    table = split(open_folder(packed, DataConfig()), DataConfig())
    write_split(table, tmp_path / "split.csv")
    again = read_split(tmp_path / "split.csv", packed)
    assert again.paths == table.paths
    assert again.load(3).tobytes() == table.load(3).tobytes()
    assert table.stamp(0) == again.stamp(0)


def test_cut_pictures_are_packed_as_they_are_used(tmp_path, make_cub):
    make_cub(tmp_path / "birds")
    table = open_folder(tmp_path / "birds", replace(CONFIG, crop_to_box=True))
    write_shards(split(table, CONFIG), tmp_path / "shards")
    assert pixels(open_folder(tmp_path / "shards", CONFIG)) == pixels(split(table, CONFIG))
