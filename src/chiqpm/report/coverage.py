"""The section on prediction sets: how often they hold the truth, how large they are, for whom they fail."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from chiqpm.conformal import Diagnostics, Rate, SmallCalibrationWarning, coverage_band, diagnose, tree
from chiqpm.inspection.record import RunRecord
from chiqpm.markup.charts import Point, bar_chart, coverage_chart, interval_bar, line_chart

_GRID = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99)
_ROWS = 12
_BARS = 10


@dataclass(frozen=True)
class IntervalRow:
    """A part of the images: its name, its coverage, and that drawn."""

    name: str
    rate: Rate
    bar: Markup


@dataclass(frozen=True)
class CoverageSection:
    """All that the section shows.

    Attributes:
        diagnostics: at the coverage in use.
        sentence: the same in words, classes by name.
        num_calibration: images that calibrated.
        chart: observed against requested coverage.
        sizes: mean size against requested coverage.
        histogram: sets by size.
        by_class: the classes covered least, worst first.
        by_size: the sets by their size.
        by_level: by the number of leading features that truth and prediction share.
        target: the coverage in use.
    """

    diagnostics: Diagnostics
    sentence: str
    num_calibration: int
    chart: Markup
    sizes: Markup
    histogram: Markup
    by_class: tuple[IntervalRow, ...]
    by_size: tuple[IntervalRow, ...]
    by_level: tuple[IntervalRow, ...]
    target: float


def coverage_section(record: RunRecord) -> CoverageSection | None:
    """Measure the sets of a calibrated run on its test images; None without calibration or fresh test images."""
    predictor, test = record.classifier.predictor, record.answers.get("test")
    if predictor is None or test is None or not record.sets_are_fresh:
        return None
    target = record.classifier.coverage
    asked = record.config.calibration.targets if record.config is not None else ()
    most = predictor.num_calibration / (predictor.num_calibration + 1)
    coverages = sorted({target, *(c for c in (*_GRID, *asked) if c <= most)})
    sets = test_sets(record, coverages)
    found = {c: diagnose(sets[c], test.labels_N, coverage=c) for c in coverages}
    weight_CK = record.classifier.model.weight_CK.cpu().numpy()
    shared_NC = np.asarray(tree(test.features_NK, weight_CK, test.predicted_N).shared_BC)
    levels_N = shared_NC[np.arange(len(test.labels_N)), test.labels_N]
    main = diagnose(sets[target], test.labels_N, coverage=target, levels_B=levels_N)
    bands = {c: coverage_band(predictor.num_calibration, len(test.labels_N), c) for c in coverages}
    names = record.classifier.class_names
    by_class = sorted(main.by["class"].items(), key=lambda item: (item[1].value, -item[1].trials))
    count = int(weight_CK[0].sum())
    return CoverageSection(
        diagnostics=main,
        sentence=_named(main, names).sentence(),
        num_calibration=predictor.num_calibration,
        chart=coverage_chart([Point(c, found[c].coverage, bands[c]) for c in coverages]),
        sizes=line_chart(
            [(c, found[c].mean_size) for c in coverages], x_label="coverage asked for", y_label="mean set size"
        ),
        histogram=_histogram(main.size_histogram),
        by_class=tuple(_row(names[int(c)], rate, target) for c, rate in by_class[:_ROWS]),
        by_size=tuple(
            _row(f"{size} class{'' if size == '1' else 'es'} in the set", rate, target)
            for size, rate in _by_number(main.by["size"])
        ),
        by_level=tuple(
            _row("right predictions" if int(k) == count else f"{k} of {count} features shared", rate, target)
            for k, rate in reversed(_by_number(main.by["level"]))
        ),
        target=target,
    )


def test_sets(record: RunRecord, coverages: list[float]) -> dict[float, NDArray[np.bool_]]:
    """Return the prediction sets (N, C) of the test images at some coverages."""
    predictor, test = record.classifier.predictor, record.answers["test"]
    if predictor is None:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallCalibrationWarning)
        sets = predictor.predict_sets(test.logits_NC, test.features_NK, coverages=coverages)
    return {c: np.asarray(s) for c, s in zip(coverages, sets, strict=True)}


def _named(diagnostics: Diagnostics, names: tuple[str, ...]) -> Diagnostics:
    worst = diagnostics.worst
    if worst is None or worst.by != "class":
        return diagnostics
    return replace(diagnostics, worst=replace(worst, value=names[int(worst.value)]))


def _by_number(rates: Mapping[str, Rate]) -> list[tuple[str, Rate]]:
    return sorted(rates.items(), key=lambda item: int(item[0]))[:_ROWS]


def _row(name: str, rate: Rate, target: float) -> IntervalRow:
    return IntervalRow(name, rate, interval_bar(rate, target))


def _histogram(sizes: Mapping[int, int]) -> Markup:
    last = max(sizes)
    if last <= _BARS:
        labels = [str(size) for size in range(min(1, *sizes), last + 1)]
        values = [float(sizes.get(int(label), 0)) for label in labels]
    else:
        edges = np.unique(np.geomspace(1, last + 1, _BARS + 1).astype(int))
        bins = list(zip(edges[:-1], edges[1:] - 1, strict=True))
        labels = [str(a) if a == b else f"{a}–{b}" for a, b in bins]
        values = [float(sum(n for size, n in sizes.items() if a <= size <= b)) for a, b in bins]
        if 0 in sizes:
            labels, values = ["0", *labels], [float(sizes[0]), *values]
    return bar_chart(labels, values, x_label="classes in the set", y_label="test images")
