"""A finished run without training: a real network with random features, real files, real calibration."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from chiqpm import config_file
from chiqpm.backbone import build_backbone
from chiqpm.calibration import make_score
from chiqpm.classifier import Classifier
from chiqpm.config import AssignmentConfig, BackboneConfig, CalibrationConfig, DataConfig, FitConfig
from chiqpm.conformal import ConformalPredictor
from chiqpm.explain import FeatureObserver
from chiqpm.files import write_npz
from chiqpm.metrics import active_mean
from chiqpm.model import CHiQPM, keep_features
from chiqpm.run_explanation import write_observations
from chiqpm.sharing import fingerprint

COUNTS = {"train": 4, "calibration": 5, "test": 4}


def assignment(classes: int, features: int, per_class: int, seed: int = 0) -> np.ndarray:
    """Distinct classes, every second of which differs from the one before it in a single feature."""
    generator = np.random.default_rng(seed)
    rows: list[frozenset[int]] = []
    while len(rows) < classes:
        if len(rows) % 2:
            kept = sorted(rows[-1])
            kept.pop(int(generator.integers(per_class)))
            row = frozenset([*kept, int(generator.integers(features))])
        else:
            row = frozenset(generator.choice(features, per_class, replace=False).tolist())
        if len(row) == per_class and row not in rows:
            rows.append(row)
    weight = np.zeros((classes, features), dtype=np.float32)
    for index, row in enumerate(rows):
        weight[index, sorted(row)] = 1
    return weight


def write_run(
    folder: Path,
    *,
    classes: int = 4,
    features: int = 6,
    per_class: int = 2,
    names: Sequence[str] | None = None,
    counts: dict[str, int] | None = None,
    coverage: float = 0.8,
    pictures: bool = True,
    noise: float = 0.6,
    size: int = 64,
    seed: int = 0,
) -> Path:
    """Write a run directory; its images, if any, lie in `folder/images`.

    Args:
        folder: the run directory, which is made.
        classes: C.
        features: K.
        per_class: n.
        names: class names, sorted; None for `class 0` ...
        counts: images of each class by part.
        coverage: of the prediction sets.
        pictures: also write picture files; answers are made up in any case.
        noise: of the made-up features.
        size: side of the pictures.
        seed: of all that is random.
    """
    generator = np.random.default_rng(seed)
    counts = COUNTS if counts is None else counts
    labels = sorted(names or [f"class {c:04d}" for c in range(classes)])
    weight = assignment(classes, features, per_class, seed)
    torch.manual_seed(seed)
    backbone_config = BackboneConfig(head_channels=features).resolved()
    backbone = build_backbone(backbone_config, image_size=size)
    selection = keep_features(backbone, torch.arange(features))
    std = torch.full((features,), 0.2)
    model = CHiQPM(backbone, selection, torch.from_numpy(weight), torch.full((features,), 0.5), std, pooled_share=0.2)
    config = FitConfig(
        data=DataConfig(image_size=size),
        backbone=backbone_config,
        assignment=AssignmentConfig(kept_features=features, features_per_class=per_class),
        calibration=CalibrationConfig(coverage=coverage, targets=(coverage,)),
        device="cpu",
    )
    folder.mkdir(parents=True)
    rows, answers = [], {}
    for part, count in counts.items():
        label_N = np.repeat(np.arange(classes), count)
        features_NK = np.maximum(
            0, 2.0 * weight[label_N] + generator.normal(0, noise, (len(label_N), features))
        ).astype(np.float32)
        answers[part] = {"logits_NC": features_NK @ weight.T, "features_NK": features_NK, "labels_N": label_N}
        write_npz(folder / f"{part}_answers.npz", answers[part])
        for number, label in enumerate(label_N.tolist()):
            path = f"{part}/{label:04d}/{number % count}.jpg"
            rows.append([path, labels[label], part, ""])
            if pictures:
                file = folder / "images" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                cells = generator.integers(0, 255, (5, 5, 3), dtype=np.uint8)
                Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC).save(file)
    with (folder / "split.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["path", "class", "part", "group"], *rows])
    train, calibration = answers["train"], answers["calibration"]
    observer = FeatureObserver(classes, features, seed=seed)
    maps = generator.random((len(train["labels_N"]), features, 6, 6)) ** 4
    for start in range(0, len(maps), 500):
        part = slice(start, start + 500)
        observer.update(train["features_NK"][part], maps[part].astype(np.float32), train["labels_N"][part])
    write_observations(folder, model, observer.observations())
    predictor = ConformalPredictor(make_score("branch", weight))
    predictor.calibrate(calibration["logits_NC"], calibration["labels_N"], calibration["features_NK"])
    classifier = Classifier(
        model,
        backbone=backbone_config,
        data=config.data,
        class_names=labels,
        active_mean_K=active_mean(train["features_NK"], seed),
        predictor=predictor,
        coverage=coverage,
    )
    classifier.save(folder)
    described = {"data_folder": str(folder / "images"), **config_file.to_dict(config)}
    (folder / "config.yaml").write_text(yaml.safe_dump(described, allow_unicode=True), encoding="utf-8")
    write_npz(
        folder / "assignment.npz",
        {
            "selection_K": np.arange(features),
            "weight_CK": weight,
            "objective": np.array(10.0),
            "bound": np.array(10.5),
            "pairs": np.zeros((0, 2), dtype=np.int64),
            "pairs_satisfied": np.array(0),
        },
    )
    metrics = {
        "classifier": classifier.fingerprint(),
        "weights": fingerprint(model),
        "images": {part: count * classes for part, count in counts.items()},
        "classes": classes,
        "accuracy": {"dense": 0.9, "sparse": 0.9, "ratio": 1.0},
        "features": {"kept": features, "per_class": per_class},
        "assignment": {
            "objective": 10.0,
            "bound": 10.5,
            "gap": 0.05,
            "pairs_forced": 0,
            "pairs_satisfied": 0,
            "distinct_classes": classes,
        },
        "interpretability": {"contrastiveness": 0.9, "sid@5": 0.7},
        "calibration_score": "branch",
        "coverage": {name: {f"{coverage:g}": {"coverage": 0.81, "mean_size": 1.25}} for name in ("branch", "thr")},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    write_npz(folder / "examples.npz", {"pictures": generator.integers(0, 255, (classes, 96, 96, 3), dtype=np.uint8)})
    return folder
