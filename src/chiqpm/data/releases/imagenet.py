"""ImageNet-1K (ILSVRC 2012): 1,000 classes (Russakovsky et al. 2015)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chiqpm.data.csv_file import read_csv
from chiqpm.data.images import is_image_name
from chiqpm.data.layout import FoundImage, Layout, class_images
from chiqpm.data.releases.matlab import fields_of, read_matlab
from chiqpm.data.releases.release import Release, below, folders_in, read_lines
from chiqpm.data.table import Part, some

if TYPE_CHECKING:
    from chiqpm.config import DataConfig

IMAGENET = Release(
    key="imagenet",
    title="ImageNet-1K",
    source=(
        "page 'ILSVRC 2012' of ImageNet (Stanford Vision Lab and Princeton; free account), "
        "files ILSVRC2012_img_train.tar (each inner archive into a folder of its name), ILSVRC2012_img_val.tar and "
        "ILSVRC2012_devkit_t12.tar.gz; or the competition 'ImageNet Object Localization Challenge' on Kaggle"
    ),
    classes=1000,
    counts={"train": 1281167, "test": 50000},
)
_WNID = re.compile(r"n\d{8}")
_PICTURES = Path("Data") / "CLS-LOC"
_KAGGLE = "ILSVRC" / _PICTURES
_DEVKITS = ("", "devkit", "ILSVRC2012_devkit_t12")
_META, _TRUTH = Path("data") / "meta.mat", Path("data") / "ILSVRC2012_validation_ground_truth.txt"


def find_imagenet(root: Path) -> Path | None:
    """The folder above `train/<wnid>` (such as n01440764); None where the training folders have other names."""
    for folder in (root / _KAGGLE, root / _PICTURES, root / _PICTURES.name, root):
        names = folders_in(folder / "train")
        if names and all(map(_WNID.fullmatch, names)):
            return folder
    return next((root / place for place in (_KAGGLE, _PICTURES) if (root / place).is_dir()), None)


def read_imagenet(root: Path, config: DataConfig) -> Layout:
    """The training images, and the validation images as test part, of which calibration takes its share.

    Classes are in the order of their WordNet numbers, which is the order of pretrained classifiers. They are called by
    their first name that no other class has (tench, goldfish, ...), from `LOC_synset_mapping.txt` or the development
    kit's `meta.mat`; without either, by number.

    Validation images lie in folders of WordNet numbers, or all in one folder; then their classes come from
    `LOC_val_solution.csv` or the development kit's ground truth. Either kind of file is looked for in `root`, the
    folder above `train`, `devkit` and `ILSVRC2012_devkit_t12`, and with Kaggle's folders beside `ILSVRC`.

    Args:
        root: The folder above `train` and `val`, or one of Kaggle's above that.
        config: Not used.

    Raises:
        ChiqpmError: Folders, files or classes are missing, or contradict each other.
    """
    folder = find_imagenet(root) or root
    IMAGENET.require(root, folder, ("train", "val"))
    wnids = [name for name in folders_in(folder / "train") if _WNID.fullmatch(name)]
    if len(wnids) < 2:
        raise IMAGENET.refuse(root, f"{folder / 'train'} has {len(wnids)} folders named like n01440764")
    names = _class_names(root, folder, wnids)
    images: list[FoundImage] = []
    for wnid in wnids:
        images += class_images(root, folder / "train" / wnid, names[wnid], "train")
    images += _validation(root, folder, names)
    counted = Counter((image.part, image.class_name) for image in images)
    parts: dict[Part, str] = {"train": "train", "test": "val"}
    for part, name in parts.items():
        empty = [wnid for wnid in wnids if not counted[part, names[wnid]]]
        if empty:
            raise IMAGENET.refuse(root, f"{folder / name} has no picture of {len(empty)} classes: {some(empty)}")
    images.sort(key=lambda image: image.path)
    IMAGENET.report(images, len(wnids))
    return Layout(tuple(images), classes=tuple(names[wnid] for wnid in wnids), dataset=IMAGENET.key)


def _validation(root: Path, folder: Path, names: dict[str, str]) -> list[FoundImage]:
    inside = [name for name in folders_in(folder / "val") if _WNID.fullmatch(name)]
    if inside:
        strange = sorted(set(inside) - set(names))
        if strange:
            raise IMAGENET.refuse(
                root, f"{folder / 'val'} has {len(strange)} classes that train lacks: {some(strange)}"
            )
        return [image for wnid in inside for image in class_images(root, folder / "val" / wnid, names[wnid], "test")]
    files = sorted(entry.name for entry in (folder / "val").iterdir() if is_image_name(entry.name))
    if not files:
        raise IMAGENET.refuse(root, f"there is no picture in {folder / 'val'}")
    wnid_of = _truth(root, folder)
    unlabelled = [name for name in files if wnid_of.get(Path(name).stem) not in names]
    if unlabelled:
        problem = f"{len(unlabelled):,} of {len(files):,} validation images have no known class"
        raise IMAGENET.refuse(root, f"{problem}: {some(unlabelled, 3)}")
    start = below(root, folder) + "val/"
    return [FoundImage(start + name, names[wnid_of[Path(name).stem]], "test") for name in files]


def _truth(root: Path, folder: Path) -> dict[str, str]:
    """Validation image, without its ending -> WordNet number."""
    solution = _find(root, folder, Path("LOC_val_solution.csv"))
    if solution is not None:
        header, rows = read_csv(solution)
        if header[:2] != ["ImageId", "PredictionString"]:
            raise IMAGENET.refuse(root, f"{solution} must have the columns ImageId and PredictionString")
        return {row[0]: row[1].split(" ")[0] for row in rows}
    truth, meta = _find(root, folder, _TRUTH), _find(root, folder, _META)
    if truth is None or meta is None:
        raise IMAGENET.refuse(
            root,
            f"the pictures in {folder / 'val'} aren't in class folders, and neither LOC_val_solution.csv nor the "
            f"development kit's {_TRUTH.as_posix()} and {_META.as_posix()} were found",
        )
    wnid_of = {int(number): str(wnid) for number, wnid, _ in _meta(root, meta)}
    lines = read_lines(IMAGENET, root, truth)
    strange = [line for line in lines if not line.isdecimal() or int(line) not in wnid_of]
    if strange:
        raise IMAGENET.refuse(root, f"{truth} has the lines {some(strange)}, which {meta.name} doesn't explain")
    return {f"ILSVRC2012_val_{i:08d}": wnid_of[int(line)] for i, line in enumerate(lines, 1)}


def _class_names(root: Path, folder: Path, wnids: list[str]) -> dict[str, str]:
    """WordNet number -> the first name that no other class has."""
    words: dict[str, str] = {}
    mapping, meta = _find(root, folder, Path("LOC_synset_mapping.txt")), _find(root, folder, _META)
    if mapping is not None:
        words = dict(line.split(" ", 1) for line in read_lines(IMAGENET, root, mapping) if " " in line)
    elif meta is not None:
        words = {str(wnid): str(text) for _, wnid, text in _meta(root, meta)}
    else:
        return {wnid: wnid for wnid in wnids}
    unknown = [wnid for wnid in wnids if wnid not in words]
    if unknown:
        raise IMAGENET.refuse(root, f"{(mapping or meta)} doesn't name {len(unknown)} classes: {some(unknown)}")
    first = {wnid: words[wnid].split(",")[0].strip() for wnid in wnids}
    whole = {wnid: words[wnid] for wnid in wnids}
    names = {}
    for wnid in wnids:
        candidates = ((first, first[wnid]), (whole, whole[wnid]))
        unique = (name for kind, name in candidates if list(kind.values()).count(name) == 1)
        names[wnid] = next(unique, f"{whole[wnid]} ({wnid})")
    return names


def _meta(root: Path, file: Path) -> list[tuple[Any, ...]]:
    rows = fields_of(
        IMAGENET, root, file, read_matlab(IMAGENET, root, file, "synsets"), ("ILSVRC2012_ID", "WNID", "words")
    )
    return [row for row in rows if int(row[0]) <= IMAGENET.classes]


def _find(root: Path, folder: Path, name: Path) -> Path | None:
    # Kaggle's files lie beside ILSVRC, of which `root` may be an inner folder.
    whole = folder.resolve()
    beside = whole.parents[:3] if whole.parts[-2:] == _PICTURES.parts else ()
    places = (place / kit / name for place in (root, folder, *beside) for kit in _DEVKITS)
    return next((place for place in places if place.is_file()), None)
