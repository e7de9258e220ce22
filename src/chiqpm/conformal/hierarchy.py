"""The tree of a sample: how each class orders its features, and where it leaves the prediction's path.

Sort the n features of class c by their activation in the sample, largest first and by feature index on ties:
F_1^c ... F_n^c. A class shares the first k_c of them, in order, with the predicted class (k = n for the
prediction itself) and leaves its path with feature F_{k_c+1}^c. These prefixes form the sample's tree
(Norrenbrock et al., 2025, arXiv 2511.20779, hierarchical explanation).

Axis letters: B images, K kept features, C classes, n features per class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from chiqpm.conformal.arrays import (
    Array,
    as_array,
    as_kind,
    as_matrix,
    block,
    blocks,
    check_codes,
    empty_like_kind,
)
from chiqpm.errors import ChiqpmError


@dataclass(frozen=True)
class Tree:
    """Where every class leaves the predicted class's path, for a batch of images.

    Attributes:
        predicted_B: index of the predicted class.
        order_BK: all features by activation, largest first, by index on ties.
        shared_BC: k_c, the number of leading features that the class shares with the prediction, 0..n; n for
            the prediction.
        leaving_BC: the feature with which the class leaves the path, F_{k_c+1}^c; -1 where it doesn't (the
            prediction itself, and a class with the very same features).
    """

    predicted_B: Array
    order_BK: Array
    shared_BC: Array
    leaving_BC: Array


@dataclass(frozen=True)
class Branches:
    """The tree of a block as its scores need it, all tensors; position 0 is the strongest feature.

    Attributes:
        order_BK: all features by activation.
        shared_BC: k_c.
        leaving_BC: position of the leaving feature in `order_BK`; K where there is none.
        leaving_activation_BC: its activation; 0 where there is none.
        path_Bn: activations of the prediction's own features, largest first.
        further: for each feature of the class after the leaving one, as far as asked for, its position; K where
            there is none.
    """

    order_BK: torch.Tensor
    shared_BC: torch.Tensor
    leaving_BC: torch.Tensor
    leaving_activation_BC: torch.Tensor
    path_Bn: torch.Tensor
    further: tuple[torch.Tensor, ...] = ()


def check_assignment(weight_CK: Array) -> torch.Tensor:
    """Return the assignment as a float64 tensor (C, K) on the CPU.

    Args:
        weight_CK: 1 where a class uses a feature, else 0; the same number of features, at least one, in every
            class.

    Raises:
        TypeError: it isn't numeric.
        ChiqpmError: wrong shape, other values than 0 and 1, or classes with different numbers of features.
    """
    array = as_matrix(weight_CK, "weight", "classes, kept features")
    weight = torch.as_tensor(array.cpu() if isinstance(array, torch.Tensor) else np.array(array)).to(torch.float64)
    if not bool(((weight == 0) | (weight == 1)).all()):
        raise ChiqpmError("weight must be the binary assignment of features to classes: only 0 and 1 are allowed.")
    counts = weight.sum(dim=1)
    if weight.shape[0] == 0 or counts.min() < 1 or counts.min() != counts.max():
        found = "no class" if weight.shape[0] == 0 else f"between {int(counts.min())} and {int(counts.max())}"
        raise ChiqpmError(f"every class must use the same number of features, at least one; got {found}.")
    return weight


def tree(features_BK: Array, weight_CK: Array, predicted_B: Array) -> Tree:
    """Find where every class leaves the prediction's path.

    Memory: 16 bytes for each image and class in the result, and a block of fixed size besides.

    Args:
        features_BK: activations of the kept features.
        weight_CK: binary assignment, the same number of features in every class.
        predicted_B: predicted class of each image.

    Returns:
        The tree, in the kind of array (NumPy or torch, and its device) that `features_BK` has.

    Raises:
        ChiqpmError: shapes or values don't fit each other.

    >>> features = np.array([[5.0, 3.0, 2.0, 1.0]])
    >>> weight = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]])
    >>> found = tree(features, weight, np.array([0]))
    >>> found.shared_BC.tolist(), found.leaving_BC.tolist()
    ([[2, 1, 0]], [[-1, 2, 1]])
    """
    features, weight = _check(features_BK, weight_CK)
    num_images, num_classes = features.shape[0], weight.shape[0]
    predicted = check_codes(predicted_B, num_images, num_classes, name="predicted", what="class")
    growing = GrowingTree(features, num_classes)
    predicted, weight = predicted.to(growing.predicted_B.device), weight.to(growing.predicted_B.device)
    for rows in blocks(num_images, num_classes):
        growing.add(rows, predicted[rows], branches(block(features, rows, "features"), weight, predicted[rows]))
    return growing.tree()


class GrowingTree:
    """A tree that is filled block by block.

    Args:
        features: activations (B, K), which give its size and its kind of array.
        num_classes: C.
    """

    def __init__(self, features: Array, num_classes: int) -> None:
        num_images, num_features = features.shape
        self._like = features
        self.predicted_B = empty_like_kind(features, (num_images,), torch.int64)
        self._order_BK = empty_like_kind(features, (num_images, num_features), torch.int64)
        self._shared_BC = empty_like_kind(features, (num_images, num_classes), torch.int64)
        self._leaving_BC = empty_like_kind(features, (num_images, num_classes), torch.int64)

    def add(self, rows: slice, predicted_B: torch.Tensor, part: Branches) -> None:
        """Take in a block."""
        self.predicted_B[rows] = predicted_B
        self._order_BK[rows], self._shared_BC[rows] = part.order_BK, part.shared_BC
        nothing_B1 = torch.full_like(part.order_BK[:, :1], -1)
        self._leaving_BC[rows] = torch.cat([part.order_BK, nothing_B1], dim=1).gather(1, part.leaving_BC)

    def tree(self) -> Tree:
        """Return it."""
        parts = (self.predicted_B, self._order_BK, self._shared_BC, self._leaving_BC)
        return Tree(*(as_kind(part, self._like) for part in parts))


def class_paths(features_BK: Array, weight_CK: Array, classes: Array | None = None) -> Array:
    """Order each class's features by their activation: F_1^c ... F_n^c.

    Args:
        features_BK: activations of the kept features.
        weight_CK: binary assignment, the same number of features in every class.
        classes: indices (S,) of the classes wanted; None for all. The result grows with B·S·n.

    Returns:
        Feature indices (B, S, n), the strongest first, by index on ties, in the kind of array that
        `features_BK` has.

    Raises:
        ChiqpmError: shapes or values don't fit each other.

    >>> class_paths(np.array([[1.0, 3.0, 2.0]]), np.array([[1, 1, 0], [0, 1, 1]])).tolist()
    [[[1, 0], [1, 2]]]
    """
    features, weight = _check(features_BK, weight_CK)
    if classes is not None:
        wanted = as_array(classes)
        weight = weight[check_codes(wanted, wanted.shape[0], weight.shape[0], name="classes", what="class")]
    owned_Sn = weight.nonzero()[:, 1].reshape(weight.shape[0], -1)
    paths_BSn = empty_like_kind(features, (features.shape[0], *owned_Sn.shape), torch.int64)
    owned_Sn = owned_Sn.to(paths_BSn.device)
    for rows in blocks(features.shape[0], owned_Sn.numel()):
        activation_BSn = block(features, rows, "features")[:, owned_Sn]
        order_BSn = activation_BSn.argsort(dim=2, descending=True, stable=True)
        paths_BSn[rows] = owned_Sn.expand_as(order_BSn).gather(2, order_BSn)
    return as_kind(paths_BSn, features)


def branches(
    features_BK: torch.Tensor,
    weight_CK: torch.Tensor,
    predicted_B: torch.Tensor,
    classes_BS: torch.Tensor | None = None,
    depth: int = 1,
) -> Branches:
    """Find where every class (with `classes_BS`, some classes of each image) leaves the path, for one block.

    With a `depth` above 1, so many of the class's features from the leaving one on are found.

    A class becomes a number in which the strongest feature of the sample is the highest digit, 1 if the class
    owns it: one product of powers of two with the assignment, exact because distinct powers add without
    rounding. The highest digit in which it differs from the prediction's number is where the paths part, and
    its own highest digit from there on is its leaving feature. Nothing larger than (B, C) is ever built.
    """
    num_images, num_features = features_BK.shape
    sorted_BK, order_BK = features_BK.sort(dim=1, descending=True, stable=True)
    position_BK = order_BK.argsort(dim=1)
    # Apple's GPU has no float64; 24 and 53 are the bits that the two formats add exactly.
    number, bits = (torch.float32, 24) if features_BK.device.type == "mps" else (torch.float64, 53)
    weight_CK = weight_CK.to(number)
    num_candidates = weight_CK.shape[0] if classes_BS is None else classes_BS.shape[1]
    nothing = torch.tensor(num_features, device=features_BK.device)
    parting_BC = nothing.expand(num_images, num_candidates)
    after = [parting_BC] * depth
    for start in range(0, num_features, bits):
        end = min(start + bits, num_features)
        inside_BK = (position_BK >= start) & (position_BK < end)
        digit_BK = torch.where(inside_BK, torch.exp2((end - 1 - position_BK).to(number)), 0)
        if classes_BS is None:
            owned_BC = (digit_BK @ weight_CK.T).long()
        else:
            owned_BC = (digit_BK[:, None] * weight_CK[classes_BS]).sum(dim=2).long()
        differ_BC = owned_BC ^ (digit_BK * weight_CK[predicted_B]).sum(dim=1, keepdim=True).long()
        here_BC = _first_position(differ_BC, end, number)
        here_BC = torch.where(differ_BC == 0, nothing, here_BC) if num_features > bits else here_BC
        parting_BC = torch.minimum(parting_BC, here_BC)
        # The digits from the parting on: all of them where the paths parted before, none where they haven't
        # yet.
        rest_BC = owned_BC & ((1 << (end - parting_BC.clamp(start, end))) - 1)
        for number_after in range(depth):
            here_BC = _first_position(rest_BC, end, number)
            here_BC = torch.where(rest_BC == 0, nothing, here_BC) if depth > 1 or num_features > bits else here_BC
            free_BC = after[number_after] == num_features
            after[number_after] = torch.minimum(after[number_after], here_BC)
            if number_after + 1 < depth:
                taken_BC = free_BC & (rest_BC != 0)
                rest_BC = torch.where(taken_BC, rest_BC & ~(1 << (end - 1 - here_BC).clamp_min(0)), rest_BC)
    own_BK = weight_CK.to(torch.bool)[predicted_B].gather(1, order_BK)
    path_Bn = sorted_BK[own_BK].reshape(num_images, -1)
    above_BK = torch.cat([torch.zeros_like(order_BK[:, :1]), own_BK.cumsum(dim=1)], dim=1)
    shared_BC = above_BK.gather(1, parting_BC)
    activation_BK = torch.cat([sorted_BK, torch.zeros_like(sorted_BK[:, :1])], dim=1)
    leaving_BC, *further = after
    leaving_activation_BC = activation_BK.gather(1, leaving_BC)
    return Branches(order_BK, shared_BC, leaving_BC, leaving_activation_BC, path_Bn, tuple(further))


def _first_position(digits: torch.Tensor, end: int, number: torch.dtype) -> torch.Tensor:
    """Position of the highest digit that is 1, the last being `end - 1`; above every position where none is.

    Read from the exponent of the float.
    """
    if number == torch.float64:
        return (end + 1022) - (digits.double().view(torch.int64) >> 52)
    return (end + 126) - (digits.float().view(torch.int32) >> 23).long()


def _check(features_BK: Array, weight_CK: Array) -> tuple[Array, torch.Tensor]:
    features = as_matrix(features_BK, "features", "images, kept features")
    weight = check_assignment(weight_CK)
    if features.shape[1] != weight.shape[1]:
        raise ChiqpmError(
            f"features have {features.shape[1]} columns where the assignment has {weight.shape[1]} kept "
            "features; they must agree."
        )
    return features, weight
