"""What can be measured where people said, image by image, which attributes are seen and where the parts are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm import metrics
from chiqpm.classifier import Classifier
from chiqpm.config import DataConfig
from chiqpm.data import Annotations, ImageTable, Part, PartPlaces, geometry
from chiqpm.data.dataset import ImageDataset
from chiqpm.inference import Answers, Features, RowStore, answer
from chiqpm.model import Output

CELLS = 40
"""Side of the grid on which the place of a part is marked: places are moved by at most 0.9% of the image's side."""


def measure_attributes(
    table: ImageTable, present_NA: NDArray[np.bool_], train: Features, test: Features
) -> dict[str, float]:
    """Feature alignment on the training images, and the AUC of each feature's best attribute on the test images.

    Args:
        table: N images with their split.
        present_NA: attributes seen in each of them.
        train: answers for its training images.
        test: answers for its test images.
    """
    train_NA, test_NA = present_NA[table.indices("train")], present_NA[table.indices("test")]
    if not (train_NA.any(axis=0) & ~train_NA.all(axis=0)).any():
        return {}
    auc = metrics.attribute_auc(train.features_NK, train_NA, test.features_NK, test_NA).mean
    found = {"feature_alignment": metrics.feature_alignment(train.features_NK, train_NA), "attribute_auc": auc}
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def measure_parts(
    classifier: Classifier,
    table: ImageTable,
    annotations: Annotations,
    test: Answers,
    test_peaks_NK2: NDArray[np.float64],
    *,
    seed: int,
    quiet: bool = True,
) -> dict[str, float]:
    """How often a feature that explains the prediction peaks on its part, beside controls.

    A feature's part is chosen on the calibration images, which are run through the model for that.

    Args:
        classifier: the fitted classifier.
        table: its images.
        annotations: of the table, with parts.
        test: answers for its test images.
        test_peaks_NK2: peaks of the maps of its test images, y and x, in their order.
        seed: of the controls.
        quiet: show no progress bar.

    Returns:
        Shares of hits; without calibration images, or any visible part, nothing.
    """
    parts, rows = annotations.parts, table.indices("calibration")
    if parts is None or not len(rows):
        return {}
    config, peaks = classifier.data_config, RowStore(len(rows))

    def collect(output: Output, labels: torch.Tensor) -> None:
        peaks.add(metrics.map_peaks(output.maps))

    dataset = ImageDataset(table, rows, classifier.transform, max_pixels=config.max_pixels)
    description = "parts of calibration images"
    seen = answer(
        classifier.model, dataset, device=classifier.device, description=description, quiet=quiet, each=collect
    )
    masks = _masks(table, parts, "calibration", config)
    modal_K = metrics.modal_parts(peaks.rows, masks, seen.features_NK > 0)  # type: ignore[arg-type]
    found = metrics.part_grounding(
        test_peaks_NK2,
        _masks(table, parts, "test", config),
        test.features_NK > 0,
        modal_K,
        explaining=classifier.model.weight_CK.cpu().numpy()[test.predicted_N] > 0,
        seed=seed,
    )
    shares = {
        "part_hit": found.hit,
        "part_hit_other_image": found.other_image,
        "part_hit_random": found.random_image,
    }
    return {name: value for name, value in shares.items() if np.isfinite(value)}


def _masks(table: ImageTable, parts: PartPlaces, part: Part, config: DataConfig) -> NDArray[np.bool_]:
    """Cells of the model's image that hold a visible part (B, P, CELLS, CELLS)."""
    rows = table.indices(part)
    masks = np.zeros((len(rows), len(parts.names), CELLS, CELLS), dtype=bool)
    for place, row in enumerate(rows.tolist()):
        frame = geometry(config, *table.load(row, max_pixels=config.max_pixels).size)
        for number in np.flatnonzero(parts.visible_NP[row]).tolist():
            y, x = parts.places_NP2[row, number].tolist()
            left, top = (int(np.floor(CELLS * at / config.image_size)) for at in frame.to_model(x, y))
            if 0 <= left < CELLS and 0 <= top < CELLS:
                masks[place, number, top, left] = True
    return masks
