"""Scores of a batch of any length, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm.conformal.arrays import Array, as_kind, block, blocks, check_inputs, check_labels, empty_like_kind
from chiqpm.conformal.hierarchy import GrowingTree, Tree
from chiqpm.conformal.scores import HierarchicalScore, Score
from chiqpm.conformal.uniform import Generator, draw
from chiqpm.errors import ChiqpmError


def require_one_variant(score: Score) -> Score:
    """Return a score whose classes have one number each.

    Raises:
        ChiqpmError: the score chooses a level for each coverage.
    """
    if score.variants > 1:
        raise ChiqpmError(
            f"{score!r} chooses its level for each coverage, so that a class has no score of its own; give it a "
            "fixed level, or use another kind."
        )
    return score


def not_calibrated() -> ChiqpmError:
    """Return the error of a predictor that is asked too early."""
    return ChiqpmError(
        "the predictor isn't calibrated; call calibrate(logits, labels, ...) first, with held-out images."
    )


def score_labels(
    score: Score, logits_MC: Array, labels_M: Array, features_MK: Array | None, generator: Generator | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Score the true class of each image.

    Returns:
        Scores (variants, M), labels (M,) and the number of classes.

    Raises:
        TypeError: an array isn't numeric, labels aren't integers, or the generator is of another kind.
        ChiqpmError: shapes don't fit, labels lie outside the classes, there is no image, values aren't
            finite, or features or generator are missing.
    """
    logits, features = check_scored(score, logits_MC, features_MK, score.num_classes)
    num_images, num_classes = logits.shape
    labels = check_labels(labels_M, num_images, num_classes)
    if num_images == 0:
        raise ChiqpmError("calibration needs at least one image; got none.")
    uniform = draw(generator, num_images, score)
    scores_VM = torch.empty((score.variants, num_images), dtype=torch.float64)
    with torch.no_grad():
        for rows in blocks(num_images, num_classes):
            logits_BC, features_BK, uniform_B = _block(logits, features, uniform, rows)
            part_VB = score.label_scores(logits_BC, labels[rows].to(logits_BC.device), features_BK, uniform_B)
            scores_VM[:, rows] = part_VB.to("cpu", torch.float64)
    return scores_VM.numpy(), labels.numpy(), num_classes


def score_classes(
    score: Score,
    logits: Array,
    features: Array | None,
    generator: Generator | None,
    variants: tuple[int, ...] = (0,),
) -> Iterator[tuple[slice, dict[int, torch.Tensor]]]:
    """Score every class of checked arrays: rows of a block, and its scores (rows, C) under each variant."""
    uniform = draw(generator, logits.shape[0], score)
    for rows in blocks(logits.shape[0], logits.shape[1]):
        with torch.no_grad():
            logits_BC, features_BK, uniform_B = _block(logits, features, uniform, rows)
            scores = {v: score.class_scores(logits_BC, features_BK, uniform_B, variant=v) for v in variants}
        yield rows, scores


def empty_scores(logits_BC: Array) -> torch.Tensor:
    """Return room for a score of every class: float64 where the logits are, else float32."""
    double = logits_BC.dtype in (np.dtype(np.float64), torch.float64)
    return empty_like_kind(logits_BC, tuple(logits_BC.shape), torch.float64 if double else torch.float32)


def scored_tree(score: HierarchicalScore, logits_BC: Array, features_BK: Array) -> tuple[Array, Tree]:
    """Score every class and return the tree that the scores come from, in about the time of one of the two.

    Args:
        score: with a number for each class.
        logits_BC: logits of the images.
        features_BK: their features.

    Returns:
        What `ConformalPredictor.scores` returns, and what `chiqpm.conformal.tree` does for the predictions that the
        logits make.

    Raises:
        TypeError: an array isn't numeric.
        ChiqpmError: shapes don't fit, values aren't finite, or the score chooses its level for each coverage.
    """
    require_one_variant(score)
    logits, features = check_scored(score, logits_BC, features_BK, score.num_classes)
    assert features is not None
    scores_BC = empty_scores(logits)
    growing = GrowingTree(features, logits.shape[1])
    for rows in blocks(logits.shape[0], logits.shape[1]):
        part_BC, part_BK, _ = _block(logits, features, None, rows)
        found = score.find_branches(part_BC, part_BK)
        scores_BC[rows] = score.from_branches(found, part_BC, 0).to(part_BC.dtype)
        growing.add(rows, part_BC.argmax(dim=1), found)
    return as_kind(scores_BC, logits), growing.tree()


def check_scored(
    score: Score, logits: Array, features: Array | None, num_classes: int | None
) -> tuple[Array, Array | None]:
    """Check logits and features against what a score reads; features are None where it reads none."""
    return check_inputs(
        logits,
        features,
        needs_features=score.needs_features,
        score=repr(score),
        num_classes=num_classes,
        num_features=score.num_features,
    )


def _block(
    logits: Array, features: Array | None, uniform: torch.Tensor | None, rows: slice
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    logits_BC = block(logits, rows, "logits")
    features_BK = None if features is None else block(features, rows, "features").to(logits_BC.device)
    return logits_BC, features_BK, None if uniform is None else uniform[rows].to(logits_BC)
