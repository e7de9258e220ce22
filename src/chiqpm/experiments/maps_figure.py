"""The same image as several models see it: heat maps side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from chiqpm.classifier import load
from chiqpm.experiments.finished_run import FinishedRun
from chiqpm.experiments.pictures import test_pictures
from chiqpm.explain.drawing.colours import feature_colour
from chiqpm.explain.drawing.pictures import overlay
from chiqpm.explain.saliency import heat_map, strength

_SIDE = 160


def draw_maps(runs: Mapping[str, FinishedRun], file: Path, *, row: int = 0) -> None:
    """Draw one test image and the maps of the features of its predicted class, a line for each model.

    Args:
        runs: name -> run; all on the same images.
        file: where the figure goes.
        row: number of the test image.
    """
    first = next(iter(runs.values()))
    pictures = test_pictures(first)
    picture = pictures.open(int(pictures.rows_N[row])).image
    count = int(first.weight_CK[0].sum())
    figure = Figure(figsize=(1.5 * (count + 1), 1.75 * len(runs)), layout="constrained")
    axes = figure.subplots(len(runs), count + 1, squeeze=False)
    base = np.asarray(picture.resize((_SIDE, _SIDE)))
    for line, (name, found) in zip(axes, runs.items(), strict=True):
        classifier = load(found.out, device="cpu")
        logits, features, maps = (values[0] for values in classifier.outputs([picture]))
        predicted = int(logits.argmax())
        used = np.flatnonzero(found.weight_CK[predicted])
        used = used[np.argsort(-features[used], kind="stable")]
        line[0].imshow(base)
        line[0].set_title(f"{name}\n{classifier.class_names[predicted]}", fontsize=7, loc="left")
        for axis, feature in zip(line[1:], used, strict=True):
            usual = float(classifier.active_mean_K[feature])
            value = max(0.0, float(features[feature]))
            heat = heat_map(np.maximum(maps[feature], 0), (_SIDE, _SIDE), activation=value, active_mean=usual)
            axis.imshow(overlay(base, heat, feature_colour(int(feature))))
            axis.set_title(f"f{feature}  {strength(value, usual):.2f}× usual", fontsize=7)
    for axis in axes.flat:
        axis.set_axis_off()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)
