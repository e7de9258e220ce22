"""The global explanation of a run: its features and its classes, seen on its training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from chiqpm import config_file
from chiqpm.classifier import Classifier, load
from chiqpm.data import Attributes, ImageTable, find_attributes, read_annotations, read_attributes, read_split
from chiqpm.data.dataset import ImageDataset
from chiqpm.explain import (
    FeatureExplanation,
    FeatureObserver,
    ModelExplanation,
    Observations,
    explain_features,
    explain_model,
)
from chiqpm.files import read_npz, write_npz
from chiqpm.inference import outputs
from chiqpm.progress import bar
from chiqpm.sharing import fingerprint

OBSERVATIONS = "observations.npz"


@dataclass(frozen=True, eq=False)
class RunExplanation:
    """What a run's model is made of.

    Attributes:
        features: its K features, by index.
        model: its classes and how they are related.
        observations: what the values were made from.
        root: the folder that the paths of `features[k].top` start from.
    """

    features: list[FeatureExplanation]
    model: ModelExplanation
    observations: Observations
    root: Path

    def to_dict(self, *, maps: bool = False) -> dict[str, Any]:
        """Return plain values for JSON; the maps of the top images only when asked for."""
        return {"model": self.model.to_dict(), "features": [f.to_dict(maps=maps) for f in self.features]}


def explain_run(
    run: Path,
    *,
    data_folder: Path | None = None,
    device: str = "auto",
    images_per_class: int | None = None,
    top: int = 12,
    quiet: bool = True,
) -> RunExplanation:
    """Explain the features and the classes of a run.

    What was observed of the features while the run was trained lies in its `observations.npz`. A run without this
    file, or whose model has changed since, costs a pass over its training images; nothing is written.

    Args:
        run: the run directory.
        data_folder: the folder of images, where it has moved since the run.
        device: where to compute, if need be.
        images_per_class: training images of each class that such a pass looks at; None takes all.
        top: how many of the most activating images are kept for each feature.
        quiet: show no progress bar.

    Raises:
        FileNotFoundError: the run isn't finished, or its images are gone.
        ChiqpmError: damaged files, or attributes that don't fit the classes.
    """
    classifier = load(run, device=device)
    table, attributes = open_run_images(run, data_folder)
    rows = table.indices("train")
    observations = read_observations(run, classifier.model)
    if observations is None:
        if images_per_class is not None:
            labels_N = table.labels_N[rows]
            first = [np.flatnonzero(labels_N == label)[:images_per_class] for label in np.unique(labels_N)]
            rows = rows[np.sort(np.concatenate(first))]
        observations = observe(classifier, table, rows, quiet=quiet)
    paths = [table.paths[row] for row in rows.tolist()]
    return explain_observed(classifier, observations, root=table.root, paths=paths, attributes=attributes, top=top)


def explain_observed(
    classifier: Classifier,
    observations: Observations,
    *,
    root: Path,
    paths: Sequence[str] | None = None,
    attributes: Attributes | None = None,
    top: int = 12,
) -> RunExplanation:
    """Explain the features and the classes of a classifier by what was observed.

    Args:
        classifier: gives the assignment, the names and the active means.
        observations: of its features, in training images.
        root: the folder of the images.
        paths: path below it of every image of the pass, in its order; None where it isn't known.
        attributes: of the classes, where they are known.
        top: how many of the most activating images are kept for each feature.
    """
    weight_CK = classifier.model.weight_CK.cpu().numpy()
    features = explain_features(
        observations,
        weight_CK,
        class_names=classifier.class_names,
        active_mean_K=classifier.active_mean_K,
        feature_names=classifier.feature_names,
        paths=paths,
        attribute_names=() if attributes is None else attributes.names,
        attributes_CA=None if attributes is None else attributes.values_CA,
        top=top,
    )
    model = explain_model(
        weight_CK,
        class_names=classifier.class_names,
        feature_names=classifier.feature_names,
        features=features,
        observations=observations,
    )
    return RunExplanation(features, model, observations, root)


def observe(
    classifier: Classifier, table: ImageTable, rows_N: NDArray[np.int64], *, seed: int = 0, quiet: bool = True
) -> Observations:
    """Pass over some images of a table and keep what features are explained by; memory doesn't grow with the images."""
    num_classes, num_features = classifier.model.weight_CK.shape
    observer = FeatureObserver(num_classes, num_features, seed=seed)
    limit = classifier.data_config.max_pixels
    dataset = ImageDataset(table, rows_N, classifier.transform, max_pixels=limit)
    with torch.inference_mode(), bar(len(rows_N), "observing features", quiet=quiet) as progress:
        for output, labels in outputs(classifier.model, dataset, device=classifier.device):
            observer.update(output.features, output.maps, labels)
            progress.update(len(labels))
    return observer.observations()


def write_observations(run: Path, model: nn.Module, observations: Observations) -> None:
    """Keep observations in a run, with a digest of the model that they belong to."""
    write_npz(run / OBSERVATIONS, {**vars(observations), "model": np.array(fingerprint(model))})


def read_observations(run: Path, model: nn.Module) -> Observations | None:
    """Return a run's observations of this very model, or None."""
    file = run / OBSERVATIONS
    if not file.exists():
        return None
    arrays = read_npz(file)
    if str(arrays.get("model")) != fingerprint(model):
        return None
    return Observations(**{field.name: arrays[field.name] for field in fields(Observations)})


def require_run(run: Path, *names: str) -> None:
    """Refuse a folder that isn't that of a finished run.

    Args:
        run: the folder.
        names: files of a run that are needed.

    Raises:
        FileNotFoundError: one is missing.
    """
    missing = [name for name in names if not (run / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"{run} is not the directory of a finished run (it lacks {', '.join(missing)}); this needs what `chiqpm "
            "fit` leaves there, and a saved or shared classifier leaves out: the split of the images and the answers "
            "to them"
        )


def open_run_table(run: Path, data_folder: Path | None = None) -> ImageTable:
    """Return the images of a run with its split.

    Args:
        run: the run directory.
        data_folder: the folder of images, where it has moved since the run.

    Raises:
        FileNotFoundError: the run isn't finished, or its images are gone.
        ChiqpmError: a split that doesn't fit the images.
    """
    require_run(run, "config.yaml", "split.csv")
    described = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    folder = data_folder or Path(described["data_folder"])
    if not folder.is_dir():
        raise FileNotFoundError(f"the images of this run are no longer in {folder}; name their folder with --data")
    return read_split(run / "split.csv", folder)


def open_run_images(run: Path, data_folder: Path | None = None) -> tuple[ImageTable, Attributes | None]:
    """Return what `open_run_table` does, and what is known about the run's classes, if anything is.

    Args:
        run: the run directory.
        data_folder: the folder of images, where it has moved since the run.

    Raises:
        FileNotFoundError: the run isn't finished, or its images are gone.
        ChiqpmError: a split or attributes that don't fit the images.
    """
    table = open_run_table(run, data_folder)
    file = find_attributes(table.root, config_file.read(run / "config.yaml").data.attributes)
    if file is not None:
        return table, read_attributes(file, table.classes)
    annotations = read_annotations(table)
    return table, None if annotations is None else annotations.classes
