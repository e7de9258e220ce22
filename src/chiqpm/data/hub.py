"""A Hugging Face `datasets` object as a source of images; `pip install 'chiqpm[datasets]'`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from chiqpm.data.images import UnreadableImageError, decode_image
from chiqpm.data.layout import PART_OF_NAME, FoundImage, Layout
from chiqpm.data.table import some
from chiqpm.errors import ChiqpmError

_NEEDED = "it needs one column of the feature Image and one of the feature ClassLabel"


@dataclass(frozen=True)
class HubReader:
    """Pictures by paths like `train/17`: split and row.

    Attributes:
        splits: Split -> data set, without decoding of the pictures.
        column: The column of the pictures.
    """

    splits: Mapping[str, Any]
    column: str

    @classmethod
    def of_saved(cls, root: Path) -> HubReader:
        """The reader of a data set that `save_to_disk` wrote.

        Raises:
            ChiqpmError: The package `datasets` isn't installed, or the folder is damaged.
        """
        reader = read_saved(root).reader
        assert isinstance(reader, cls)
        return reader

    def load(self, path: str, max_pixels: int) -> Image.Image:
        """Decode one picture.

        Raises:
            UnreadableImageError: There is none, or it can't be read.
        """
        split, _, row = path.rpartition("/")
        cell = self.splits[split][int(row)][self.column]
        if cell is None:
            raise UnreadableImageError.of(path, "the cell is empty")
        content = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
        return decode_image(content, path, max_pixels=max_pixels)

    def stamp(self, path: str) -> tuple[Any, ...]:
        """The fingerprint that `datasets` keeps of the split."""
        return (self.splits[path.rpartition("/")[0]]._fingerprint,)


def is_hub_dataset(source: object) -> bool:
    """Whether something is a `datasets.Dataset`, `DatasetDict` or one of their streaming kinds."""
    return type(source).__module__.split(".")[0] == "datasets"


def read_hub(source: Any) -> Layout:
    """List the pictures of a `datasets.Dataset` or `DatasetDict`.

    Of a dictionary the splits train, validation (for calibration; also val, calibration) and test are the parts; a
    `Dataset`, or a dictionary with train alone, isn't split yet.

    Args:
        source: With one column of the feature `Image` and one of the feature `ClassLabel`.

    Raises:
        ChiqpmError: Another kind of object (streaming data sets can't be read in any order), columns of other kinds,
            splits without a meaning here, or rows without a class.
    """
    from datasets import Dataset, DatasetDict

    if not isinstance(source, (Dataset, DatasetDict)):
        raise ChiqpmError(
            f"a Hugging Face data set must be a Dataset or a DatasetDict, received {type(source).__name__}; "
            "load it without streaming=True"
        )
    splits = dict(source) if isinstance(source, DatasetDict) else {"train": source}
    unknown = sorted(set(splits) - set(PART_OF_NAME))
    if unknown or "train" not in splits:
        raise ChiqpmError(
            f"the data set has the splits {', '.join(splits) or 'none'}; it needs train, and may have validation "
            "(or calibration) and test; rename or remove the others"
        )
    meanings = [PART_OF_NAME[name] for name in splits]
    if len(set(meanings)) < len(meanings):
        raise ChiqpmError(f"the splits {', '.join(splits)} have two for calibration; remove one")
    image_column, label_column, names = _columns(splits["train"], "train")
    for name, rows in splits.items():
        if _columns(rows, name) != (image_column, label_column, names):
            raise ChiqpmError(f"the split {name} has other columns or classes than train; {_NEEDED}, the same in all")
    images: list[FoundImage] = []
    for name, rows in splits.items():
        labels = rows[label_column][:]
        nameless = [row for row, label in enumerate(labels) if label is None or not 0 <= label < len(names)]
        if nameless:
            raise ChiqpmError(f"{len(nameless)} rows of the split {name} have no class: rows {some(nameless)}")
        part = PART_OF_NAME[name] if len(splits) > 1 else None
        images += [FoundImage(f"{name}/{row:08d}", names[label], part) for row, label in enumerate(labels)]
    present = {image.class_name for image in images}
    if len(present) < 2:
        raise ChiqpmError(f"the data set has images of {len(present)} classes; a classifier needs two or more")
    reader = HubReader({name: _undecoded(rows, image_column) for name, rows in splits.items()}, image_column)
    images.sort(key=lambda image: image.path)
    classes = tuple(name for name in names if name in present)
    return Layout(tuple(images), classes=classes, dataset="huggingface", reader=reader)


def is_saved(root: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    return (root / "dataset_dict.json").is_file() or (
        (root / "state.json").is_file() and (root / "dataset_info.json").is_file()
    )


def read_saved(root: Path) -> Layout:
    """`read_hub` of a folder that `save_to_disk` wrote.

    Raises:
        ChiqpmError: The package `datasets` isn't installed, the folder is damaged, or as `read_hub`.
    """
    try:
        from datasets import load_from_disk
    except ImportError:
        raise ChiqpmError(
            f"{root} is a saved Hugging Face data set; reading it needs the package datasets: "
            "pip install 'chiqpm[datasets]'"
        ) from None
    try:
        source = load_from_disk(str(root))
    except Exception as error:  # its reader meets damaged files with many kinds of exception
        raise ChiqpmError(f"the Hugging Face data set in {root} can't be read: {error}") from error
    return read_hub(source)


def _undecoded(rows: Any, column: str) -> Any:
    from datasets import Image as ImageFeature

    return rows.select_columns([column]).cast_column(column, ImageFeature(decode=False))


def _columns(rows: Any, split: str) -> tuple[str, str, tuple[str, ...]]:
    """The column of the pictures, the column of the classes, and the classes' names."""
    from datasets import ClassLabel
    from datasets import Image as ImageFeature

    pictures = [name for name, feature in rows.features.items() if isinstance(feature, ImageFeature)]
    labels = [name for name, feature in rows.features.items() if isinstance(feature, ClassLabel)]
    if len(pictures) != 1 or len(labels) != 1:
        kinds = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in rows.features.items())
        raise ChiqpmError(
            f"the split {split} has the columns {kinds}; {_NEEDED}. Remove the others with remove_columns, or make a "
            "column of texts a ClassLabel with class_encode_column"
        )
    return pictures[0], labels[0], tuple(rows.features[labels[0]].names)
