"""Every number that a run's data allow, on its test images, and the pictures that go with them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm import metrics
from chiqpm.annotation_metrics import measure_attributes, measure_parts
from chiqpm.calibration import make_score, score_name
from chiqpm.classifier import Classifier, load
from chiqpm.config import FitConfig
from chiqpm.conformal import ConformalPredictor, SmallCalibrationWarning, required_images
from chiqpm.conformal.quantile import warn_too_small
from chiqpm.data import PARTS, Attributes, ImageTable, read_annotations, read_attributes
from chiqpm.data.dataset import ImageDataset
from chiqpm.errors import ChiqpmError, DamagedFileError
from chiqpm.files import read_json, read_npz, write_json, write_npz
from chiqpm.gallery import draw_gallery, write_examples
from chiqpm.inference import TEST_ANSWERS, Answers, Features, RowStore, answer
from chiqpm.metrics import class_similarity
from chiqpm.model import Output
from chiqpm.processes import Processes
from chiqpm.sharing import CARD, METRICS, fingerprint, locate, write_card

COMPARED_SCORES = ("path", "evidence", "branch", "level_limited", "thr")


def evaluate(
    out: Path,
    table: ImageTable,
    config: FitConfig,
    *,
    attributes: Path | None = None,
    processes: Processes | None = None,
    quiet: bool = True,
) -> dict[str, Any] | None:
    """Measure a finished run on its test images and write `metrics.json`, `test_answers.npz` and `figures/`.

    Args:
        out: run directory with a calibrated classifier.
        table: images with the run's split.
        config: the run's options.
        attributes: CSV of class attributes; switches on what needs a similarity of classes.
        processes: those that divide the images among them; the main one alone computes the numbers and writes.
        quiet: show no progress bar.

    Returns:
        What `metrics.json` holds; None in processes that are not the main one.
    """
    classifier = load(out, device=config.device)
    annotations = read_annotations(table)
    has_parts = annotations is not None and annotations.parts is not None
    rows = table.indices("test")
    diversity, peaks = RowStore(len(rows)), RowStore(len(rows))
    weight = classifier.model.weight_CK
    count = config.assignment.features_per_class

    def collect(output: Output, labels: torch.Tensor) -> None:
        predicted = output.logits.argmax(dim=1)
        values = metrics.spatial_diversity_per_sample(output.maps, weight, predicted, min(5, count))
        diversity.add(values.double().cpu().numpy())
        if has_parts:
            peaks.add(metrics.map_peaks(output.maps))

    dataset = ImageDataset(
        table,
        rows,
        classifier.transform,
        max_pixels=config.data.max_pixels,
        seed=config.seed,
    )
    test = answer(
        classifier.model,
        dataset,
        device=classifier.device,
        description="sparse model on test images",
        workers=config.workers,
        quiet=quiet,
        each=collect,
        processes=processes,
    )
    diversity_N, test_peaks = diversity.rows, peaks.rows
    if processes is not None:
        diversity_N = processes.collect(diversity_N)
        test_peaks = processes.collect(test_peaks) if has_parts else None
    if processes is not None and not processes.is_main:
        return None
    write_npz(out / TEST_ANSWERS, vars(test))
    train = Features.read(out / "train_answers.npz")
    calibration = Answers.read(out / "calibration_answers.npz")
    known = annotations.classes if annotations is not None else None
    if attributes is not None:
        known = read_attributes(attributes, table.classes)
    annotated: dict[str, float] = {}
    if annotations is not None and annotations.present_NA is not None:
        annotated |= measure_attributes(table, annotations.present_NA, train, test)
    if annotations is not None and test_peaks is not None:
        annotated |= measure_parts(classifier, table, annotations, test, test_peaks, seed=config.seed, quiet=quiet)
    weight_CK = weight.cpu().numpy()
    statistics, assignment = read_npz(out / "statistics.npz"), read_npz(out / "assignment.npz")
    dense = float(statistics["dense_test_accuracy"])
    found = {
        "classifier": classifier.fingerprint(),
        "weights": fingerprint(classifier.model),
        "images": {part: len(table.indices(part)) for part in PARTS},
        "classes": len(table.classes),
        "accuracy": _accuracies(None if np.isnan(dense) else dense, test),
        "features": {"kept": weight_CK.shape[1], "per_class": count},
        "assignment": _assignment(assignment, weight_CK),
        "interpretability": {
            **_interpretability(train, test, weight_CK, known, config.seed),
            **annotated,
            f"sid@{min(5, count)}": float(np.mean(diversity_N)),  # type: ignore[arg-type]
        },
        "calibration_score": config.calibration.score,
        "coverage": coverage_table(
            classifier, test, config.calibration.targets, calibration=calibration, attributes=known
        ),
    }
    write_json(out / METRICS, found)
    write_card(out / CARD, classifier.describe(), classifier.predictor, found)
    write_examples(out, classifier, table, train)
    draw_gallery(out, classifier, table, test, [(int(a), int(b)) for a, b in assignment["pairs"]])
    return found


def kept_numbers(run: Path) -> dict[str, Any]:
    """Return what was measured with a classifier when it was made.

    Args:
        run: folder of the classifier, or its name on the Hugging Face Hub, `owner/name`.

    Returns:
        What `metrics.json` holds; without the numbers of the prediction sets where they were calibrated anew since.

    Raises:
        ChiqpmError: it was measured with other weights, or damaged.
        FileNotFoundError: no such folder, or nothing was measured.
    """
    folder = locate(run)
    classifier = load(folder, device="cpu")
    again = f"measure with `chiqpm evaluate {run} --images IMAGES`"
    if not (folder / METRICS).is_file():
        raise FileNotFoundError(f"{run} has no {METRICS}; finish the run with `chiqpm fit`, or {again}")
    found = numbers_of(classifier, folder / METRICS)
    if found is None:
        raise ChiqpmError(f"the numbers in {folder / METRICS} were not measured with this classifier; {again}")
    return found


def numbers_of(classifier: Classifier, file: Path) -> dict[str, Any] | None:
    """Return those numbers of a `metrics.json` that were measured with a classifier.

    Args:
        classifier: as loaded from the folder of the file.
        file: it.

    Returns:
        All; or, where it was calibrated anew since, all but those of the prediction sets; or None, where the weights
        were others, or nobody knows.

    Raises:
        DamagedFileError: the file is cut short, or something else.
    """
    if classifier.metrics is not None:
        return classifier.metrics
    metrics = read_json(file)
    if not isinstance(metrics, dict):
        raise DamagedFileError(f"{file} is damaged: it holds no object with keys")
    if metrics.get("weights") != fingerprint(classifier.model):
        return None
    of_sets = ("classifier", "calibration_score", "coverage")
    rest = {name: value for name, value in metrics.items() if name not in of_sets}
    if isinstance(rest.get("images"), dict):
        rest["images"] = {part: count for part, count in rest["images"].items() if part != "calibration"}
    return rest


def coverage_table(
    classifier: Classifier,
    test: Answers,
    targets: Sequence[float],
    *,
    calibration: Answers | None = None,
    attributes: Attributes | None = None,
) -> dict[str, Any]:
    """Coverage, size and coherence of the prediction sets, for each score and target.

    Args:
        classifier: calibrated; its own sets come first.
        test: its answers for images that test.
        targets: coverages, each in (0, 1).
        calibration: its answers for the images that calibrated it; with them, other scores are compared.
        attributes: gives the similarity of classes for the coherence.

    Returns:
        score -> target -> values.
    """
    assert classifier.predictor is not None
    similarity_CC = None if attributes is None else class_similarity(attributes.values_CA)
    predictors = {score_name(classifier.predictor.score): classifier.predictor}
    if calibration is not None:
        weight_CK = classifier.model.weight_CK.cpu().numpy()
        for name in COMPARED_SCORES:
            if name not in predictors:
                predictors[name] = ConformalPredictor(make_score(name, weight_CK)).calibrate(
                    calibration.logits_NC, calibration.labels_N, calibration.features_NK
                )
    count = classifier.predictor.num_calibration
    beyond = [target for target in targets if required_images(target) > count]
    if beyond:
        warn_too_small(count, *beyond)
    table: dict[str, Any] = {}
    for name, predictor in predictors.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallCalibrationWarning)
            sets = predictor.predict_sets(test.logits_NC, test.features_NK, coverages=targets)
        table[name] = {
            f"{target:g}": _one_target(np.asarray(sets_NC), test.labels_N, similarity_CC)
            for target, sets_NC in zip(targets, sets, strict=True)
        }
    return table


def _one_target(
    sets_NC: NDArray[np.bool_], labels_N: NDArray[np.int64], similarity_CC: NDArray[np.float64] | None
) -> dict[str, Any]:
    report = metrics.coverage(sets_NC, labels_N)
    by_class = metrics.coverage_by_group(sets_NC, labels_N, labels_N)
    values: dict[str, Any] = {
        "coverage": report.coverage,
        "interval": list(report.interval),
        "mean_size": report.mean_size,
        "empty_rate": report.empty_rate,
        "by_size": [_group(group) for group in report.by_size],
        "worst_class": _group(min(by_class, key=lambda group: group.coverage)),
    }
    if similarity_CC is not None and (sets_NC.sum(axis=1) >= 2).any():
        coherence = metrics.set_coherence(sets_NC, similarity_CC)
        values["coherence"] = {"pair_pooled": coherence.pair_pooled, "per_set": coherence.per_set}
    return values


def _group(group: metrics.GroupCoverage) -> dict[str, Any]:
    return {**asdict(group), "group": int(group.group), "interval": list(group.interval)}


def _accuracies(dense: float | None, test: Answers) -> dict[str, float | None]:
    ratio = None if not dense else test.accuracy / dense
    return {"dense": dense, "sparse": test.accuracy, "ratio": ratio}


def _assignment(arrays: dict[str, Any], weight_CK: NDArray[Any]) -> dict[str, Any]:
    objective, bound = float(arrays["objective"]), float(arrays["bound"])
    known = np.isfinite(bound)
    return {
        "objective": objective,
        "bound": bound if known else None,
        "gap": (bound - objective) / max(abs(objective), 1e-12) if known else None,
        "pairs_forced": len(arrays["pairs"]),
        "pairs_satisfied": int(arrays["pairs_satisfied"]),
        "distinct_classes": len(np.unique(weight_CK, axis=0)),
    }


def _interpretability(
    train: Features, test: Answers, weight_CK: NDArray[Any], attributes: Attributes | None, seed: int
) -> dict[str, float]:
    values = {
        "contrastiveness": metrics.contrastiveness(train.features_NK, seed),
        "class_independence": metrics.class_independence(train.features_NK, train.labels_N),
        "correlation": metrics.correlation(train.features_NK),
        "dependence": metrics.dependence(test.features_NK, weight_CK, test.predicted_N),
    }
    if attributes is not None:
        similarity_CC = class_similarity(attributes.values_CA)
        entries = min(50, len(weight_CK) * (len(weight_CK) - 1))
        values["structural_grounding"] = metrics.structural_grounding(weight_CK, similarity_CC, entries)
        varies_A = np.ptp(attributes.values_CA[train.labels_N], axis=0) > 0
        if varies_A.any():
            present_NA = attributes.values_CA[train.labels_N][:, varies_A] > 0.5
            values["feature_alignment"] = metrics.feature_alignment(train.features_NK, present_NA)
    return {name: float(value) for name, value in values.items()}
