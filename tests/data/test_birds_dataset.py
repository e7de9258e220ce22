from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chiqpm.data.birds import (
    SPLITS,
    BirdsConfig,
    SyntheticBirds,
    is_birds,
    locate,
    open_birds,
    workers,
    write_birds,
)
from chiqpm.errors import ChiqpmError

CONFIG = BirdsConfig(families=2, genera=1, siblings=2, image_size=48)
COUNTS = {"train": 3, "calibration": 1, "test": 2}


def digest(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "synthetic birds"
    write_birds(out, config=CONFIG, **COUNTS)
    return out


def test_data_set_is_balanced_and_named_by_class() -> None:
    birds = SyntheticBirds(CONFIG, "train", 3)
    assert len(birds) == len(birds.names) == 12
    assert birds.labels_N.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    for name, label in zip(birds.names, birds.labels_N, strict=True):
        assert name.split("/")[1] == birds.class_names[label]
    assert birds.species(4) == birds.taxonomy.species[1]


def test_no_two_images_share_a_seed_and_more_images_keep_the_first_ones() -> None:
    seeds = [
        birds.image_seed(index)
        for config in (CONFIG, BirdsConfig(families=2, genera=1, image_size=48, seed=1))
        for split in SPLITS
        for birds in (SyntheticBirds(config, split, 3),)
        for index in range(len(birds))
    ]
    assert len(set(seeds)) == len(seeds)
    few, many = SyntheticBirds(CONFIG, "test", 2), SyntheticBirds(CONFIG, "test", 5)
    assert {few.names[i]: few.image_seed(i) for i in range(8)}.items() <= {
        many.names[i]: many.image_seed(i) for i in range(20)
    }.items()


def test_changes_and_removal_reach_the_picture() -> None:
    birds = SyntheticBirds(CONFIG, "test", 1)
    first, second, attribute = birds.taxonomy.sibling_pairs()[0]
    sibling = birds.taxonomy.species[second]
    as_sibling = np.asarray(birds.render(first, {attribute: sibling[attribute]}).image)
    own = np.asarray(birds.render(first).image)
    assert (own != as_sibling).any()
    assert not birds.render(first, remove="beak").part_masks["beak"].any()
    assert birds.render(first, masks=False).part_masks == {}


def test_data_set_refuses_wrong_requests() -> None:
    with pytest.raises(ChiqpmError, match="splits: train"):
        SyntheticBirds(CONFIG, "valid", 1)  # type: ignore[arg-type]
    for count in (0, -1, 2.0, True, 2**21):
        with pytest.raises(ChiqpmError, match="images a class"):
            SyntheticBirds(CONFIG, "train", count)  # type: ignore[arg-type]
    birds = SyntheticBirds(CONFIG, "train", 1)
    for call in (birds.image_seed, birds.species, birds.render):
        with pytest.raises(ChiqpmError, match="give 0 to 3"):
            call(4)
    with pytest.raises(ChiqpmError, match="none of the 4 train images"):
        birds.index_of("train/nobody/nobody_0000.jpg")


def test_folder_has_pictures_attributes_manifest_and_readme(folder: Path) -> None:
    datasets = open_birds(folder)
    assert is_birds(folder)
    assert [len(birds) for birds in datasets] == [12, 4, 8]
    assert {path.name for path in folder.iterdir()} == {*SPLITS, "attributes.csv", "birds.json", "README.txt"}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}
    assert found == {name for birds in datasets for name in birds.names}
    with (folder / "attributes.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    taxonomy = datasets[0].taxonomy
    assert header == ["class", *taxonomy.attribute_value_names]
    assert [row[0] for row in rows] == list(taxonomy.class_names)
    assert (np.array([row[1:] for row in rows], dtype=float) == taxonomy.attributes_CA).all()
    readme = (folder / "README.txt").read_text(encoding="utf-8")
    assert "synthetic" in readme.lower()
    assert "4 species" in readme
    manifest = json.loads((folder / "birds.json").read_text(encoding="utf-8"))
    assert manifest["kind"] == "synthetic-birds"
    for birds in datasets:
        for index in range(len(birds)):
            label, number = divmod(index, birds.per_class)
            assert birds.image_seed(index) == manifest["split_seeds"][birds.split] + label * 2**20 + number


def test_pictures_on_disk_can_be_rendered_again(folder: Path, tmp_path: Path) -> None:
    datasets = open_birds(folder)
    for birds in datasets:
        for index in (0, len(birds) - 1):
            path = folder / birds.names[index]
            birds.render(index, masks=False).image.save(tmp_path / "again.jpg", quality=95, subsampling=0)
            assert path.read_bytes() == (tmp_path / "again.jpg").read_bytes()
            reference = locate(datasets, path)
            assert (reference.split, reference.index) == (birds.split, index)
            assert reference.label == birds.labels_N[index]
            assert reference.image_seed == birds.image_seed(index)
            with Image.open(path) as image:
                assert image.size == (48, 48)


@pytest.mark.parametrize("path", ["a.jpg", "", "train/x/x_0000.jpg", "other/finch/finch_0000.jpg"])
def test_paths_from_elsewhere_are_refused(folder: Path, path: str) -> None:
    with pytest.raises(ChiqpmError, match="they are named like"):
        locate(open_birds(folder), path)


def test_writing_again_keeps_what_is_there(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    steps: list[tuple[int, int]] = []
    write_birds(folder, config=CONFIG, **COUNTS, progress=lambda done, total: steps.append((done, total)))
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    assert steps == [(24, 24)]


def test_an_interrupted_write_is_completed(folder: Path, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done:
            raise StopError

    with pytest.raises(StopError):
        write_birds(tmp_path, config=CONFIG, **COUNTS, progress=stop)
    assert not is_birds(tmp_path)
    with pytest.raises(ChiqpmError, match="no complete folder"):
        open_birds(tmp_path)
    with pytest.raises(ChiqpmError, match="holds other synthetic birds"):
        write_birds(tmp_path, config=CONFIG, train=4)
    for path in list(tmp_path.rglob("*.jpg"))[::2]:
        path.unlink()
    write_birds(tmp_path, config=CONFIG, **COUNTS)
    assert digest(tmp_path) == digest(folder)


def test_several_processes_write_the_same_as_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_FEW", 1)
    steps: list[int] = []
    write_birds(tmp_path, config=CONFIG, **COUNTS, processes=2, progress=lambda done, total: steps.append(done))
    assert digest(tmp_path) == digest(folder)
    assert steps == sorted(steps)
    assert steps[-1] == 24


@pytest.mark.parametrize("executable", ["/does/not/exist", "false"])
def test_without_working_processes_one_writes_everything(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(workers, "_FEW", 1)
    monkeypatch.setattr(workers.sys, "executable", executable)
    write_birds(tmp_path, config=CONFIG, **COUNTS, processes=2)
    assert digest(tmp_path) == digest(folder)


def test_a_worker_renders_its_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    birds = SyntheticBirds(CONFIG, "train", 3)
    for name in birds.class_names:
        (tmp_path / "train" / name).mkdir(parents=True)
    config = {"families": 2, "genera": 1, "siblings": 2, "image_size": 48, "seed": 0}
    task = {"folder": str(tmp_path), "config": config, "counts": {"train": 3}, "share": 1, "shares": 2}
    workers.work(json.dumps(task))
    assert capsys.readouterr().out == "6\n"
    assert {path.name for path in tmp_path.rglob("*.jpg")} == {Path(name).name for name in birds.names[1::2]}


def test_other_contents_are_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ChiqpmError, match="not empty"):
        write_birds(tmp_path, config=CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ChiqpmError, match="is a file"):
        write_birds(tmp_path / "thesis.txt", config=CONFIG)
    with pytest.raises(ChiqpmError, match="no complete folder"):
        open_birds(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no folder"):
        open_birds(tmp_path / "nowhere")
    assert not is_birds(tmp_path / "nowhere")


def test_other_birds_versions_and_damage_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ChiqpmError, match="holds other synthetic birds"):
        write_birds(folder, config=CONFIG, train=9)
    manifest = json.loads((folder / "birds.json").read_text(encoding="utf-8"))
    for change, words in (
        ({"version": 0}, "drawing version 0"),
        ({"config": {"families": 99}}, "damaged"),
        ({"config": {"wings": 2}}, "damaged"),
        ({"counts": {}}, "damaged"),
        ({"counts": None}, "damaged"),
        ({"kind": "fish"}, "no complete folder"),
    ):
        (tmp_path / "birds.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(ChiqpmError, match=words):
            open_birds(tmp_path)
    for text in ("[1]", "{", ""):
        (tmp_path / "birds.json").write_text(text)
        assert not is_birds(tmp_path)


@pytest.mark.parametrize(
    "options", [{"train": 0}, {"calibration": -1}, {"test": 1.5}, {"processes": 0}, {"processes": True}]
)
def test_wrong_numbers_write_nothing(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ChiqpmError, match="give a whole number"):
        write_birds(tmp_path / "new", config=CONFIG, **options)
    assert not (tmp_path / "new").exists()
