"""Does default training do what the method promises, and does no known failure show?"""

from __future__ import annotations

from typing import Any

import numpy as np

from chiqpm.classifier import load
from chiqpm.conformal import THR, ConformalPredictor
from chiqpm.experiments.birds_run import run_to_measure
from chiqpm.experiments.failures import (
    Finding,
    calibration_drift,
    dead_features,
    feature_collapse,
    incoherent_sets,
)
from chiqpm.experiments.finished_run import FinishedRun
from chiqpm.experiments.outcome import Context, Outcome, Verdict

CONTRASTIVENESS = 0.99


def run(context: Context) -> Outcome:
    """Train with default options (pair density .5), or take a run, and look at it."""
    found = run_to_measure(context)
    contrastiveness = float(found.metrics["interpretability"]["contrastiveness"])
    assignment = found.metrics["assignment"]
    forced, satisfied = assignment["pairs_forced"], assignment["pairs_satisfied"]
    distinct, classes = assignment["distinct_classes"], found.metrics["classes"]
    findings = detect(found, seed=context.seed)
    rows: list[list[Any]] = [
        [
            "contrastiveness",
            f"{contrastiveness:.4f}",
            f"at most {CONTRASTIVENESS}",
            not contrastiveness > CONTRASTIVENESS,
        ],
        ["pairs that differ in one feature", f"{satisfied} of {forced}", "fewer than asked for", satisfied < forced],
        ["distinct classes", f"{distinct} of {classes}", "fewer", distinct < classes],
        *([finding.name, finding.value, finding.limit, finding.found] for finding in findings),
    ]
    failed = [row[0] for row in rows if row[3]]
    evidence = (
        f"Contrastiveness {contrastiveness:.4f}, {satisfied} of {forced} pairs, {distinct} of {classes} classes "
        "distinct: " + (f"failures: {', '.join(failed)}." if failed else f"none of {len(findings)} failure signatures.")
    )
    trained = "This training" if context.runs else "Default training with pair density .5"
    claim = f"{trained} gives contrastiveness above .99 and every requested pair."
    notes = [f"{finding.name}: {finding.explanation}" for finding in findings if finding.found]
    if found.similarity_CC is None:
        notes.append("incoherent sets: not looked for, as no attributes of the classes are known.")
    return Outcome(
        verdict=Verdict(claim=claim, holds=not failed, evidence=evidence),
        columns=["check", "measured", "a failure would be", "failed"],
        rows=rows,
        values={
            "contrastiveness": contrastiveness,
            "pairs_forced": forced,
            "pairs_satisfied": satisfied,
            "accuracy": found.metrics["accuracy"],
            "findings": [vars(finding) for finding in findings],
        },
        notes=notes,
    )


def detect(found: FinishedRun, *, seed: int = 0) -> list[Finding]:
    """Look for the failure signatures in a run; for incoherent sets where attributes of the classes are known.

    Sets of several classes are looked for at the highest coverage that the calibration images allow, as a good model's
    sets are mostly single classes.
    """
    classifier = load(found.out, device="cpu")
    train, calibration, test = found.training_features(), found.answers("calibration"), found.answers("test")
    predictor = ConformalPredictor(classifier.predictor.score) if classifier.predictor else ConformalPredictor(THR())
    predictor.calibrate(calibration.logits_NC, calibration.labels_N, calibration.features_NK)
    count = len(calibration.labels_N)
    highest = count / (count + 1) - 1e-6
    sets = np.asarray(predictor.predict_set(test.logits_NC, test.features_NK, coverage=highest))
    asked = np.asarray(predictor.predict_set(test.logits_NC, test.features_NK, coverage=classifier.coverage))
    covered_N = asked[np.arange(len(test.labels_N)), test.labels_N]
    similarity_CC = found.similarity_CC
    return [
        feature_collapse(train.features_NK, found.weight_CK),
        dead_features(train.features_NK, found.weight_CK),
        *([] if similarity_CC is None else [incoherent_sets(sets, similarity_CC, seed=seed)]),
        calibration_drift(_improbability(calibration), _improbability(test), covered_N, classifier.coverage),
    ]


def _improbability(answers: Any) -> Any:
    """One minus the probability of the true class of each image: a score without ties."""
    scores_NC = np.asarray(ConformalPredictor(THR()).scores(answers.logits_NC))
    return scores_NC[np.arange(len(answers.labels_N)), answers.labels_N]
