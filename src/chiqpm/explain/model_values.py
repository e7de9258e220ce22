"""What a model is, as values: which class has which features, how classes are related, whom not to trust.

Axis letters: C classes, K features, n features per class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from chiqpm.errors import ChiqpmError
from chiqpm.explain.features import FeatureExplanation
from chiqpm.explain.inputs import finite_array, names
from chiqpm.explain.model_wording import model_sentence, model_text, pair_sentence
from chiqpm.explain.observations import Observations
from chiqpm.explain.values import Feature

_MOST_ORDERED = 300
"""Up to so many classes the leaves of the tree are ordered optimally, which takes cubic time."""


@dataclass(frozen=True)
class Merge:
    """Two branches of the class tree that meet.

    Attributes:
        first: a branch: a class 0..C-1, or C + the position of an earlier merge.
        second: the other one.
        shared: how many features their classes share on average, 0..n.
        size: number of classes below.
    """

    first: int
    second: int
    shared: float
    size: int


@dataclass(frozen=True)
class SeparatingFeature(Feature):
    """A feature that only one class of a pair has.

    Attributes:
        separation: by how many standard deviations it is more active in the images of that class than in those of
            the other; None where no images were seen.
    """

    separation: float | None


@dataclass(frozen=True)
class ClassPair:
    """Two classes that share most of their features.

    Attributes:
        class_a: a class.
        class_b: another, larger index.
        name_a: name of the first.
        name_b: name of the second.
        shared: number of features that both have.
        only_a: what only the first has, by index.
        only_b: what only the second has, by index.
    """

    class_a: int
    class_b: int
    name_a: str
    name_b: str
    shared: int
    only_a: tuple[SeparatingFeature, ...]
    only_b: tuple[SeparatingFeature, ...]

    @property
    def weakest(self) -> float | None:
        """The smallest separation of the two sides' best features: how well the pair is told apart at least."""
        best = [
            max((f.separation for f in own if f.separation is not None), default=None)
            for own in (self.only_a, self.only_b)
        ]
        known = [value for value in best if value is not None]
        return min(known) if known else None

    def sentence(self) -> str:
        """Say what separates the two."""
        return pair_sentence(self)


@dataclass(frozen=True)
class Untrusted(Feature):
    """A feature nobody should trust blindly.

    Attributes:
        warnings: the reasons, as `FeatureExplanation.warnings` has them.
        evidence: a sentence for each.
    """

    warnings: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class ModelExplanation:
    """The model as a whole.

    Attributes:
        class_names: C names.
        features: the K features.
        class_features: indices of the n features of each class, ascending.
        class_order: all classes, related ones next to each other: the leaves of the tree.
        feature_order: all features, ordered by the place of the classes that have them.
        merges: the tree over shared features, C - 1 merges from the leaves to the root (average linkage).
        pairs: nearest pairs of classes, those that share most first, of these the least separated first.
        num_pairs: how many pairs share as many features as the nearest do.
        untrusted: features with warnings, by index.
    """

    class_names: tuple[str, ...]
    features: tuple[Feature, ...]
    class_features: tuple[tuple[int, ...], ...]
    class_order: tuple[int, ...]
    feature_order: tuple[int, ...]
    merges: tuple[Merge, ...]
    pairs: tuple[ClassPair, ...]
    num_pairs: int
    untrusted: tuple[Untrusted, ...]

    @property
    def features_per_class(self) -> int:
        """The number n of features of a class (the largest one, should they differ)."""
        return max(len(own) for own in self.class_features)

    def matrix(self, *, ordered: bool = True) -> NDArray[np.bool_]:
        """Return the class-feature matrix (C, K), its rows and columns in the order of the tree or by index."""
        weight = np.zeros((len(self.class_names), len(self.features)), dtype=bool)
        for c, own in enumerate(self.class_features):
            weight[c, list(own)] = True
        return weight[np.ix_(self.class_order, self.feature_order)] if ordered else weight

    def sentence(self) -> str:
        """Say in a few sentences what the model is made of."""
        return model_sentence(self)

    def text(self, *, max_pairs: int = 10, max_classes: int = 60) -> str:
        """Write the classes with their features in the order of the tree, nearest pairs and warnings as plain lines."""
        return model_text(self, max_pairs=max_pairs, max_classes=max_classes)

    def to_dict(self) -> dict[str, Any]:
        """Return lists, numbers and strings, ready for JSON."""
        return {**asdict(self), "sentence": self.sentence()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ModelExplanation:
        """Restore what `to_dict` returned, also after a round trip through JSON."""
        return cls(
            class_names=tuple(plain["class_names"]),
            features=tuple(Feature(**feature) for feature in plain["features"]),
            class_features=tuple(tuple(own) for own in plain["class_features"]),
            class_order=tuple(plain["class_order"]),
            feature_order=tuple(plain["feature_order"]),
            merges=tuple(Merge(**merge) for merge in plain["merges"]),
            pairs=tuple(
                ClassPair(**{**pair, "only_a": _separating(pair["only_a"]), "only_b": _separating(pair["only_b"])})
                for pair in plain["pairs"]
            ),
            num_pairs=plain["num_pairs"],
            untrusted=tuple(
                Untrusted(u["index"], u["name"], tuple(u["warnings"]), tuple(u["evidence"])) for u in plain["untrusted"]
            ),
        )


def explain_model(
    weight_CK: Any,
    *,
    class_names: Sequence[str],
    feature_names: Sequence[str] | None = None,
    features: Sequence[FeatureExplanation] = (),
    observations: Observations | None = None,
    max_pairs: int = 50,
) -> ModelExplanation:
    """Explain a model by its assignment, and by what was observed.

    Args:
        weight_CK: binary assignment.
        class_names: C names.
        feature_names: K names, "" where a feature has none; None for no names at all.
        features: K explained features, whose warnings are collected; none for no warnings.
        observations: give the separation of the pairs.
        max_pairs: how many of the nearest pairs are kept.

    Raises:
        ChiqpmError: shapes or names that don't fit, fewer than two classes, or a weight that isn't binary.
    """
    weight = finite_array(weight_CK, "the weight", ("C", "K"))
    if not ((weight == 0) | (weight == 1)).all():
        raise ChiqpmError("the weight (C, K) must be binary: 1 where a class uses a feature, else 0")
    weight = weight.astype(np.int64)
    num_classes, num_features = weight.shape
    if num_classes < 2:
        raise ChiqpmError(f"a model has at least two classes, received {num_classes}")
    labels = names(feature_names, "feature", num_features) if feature_names is not None else ("",) * num_features
    class_labels = names(class_names, "class", num_classes)
    merges, class_order = _tree(weight @ weight.T)
    place_C = np.argsort(class_order)
    mean_place_K = (weight * place_C[:, None]).sum(axis=0) / np.maximum(weight.sum(axis=0), 1)
    # What no class uses comes last.
    mean_place_K = np.where(weight.any(axis=0), mean_place_K, num_classes)
    pairs, num_pairs = _pairs(weight, class_labels, labels, observations, limit=max_pairs)
    return ModelExplanation(
        class_names=class_labels,
        features=tuple(Feature(k, label) for k, label in enumerate(labels)),
        class_features=tuple(tuple(np.flatnonzero(row).tolist()) for row in weight),
        class_order=class_order,
        feature_order=tuple(np.argsort(mean_place_K, kind="stable").tolist()),
        merges=merges,
        pairs=pairs,
        num_pairs=num_pairs,
        untrusted=tuple(Untrusted(f.index, f.name, f.warnings, f.warning_sentences()) for f in features if f.warnings),
    )


def _tree(shared_CC: NDArray[np.int64]) -> tuple[tuple[Merge, ...], tuple[int, ...]]:
    most = int(shared_CC.max())
    distance_CC = (most - shared_CC).astype(np.float64)
    np.fill_diagonal(distance_CC, 0.0)
    links = linkage(squareform(distance_CC, checks=False), "average", optimal_ordering=len(shared_CC) <= _MOST_ORDERED)
    merges = tuple(
        Merge(int(first), int(second), most - float(distance), int(size)) for first, second, distance, size in links
    )
    return merges, tuple(leaves_list(links).tolist())


def _pairs(
    weight: NDArray[np.int64],
    class_names: tuple[str, ...],
    feature_names: tuple[str, ...],
    observations: Observations | None,
    *,
    limit: int,
) -> tuple[tuple[ClassPair, ...], int]:
    shared_CC = weight @ weight.T
    first_P, second_P = np.triu_indices(len(weight), 1)
    shared_P = shared_CC[first_P, second_P]
    num_nearest = int((shared_P == shared_P.max()).sum())
    # All pairs that share as many features as the last one kept, before the order by separation.
    least = np.partition(shared_P, -min(limit, len(shared_P)))[-min(limit, len(shared_P))] if limit else 0
    mean_CK = None if observations is None else observations.mean_CK
    variance_CK = None if observations is None else observations.variance_CK

    def side(own: int, other: int) -> tuple[SeparatingFeature, ...]:
        found = []
        for k in np.flatnonzero(weight[own] & ~weight[other].astype(bool)).tolist():
            separation = None
            if mean_CK is not None and variance_CK is not None:
                spread = np.sqrt((variance_CK[own, k] + variance_CK[other, k]) / 2) + 0.1
                separation = float((mean_CK[own, k] - mean_CK[other, k]) / spread)
            found.append(SeparatingFeature(k, feature_names[k], separation))
        return tuple(found)

    pairs = [
        ClassPair(a, b, class_names[a], class_names[b], int(shared_CC[a, b]), only_a=side(a, b), only_b=side(b, a))
        for a, b in zip(first_P[shared_P >= least].tolist(), second_P[shared_P >= least].tolist(), strict=True)
    ]
    pairs.sort(key=lambda pair: (-pair.shared, pair.weakest if pair.weakest is not None else 0.0))
    return tuple(pairs[:limit]), num_nearest


def _separating(plain: Sequence[Mapping[str, Any]]) -> tuple[SeparatingFeature, ...]:
    return tuple(SeparatingFeature(**feature) for feature in plain)
