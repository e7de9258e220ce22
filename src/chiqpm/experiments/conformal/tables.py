"""The measurements as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from chiqpm.experiments.conformal.sets import MIN_COUNT, PER_CLASS, PER_LEVEL
from chiqpm.experiments.conformal.speed import COVERAGES
from chiqpm.experiments.conformal.validity import PUBLISHED

DEFAULT = "branch"


def markdown(result: dict[str, Any]) -> str:
    """Return a page with a table for each question; `result` is what `conformal.json` holds."""
    return (
        "\n\n".join(
            [
                "# Prediction sets, measured",
                "Made by `python -m chiqpm.experiments.conformal` from conformal.json, which has more; the "
                "theorems are in "
                "docs/conformal.md. " + _about(result["options"]),
                *_validity(result),
                *_efficiency(result),
                *_conditional(result),
                *_speed(result),
            ]
        )
        + "\n"
    )


def _about(options: dict[str, Any]) -> str:
    size, species = options["size"], 6 * options["size"]["families"]
    models = ", ".join(f"{seed} ({per_class})" for seed, per_class in options["models"])
    held_out = 2 * size["held_out"]
    return _text(
        f"""Models: the default configuration on synthetic birds of {size["image_size"]} pixels, {species} species,
        with so few training images that the models err; seeds (training images of each species): {models}.
        {held_out} held-out images of each species are divided at random into calibration and test. What there was to
        choose (the form of the default score) was chosen on models with other seeds (100, 104)."""
    )


def _validity(result: dict[str, Any]) -> list[str]:
    options = result["options"]
    parts = [
        "## Is the promise kept?",
        _text(
            f"""Mean coverage over {options["validity_splits"]:,} random divisions. The band is exact: what the mean
            coverage of a score without ties can be, given the images and the number m of calibration images,
            but for a probability of {1 - options["confidence"]:.0e} a band. A value below the band breaks the
            promise (**bold**). A value above it (↑) is waste where the score has no ties at the threshold;
            where it has, as below the top-1 accuracy, for sets that always hold the prediction, it is as it
            must be."""
        ),
    ]
    for name, found in result["validity"].items():
        parts.append(f"### {name}: {found['images']:,} images, top-1 accuracy {found['accuracy']:.3f}")
        for size, by_coverage in found["sizes"].items():
            header = [f"m = {size}", *by_coverage]
            band = [
                "exact band",
                *(f"{low:.4f} to {high:.4f}" for low, high in (c["band"] for c in by_coverage.values())),
            ]
            rows = [
                [score, *(_mean_coverage(cell["scores"][score], cell["band"]) for cell in by_coverage.values())]
                for score in next(iter(by_coverage.values()))["scores"]
            ]
            parts.append(_table(header, [band, *rows]))
    checked, broken, published = _verdict(result)
    parts.append(
        f"Of {checked:,} means of this package's scores, {broken} break their band (from below, or from above "
        "where it "
        f"binds on both sides); of {published[0]:,} means of the published rule {published[1]:,} lie below it."
    )
    return parts


def _mean_coverage(cell: dict[str, Any], band: Sequence[float]) -> str:
    text = f"{cell['mean']:.4f}"
    if cell["mean"] < band[0] - 1e-9:
        return f"**{text}**"
    return f"{text}↑" if cell["mean"] > band[1] + 1e-9 else text


def _verdict(result: dict[str, Any]) -> tuple[int, int, tuple[int, int]]:
    """Number of means of our scores, how many break their band, and the same of the published rule."""
    cells = [
        (name, cell)
        for found in result["validity"].values()
        for by_coverage in found["sizes"].values()
        for at in by_coverage.values()
        for name, cell in at["scores"].items()
    ]
    ours = [cell["holds"] for name, cell in cells if name != PUBLISHED]
    theirs = [cell["holds"] for name, cell in cells if name == PUBLISHED]
    return len(ours), ours.count(False), (len(theirs), theirs.count(False))


def _efficiency(result: dict[str, Any]) -> list[str]:
    models = list(result["sets"].values())
    accuracies = ", ".join(f"{model['accuracy']:.3f}" for model in models)
    parts = [
        "## What do the sets cost, and how do they read?",
        _text(
            f"""Means over {len(models)} models (top-1 accuracy {accuracies}) of means over
            {result["options"]["set_splits"]} divisions, ± the half-width of a 95% t-interval over the models. ÷
            THR and ÷ APS: mean over models of the ratio of the sizes. Coherence: similarity (cosine of
            attributes) of the classes of a set, all pairs pooled / mean of the sets' means, over the models of
            which the default has sets of two classes at all. Whole: share of the sets that are unions of whole
            branches with the prediction. Branches, climbed, families: number of branches that a set touches,
            levels that one climbs from the prediction, families of species."""
        ),
    ]
    for target in next(iter(models[0]["scores"].values())):
        rows = []
        with_pairs = [model for model in models if model["scores"][DEFAULT][target]["coherence_sets"] is not None]
        for name in models[0]["scores"]:
            cells = [model["scores"][name][target] for model in models]
            paired = [model["scores"][name][target] for model in with_pairs]
            ratios = [
                [model["scores"][name][target]["size"] / model["scores"][base][target]["size"] for model in models]
                for base in ("THR", "APS")
            ]
            rows.append(
                [
                    f"**{name}**" if name == DEFAULT else name,
                    _spread([cell["coverage"] for cell in cells]),
                    _spread([cell["size"] for cell in cells]),
                    *(_spread(ratio) for ratio in ratios),
                    f"{_mean(cells, 'empty'):.3f}",
                    f"{_mean(paired, 'coherence_pairs'):.3f} / {_mean(paired, 'coherence_sets'):.3f}",
                    f"{_mean(cells, 'whole'):.3f}",
                    f"{_mean(cells, 'branches'):.2f}",
                    f"{_mean(cells, 'climbed'):.2f}",
                    f"{_mean(cells, 'families'):.2f}",
                ]
            )
        header = [f"target {target}", "coverage", "size", "÷ THR", "÷ APS", "empty", "coherence", "whole"]
        parts.append(_table([*header, "branches", "climbed", "families"], rows))
    return parts


def _conditional(result: dict[str, Any]) -> list[str]:
    models = list(result["sets"].values())
    images = 2 * result["options"]["size"]["held_out"]
    parts = [
        "## Who is left out?",
        _text(
            f"""Coverage within parts of the images, each image's averaged over the divisions, then over the models.
            Class gap (CovGap): mean distance of the classes' coverage from the target, in percentage points.
            Size violation (SSCV): largest distance over sets of 0-1, 2-3, 4-10 and more classes. Margin and
            evidence: thirds of the images by the difference of the two largest logits, and by the largest,
            which are known beforehand. Rank and level of the truth say how wrong a prediction is, which nobody
            knows. `{PER_CLASS}` and `{PER_LEVEL}` have a threshold for each class and for each level; classes
            and levels of fewer than {MIN_COUNT} calibration images share one."""
        ),
    ]
    for target in next(iter(models[0]["scores"].values())):
        floor = 100 * float(_expected_gap(images, float(target)))
        levels = sorted(
            {level for model in models for level in model["scores"]["THR"][target]["by"]["level of the truth"]}
        )
        header = [f"target {target}", "class gap", "worst class", "size violation"]
        thirds = [("margin", "low"), ("margin", "high"), ("evidence", "low"), ("evidence", "high")]
        truths = [("rank of the truth", rank) for rank in ("1", "2", "3 or more")]
        truths += [("level of the truth", level) for level in levels]
        header += [f"{part}: {value}" for part, value in thirds] + [f"{p.split()[0]} {v}" for p, v in truths]
        rows = []
        for name in models[0]["scores"]:
            cells = [model["scores"][name][target] for model in models]
            gap = [cell["class_gap"] for cell in cells]
            row = [
                name,
                _spread(gap, 1),
                f"{_mean(cells, 'worst_class'):.3f}",
                _spread([c["size_violation"] for c in cells]),
            ]
            rows.append(row + [_part(cells, part, value) for part, value in thirds + truths])
        parts.append(
            f"If every class were covered with exactly the target, {images} images of a class would give a class "
            "gap of "
            f"{floor:.1f} by chance."
        )
        parts.append(_table(header, rows))
    return parts


def _expected_gap(images: int, target: float) -> float:
    counts = np.arange(images + 1)
    return float((stats.binom(images, target).pmf(counts) * np.abs(counts / images - target)).sum())


def _part(cells: list[dict[str, Any]], part: str, value: str) -> str:
    values = [cell["by"][part][value] for cell in cells if value in cell["by"][part]]
    return f"{np.mean(values):.3f}" if values else "-"


def _speed(result: dict[str, Any]) -> list[str]:
    images, classes = result["options"]["speed"]
    rows = [
        [
            name,
            f"{found['calibrate_seconds']:.1f}",
            f"{found['predict_seconds']:.1f}",
            f"{found['calibrate_seconds'] + found['predict_seconds']:.1f}",
            f"{found['inputs_gb']:.2f}",
            f"{found['work_and_sets_gb']:.2f}",
            f"{found['imported_gb']:.2f}",
            " / ".join(f"{size:.2f}" for size in found["mean_sizes"]),
        ]
        for name, found in result["speed"].items()
    ]
    threads = next(iter(result["speed"].values()))["threads"]
    header = ["score", "calibrate, s", "predict, s", "together, s", "inputs, GB", "work and sets, GB", "importing, GB"]
    header.append("mean size at " + " / ".join(f"{coverage:g}" for coverage in COVERAGES))
    return [
        "## Time and memory",
        _text(
            f"""{images:,} images of {classes:,} classes with 50 features calibrate, and the sets of all of them at
            three coverages are predicted; CPU threads: {threads}; each score in a process of its own. Memory is
            the growth of the process's peak: by the logits and features, by the sets and all that is needed on
            the way to them, and, before, by importing Python's libraries. The images are made up: a model
            without a hierarchy of classes, so that branches near the root hold many unrelated ones."""
        ),
        _table(header, rows),
    ]


def _text(paragraph: str) -> str:
    return " ".join(paragraph.split())


def _mean(cells: list[dict[str, Any]], key: str) -> float:
    known = [cell[key] for cell in cells if cell[key] is not None]
    return float(np.mean(known)) if known else math.nan


def _spread(values: Sequence[float], digits: int = 3) -> str:
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{mean} ± {half:.{digits}f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
