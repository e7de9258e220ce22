"""TravelingBirds: CUB-200-2011 with replaced backgrounds (Koh et al. 2020).

In the training pictures the background belongs to the species, in the test pictures to another: a model that looks at
the background fails there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chiqpm.data.layout import FoundImage, Layout
from chiqpm.data.releases.cub import FOLDER, read_boxes, read_split_lists
from chiqpm.data.releases.release import Release, below, folders_in
from chiqpm.data.table import Part

if TYPE_CHECKING:
    from chiqpm.config import DataConfig

TRAVELINGBIRDS = Release(
    key="travelingbirds",
    title="TravelingBirds",
    source=(
        "folder CUB_fixed of the CodaLab bundle that the GitHub repository yewsiang/ConceptBottleneck names, and "
        "CUB_200_2011.tgz from the page 'CUB-200-2011' of CaltechDATA, whose lists divide the images; put "
        "both folders side by side"
    ),
    classes=200,
    counts={"train": 5994, "test": 5794},
)
_FIXED = "CUB_fixed"
_LISTS = ("images.txt", "train_test_split.txt")


def find_travelingbirds(root: Path) -> Path | None:
    """The folder with `train` and `test`: `root` or `CUB_fixed` in it; None where their classes aren't CUB's."""
    if (root / _FIXED).is_dir():
        return root / _FIXED
    names = [*folders_in(root / "train"), *folders_in(root / "test")]
    numbered = all(len(name) > 4 and name[:3].isdecimal() and name[3] == "." for name in names)
    return root if names and numbered else None


def read_travelingbirds(root: Path, config: DataConfig) -> Layout:
    """The training images with their backgrounds, and the test images with the shifted ones.

    Both folders hold all images of CUB-200-2011, those of the other part too. Which are which is in CUB's own lists;
    without them a model would be tested on birds that it was trained on. They are looked for in `root`, in
    `CUB_200_2011` inside it, and beside it.

    Args:
        root: `CUB_fixed`, or the folder above it.
        config: `crop_to_box` is used.

    Raises:
        ChiqpmError: A folder, a list or pictures are missing, or the lists contradict each other.
    """
    folder = find_travelingbirds(root) or root
    TRAVELINGBIRDS.require(root, folder, ("train", "test"))
    lists = find_lists(root, folder)
    if lists is None:
        raise TRAVELINGBIRDS.refuse(
            root,
            f"{' and '.join(_LISTS)} of CUB-200-2011 are missing; both folders hold every bird, and only "
            "these lists tell training from test images",
        )
    paths, is_training = read_split_lists(root, lists, TRAVELINGBIRDS)
    boxes = {}
    if config.crop_to_box:
        TRAVELINGBIRDS.require(root, lists, ("bounding_boxes.txt",))
        boxes = read_boxes(root, lists, paths, TRAVELINGBIRDS)
    start = below(root, folder)
    images = []
    for number, path in paths.items():
        part: Part = "train" if is_training[number] else "test"
        images.append(FoundImage(f"{start}{part}/{path}", path.split("/")[0], part, boxes.get(number)))
    TRAVELINGBIRDS.check_pictures(root, [image.path for image in images], "images.txt")
    images.sort(key=lambda image: image.path)
    classes = tuple(sorted({image.class_name for image in images}))
    TRAVELINGBIRDS.report(images, len(classes))
    return Layout(tuple(images), classes=classes, dataset=TRAVELINGBIRDS.key)


def find_lists(root: Path, folder: Path) -> Path | None:
    """Where CUB's lists are: in the folder, or in `CUB_200_2011` in or beside it or `root`."""
    places = (folder, root, root / FOLDER, folder.parent, folder.parent / FOLDER, root.parent / FOLDER)
    return next((place for place in places if all((place / name).is_file() for name in _LISTS)), None)
