"""The section on what was trained on what, and how to do it again."""

from __future__ import annotations

import shlex
from datetime import datetime, timezone
from typing import Any

import yaml

from chiqpm import __version__, config_file
from chiqpm.calibration import score_name
from chiqpm.classifier import WEIGHTS
from chiqpm.conformal import Rate, clopper_pearson
from chiqpm.inspection.meanings import Meaning, meaning
from chiqpm.inspection.record import RunRecord
from chiqpm.provenance import describe_environment, machine_words

Facts = list[tuple[str, str]]


def facts(record: RunRecord) -> Facts:
    """Return what was trained on what, as names and values."""
    classifier, config = record.classifier, record.config
    weight_CK = classifier.model.weight_CK
    found: Facts = [("Images", record.data_folder or "not known")]
    counts = record.metrics.get("images") or {part: len(found.labels_N) for part, found in record.answers.items()}
    if counts:
        found.append(("Split", ", ".join(f"{count:,} {part}" for part, count in counts.items())))
    found.append(("Classes", f"{len(classifier.class_names):,}"))
    data = classifier.data_config
    found.append(("Image", f"{data.image_size}×{data.image_size} pixels, {_RESIZE[data.resize]}"))
    found.append(("Backbone", _backbone(record)))
    found.append(("Features", f"{weight_CK.shape[1]} kept, {int(weight_CK[0].sum())} for each class"))
    if config is not None:
        rounds = " + ".join(str(epochs) for epochs in config.finetune.rounds)
        found.append(
            (
                "Training",
                f"{config.dense.epochs} dense epochs, {rounds} sparse ones; {config.data.augmentation}"
                f" augmentation; seed {config.seed}",
            )
        )
    if classifier.predictor is not None:
        score = score_name(classifier.predictor.score)
        found.append(("Prediction sets", f"score “{score}”, coverage {classifier.coverage:.4g}"))
    found.append(("Finished", _finished(record)))
    return found


_RESIZE = {"squash": "squashed to a square", "crop": "cropped to the central square", "pad": "padded to a square"}


def _backbone(record: RunRecord) -> str:
    backbone = record.classifier.backbone_config
    known = [backbone.name, "pretrained" if backbone.pretrained else "not pretrained"]
    if backbone.cut:
        known.append(f"up to {backbone.cut}")
    if backbone.head_channels:
        known.append(f"{backbone.head_channels} new channels")
    if backbone.frozen:
        known.append(f"frozen up to {backbone.frozen}")
    return ", ".join(known)


def _finished(record: RunRecord) -> str:
    environment = record.values.get("environment")
    if environment is not None:
        return str(environment["date"]).replace("T", " ").replace("+00:00", " UTC")
    written = datetime.fromtimestamp((record.folder / WEIGHTS).stat().st_mtime, timezone.utc)
    return f"{written:%Y-%m-%d %H:%M} UTC"


def accuracies(record: RunRecord) -> list[tuple[str, Rate]]:
    """Return the accuracy of the dense and of the sparse model on the test images, with exact intervals."""
    test = record.answers.get("test")
    if test is None:
        return []
    total = len(test.labels_N)
    found = []
    dense = record.metrics.get("accuracy", {}).get("dense")
    if dense is not None:
        found.append(("Dense black box", clopper_pearson(round(dense * total), total)))
    hits = int((test.predicted_N == test.labels_N).sum())
    found.append(("Sparse, explained model", clopper_pearson(hits, total)))
    return found


def metric_rows(record: RunRecord) -> list[tuple[Meaning, float]]:
    """Return the interpretability metrics with what they mean."""
    return [(meaning(key), value) for key, value in record.metrics.get("interpretability", {}).items()]


def seconds(record: RunRecord) -> Facts:
    """Return how long each stage took."""
    stages = record.values.get("stages", {}).get("stages", {})
    return [(name.replace("finetune", "fine-tuning"), f"{stage['seconds']:,.0f} s") for name, stage in stages.items()]


def reproduction(record: RunRecord) -> dict[str, Any]:
    """Return command, options, versions and machine that make the run again."""
    recorded = record.values.get("environment")
    environment = recorded or describe_environment()
    config = shlex.quote(str(record.folder / "config.yaml"))
    data = shlex.quote(record.data_folder or "IMAGES")
    return {
        "command": f"chiqpm fit {data} --out NEW_RUN --config {config}",
        "report_command": f"chiqpm report {shlex.quote(str(record.folder))}",
        "config": ""
        if record.config is None
        else yaml.safe_dump(config_file.to_dict(record.config), sort_keys=False, allow_unicode=True),
        "recorded": recorded is not None,
        "versions": {"python": environment["python"], **environment["packages"]},
        "machine": machine_words(environment),
        "version": __version__,
    }
