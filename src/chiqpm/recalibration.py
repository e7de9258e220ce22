"""A fitted classifier on other labelled images: calibrated anew, or measured; never trained."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm import config_file
from chiqpm.calibration import make_score, score_name
from chiqpm.classifier import Classifier, load
from chiqpm.config import CalibrationConfig
from chiqpm.conformal import ConformalPredictor, required_images
from chiqpm.data import ImageTable, Part, open_folder
from chiqpm.data.dataset import ImageDataset
from chiqpm.data.recognise import PUBLISHED, recognise
from chiqpm.data.table import some
from chiqpm.errors import ChiqpmError
from chiqpm.evaluation import coverage_table
from chiqpm.files import read_npz, write_npz
from chiqpm.inference import Answers, answer
from chiqpm.progress import steps
from chiqpm.sharing import locate

logger = logging.getLogger(__name__)

_DIGESTS: dict[Part, str] = {
    "train": "training_digests.npz",
    "calibration": "calibration_digests.npz",
    "test": "test_digests.npz",
}
CALIBRATION_ANSWERS = "calibration_answers.npz"


def write_digests(folder: Path, table: ImageTable, part: Part) -> None:
    """Keep digests of the pictures of a part: those of the training can't calibrate, and neither can measure."""
    _write_digests(folder / _DIGESTS[part], table, table.indices(part))


def _write_digests(file: Path, table: ImageTable, rows: NDArray[np.int64]) -> None:
    """Keep digests of some pictures; where they aren't known, keep none of other pictures either."""
    if table.fingerprints is None:
        file.unlink(missing_ok=True)
    else:
        write_npz(file, {"digests": table.fingerprints.digest_N[rows]})


def count_calibrating_tests(run: Path) -> int:
    """Return how many of a run's test images have calibrated its prediction sets since; 0 where nobody knows."""
    files = [run / _DIGESTS[part] for part in ("test", "calibration")]
    if not all(file.exists() for file in files):
        return 0
    test, calibration = (read_npz(file)["digests"] for file in files)
    return int(np.isin(test, calibration).sum())


def recalibrate(
    run: Path,
    images: Path,
    out: Path | None = None,
    *,
    score: str | None = None,
    device: str = "auto",
    quiet: bool = True,
) -> int:
    """Calibrate a classifier's prediction sets on other images, and save it.

    Args:
        run: folder of the classifier, or its name on the Hugging Face Hub, `owner/name`.
        images: `DIR/<class>/*.jpg`; of a folder with parts, its calibration part counts, or else its test part.
        out: folder of the newly calibrated classifier; None takes `run`, which must be a folder then.
        score: name of the nonconformity score; None keeps the classifier's, or takes the default.
        device: where to compute.
        quiet: show no progress bar.

    Returns:
        The number of images.

    Raises:
        ChiqpmError: images that the model was trained on, or classes that it doesn't know.
        FileNotFoundError: no such folder.
    """
    folder = locate(run)
    if out is None and folder != run:
        raise ChiqpmError(f"{run} is a model on the hub; say in which folder the newly calibrated one goes (--out)")
    out, run = out or run, folder
    classifier = load(run, device=device)
    table = _open(classifier, images, "calibration", quiet=quiet)
    _refuse_training_images(run, table)
    _warn_of_copies(table)
    answers = _answer(classifier, table, "calibrating", quiet=quiet)
    weight_CK = classifier.model.weight_CK.cpu().numpy()
    if score is not None or classifier.predictor is None:
        chosen = make_score(score or CalibrationConfig().score, weight_CK)
    else:
        chosen = classifier.predictor.score
    predictor = ConformalPredictor(chosen)
    classifier.predictor = predictor.calibrate(answers.logits_NC, answers.labels_N, answers.features_NK)
    classifier.save(out)
    write_npz(out / CALIBRATION_ANSWERS, vars(answers))
    _write_digests(out / _DIGESTS["calibration"], table, np.arange(len(table)))
    if (run / _DIGESTS["train"]).exists() and out.resolve() != run.resolve():
        write_npz(out / _DIGESTS["train"], read_npz(run / _DIGESTS["train"]))
    return len(answers.labels_N)


def read_calibration_answers(run: Path, classifier: Classifier) -> Answers:
    """Return what a classifier said of the images that it was calibrated on.

    Raises:
        ChiqpmError: it is not calibrated, or was saved or shared, which leaves these answers out.
    """
    if classifier.predictor is None:
        raise not_calibrated(run)
    if not (run / CALIBRATION_ANSWERS).exists():
        raise ChiqpmError(
            f"{run} is calibrated, but lacks the answers to its calibration images ({CALIBRATION_ANSWERS}), which a "
            "saved or shared classifier leaves out; take the run directory of `chiqpm fit`, or calibrate with images "
            f"of your own: `chiqpm calibrate {run} IMAGES`"
        )
    return Answers.read(run / CALIBRATION_ANSWERS)


def measure_elsewhere(run: Path, images: Path, *, device: str = "auto", quiet: bool = True) -> dict[str, Any]:
    """Measure accuracy and coverage of a calibrated classifier on other images.

    Images that calibrated it are left out.

    The sets of other scores are compared where the folder has the answers to the calibration images, as that of a run
    has, but not one that was saved or shared.

    Args:
        run: folder of the classifier, or its name on the Hugging Face Hub, `owner/name`.
        images: `DIR/<class>/*.jpg`; of a folder with parts, its test part counts.
        device: where to compute.
        quiet: show no progress bar.

    Raises:
        ChiqpmError: not calibrated, images that the model was trained on, none but those that calibrated it, or classes
            that it doesn't know.
        FileNotFoundError: no such folder.
    """
    run = locate(run)
    classifier = load(run, device=device)
    if classifier.predictor is None:
        raise not_calibrated(run)
    has_answers = (run / CALIBRATION_ANSWERS).exists()
    table = _open(classifier, images, "test", quiet=quiet)
    _refuse_training_images(run, table)
    table = _without_calibration_images(run, table)
    answers = _answer(classifier, table, "measuring", quiet=quiet)
    described = run / "config.yaml"
    if described.exists():
        targets = config_file.read(described).calibration.targets
    else:
        count = classifier.predictor.num_calibration
        targets = tuple(target for target in CalibrationConfig().targets if required_images(target) <= count)
    return {
        "classifier": classifier.fingerprint(),
        "images": {"calibration": classifier.predictor.num_calibration, "test": len(answers.labels_N)},
        "classes": len(classifier.class_names),
        "accuracy": {"dense": None, "sparse": answers.accuracy, "ratio": None},
        "calibration_score": score_name(classifier.predictor.score),
        "coverage": coverage_table(
            classifier,
            answers,
            sorted({classifier.coverage, *targets}),
            calibration=read_calibration_answers(run, classifier) if has_answers else None,
        ),
    }


def not_calibrated(run: Path) -> ChiqpmError:
    """Say that a classifier isn't calibrated, and how it gets so."""
    return ChiqpmError(f"{run} is not calibrated; run `chiqpm calibrate {run} IMAGES` first")


def _open(classifier: Classifier, images: Path, part: Part, *, quiet: bool) -> ImageTable:
    """Open a folder and give its images the classifier's class numbers."""
    # Pictures that come without boxes are taken to be cut already.
    boxes = classifier.data_config.crop_to_box and recognise(images) in PUBLISHED
    config = replace(classifier.data_config, dataset="auto", groups=None, crop_to_box=boxes, find_duplicates=True)
    table = open_folder(images, config, progress=steps("reading images", quiet=quiet))
    # Published data sets have no calibration part.
    wanted = next((name for name in (part, "test") if table.parts is not None and (table.parts == name).any()), None)
    if wanted is not None:
        table = table.subset(np.flatnonzero(table.parts == wanted))
    unknown = sorted(set(table.classes) - set(classifier.class_names))
    if unknown:
        raise ChiqpmError(
            f"{images} has {len(unknown)} classes that the classifier does not know ({some(unknown, 3)}); it "
            f"knows {len(classifier.class_names)}: {some(classifier.class_names, 3)}"
        )
    number = {name: index for index, name in enumerate(classifier.class_names)}
    labels_N = np.array([number[table.classes[label]] for label in table.labels_N], dtype=np.int64)
    return replace(table, labels_N=labels_N, classes=classifier.class_names)


def _known(table: ImageTable, file: Path) -> NDArray[np.bool_]:
    """Return which images have their digest in a file; none where there is no such file."""
    if not file.exists() or table.fingerprints is None:
        return np.zeros(len(table), dtype=bool)
    return np.isin(table.fingerprints.digest_N, read_npz(file)["digests"])


def _refuse_training_images(run: Path, table: ImageTable) -> None:
    seen = _known(table, run / _DIGESTS["train"])
    if seen.any():
        first = table.paths[int(np.flatnonzero(seen)[0])]
        raise ChiqpmError(
            f"{int(seen.sum())} of {len(table)} images were used to train this model (first: {first}); prediction sets "
            "calibrated or measured on them would be too optimistic. Use images that the model has never seen."
        )


def _without_calibration_images(run: Path, table: ImageTable) -> ImageTable:
    """Leave out the images that calibrated the sets, on which they look better than they are."""
    seen = _known(table, run / _DIGESTS["calibration"])
    if seen.all():
        raise ChiqpmError(
            f"all {len(table)} images calibrated these prediction sets, and so can't measure them; use other images"
        )
    if seen.any():
        logger.warning(
            "warning: %d of %d images calibrated these prediction sets; they are left out", seen.sum(), len(table)
        )
    return table.subset(np.flatnonzero(~seen))


def _warn_of_copies(table: ImageTable) -> None:
    if table.fingerprints is None:
        return
    copies = len(table) - len(np.unique(table.fingerprints.digest_N))
    if copies:
        logger.warning(
            "warning: %d of %d images are copies of another one; the sets promise as much as with %d images",
            copies,
            len(table),
            len(table) - copies,
        )


def _answer(classifier: Classifier, table: ImageTable, description: str, *, quiet: bool) -> Answers:
    dataset = ImageDataset(
        table, np.arange(len(table)), classifier.transform, max_pixels=classifier.data_config.max_pixels
    )
    return answer(classifier.model, dataset, device=classifier.device, description=description, quiet=quiet)
