"""Synthetic birds on disk: an image folder that any tool can read, and that can be rendered again exactly."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from chiqpm.data.birds.dataset import SPLITS, Split, SyntheticBirds, split_seed
from chiqpm.data.birds.taxonomy import BirdsConfig, Taxonomy
from chiqpm.data.birds.workers import render_in_processes
from chiqpm.errors import ChiqpmError

KIND = "synthetic-birds"
VERSION = 1
"""Rises whenever the same seed would give another picture."""
_MANIFEST = "birds.json"
_UNFINISHED = "birds.unfinished.json"

_log = logging.getLogger(__name__)

_README = """\
Synthetic birds
===============

None of these pictures shows a real bird, and the species do not exist: a program (chiqpm) drew everything.

{species} species: {families} families of {genera} genera of {siblings} sibling species. The siblings
of a genus differ in exactly one attribute; attributes.csv lists the attributes of every species. Body colour,
pose, size, place, light, background, decoys and leaves are drawn at random for each picture, independently of
the species.

train/CLASS/*.jpg, calibration/CLASS/*.jpg, test/CLASS/*.jpg: {train}, {calibration} and {test} pictures a
species, {size} pixels wide and high, JPEG quality 95.
birds.json: configuration, counts and seeds, from which chiqpm can render every picture again, also with one
part removed or one attribute exchanged. The seed of picture number i of class number c (both counted from 0,
classes in alphabetical order) is split_seeds[split] + c * 2**20 + i.
"""


@dataclass(frozen=True, kw_only=True)
class BirdReference:
    """Where a picture on disk comes from.

    Attributes:
        split: `train`, `calibration` or `test`.
        label: class index.
        index: index in the split's `SyntheticBirds`.
        image_seed: the seed from which it was drawn.
    """

    split: Split
    label: int
    index: int
    image_seed: int


def write_birds(
    out: str | os.PathLike[str],
    *,
    config: BirdsConfig | None = None,
    train: int = 40,
    calibration: int = 10,
    test: int = 10,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write synthetic birds as an image folder with attributes, manifest and README.

    The layout is `OUT/{train,calibration,test}/<class>/<class>_<nnnn>.jpg`, `OUT/attributes.csv`,
    `OUT/birds.json`, `OUT/README.txt`. Pictures that are already there are kept, so that an interrupted
    call can be repeated; `birds.json` comes last and marks the folder as complete.

    Args:
        out: folder, made when missing.
        config: species and image size; the default when None.
        train: training pictures a species, at least 1.
        calibration: calibration pictures a species, at least 1.
        test: test pictures a species, at least 1.
        processes: how many processes render; None takes one for each processor.
        progress: called with the numbers of pictures written and wanted.

    Raises:
        ChiqpmError: a number is out of range, or the folder holds something else.
        OSError: the folder can't be written.
    """
    config = config or BirdsConfig()
    counts: dict[Split, int] = {"train": train, "calibration": calibration, "test": test}
    datasets = tuple(SyntheticBirds(config, split, count) for split, count in counts.items())
    if processes is not None and (isinstance(processes, bool) or not isinstance(processes, int) or processes < 1):
        raise ChiqpmError(f"birds: processes = {processes!r}; give a whole number from 1, or None.")
    folder = Path(out)
    manifest = _manifest(config, counts)
    _claim(folder, manifest)
    for dataset in datasets:
        for name in dataset.class_names:
            (folder / dataset.split / name).mkdir(parents=True, exist_ok=True)
    render_in_processes(folder, datasets, processes=processes or os.cpu_count() or 1, progress=progress)
    _write(folder / "attributes.csv", _attributes_csv(datasets[0].taxonomy))
    _write(folder / "README.txt", _readme(config, counts))
    _write(folder / _MANIFEST, json.dumps(manifest, indent=1) + "\n")
    (folder / _UNFINISHED).unlink(missing_ok=True)


def is_birds(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is a complete folder of synthetic birds, of this version or another."""
    manifest = _read(Path(folder) / _MANIFEST)
    return manifest is not None and manifest.get("kind") == KIND


def open_birds(folder: str | os.PathLike[str]) -> tuple[SyntheticBirds, SyntheticBirds, SyntheticBirds]:
    """The data sets behind a folder that `write_birds` wrote.

    Args:
        folder: the folder with `birds.json`.

    Returns:
        The train, calibration and test split; they render afresh and don't read the pictures.

    Raises:
        FileNotFoundError: there is no such folder.
        ChiqpmError: it is no birds folder, or one of another version.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"birds: {str(root)!r} is no folder; write one with `chiqpm birds {root}`.")
    manifest = _read(root / _MANIFEST)
    if manifest is None or manifest.get("kind") != KIND:
        raise ChiqpmError(
            f"birds: {str(root)!r} is no complete folder of synthetic birds: "
            f"its {_MANIFEST} is missing or of another kind."
        )
    if manifest.get("version") != VERSION:
        raise ChiqpmError(
            f"birds: {str(root)!r} was written by drawing version {manifest.get('version')!r}, "
            f"this is version {VERSION}; write the birds again into a new folder."
        )
    try:
        config = BirdsConfig(**manifest["config"])
        counts = manifest["counts"]
        train, calibration, test = (SyntheticBirds(config, split, counts[split]) for split in SPLITS)
    except (KeyError, TypeError, ValueError) as error:
        raise ChiqpmError(
            f"birds: {str(root / _MANIFEST)!r} is damaged ({error}); write the birds again into a new folder."
        ) from error
    return train, calibration, test


def locate(datasets: tuple[SyntheticBirds, ...], path: str | PurePath) -> BirdReference:
    """Where a picture of a birds folder comes from.

    Args:
        datasets: what `open_birds` gave.
        path: path of the picture; its last three components count.

    Returns:
        Split, class, index and image seed.

    Raises:
        ChiqpmError: the path does not name a picture of these data sets.
    """
    parts = PurePath(path).parts
    for dataset in datasets:
        if len(parts) >= 3 and parts[-3] == dataset.split:
            index = dataset.index_of(path)
            return BirdReference(
                split=dataset.split,
                label=int(dataset.labels_N[index]),
                index=index,
                image_seed=dataset.image_seed(index),
            )
    raise ChiqpmError(
        f"birds: {str(path)!r} is no picture of a birds folder; they are named like {datasets[0].names[0]}."
    )


def _manifest(config: BirdsConfig, counts: dict[Split, int]) -> dict[str, Any]:
    return {
        "kind": KIND,
        "version": VERSION,
        "config": asdict(config),
        "counts": dict(counts),
        "split_seeds": {split: split_seed(config, split) for split in SPLITS},
    }


def _claim(folder: Path, manifest: dict[str, Any]) -> None:
    """Make sure that the folder is ours to write: new, empty, or with the same birds in it."""
    if folder.exists() and not folder.is_dir():
        raise ChiqpmError(f"birds: {str(folder)!r} is a file; give a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    found = _read(folder / _MANIFEST) or _read(folder / _UNFINISHED)
    if found is not None and found.get("kind") == KIND:
        if found != manifest:
            raise ChiqpmError(
                f"birds: {str(folder)!r} holds other synthetic birds ({json.dumps(found.get('config'))}, "
                f"{json.dumps(found.get('counts'))}); give another folder, or delete this one first."
            )
        _log.info("%s has these birds already, or some of them; only what is missing is written", folder)
        return
    if any(folder.iterdir()):
        raise ChiqpmError(
            f"birds: {str(folder)!r} is not empty and holds no synthetic birds; give a new or an empty folder."
        )
    _write(folder / _UNFINISHED, json.dumps(manifest, indent=1) + "\n")


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None when it is missing or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


def _attributes_csv(taxonomy: Taxonomy) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *taxonomy.attribute_value_names])
    for name, row in zip(taxonomy.class_names, taxonomy.attributes_CA, strict=True):
        writer.writerow([name, *(int(value) for value in row)])
    return text.getvalue()


def _readme(config: BirdsConfig, counts: dict[Split, int]) -> str:
    return _README.format(
        species=config.num_species,
        families=config.families,
        genera=config.genera,
        siblings=config.siblings,
        size=config.image_size,
        **counts,
    )
