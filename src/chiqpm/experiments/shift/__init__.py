"""Does the monitor raise an alarm when images change so much that the sets lose their coverage?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chiqpm.classifier import Classifier, load
from chiqpm.conformal.scores import THR, HierarchicalScore, Score
from chiqpm.experiments.birds_run import run_to_measure
from chiqpm.experiments.finished_run import FinishedRun
from chiqpm.experiments.keeping import kept
from chiqpm.experiments.outcome import Context, Outcome, Verdict
from chiqpm.experiments.pictures import Picture, TestPictures, test_pictures
from chiqpm.experiments.shift.condition import FALSE_ALARM, measure_condition
from chiqpm.experiments.shift.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from chiqpm.files import digest
from chiqpm.inference import BATCH_SIZE, Answers
from chiqpm.progress import track

CLEAN = "clean"
COVERAGE = 0.95
MOST_IMAGES = 2000
"""Test images that are corrupted, at most."""
Change = Callable[[Picture], Image.Image]


def run(context: Context) -> Outcome:
    """Corrupt a run's test images in up to five ways and three severities."""
    found = run_to_measure(context)
    classifier = load(found.out, device="cpu" if found.is_birds else "auto")
    pictures = test_pictures(found, per_class=2 if context.reduced else None, most=MOST_IMAGES, seed=context.seed)
    # A new background needs to be told where the object is.
    names = [name for name in CORRUPTIONS if name != "background" or found.is_birds]
    changes: dict[str, Change] = {CLEAN: lambda picture: picture.image}
    for name in names:
        for severity in SEVERITIES[:1] if context.reduced else SEVERITIES:
            changes[f"{name} {severity}"] = partial(_corrupted, name=name, severity=severity, seed=context.seed)
    calibration, made_from = found.answers("calibration"), _made_from(found, context)
    measured = {
        name: kept(
            context.out / f"{name.replace(' ', '-')}.json",
            {**made_from, "condition": name},
            partial(
                _measure, context, classifier, pictures, change, calibration=calibration, weight_CK=found.weight_CK
            ),
        )
        for name, change in changes.items()
    }
    return judge(measured)


def judge(measured: dict[str, dict[str, Any]]) -> Outcome:
    """Say whether the monitor sees every shift that costs coverage, and is silent on clean images.

    Args:
        measured: shift -> score -> what `measure_condition` found.
    """
    below = [name for name, values in measured.items() if values["branch"]["coverage"][0] < values["branch"]["chance"]]
    seen = [name for name in below if _first_alarm(measured[name]["branch"]) is not None]
    unseen = [name for name in below if name not in seen]
    blind = [name for name in below if measured[name]["branch"]["alarm"]["images"] is None]
    false = _first_alarm(measured[CLEAN]["branch"]) is not None
    kept_up = [name for name in measured if name not in (*below, CLEAN)]
    early = [name for name in kept_up if _first_alarm(measured[name]["branch"]) is not None]
    mended = [name for name in below if measured[name]["branch"]["weighted"]["coverage"] >= COVERAGE]
    sizes = [measured[name]["branch"]["weighted"]["size"] for name in mended]
    evidence = (
        f"Coverage is below {COVERAGE} by more than chance under {len(below)} of {len(measured) - 1} shifts; the "
        f"monitor raises its alarm under {len(seen)} of them, without any label under {len(below) - len(blind)}"
        + (f" (not under {', '.join(unseen)})" if unseen else "")
        + f". The alarm tells that images change, not that coverage is lost: under {len(early)} of the {len(kept_up)} "
        f"other shifts it is raised too. On clean images: {'an alarm' if false else 'no alarm'} (allowed with "
        f"probability {FALSE_ALARM:g}). Weights bring the coverage back under {len(mended)} of the {len(below)}"
        + (f", with {min(sizes):.0f} to {max(sizes):.0f} classes a set." if mended else ".")
    )
    rows = []
    for name, values in measured.items():
        branch, thr = values["branch"], values["thr"]
        rows.append(
            [
                name,
                branch["accuracy"],
                "{:.3f} ({:.3f} to {:.3f})".format(*branch["coverage"]),
                branch["size"],
                branch["alarm"]["images"],
                branch["alarm"]["labels"],
                branch["weighted"]["coverage"],
                branch["weighted"]["size"],
                thr["coverage"][0],
                thr["weighted"]["coverage"],
            ]
        )
    return Outcome(
        verdict=Verdict(
            claim="Where a shift costs the sets their coverage, the monitor raises an alarm, and not on clean images.",
            holds=not unseen and not false,
            evidence=evidence,
        ),
        columns=[
            "shift",
            "accuracy",
            "coverage, branch",
            "size",
            "alarm without labels",
            "alarm with labels",
            "coverage, weighted",
            "size, weighted",
            "coverage, thr",
            "thr, weighted",
        ],
        rows=rows,
        values={"target": COVERAGE, "conditions": measured},
        notes=[
            f"Target {COVERAGE}; below it by more than chance: under the exact band for so many calibration and test "
            "images. alarm: images until it is raised, in one random order, empty without one. weighted: the "
            "calibration images weigh as much as a logistic regression on the features finds them like the shifted "
            "ones, without labels; it helps only as far as the labels depend on the features as before.",
        ],
    )


def _first_alarm(values: dict[str, Any]) -> int | None:
    given = [at for at in values["alarm"].values() if at is not None]
    return min(given) if given else None


def _measure(
    context: Context,
    classifier: Classifier,
    pictures: TestPictures,
    change: Change,
    *,
    calibration: Answers,
    weight_CK: NDArray[Any],
) -> dict[str, Any]:
    answers = _answers(classifier, pictures, change, quiet=context.quiet)
    scores: dict[str, Score] = {"branch": HierarchicalScore(weight_CK), "thr": THR()}
    return {
        name: measure_condition(calibration, answers, score, coverage=COVERAGE, seed=context.seed)
        for name, score in scores.items()
    }


def _answers(classifier: Classifier, pictures: TestPictures, change: Change, *, quiet: bool) -> Answers:
    logits, features = [], []
    starts = range(0, len(pictures.rows_N), BATCH_SIZE)
    for start in track(starts, "looking at images", quiet=quiet, total=len(starts)):
        rows = pictures.rows_N[start : start + BATCH_SIZE].tolist()
        output = classifier.outputs([change(pictures.open(row)) for row in rows])
        logits.append(output[0])
        features.append(output[1])
    return Answers(logits_NC=np.concatenate(logits), features_NK=np.concatenate(features), labels_N=pictures.labels_N)


def _corrupted(picture: Picture, *, name: str, severity: int, seed: int) -> Image.Image:
    return corrupt(picture.image, name, severity, bird=picture.object_HW, seed=seed + 1_000_003 * picture.row)


def _made_from(found: FinishedRun, context: Context) -> dict[str, Any]:
    answers = found.answers("calibration")
    return {
        "calibration": digest(np.asarray(answers.logits_NC, dtype=np.float64).round(6).tolist()),
        "seed": context.seed,
        "reduced": context.reduced,
        "coverage": COVERAGE,
    }
