"""From a run to a study: which images, with which help, in one page."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chiqpm.calibration import make_score
from chiqpm.classifier import Classifier, load
from chiqpm.conformal import ConformalPredictor
from chiqpm.data import ImageTable
from chiqpm.errors import ChiqpmError
from chiqpm.explain.drawing import draw_explanation
from chiqpm.files import digest, write_text
from chiqpm.gallery import read_examples
from chiqpm.inference import TEST_ANSWERS, Answers
from chiqpm.progress import track
from chiqpm.recalibration import read_calibration_answers
from chiqpm.run_explanation import open_run_table, require_run
from chiqpm.study.design import ARMS, Plan, make_plans
from chiqpm.study.key import PAGE, Item, StudyKey
from chiqpm.study.page import Help, Shown, figure_uri, picture_uri, render_page
from chiqpm.study_options import StudyOptions

_WIDTHS = (10.0, 4.5)
"""Of the drawn explanations, in inches: for a screen, and for a phone."""


def make_study(
    run: str | Path,
    out: str | Path,
    options: StudyOptions | None = None,
    *,
    data_folder: Path | None = None,
    device: str = "auto",
    quiet: bool = True,
) -> StudyKey:
    """Make a study of a run's test images: `index.html` for the readers, `study.json` for the experimenter.

    The page holds no truths but those of the practice images. A flat set that is empty shows the prediction.

    Args:
        run: a finished run.
        out: folder of the study.
        options: None takes the defaults.
        data_folder: the folder of images, where it has moved since the run.
        device: where to compute.
        quiet: show no progress bar.

    Raises:
        FileNotFoundError: the run isn't finished, or its images are gone.
        ChiqpmError: too few test images, or an option that can't be used; also where the folder holds another study's
            answers.
    """
    options, run, out = options or StudyOptions(), Path(run), Path(out)
    classifier = load(run, device=device)
    table, test = _images(run, data_folder)
    coverage = classifier.coverage if options.coverage is None else options.coverage
    sets = _sets(run, classifier, test, coverage, options.flat_score)
    rows, practice = _choose(test, sets["hierarchical"], options)
    names = _names(len(rows) + len(practice), options.seed)
    places = dict(zip(names, [*rows, *practice], strict=True))
    weight_CK = classifier.model.weight_CK.cpu().numpy()
    items = {
        name: _item(name, place, table, test, sets, weight_CK=weight_CK, max_options=options.max_options)
        for name, place in places.items()
    }
    strata = {name: items[name].stratum for name in names[: len(rows)]}
    plans = make_plans(strata, names[len(rows) :], options.readers, options.seed)
    key = _key(classifier, coverage, options, items, plans)
    if (out / "answers").is_dir() and any((out / "answers").glob("*.csv")):
        raise ChiqpmError(f"{out} holds answers of a study; make the new one in another folder")
    out.mkdir(parents=True, exist_ok=True)
    examples = read_examples(run)
    shown = {
        name: _shown(classifier, _picture(classifier, table, places[name]), items[name], coverage, examples)
        for name in track(names, "drawing explanations", quiet=quiet, total=len(names))
    }
    pictures = {index: picture_uri(picture) for index, picture in examples.items()}
    practice_truth = {name: items[name].truth for name in names[len(rows) :]}
    page = render_page(
        key, shown, pictures, practice_truth=practice_truth, title=options.title, contact=options.contact
    )
    write_text(out / PAGE, page)
    key.save(out)
    return key


def _images(run: Path, data_folder: Path | None) -> tuple[ImageTable, Answers]:
    table = open_run_table(run, data_folder)
    require_run(run, TEST_ANSWERS)
    return table, Answers.read(run / TEST_ANSWERS)


def _sets(
    run: Path, classifier: Classifier, test: Answers, coverage: float, flat_score: str
) -> dict[str, NDArray[np.bool_]]:
    """Prediction sets of the test images: the classifier's own and flat ones, calibrated on the same images."""
    calibration = read_calibration_answers(run, classifier)
    assert classifier.predictor is not None
    weight_CK = classifier.model.weight_CK.cpu().numpy()
    flat = ConformalPredictor(make_score(flat_score, weight_CK))
    flat.calibrate(calibration.logits_NC, calibration.labels_N, calibration.features_NK)
    predictors = {"flat": flat, "hierarchical": classifier.predictor}
    sets = {
        name: np.array(predictor.predict_set(test.logits_NC, test.features_NK, coverage=coverage))
        for name, predictor in predictors.items()
    }
    empty_N = ~sets["flat"].any(axis=1)
    sets["flat"][empty_N, test.predicted_N[empty_N]] = True
    return sets


def _choose(test: Answers, sets_NC: NDArray[np.bool_], options: StudyOptions) -> tuple[list[int], list[int]]:
    """Draw the images that count, and three others for practice."""
    if options.trials < len(ARMS) or options.trials % len(ARMS):
        raise ChiqpmError(f"trials must be a multiple of {len(ARMS)}, 3 or more; received {options.trials}")
    if not 0 <= options.wrong_share <= 1:
        raise ChiqpmError(f"wrong_share must lie in [0, 1]; received {options.wrong_share}")
    if len(test.labels_N) < options.trials + len(ARMS):
        raise ChiqpmError(
            f"{options.trials} images and {len(ARMS)} for practice are asked for; the run has {len(test.labels_N)} "
            "test images"
        )
    generator = np.random.default_rng([options.seed, 2])
    order = generator.permutation(len(test.labels_N))
    right_N, several_N = test.predicted_N == test.labels_N, sets_NC.sum(axis=1) > 1
    wrong = [int(place) for place in order if not right_N[place]]
    several = [int(place) for place in order if right_N[place] and several_N[place]]
    single = [int(place) for place in order if right_N[place] and not several_N[place]]
    chosen = wrong[: round(options.wrong_share * options.trials)]
    chosen += several[: (options.trials - len(chosen) + 1) // 2]
    chosen += single[: options.trials - len(chosen)]
    rest = [int(place) for place in order if int(place) not in set(chosen)]
    chosen += rest[: options.trials - len(chosen)]
    rest = [place for place in rest if place not in set(chosen)]
    return chosen, rest[: len(ARMS)]


def _names(count: int, seed: int) -> list[str]:
    """Names in an order that says nothing about what the images are."""
    numbers = np.random.default_rng([seed, 3]).permutation(count) + 1
    return [f"image-{number:03d}" for number in numbers]


def _item(
    name: str,
    place: int,
    table: ImageTable,
    test: Answers,
    sets: dict[str, NDArray[np.bool_]],
    *,
    weight_CK: NDArray[Any],
    max_options: int,
) -> Item:
    logits_C, predicted, truth = test.logits_NC[place], int(test.predicted_N[place]), int(test.labels_N[place])
    members = {arm: _ordered(sets_NC[place], logits_C, predicted) for arm, sets_NC in sets.items()}
    if predicted != truth:
        stratum = "wrong"
    else:
        stratum = "several" if len(members["hierarchical"]) > 1 else "single"
    needed = {truth, predicted, *members["flat"], *members["hierarchical"]}
    return Item(
        id=name,
        path=table.paths[int(table.indices("test")[place])],
        truth=truth,
        predicted=predicted,
        flat_set=members["flat"],
        hierarchical_set=members["hierarchical"],
        options=_options(needed, (truth, predicted), weight_CK, max_options),
        stratum=stratum,
    )


def _ordered(set_C: NDArray[np.bool_], logits_C: NDArray[np.float32], predicted: int) -> tuple[int, ...]:
    """Classes of a set, the prediction first, then by probability."""
    members = np.flatnonzero(set_C)
    keys = (-logits_C[members], members != predicted)
    return tuple(int(label) for label in members[np.lexsort(keys)])


def _options(needed: set[int], near: Sequence[int], weight_CK: NDArray[Any], most: int) -> tuple[int, ...]:
    """Classes to choose from: all, or those that are needed and those most like the truth and the prediction."""
    if len(weight_CK) <= most or len(needed) >= most:
        return tuple(range(len(weight_CK))) if len(weight_CK) <= most else tuple(sorted(needed))
    shared_C = np.max([weight_CK @ weight_CK[label] for label in near], axis=0)
    others = [int(label) for label in np.argsort(-shared_C, kind="stable") if int(label) not in needed]
    return tuple(sorted([*needed, *others[: most - len(needed)]]))


def _key(
    classifier: Classifier,
    coverage: float,
    options: StudyOptions,
    items: dict[str, Item],
    plans: tuple[Plan, ...],
) -> StudyKey:
    content = [classifier.class_names, coverage, asdict(options)]
    content += [{name: asdict(item) for name, item in items.items()}, [plan.to_dict() for plan in plans]]
    return StudyKey(
        study=digest([*content, secrets.token_hex(8)])[:16],
        classes=classifier.class_names,
        coverage=coverage,
        flat_score=options.flat_score,
        items=items,
        plans=plans,
    )


def _picture(classifier: Classifier, table: ImageTable, place: int) -> Image.Image:
    row = int(table.indices("test")[place])
    return table.load(row, max_pixels=classifier.data_config.max_pixels)


def _shown(classifier: Classifier, picture: Image.Image, item: Item, coverage: float, examples: Any) -> Shown:
    prediction = classifier.predict(picture, coverage)
    wide, narrow = (
        figure_uri(draw_explanation(prediction.explanation, prediction.picture, examples=examples, width=width))
        for width in _WIDTHS
    )
    return Shown(
        picture=picture_uri(classifier.frame(picture)),
        options=item.options,
        predicted=item.predicted,
        flat=Help(classes=item.flat_set),
        hierarchical=Help(
            classes=item.hierarchical_set,
            sentence=prediction.explanation.sentence(),
            figure=wide,
            narrow=narrow,
            text=prediction.explanation.text(),
        ),
    )
