"""Where wrong predictions leave the truth: how far the two share the tree, and which siblings are confused."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.conformal.hierarchy import tree
from chiqpm.errors import ChiqpmError


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes that are taken for each other.

    Attributes:
        class_a: the lower index.
        class_b: the higher one.
        shared: how many features both use.
        a_as_b: images of a that were predicted as b.
        b_as_a: images of b that were predicted as a.
        images: images of both.
    """

    class_a: int
    class_b: int
    shared: int
    a_as_b: int
    b_as_a: int
    images: int

    @property
    def errors(self) -> int:
        """Confusions in both directions."""
        return self.a_as_b + self.b_as_a


@dataclass(frozen=True)
class TreeErrors:
    """Wrong predictions along the tree of each image (arXiv 2511.20779, hierarchical explanation).

    Attributes:
        images: number of images.
        wrong: number of wrong predictions.
        levels: for k = 0..n-1, in how many of the wrong predictions the truth shares exactly the k strongest features
            of the prediction, in their order.
        chance: the share of all classes other than the prediction that lie at each of these levels of the same
            trees: what a class drawn at random would give. Sums to 1; zeros where nothing is wrong.
        siblings: wrong predictions whose truth has all but one of the prediction's features.
        sibling_chance: share of the other classes that are siblings of the prediction, over the same images.
        pairs: the most confused pairs, most errors first.
    """

    images: int
    wrong: int
    levels: tuple[int, ...]
    chance: tuple[float, ...]
    siblings: int
    sibling_chance: float
    pairs: tuple[ConfusedPair, ...]

    def sentence(self) -> str:
        """Say how near the wrong predictions stay to the truth."""
        if not self.wrong:
            return f"No prediction of {self.images:,} is wrong."
        near = sum(self.levels[1:]) / self.wrong
        return (
            f"{self.wrong:,} of {self.images:,} predictions are wrong. In {near:.0%} of them the truth shares at least "
            f"the strongest feature with the prediction (a class drawn at random: {sum(self.chance[1:]):.0%}), and in "
            f"{self.siblings / self.wrong:.0%} it differs from the prediction in one feature only "
            f"(at random: {self.sibling_chance:.0%})."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def tree_errors(features_NK: Any, logits_NC: Any, labels_N: Any, weight_CK: Any, *, most_pairs: int = 10) -> TreeErrors:
    """Measure how wrong predictions lie in the tree.

    Args:
        features_NK: activations of the kept features.
        logits_NC: logits; the largest one is the prediction, the first on ties.
        labels_N: true classes.
        weight_CK: binary assignment, the same number n of features in every class.
        most_pairs: how many confused pairs are listed.

    Raises:
        ChiqpmError: shapes don't fit, or there is no image.

    >>> weight = [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    >>> found = tree_errors([[3.0, 1.0, 2.0]] * 2, [[4.0, 5.0, 3.0]] * 2, [0, 1], weight)
    >>> found.wrong, found.levels, found.siblings, found.pairs[0].errors
    (1, (0, 1), 1, 1)
    """
    features, logits, labels = np.asarray(features_NK), np.asarray(logits_NC), np.asarray(labels_N)
    weight: NDArray[np.int64] = np.asarray(weight_CK).astype(np.int64)
    if logits.ndim != 2 or not len(logits) or labels.shape != logits.shape[:1] or features.shape[:1] != labels.shape:
        raise ChiqpmError(
            "logits (N, C), features (N, K) and labels (N,) of at least one image are needed; received "
            f"{logits.shape}, {features.shape} and {labels.shape}"
        )
    per_class = int(weight[0].sum())
    predicted = logits.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    levels, chance = np.zeros(per_class, dtype=np.int64), np.zeros(per_class)
    common_CC = weight @ weight.T
    sibling_chance = 0.0
    if len(wrong):
        shared_BC = np.asarray(tree(features[wrong], weight, predicted[wrong]).shared_BC)
        levels = np.bincount(shared_BC[np.arange(len(wrong)), labels[wrong]], minlength=per_class)[:per_class]
        counts = np.bincount(shared_BC.ravel(), minlength=per_class + 1)[:per_class]
        chance = counts / max(1, int(counts.sum()))
        siblings_C = (common_CC == per_class - 1).sum(axis=1)
        sibling_chance = float(siblings_C[predicted[wrong]].mean() / max(1, len(weight) - 1))
    return TreeErrors(
        images=len(labels),
        wrong=len(wrong),
        levels=tuple(levels.tolist()),
        chance=tuple(chance.tolist()),
        siblings=int((common_CC[predicted[wrong], labels[wrong]] == per_class - 1).sum()),
        sibling_chance=sibling_chance,
        pairs=_pairs(predicted, labels, common_CC, most_pairs),
    )


def _pairs(
    predicted_N: NDArray[np.int64], labels_N: NDArray[np.int64], common_CC: NDArray[np.int64], most: int
) -> tuple[ConfusedPair, ...]:
    wrong = predicted_N != labels_N
    confused, counts = np.unique(np.stack([labels_N[wrong], predicted_N[wrong]], axis=1), axis=0, return_counts=True)
    as_other = {(int(a), int(b)): int(count) for (a, b), count in zip(confused, counts, strict=True)}
    of_class = np.bincount(labels_N, minlength=len(common_CC))
    pairs = [
        ConfusedPair(
            a, b, int(common_CC[a, b]), as_other.get((a, b), 0), as_other.get((b, a), 0), int(of_class[a] + of_class[b])
        )
        for a, b in {(min(pair), max(pair)) for pair in as_other}
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.errors, pair.class_a, pair.class_b))[:most])
