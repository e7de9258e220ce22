"""All that a run directory holds, with the command that makes what it lacks."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from chiqpm import config_file
from chiqpm.classifier import CALIBRATION, DESCRIPTION, WEIGHTS, Classifier, load
from chiqpm.config import FitConfig
from chiqpm.data import ImageTable, Part, UnreadableImageError, read_split
from chiqpm.errors import ChiqpmError
from chiqpm.evaluation import numbers_of
from chiqpm.files import read_json, read_npz
from chiqpm.inference import TEST_ANSWERS, Answers, Features
from chiqpm.recalibration import CALIBRATION_ANSWERS, count_calibrating_tests
from chiqpm.sharing import METRICS

_FILES: dict[Part, str] = {
    "train": "train_answers.npz",
    "calibration": CALIBRATION_ANSWERS,
    "test": TEST_ANSWERS,
}


@dataclass(frozen=True)
class Lack:
    """Something that a run does not hold.

    Attributes:
        what: in words, for instance "the test images' answers".
        remedy: what makes it: a command or an option.
    """

    what: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run directory, read.

    Attributes:
        folder: the run directory.
        classifier: the finished classifier.
        config: the options; None where the folder holds a classifier alone.
        data_folder: the folder of images as the run was told, or as the caller says; "" where unknown.
        table: the images and their split; None without one. Their files may be gone.
        images_present: whether the images of the table are where the record looks for them.
        answers: the classifier's answers for calibration and test images, where they were kept.
        train: its features of the training images, where they were kept.
        sets_are_fresh: no test image has calibrated the prediction sets, so that they can be measured on them.
        values: what JSON files of the run hold, by file name without its ending: `metrics`, `stages`, `grounding`,
            `duplicates`, `environment`; absent where the file is. Of `metrics`, what was measured with this classifier.
        assignment: arrays of the assignment, empty where its file is absent.
        lacks: what is missing, and how to get it.
    """

    folder: Path
    classifier: Classifier
    config: FitConfig | None
    data_folder: str
    table: ImageTable | None
    images_present: bool
    answers: dict[Part, Answers]
    train: Features | None
    sets_are_fresh: bool
    values: dict[str, Any]
    assignment: dict[str, Any]
    lacks: tuple[Lack, ...]

    @property
    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` holds; empty before the evaluation."""
        found: dict[str, Any] = self.values.get("metrics", {})
        return found

    @property
    def fit_command(self) -> str:
        """The command that finishes this run, or makes it again."""
        return fit_command(self.folder, self.data_folder)

    def picture(self, part: Part, place: int) -> Image.Image | None:
        """Return an image of one part of the split, or None where it is gone or can't be read.

        Args:
            part: train, calibration or test.
            place: which of the part's images, from 0.
        """
        return None if self.table is None else self._load(int(self.table.indices(part)[place]))

    def picture_at(self, path: str) -> Image.Image | None:
        """Return the image with a path of the split, or None where it is gone, unknown, or can't be read."""
        row = self._row_of.get(path)
        return None if row is None else self._load(row)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {} if self.table is None else {path: row for row, path in enumerate(self.table.paths)}

    def _load(self, row: int) -> Image.Image | None:
        if self.table is None or not self.images_present:
            return None
        try:
            return self.table.load(row, max_pixels=self.classifier.data_config.max_pixels)
        except (FileNotFoundError, UnreadableImageError):
            return None

    def name(self, part: Part, place: int) -> str:
        """Return the file name of an image of one part, or its number where the split is gone."""
        if self.table is None:
            return f"{part} image {place}"
        return Path(self.table.paths[int(self.table.indices(part)[place])]).name


def read_record(run: str | Path, *, data_folder: str | Path | None = None, device: str = "auto") -> RunRecord:
    """Read a run directory; only the classifier itself is required.

    Args:
        run: the run directory.
        data_folder: the folder of images, where it has moved since the run.
        device: where the model is put.

    Raises:
        FileNotFoundError: no such directory, no finished classifier in it (the command that finishes it is named),
            or no such folder of images.
        ChiqpmError: a file is damaged.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no run directory {folder}; make one with `{fit_command(folder, '')}`")
    told = _told_folder(folder)
    if not all((folder / name).exists() for name in (WEIGHTS, DESCRIPTION)):
        raise FileNotFoundError(
            f"{folder} is not finished ({_unfinished(folder)}); `{fit_command(folder, told)}` finishes it"
        )
    classifier = load(folder, device=device)
    lacks: list[Lack] = []
    fit = f"`{fit_command(folder, told)}`"
    config = config_file.read(folder / "config.yaml") if (folder / "config.yaml").exists() else None
    if config is None:
        lacks.append(Lack("the options of the run (config.yaml)", fit))
    features, answers = _kept(folder, classifier, lacks, fit)
    if not (folder / CALIBRATION).exists():
        lacks.append(Lack("the calibration of the prediction sets", f"`chiqpm calibrate {folder} IMAGES`, or {fit}"))
    values = {
        name: read_json(folder / f"{name}.json")
        for name in ("stages", "grounding", "duplicates", "environment")
        if (folder / f"{name}.json").exists()
    }
    if (folder / METRICS).exists():
        values["metrics"] = _metrics(folder, classifier, lacks, fit)
    else:
        lacks.append(Lack("the evaluation on test images (metrics.json)", fit))
    tests_calibrate = count_calibrating_tests(folder)
    if tests_calibrate:
        elsewhere = f"`chiqpm evaluate {folder} --images IMAGES` on other images"
        lacks.append(Lack(f"fresh test images for the sets ({tests_calibrate} of them calibrated the sets)", elsewhere))
    assignment = read_npz(folder / "assignment.npz") if (folder / "assignment.npz").exists() else {}
    if not assignment:
        lacks.append(Lack("the assignment with its certificate (assignment.npz)", fit))
    root = _image_folder(folder, told, data_folder)
    table = _table(folder, root, classifier, {**answers, **features}, lacks)
    present = table is not None and len(table) > 0 and table.exists(0)
    if table is not None and not present:
        where = str(root) if data_folder is not None else (told or str(root))
        lacks.append(Lack(f"the images (they are no longer in {where})", "name their folder with `--data DIR`"))
    return RunRecord(
        folder=folder,
        classifier=classifier,
        config=config,
        data_folder=told,
        table=table,
        images_present=present,
        answers=answers,
        train=features.get("train"),
        sets_are_fresh=tests_calibrate == 0,
        values=values,
        assignment=assignment,
        lacks=tuple(lacks),
    )


def fit_command(folder: Path, data_folder: str) -> str:
    """Return the command that makes a run directory from its images.

    >>> fit_command(Path("runs/birds"), "my photos")
    "chiqpm fit 'my photos' --out runs/birds"
    """
    return f"chiqpm fit {shlex.quote(data_folder or 'IMAGES')} --out {shlex.quote(str(folder))}"


def _told_folder(folder: Path) -> str:
    file = folder / "config.yaml"
    if not file.exists():
        return ""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ChiqpmError(f"{file} is not valid YAML: {error}") from None
    return str(values.get("data_folder", "")) if isinstance(values, dict) else ""


def _unfinished(folder: Path) -> str:
    done = list(read_json(folder / "stages.json").get("stages", {})) if (folder / "stages.json").exists() else []
    return f"its last finished stage is {done[-1]}" if done else "no stage is finished"


def _metrics(folder: Path, classifier: Classifier, lacks: list[Lack], remedy: str) -> dict[str, Any]:
    """Return those of the numbers that were measured with this classifier."""
    found = numbers_of(classifier, folder / METRICS)
    if found is None:
        lacks.append(Lack("numbers of this classifier (metrics.json was measured with another)", remedy))
        return {}
    if "coverage" not in found:
        elsewhere = f"`chiqpm evaluate {folder} --images IMAGES` on other images"
        lacks.append(Lack("measurements with this calibration (metrics.json is older than the calibration)", elsewhere))
    return found


def _kept(
    folder: Path, classifier: Classifier, lacks: list[Lack], remedy: str
) -> tuple[dict[Part, Features], dict[Part, Answers]]:
    """Return the features of the training images, and the answers for the others."""
    classes, features = classifier.model.weight_CK.shape
    seen: dict[Part, Features] = {}
    said: dict[Part, Answers] = {}
    for part, name in _FILES.items():
        if not (folder / name).exists():
            lacks.append(Lack(f"the classifier's answers for the {part} images ({name})", remedy))
            continue
        kept = Features.read(folder / name) if part == "train" else Answers.read(folder / name)
        found = kept.features_NK.shape[1], kept.logits_NC.shape[1] if isinstance(kept, Answers) else classes
        if found != (features, classes):
            raise ChiqpmError(
                f"{folder / name} holds {found[1]} classes and {found[0]} features, the classifier has {classes} and "
                f"{features}; {remedy} makes it again"
            )
        if isinstance(kept, Answers):
            said[part] = kept
        else:
            seen[part] = kept
    return seen, said


def _image_folder(folder: Path, told: str, given: str | Path | None) -> Path:
    if given is not None:
        if not Path(given).is_dir():
            raise FileNotFoundError(f"there is no folder of images {given}")
        return Path(given)
    # The built-in birds lie inside their run, which may have been moved as a whole.
    inside = folder / Path(told).name
    return inside if told and inside.is_dir() and not Path(told).is_dir() else Path(told or folder)


def _table(
    folder: Path, root: Path, classifier: Classifier, kept: dict[Part, Features], lacks: list[Lack]
) -> ImageTable | None:
    file = folder / "split.csv"
    if not file.exists():
        lacks.append(Lack("the division of the images (split.csv)", "the run directory in which it was fitted"))
        return None
    table = read_split(file, root)
    same = table.classes == classifier.class_names
    fits = all(len(table.indices(part)) == len(kept[part].labels_N) for part in kept if part != "calibration")
    if not (same and fits):
        lacks.append(Lack("the images (split.csv divides others than those of this model)", "fit the run again"))
        return None
    return table
