"""Example pictures of a run: a thumbnail of every class, explained test images, contrasted classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chiqpm.classifier import Classifier, load
from chiqpm.conformal import required_images
from chiqpm.data import ImageTable
from chiqpm.data.table import some
from chiqpm.errors import ChiqpmError
from chiqpm.explain import Contrast, contrast
from chiqpm.explain.drawing import draw_contrast, draw_explanation, save_figure
from chiqpm.files import read_npz, write_npz
from chiqpm.inference import TEST_ANSWERS, Answers, Features
from chiqpm.run_explanation import open_run_table, require_run

EXAMPLES = "examples.npz"
THUMBNAIL = 96


def write_examples(out: Path, classifier: Classifier, table: ImageTable, train: Features) -> None:
    """Keep one small picture of each class: the training image that has most of the class's features.

    Writes `examples.npz` with `pictures` (C, 96, 96, 3).
    """
    rows = table.indices("train")
    weight_CK = classifier.model.weight_CK.cpu().numpy()
    pictures = np.zeros((len(table.classes), THUMBNAIL, THUMBNAIL, 3), dtype=np.uint8)
    for label in range(len(table.classes)):
        of_class = np.flatnonzero(train.labels_N == label)
        evidence = train.features_NK[of_class] @ weight_CK[label]
        best = of_class[evidence.argmax()]
        pictures[label] = thumbnail(table.load(int(rows[best])))
    write_npz(out / EXAMPLES, {"pictures": pictures})


def read_examples(out: Path) -> Mapping[int, NDArray[np.uint8]]:
    """Return class index -> thumbnail (96, 96, 3); empty when the run has none."""
    file = out / EXAMPLES
    return dict(enumerate(read_npz(file)["pictures"])) if file.exists() else {}


def thumbnail(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the central square of a picture, 96 pixels wide."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS))


def draw_gallery(
    out: Path, classifier: Classifier, table: ImageTable, test: Answers, pairs: Sequence[tuple[int, int]]
) -> list[Path]:
    """Draw explanations of a certain, an uncertain and a wrong test image, and the contrast of a pair of classes.

    Returns:
        The files, in `figures/`.
    """
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    examples, rows = read_examples(out), table.indices("test")
    files = []
    for name, (place, coverage) in _choose(classifier, test).items():
        path = table.path(int(rows[place]))
        prediction = classifier.predict(table.load(int(rows[place])), coverage)
        truth = table.classes[int(test.labels_N[place])]
        figure = draw_explanation(
            prediction.explanation,
            prediction.picture,
            examples=examples,
            heading=f"Test image {path.name}, in truth {truth}",
        )
        files.append(folder / f"explanation-{name}.png")
        save_figure(figure, files[-1], title=f"Why {prediction.label}?", description=prediction.explanation.text())
    if pairs:
        counts = [min(_correct(test, a).size, _correct(test, b).size) for a, b in pairs]
        first, second = pairs[int(np.argmax(counts))]
        files.append(folder / "contrast.png")
        compare_classes(classifier, table, test, first=first, second=second, file=files[-1])
    return files


def compare_classes(
    classifier: Classifier,
    table: ImageTable,
    answers: Answers,
    *,
    first: int,
    second: int,
    file: Path,
    width: float = 10.0,
) -> None:
    """Draw what two classes share and what separates them, on up to two images of each.

    Args:
        classifier: calibrated or not.
        table: images with their split.
        answers: the classifier's answers for the test images.
        first: index of a class.
        second: index of another class.
        file: where the figure goes.
        width: width of the page in inches.
    """
    weight_CK = classifier.model.weight_CK.cpu().numpy()
    values = contrast(weight_CK, first, second, classifier.class_names, feature_names=classifier.feature_names)
    sides: list[tuple[list[Any], NDArray[Any], NDArray[Any]]] = []
    for label in (first, second):
        pictures = [table.load(row) for row in _typical(table, answers, label)]
        _, features_BK, maps_BKHW = classifier.outputs(pictures)
        sides.append(([classifier.frame(picture) for picture in pictures], maps_BKHW, features_BK))
    (images_a, maps_a, features_a), (images_b, maps_b, features_b) = sides
    figure = draw_contrast(
        values,
        images_a,
        maps_a,
        images_b,
        maps_b,
        features_a=features_a,
        features_b=features_b,
        active_mean_K=classifier.active_mean_K,
        width=width,
    )
    save_figure(figure, file, title=f"{values.name_a} or {values.name_b}", description=values.text())


def compare_in_run(
    run: Path,
    first: str,
    second: str,
    file: Path,
    *,
    data_folder: Path | None = None,
    device: str = "auto",
    width: float = 10.0,
) -> Contrast:
    """Draw the contrast of two classes of a run on the run's own images.

    Args:
        run: the run directory.
        first: name of a class.
        second: name of another class.
        file: where the figure goes.
        data_folder: the folder of images, where it has moved since the run.
        device: where to compute.
        width: width of the page in inches.

    Returns:
        What the figure shows, as values.

    Raises:
        ChiqpmError: a class that the run doesn't know (near names are given), or twice the same.
        FileNotFoundError: the run isn't finished, or its images are gone.
    """
    classifier = load(run, device=device)
    names = classifier.class_names
    index_a, index_b = _class_index(names, first), _class_index(names, second)
    require_run(run, TEST_ANSWERS)
    table = open_run_table(run, data_folder)
    values = contrast(
        classifier.model.weight_CK.cpu().numpy(),
        index_a,
        index_b,
        names,
        feature_names=classifier.feature_names,
    )
    found = Answers.read(run / TEST_ANSWERS)
    compare_classes(classifier, table, found, first=index_a, second=index_b, file=file, width=width)
    return values


def _class_index(names: Sequence[str], name: str) -> int:
    if name not in names:
        near = get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; there are {len(names)}: {some(names)}"
        raise ChiqpmError(f"unknown class {name!r}{hint}")
    return list(names).index(name)


def _typical(table: ImageTable, answers: Answers, label: int) -> list[int]:
    """Rows of up to two images of a class: correctly classified test images, else test images, else training images."""
    chosen = _correct(answers, label)
    chosen = chosen if chosen.size else np.flatnonzero(answers.labels_N == label)
    chosen = chosen[np.argsort(-answers.logits_NC[chosen, label], kind="stable")][:2]
    if chosen.size:
        return [int(row) for row in table.indices("test")[chosen]]
    rows = table.indices("train")
    return [int(row) for row in rows[table.labels_N[rows] == label][:2]]


def _correct(answers: Answers, label: int) -> NDArray[np.int64]:
    return np.flatnonzero((answers.labels_N == label) & (answers.predicted_N == label))


_FURTHER_COVERAGES = (0.95, 0.98, 0.99)
"""Tried, in this order, where the classifier's own coverage shows no set of several classes."""


def _choose(classifier: Classifier, test: Answers) -> dict[str, tuple[int, float]]:
    """Pick test images, each with a coverage: one right and certain, one right with a set of several, one wrong."""
    predictor = classifier.predictor
    if predictor is None:
        return {}
    right_N, top_N = test.predicted_N == test.labels_N, test.logits_NC.max(axis=1)
    found: dict[str, tuple[int, float]] = {}
    further = [
        coverage
        for coverage in _FURTHER_COVERAGES
        if coverage > classifier.coverage and required_images(coverage) <= predictor.num_calibration
    ]
    for coverage in (classifier.coverage, *further):
        sets_NC = np.asarray(predictor.predict_set(test.logits_NC, test.features_NK, coverage=coverage))
        size_N = sets_NC.sum(axis=1)
        kinds = {
            "certain": right_N & (size_N == 1),
            "uncertain": right_N & (size_N >= 2) & (size_N <= 6),
            "wrong": ~right_N & sets_NC[np.arange(len(size_N)), test.labels_N] & (size_N <= 6),
        }
        for name, mask_N in kinds.items():
            places = np.flatnonzero(mask_N)
            if places.size and name not in found:
                found[name] = int(places[top_N[places].argmax()]), coverage
    return found
