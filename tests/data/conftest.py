"""Small data sets written in the true formats of the published ones, uneven classes included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CUB_CLASSES = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")


def picture(path: Path, number: int, size: tuple[int, int] = (60, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    grid = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.NEAREST)
    grid.save(path)


def write(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.fixture
def draw():
    return picture


@pytest.fixture
def lines():
    return write


@pytest.fixture(scope="session")
def make_cub():
    """CUB_200_2011 with 3 classes of 8, 7 and 6 images, about half of each for training."""

    def make(root: Path) -> Path:
        folder = root / "CUB_200_2011"
        paths, labels, parts = [], [], []
        for label, name in enumerate(CUB_CLASSES, 1):
            for i in range(9 - label):
                paths.append(f"{name}/{name[4:]}_{i:04d}_{label}é.jpg")
                labels.append(label)
                parts.append(i % 2)
        ids = range(1, len(paths) + 1)
        for number, path in zip(ids, paths, strict=True):
            picture(folder / "images" / path, number)
        write(folder / "images.txt", (f"{i} {path}" for i, path in zip(ids, paths, strict=True)))
        write(folder / "image_class_labels.txt", (f"{i} {label}" for i, label in zip(ids, labels, strict=True)))
        write(folder / "train_test_split.txt", (f"{i} {part}" for i, part in zip(ids, parts, strict=True)))
        write(folder / "classes.txt", (f"{i} {name}" for i, name in enumerate(CUB_CLASSES, 1)))
        write(folder / "bounding_boxes.txt", (f"{i} {10 + i % 3}.0 5.5 30.0 25.25" for i in ids))
        write(folder / "parts" / "parts.txt", ["1 back", "2 left eye"])
        places = [f"{i} 1 30.0 20.0 1" for i in ids] + [f"{i} 2 12.0 8.0 {i % 2}" for i in ids]
        write(folder / "parts" / "part_locs.txt", places)
        write(root / "attributes.txt", [f"{a} has_thing::value_{a}" for a in range(1, 5)])
        write(
            folder / "attributes" / "class_attribute_labels_continuous.txt",
            ["80.0 0.0 100 5", "75.5 10 100 5", "0 90 0 5"],
        )
        rows = [f"{i} {a} {int((labels[i - 1] == a) or (a == 4 and i % 2))} 3 {i}.5" for i in ids for a in range(1, 5)]
        # As in the archive: a few lines have a number too many.
        rows[5] = rows[5].replace(" 3 ", " 3 0 ")
        write(folder / "attributes" / "image_attribute_labels.txt", rows)
        return folder

    return make


@pytest.fixture(scope="session")
def make_travelingbirds(make_cub):
    """CUB_fixed beside CUB_200_2011: every image in both parts, with two backgrounds."""

    def make(root: Path) -> Path:
        cub = make_cub(root)
        for line in (cub / "images.txt").read_text(encoding="utf-8").splitlines():
            number, path = line.split(" ", 1)
            picture(root / "CUB_fixed" / "train" / path, 1000 + int(number))
            picture(root / "CUB_fixed" / "test" / path, 2000 + int(number))
        return root / "CUB_fixed"

    return make


CAR_CLASSES = ("Acura RL Sedan 2012", "Dodge Caliber Wagon 2012", "Ram C/V Cargo Van Minivan 2012")


@pytest.fixture
def make_cars():
    """Stanford Cars with its MATLAB files: 3 classes, 9 training and 9 test images, uneven."""
    io = pytest.importorskip("scipy.io")

    def make(root: Path, *, folders: bool = False) -> Path:
        labels = {"train": [1, 1, 1, 1, 2, 2, 2, 3, 3], "test": [3, 3, 3, 3, 2, 2, 1, 1, 1]}
        if folders:
            for part, numbers in labels.items():
                for i, label in enumerate(numbers):
                    name = CAR_CLASSES[label - 1].replace("/", "-")
                    picture(root / "car_data" / part / name / f"{i:05d}.jpg", 10 * label + i)
            return root
        fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
        for part, numbers in labels.items():
            kinds = [(field, object) for field in fields]
            rows = np.empty((1, len(numbers)), dtype=kinds)
            for i, label in enumerate(numbers):
                picture(root / f"cars_{part}" / f"{i + 1:05d}.jpg", 10 * label + i)
                rows[0, i] = (5, 3, 40, 30, label, f"{i + 1:05d}.jpg")
            name = "cars_train_annos.mat" if part == "train" else "cars_test_annos_withlabels.mat"
            file = root / "devkit" / name if part == "train" else root / name
            file.parent.mkdir(exist_ok=True)
            io.savemat(file, {"annotations": rows})
        names = np.array([CAR_CLASSES], dtype=object)
        io.savemat(root / "devkit" / "cars_meta.mat", {"class_names": names})
        return root

    return make


@pytest.fixture
def make_aircraft():
    """FGVC-Aircraft: 3 variants in 2 families; the last rows of each picture are a white banner."""

    def make(root: Path) -> Path:
        folder = root / "fgvc-aircraft-2013b" / "data"
        variants = ("707-320", "DC-3", "F/A-18")
        families = {"707-320": "Boeing 707", "DC-3": "Boeing 707", "F/A-18": "F/A-18"}
        listed: dict[str, list[tuple[str, str]]] = {"trainval": [], "test": []}
        for part, counts in (("trainval", (4, 3, 2)), ("test", (2, 3, 4))):
            for label, count in enumerate(counts):
                for i in range(count):
                    number = f"{1000 * (part == 'test') + 100 * label + i:07d}"
                    image = Image.new("RGB", (70, 60), (200, 40 * label, 9 * i))
                    image.paste("white", (0, 40, 70, 60))
                    (folder / "images").mkdir(parents=True, exist_ok=True)
                    image.save(folder / "images" / f"{number}.jpg", quality=95)
                    listed[part].append((number, variants[label]))
        for part, rows in listed.items():
            write(folder / f"images_variant_{part}.txt", (f"{number} {name}" for number, name in rows))
            write(folder / f"images_family_{part}.txt", (f"{number} {families[name]}" for number, name in rows))
        write(folder / "variants.txt", variants)
        write(folder / "families.txt", ["Boeing 707", "F/A-18"])
        write(folder / "images_box.txt", (f"{n} 11 6 50 35" for rows in listed.values() for n, _ in rows))
        return root

    return make


WNIDS = ("n01440764", "n02012849", "n03126707", "n03710637")
WORDS = ("tench, Tinca tinca", "crane", "crane", "maillot, tank suit")


@pytest.fixture
def make_imagenet():
    """ImageNet with 4 classes, uneven; `form` says how the validation images are labelled."""
    io = pytest.importorskip("scipy.io")

    def make(root: Path, form: str = "folders") -> Path:
        base = root / "ILSVRC" / "Data" / "CLS-LOC" if form == "kaggle" else root
        for label, wnid in enumerate(WNIDS):
            for i in range(3 + label):
                picture(base / "train" / wnid / f"{wnid}_{i}.JPEG", 10 * label + i)
        truth = [0, 1, 2, 3, 3, 2, 1, 0, 3, 2]
        for i, label in enumerate(truth, 1):
            name = f"ILSVRC2012_val_{i:08d}.JPEG"
            picture(base / "val" / (f"{WNIDS[label]}/{name}" if form == "folders" else name), 500 + i)
        if form == "kaggle":
            write(root / "LOC_synset_mapping.txt", map(" ".join, zip(WNIDS, WORDS, strict=True)))
            rows = [f"ILSVRC2012_val_{i:08d},{WNIDS[label]} 1 2 3 4 " for i, label in enumerate(truth, 1)]
            write(root / "LOC_val_solution.csv", ["ImageId,PredictionString", *reversed(rows)])
        elif form == "devkit":
            # The kit counts classes in an order of its own, and lists groups of classes after them.
            numbers = (3, 1, 4, 2)
            kinds = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "num_children")]
            synsets = np.empty((5, 1), dtype=kinds)
            for place, number in enumerate(numbers):
                synsets[number - 1, 0] = (number, WNIDS[place], WORDS[place], 0)
            synsets[4, 0] = (1001, "n00001740", "entity", 4)
            data = root / "ILSVRC2012_devkit_t12" / "data"
            data.mkdir(parents=True)
            io.savemat(data / "meta.mat", {"synsets": synsets})
            write(data / "ILSVRC2012_validation_ground_truth.txt", (numbers[label] for label in truth))
        return root

    return make
