"""Published data sets, small but in their true formats: what is read, and what is said of a folder that isn't whole."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from chiqpm.config import DataConfig
from chiqpm.data import open_folder, split
from chiqpm.data.recognise import PUBLISHED, recognise
from chiqpm.errors import ChiqpmError

CONFIG = DataConfig(find_duplicates=False)


def counts(table, part):
    return dict(zip(table.classes, table.class_counts(part).tolist(), strict=True))


def refused(root, config=CONFIG):
    with pytest.raises(ChiqpmError) as error:
        open_folder(root, config)
    return str(error.value)


def test_cub(tmp_path, make_cub, caplog):
    folder = make_cub(tmp_path)
    with caplog.at_level(logging.INFO):
        table = open_folder(tmp_path, CONFIG)
    assert recognise(tmp_path) == recognise(folder) == table.dataset == "cub"
    assert table.published
    assert counts(table, "train") == {
        "001.Black_footed_Albatross": 4,
        "002.Laysan_Albatross": 3,
        "003.Sooty_Albatross": 3,
    }
    assert table.class_counts("test").tolist() == [4, 4, 3]
    assert (
        "found 3 classes, 10 train, 11 test images; published are 200 classes, 5,994 train, 5,794 test" in caplog.text
    )
    assert open_folder(folder, CONFIG).paths == tuple(path.removeprefix("CUB_200_2011/") for path in table.paths)
    assert table.load(0).size == (60, 48)


@pytest.mark.parametrize(
    ("folder", "missing"),
    [("CUB_200_2011", "image_class_labels.txt"), ("fgvc-aircraft-2013b", "images_variant_trainval.txt")],
)
def test_an_archive_that_was_unpacked_in_part_is_known_by_its_folder(tmp_path, folder, missing):
    (tmp_path / folder / "images").mkdir(parents=True)
    for root in (tmp_path, tmp_path / folder):
        text = refused(root)
        assert missing in text and "To download: page '" in text


def test_cub_cut_to_boxes(tmp_path, make_cub):
    make_cub(tmp_path)
    table = open_folder(tmp_path, DataConfig(crop_to_box=True))
    whole = open_folder(tmp_path, CONFIG)
    # x, y, width, height = 11, 5.5, 30, 25.25 are rounded outwards.
    assert table.load(0).size == (30, 26)
    assert np.array_equal(np.asarray(table.load(0)), np.asarray(whole.load(0))[5:31, 11:41])
    assert table.fingerprints is not None


def test_cub_as_published(tmp_path, caplog):
    """All 11,788 lines of the true lists' sizes are called as published; no picture is decoded."""
    folder = tmp_path / "CUB_200_2011"
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, 200, 11788))
    parts = np.zeros(11788, dtype=int)
    parts[rng.permutation(11788)[:5994]] = 1
    for label in range(200):
        (folder / "images" / f"{label + 1:03d}.Bird_{label}").mkdir(parents=True)
    names = [f"{label + 1:03d}.Bird_{label}/{i}.jpg" for i, label in enumerate(labels)]
    for name in names:
        (folder / "images" / name).touch()
    for file, values in (("images", names), ("image_class_labels", labels + 1), ("train_test_split", parts)):
        (folder / f"{file}.txt").write_text("".join(f"{i} {value}\n" for i, value in enumerate(values, 1)))
    (folder / "classes.txt").write_text("".join(f"{i} {i:03d}.Bird_{i - 1}\n" for i in range(1, 201)))
    with caplog.at_level(logging.INFO):
        table = open_folder(tmp_path, DataConfig(check_images=False))
    assert "CUB-200-2011: 200 classes, 5,994 train, 5,794 test images, as published" in caplog.text
    divided = split(table, DataConfig())
    assert (divided.class_counts("calibration") >= 1).all()
    assert len(divided.indices("calibration")) == round(0.15 * 5794)
    assert len(divided.indices("train")) == 5994


@pytest.mark.parametrize("name", ["images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"])
def test_each_missing_list_of_cub_is_named(tmp_path, make_cub, name):
    folder = make_cub(tmp_path)
    (folder / name).unlink()
    message = refused(tmp_path)
    assert f"isn't a whole CUB-200-2011: missing in {folder}: {name}; found: " in message
    assert "CaltechDATA" in message and "CUB_200_2011.tgz" in message


def test_cub_in_parts(tmp_path, make_cub):
    folder = make_cub(tmp_path)
    shutil.rmtree(folder / "images" / "002.Laysan_Albatross")
    assert "7 of the 21 pictures in images.txt are missing: CUB_200_2011/images/002.Laysan" in refused(tmp_path)
    shutil.rmtree(folder / "images")
    assert "missing in" in refused(tmp_path) and "images" in refused(tmp_path)
    for file in folder.glob("*.txt"):
        file.unlink()
    assert "images.txt, image_class_labels.txt, train_test_split.txt, classes.txt" in refused(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("images.txt", ("5 001", "x 001"), "images.txt has the line 'x 001"),
        ("images.txt", ("5 001", "4 001"), "each line must be a new number"),
        ("train_test_split.txt", ("21 1", "21 2"), "has the values 2; 1 means training"),
        (
            "train_test_split.txt",
            ("\n9 0", ""),
            "train_test_split.txt has no line for 1 of the numbers in images.txt, first 9",
        ),
        ("images.txt", ("\n9 002", "\n99 002"), "no line for 1 of the numbers in images.txt, first 99"),
        ("image_class_labels.txt", ("7 1", "7 8"), "has the classes 8, which classes.txt doesn't name"),
        ("bounding_boxes.txt", ("1 11.0", "1 a"), "expected 4 numbers"),
        ("bounding_boxes.txt", ("30.0 25.25", "0 25.25"), "an empty box"),
    ],
)
def test_contradicting_lists_of_cub(tmp_path, make_cub, file, change, message):
    folder, (old, new) = make_cub(tmp_path), change
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    assert message in refused(tmp_path, DataConfig(crop_to_box=True))


def test_lists_that_are_no_text(tmp_path, make_cub):
    folder = make_cub(tmp_path)
    (folder / "classes.txt").write_bytes(b"1 \xff\xfe\n")
    assert "classes.txt isn't UTF-8 text" in refused(tmp_path)
    (folder / "classes.txt").write_text("\n\n")
    assert "classes.txt is empty" in refused(tmp_path)


def test_corrupted_pictures_of_a_published_data_set(tmp_path, make_cub):
    folder = make_cub(tmp_path)
    file = next(folder.glob("images/001*/*0000*.jpg"))
    file.write_bytes(file.read_bytes()[:200])
    table = open_folder(tmp_path, CONFIG)
    assert len(table) == 20 and len(table.skipped) == 1
    assert file.name in table.skipped[0][0]
    assert "1 of 21 images" in refused(tmp_path, DataConfig(bad_images="refuse"))
    # Without looking, nothing is noticed now.
    assert len(open_folder(tmp_path, DataConfig(check_images=False))) == 21


def test_a_box_outside_its_picture(tmp_path, make_cub):
    folder = make_cub(tmp_path)
    text = (folder / "bounding_boxes.txt").read_text()
    (folder / "bounding_boxes.txt").write_text(text.replace("1 11.0", "1 400.0", 1))
    table = open_folder(tmp_path, DataConfig(crop_to_box=True))
    assert table.skipped[0][1] == "its box (400, 5, 430, 31) lies outside the 60×48 pixels"


def test_calibration_comes_from_the_test_part_of_a_published_data_set(tmp_path, make_cub):
    make_cub(tmp_path)
    table = open_folder(tmp_path, CONFIG)
    trained = {table.paths[i] for i in table.indices("train")}
    default = split(table, DataConfig(calibration_fraction=0.5))
    assert default.class_counts("train").tolist() == [4, 3, 3]
    assert default.class_counts("calibration").tolist() == [2, 2, 2]
    assert default.class_counts("test").tolist() == [2, 2, 1]
    assert not trained & {default.paths[i] for i in default.indices("calibration")}
    other = split(table, DataConfig(calibration_fraction=0.5, calibration_from="train"))
    assert other.class_counts("test").tolist() == [4, 4, 3]
    assert other.class_counts("calibration").sum() == 5
    again = split(table, DataConfig(calibration_fraction=0.5, split_seed=1))
    assert again.parts.tolist() != default.parts.tolist()
    assert (split(table, DataConfig(calibration_fraction=0)).parts == table.parts).all()


def test_calibration_can_be_taken_from_the_test_part_of_a_folder(tmp_path, draw):
    for part in ("train", "test"):
        for name in "ab":
            for i in range(6):
                draw(tmp_path / part / name / f"{i}.png", i)
    table = open_folder(tmp_path, CONFIG)
    assert split(table, DataConfig()).class_counts("test").tolist() == [6, 6]
    assert split(table, DataConfig(calibration_from="test")).class_counts("train").tolist() == [6, 6]
    with pytest.raises(ChiqpmError, match="received 'val'"):
        split(table, DataConfig(calibration_from="val"))
    with pytest.raises(ChiqpmError, match="have no test part"):
        split(open_folder(tmp_path / "train", CONFIG), DataConfig(calibration_from="test"))


def test_too_few_test_images_to_calibrate(tmp_path, make_cub):
    folder = make_cub(tmp_path)
    text = (folder / "train_test_split.txt").read_text()
    kept = [line if int(line.split()[0]) in (1, 9, 16) else line[:-1] + "1" for line in text.splitlines()]
    (folder / "train_test_split.txt").write_text("\n".join(kept))
    with pytest.raises(ChiqpmError, match=r"too few images for the parts test, calibration: 001.*\(1\)"):
        split(open_folder(tmp_path, CONFIG), DataConfig())


def test_travelingbirds(tmp_path, make_travelingbirds):
    fixed = make_travelingbirds(tmp_path)
    table = open_folder(tmp_path, CONFIG)
    assert table.dataset == "travelingbirds"
    assert open_folder(fixed, CONFIG).class_counts().tolist() == table.class_counts().tolist() == [8, 7, 6]
    # Every bird lies in both folders; each is used once, in its own part.
    birds = [path.rsplit("/", 1)[1] for path in table.paths]
    assert len(set(birds)) == len(birds) == 21
    assert all(f"CUB_fixed/{part}/" in path for path, part in zip(table.paths, table.parts, strict=True))
    assert open_folder(tmp_path, DataConfig(crop_to_box=True)).load(0).size == (30, 26)


def test_travelingbirds_without_the_lists_that_divide_them(tmp_path, make_travelingbirds):
    fixed = make_travelingbirds(tmp_path)
    shutil.rmtree(tmp_path / "CUB_200_2011")
    for root in (tmp_path, fixed):
        message = refused(root)
        assert "images.txt and train_test_split.txt of CUB-200-2011 are missing" in message
        assert "yewsiang/ConceptBottleneck" in message
    shutil.rmtree(fixed / "test")
    assert f"missing in {fixed}: test; found: train" in refused(tmp_path)


def test_cars_with_matlab_files(tmp_path, make_cars):
    table = open_folder(make_cars(tmp_path), CONFIG)
    assert table.dataset == "cars"
    assert table.classes[2] == "Ram C/V Cargo Van Minivan 2012"
    assert table.class_counts("train").tolist() == [4, 3, 2]
    assert table.class_counts("test").tolist() == [3, 2, 4]
    # Corners count from 1 and include both ends.
    assert open_folder(tmp_path, DataConfig(crop_to_box=True)).load(0).size == (36, 28)


def test_cars_in_class_folders(tmp_path, make_cars):
    table = open_folder(make_cars(tmp_path, folders=True), CONFIG)
    assert table.dataset == "cars"
    assert table.classes[2] == "Ram C/V Cargo Van Minivan 2012"
    assert table.class_counts("train").tolist() == [4, 3, 2]
    assert "anno_train.csv, which has the boxes" in refused(tmp_path, DataConfig(crop_to_box=True))
    # Unpacked on a system that takes the slash for a folder.
    for part in ("train", "test"):
        folder = tmp_path / "car_data" / part / "Ram C-V Cargo Van Minivan 2012"
        folder.rename(tmp_path / "moved")
        (folder.parent / "Ram C").mkdir()
        (tmp_path / "moved").rename(folder.parent / "Ram C" / "V Cargo Van Minivan 2012")
    assert open_folder(tmp_path, CONFIG).classes == table.classes
    shutil.rmtree(tmp_path / "car_data" / "test" / "Acura RL Sedan 2012")
    assert "lacks pictures of 1 classes: Acura RL Sedan 2012" in refused(tmp_path)


@pytest.mark.parametrize("inside", [False, True])
def test_boxes_of_cars_in_class_folders(tmp_path, make_cars, inside):
    make_cars(tmp_path, folders=True)
    place = tmp_path / "car_data" if inside else tmp_path
    for part in ("train", "test"):
        # Without a header; corners count from 1 and include both ends.
        lines = [f"{i:05d}.jpg,{5 + i},3,40,30,{i % 3 + 1}" for i in range(9)]
        (place / f"anno_{part}.csv").write_text("\n".join(lines) + "\n")
    config = DataConfig(crop_to_box=True)
    table = open_folder(tmp_path, config)
    whole = open_folder(tmp_path, CONFIG)
    assert table.paths == whole.paths and table.classes == whole.classes
    for row, path in enumerate(table.paths):
        number = int(path[-9:-4])
        assert table.load(row).size == (36 - number, 28)
        left, top = 4 + number, 2
        assert table.load(row).tobytes() == whole.load(row).crop((left, top, 40, 30)).tobytes()
    file = place / "anno_test.csv"
    file.write_text("\n".join(lines[:-2]))
    assert "anno_test.csv has no box for 2 pictures: 00007.jpg, 00008.jpg" in refused(tmp_path, config)
    file.write_text("\n".join(["file,x1,y1,x2,y2,class", *lines]))
    assert "isn't a file, four edges of its box and a class" in refused(tmp_path, config)


@pytest.mark.parametrize(
    "name",
    [
        "devkit/cars_meta.mat",
        "devkit/cars_train_annos.mat",
        "cars_test_annos_withlabels.mat",
        "cars_train",
        "cars_test",
    ],
)
def test_each_missing_file_of_cars_is_named(tmp_path, make_cars, name):
    make_cars(tmp_path)
    shutil.move(tmp_path / name, tmp_path / "elsewhere")
    message = refused(tmp_path)
    assert name.rsplit("/", maxsplit=1)[-1] in message.split("To download")[0]
    assert "Jonathan Krause" in message


def test_damaged_files_of_cars(tmp_path, make_cars):
    scipy_io = pytest.importorskip("scipy.io")
    make_cars(tmp_path)
    (tmp_path / "cars_train" / "00003.jpg").unlink()
    assert "1 of the 9 pictures in cars_train_annos.mat are missing: cars_train/00003.jpg" in refused(tmp_path)
    scipy_io.savemat(tmp_path / "devkit" / "cars_train_annos.mat", {"other": 1})
    assert "has no variable annotations (it has other)" in refused(tmp_path)
    scipy_io.savemat(tmp_path / "devkit" / "cars_train_annos.mat", {"annotations": np.array([(1,)], [("x", object)])})
    assert "lacks the fields fname, class, bbox_x1" in refused(tmp_path)
    (tmp_path / "devkit" / "cars_train_annos.mat").write_bytes(b"no MATLAB file")
    assert "can't be read as a MATLAB file" in refused(tmp_path)


def test_aircraft(tmp_path, make_aircraft):
    make_aircraft(tmp_path)
    table = open_folder(tmp_path, CONFIG)
    assert table.dataset == "aircraft"
    assert table.classes == ("707-320", "DC-3", "F/A-18")
    assert table.class_counts("train").tolist() == [4, 3, 2]
    assert table.class_counts("test").tolist() == [2, 3, 4]
    picture = table.load(0)
    assert picture.size == (70, 40)
    assert np.asarray(picture)[-4:].min(axis=2).max() < 100, "the white banner is cut off"
    for folder in (tmp_path / "fgvc-aircraft-2013b", tmp_path / "fgvc-aircraft-2013b" / "data"):
        assert len(open_folder(folder, CONFIG)) == len(table)
    families = open_folder(tmp_path, DataConfig(aircraft_classes="family"))
    assert families.classes == ("Boeing 707", "F/A-18")
    assert open_folder(tmp_path, DataConfig(crop_to_box=True)).load(0).size == (40, 30)


@pytest.mark.parametrize(
    "name", ["images_variant_trainval.txt", "images_variant_test.txt", "variants.txt", "images_box.txt", "images"]
)
def test_each_missing_file_of_aircraft_is_named(tmp_path, make_aircraft, name):
    make_aircraft(tmp_path)
    data = tmp_path / "fgvc-aircraft-2013b" / "data"
    shutil.move(data / name, tmp_path / "elsewhere")
    message = refused(tmp_path, DataConfig(crop_to_box=True))
    assert f"missing in {data}: {name}" in message
    assert "Visual Geometry Group" in message
    assert "manufacturers.txt" in refused(tmp_path, DataConfig(aircraft_classes="manufacturer"))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("images_variant_test.txt", ("DC-3", "DC-4"), "whose class isn't in variants.txt"),
        ("images_variant_test.txt", ("0001000 ", "0000000 "), "name the picture 0000000 twice"),
        ("images_variant_test.txt", ("0001000 ", "0001999 "), "has no box for the picture 0001999"),
        ("images_box.txt", ("11 6", "11"), "lines without four whole numbers"),
    ],
)
def test_contradicting_lists_of_aircraft(tmp_path, make_aircraft, file, change, message):
    old, new = change
    make_aircraft(tmp_path)
    path = tmp_path / "fgvc-aircraft-2013b" / "data" / file
    path.write_text(path.read_text().replace(old, new, 1))
    assert message in refused(tmp_path, DataConfig(crop_to_box=True))


@pytest.mark.parametrize("form", ["folders", "kaggle", "devkit"])
def test_imagenet(tmp_path, make_imagenet, form):
    table = open_folder(make_imagenet(tmp_path, form), CONFIG)
    assert table.dataset == "imagenet"
    assert table.class_counts("train").tolist() == [3, 4, 5, 6]
    assert table.class_counts("test").tolist() == [2, 2, 3, 3]
    if form == "folders":
        assert table.classes == ("n01440764", "n02012849", "n03126707", "n03710637")
    else:
        assert table.classes == ("tench", "crane (n02012849)", "crane (n03126707)", "maillot")
    label_of = {path.rsplit("/", 1)[1]: label for path, label in zip(table.paths, table.labels_N, strict=True)}
    if form == "kaggle":
        for place in ("ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"):
            inner = open_folder(tmp_path / place, CONFIG)
            assert inner.classes == table.classes and inner.labels_N.tolist() == table.labels_N.tolist()
    truth = [label_of[f"ILSVRC2012_val_{i:08d}.JPEG"] for i in range(1, 11)]
    assert truth == [0, 1, 2, 3, 3, 2, 1, 0, 3, 2]
    divided = split(table, DataConfig(calibration_fraction=0.4))
    assert divided.class_counts("calibration").tolist() == [1, 1, 1, 1]
    assert divided.class_counts("train").tolist() == [3, 4, 5, 6]


def test_imagenet_in_parts(tmp_path, make_imagenet):
    root = make_imagenet(tmp_path / "kaggle", "kaggle")
    (root / "LOC_val_solution.csv").unlink()
    message = refused(root)
    assert "aren't in class folders, and neither LOC_val_solution.csv nor" in message
    assert "Kaggle" in message and "ILSVRC2012_devkit_t12.tar.gz" in message
    (root / "LOC_val_solution.csv").write_text("ImageId,Other\na,b\n")
    assert "must have the columns ImageId and PredictionString" in refused(root)
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\na,b\n")
    assert "10 of 10 validation images have no known class: ILSVRC2012_val_00000001.JPEG" in refused(root)
    (root / "LOC_synset_mapping.txt").write_text("n01440764 tench\n")
    assert "doesn't name 3 classes: n02012849" in refused(root)
    root = make_imagenet(tmp_path / "folders")
    shutil.rmtree(root / "val" / "n02012849")
    assert "val has no picture of 1 classes: n02012849" in refused(root)
    (root / "val" / "n99999999").mkdir()
    assert "has 1 classes that train lacks: n99999999" in refused(root)
    shutil.rmtree(root / "val")
    assert f"missing in {root}: val; found: train" in refused(root)
    (root / "val").mkdir()
    assert "there is no picture in" in refused(root)


def test_wrong_devkit(tmp_path, make_imagenet):
    root = make_imagenet(tmp_path, "devkit")
    truth = root / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("1\n2\n77\nx\n")
    assert "has the lines 77, x, which meta.mat doesn't explain" in refused(root)
    truth.unlink()
    assert "ILSVRC2012_validation_ground_truth.txt" in refused(root)


@pytest.mark.parametrize("asked", sorted(PUBLISHED))
def test_every_data_set_can_be_asked_for_by_name(tmp_path, draw, asked):
    for name in "ab":
        draw(tmp_path / name / "1.png", 1)
    message = refused(tmp_path, DataConfig(dataset=asked))
    assert f"isn't a whole {PUBLISHED[asked].title}" in message
    assert PUBLISHED[asked].source in message
    assert "http" not in message


def test_another_data_set_than_the_one_asked_for(tmp_path, make_cars, make_cub):
    make_cars(tmp_path / "cars")
    message = refused(tmp_path / "cars", DataConfig(dataset="cub"))
    assert "holds Stanford Cars, and CUB-200-2011 was asked for" in message
    assert "--dataset cars" in message
    make_cub(tmp_path / "birds")
    assert "holds CUB-200-2011, and ImageNet-1K was asked for" in refused(
        tmp_path / "birds", DataConfig(dataset="imagenet")
    )


def test_folders_stay_folders(tmp_path, make_cub, draw, caplog):
    for part in ("train", "val", "test"):
        for name in ("jay", "owl 2012x"):
            draw(tmp_path / "own" / part / name / "1.png", 1)
    table = open_folder(tmp_path / "own", CONFIG)
    assert table.dataset == "folder" and not table.published
    assert "comes without boxes" in refused(tmp_path / "own", DataConfig(crop_to_box=True))
    folder = make_cub(tmp_path)
    as_folder = open_folder(folder / "images", DataConfig(dataset="folder"))
    assert as_folder.parts is None and as_folder.class_counts().tolist() == [8, 7, 6]
    assert not caplog.text
    open_folder(folder / "images", CONFIG)
    said = f"images lies in the folder of CUB-200-2011, whose published division and classes go unused; give {folder}"
    assert said in caplog.text
    with pytest.raises(ChiqpmError, match=r"unknown data set 'cifar'; choose one of auto, folder, cub"):
        open_folder(folder, DataConfig(dataset="cifar"))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        open_folder(tmp_path / "none", DataConfig(dataset="cub"))


def test_archives_beside_the_unpacked_folders_are_no_shards(tmp_path, make_imagenet):
    root = make_imagenet(tmp_path)
    (root / "ILSVRC2012_img_val.tar").write_bytes(b"")
    (root / "train" / "n01440764.tar").write_bytes(b"")
    assert recognise(root) == "imagenet"
    Image.new("RGB", (4, 4)).save(root / "train" / "n01440764" / "x.png")
    assert len(open_folder(root, CONFIG)) == 29
