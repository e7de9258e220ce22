"""From one image's features and maps to its explanation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.conformal.hierarchy import class_paths, tree
from chiqpm.errors import ChiqpmError
from chiqpm.explain.inputs import class_index, finite_array, names
from chiqpm.explain.saliency import peak, strength
from chiqpm.explain.sets import with_set
from chiqpm.explain.values import Branch, Explanation, FeatureEvidence, FeatureUse, read_only_map


def explain_sample(
    features_K: Any,
    maps_KHW: Any,
    logits_C: Any,
    weight_CK: Any,
    set_C: Any,
    *,
    active_mean_K: Any,
    class_names: Sequence[str],
    coverage: float,
    feature_names: Sequence[str] | None = None,
    true_class: int | None = None,
    scores_C: Any = None,
    p_values_C: Any = None,
) -> Explanation:
    """Explain the prediction and the prediction set of one image (arXiv 2511.20779, its hierarchical form).

    Args:
        features_K: activations of the kept features (K,).
        maps_KHW: their maps (K, H, W), non-negative.
        logits_C: logits (C,); the largest one is the prediction, the first on ties.
        weight_CK: binary assignment (C, K), the same number n of features in every class.
        set_C: membership in the prediction set, boolean (C,).
        active_mean_K: mean of every feature where it is active (K,).
        class_names: C names.
        coverage: the coverage that the set was asked for, in (0, 1).
        feature_names: K names, "" where a feature has none; None for no names at all.
        true_class: the label, if it is known.
        scores_C: nonconformity scores (C,) that order the set. Without them the class that leaves the path
            last comes first, and of those that leave it at one place the one with the most active leaving
            feature.
        p_values_C: conformal p-values (C,), with which the set can be moved to any coverage.

    Raises:
        ChiqpmError: shapes don't fit each other, values aren't finite, another class uses the same features
            as the prediction, or the coverage lies outside (0, 1).

    >>> import numpy as np
    >>> found = explain_sample(
    ...     [3.0, 2.0, 0.5], np.ones((3, 2, 2)), [5.0, 3.5], [[1, 1, 0], [1, 0, 1]], [True, True],
    ...     active_mean_K=[3.0, 2.5, 1.25], class_names=["wren", "robin"], coverage=0.9)
    >>> found.rivals[0].own
    (FeatureUse(index=2, name='', activation=0.5, strength=0.4),)
    """
    weight = finite_array(weight_CK, "the weight", ("C", "K"))
    num_classes, num_features = weight.shape
    features = finite_array(features_K, "the features", (num_features,))
    maps = finite_array(maps_KHW, "the maps", (num_features, "H", "W"))
    logits = finite_array(logits_C, "the logits", (num_classes,))
    in_set = finite_array(set_C, "the set", (num_classes,)).astype(bool)
    active_mean = finite_array(active_mean_K, "the active means", (num_features,))
    if maps.size == 0 or num_classes == 0:
        raise ChiqpmError(f"there must be maps and classes, received maps {maps.shape} and weight {weight.shape}")
    if not 0.0 < coverage < 1.0:
        raise ChiqpmError(f"the coverage must lie strictly between 0 and 1, received {coverage}")
    labels = names(feature_names, "feature", num_features) if feature_names is not None else ("",) * num_features
    class_labels = names(class_names, "class", num_classes)
    predicted = int(logits.argmax())
    shared, leaving = _tree(features, weight, predicted, class_labels)

    scores = None if scores_C is None else np.array(scores_C, dtype=float)
    if scores is not None and scores.shape != (num_classes,):
        raise ChiqpmError(f"the scores must have shape ({num_classes},), received {scores.shape}")
    path = np.asarray(class_paths(features[None], weight, np.array([predicted])))[0, 0]
    return assemble(
        predicted=predicted,
        path_n=path,
        maps_nHW=maps[path],
        features_K=features,
        weight_CK=weight,
        shared_C=shared,
        leaving_C=leaving,
        set_C=in_set,
        scores_C=scores,
        p_values_C=None if p_values_C is None else finite_array(p_values_C, "the p-values", (num_classes,)),
        active_mean_K=active_mean,
        class_names=class_labels,
        coverage=float(coverage),
        feature_names=labels,
        true_class=None if true_class is None else class_index(true_class, "the true class", num_classes),
    )


def assemble(
    *,
    predicted: int,
    path_n: NDArray[Any],
    maps_nHW: NDArray[Any],
    features_K: NDArray[Any],
    weight_CK: NDArray[Any],
    shared_C: NDArray[Any],
    leaving_C: NDArray[Any],
    set_C: NDArray[Any],
    scores_C: NDArray[Any] | None,
    p_values_C: NDArray[Any] | None,
    active_mean_K: NDArray[Any],
    class_names: tuple[str, ...],
    coverage: float,
    feature_names: tuple[str, ...],
    true_class: int | None = None,
) -> Explanation:
    """Put an explanation together from an image's tree; nothing is checked.

    Args:
        predicted: the predicted class.
        path_n: its features, the strongest first.
        maps_nHW: their maps.
        features_K: activations of all features.
        weight_CK: binary assignment.
        shared_C: how many leading features each class shares with the prediction.
        leaving_C: the feature with which it leaves.
        set_C: membership in the prediction set.
        scores_C: nonconformity of the classes, or None.
        p_values_C: their conformal p-values, or None.
        active_mean_K: mean of every feature where it is active.
        class_names: C names.
        coverage: the coverage that the set was asked for.
        feature_names: K names, "" where a feature has none.
        true_class: the label, if it is known.
    """
    uses = [
        FeatureUse(k, name, f, strength(f, usual))
        for k, (name, f, usual) in enumerate(
            zip(feature_names, features_K.tolist(), active_mean_K.tolist(), strict=True)
        )
    ]
    found = Explanation(
        class_names=class_names,
        predicted=predicted,
        coverage=coverage,
        set_classes=(),
        features=tuple(
            FeatureEvidence(**vars(uses[k]), peak=peak(map_HW), map_HW=read_only_map(map_HW))
            for k, map_HW in zip(path_n.tolist(), maps_nHW, strict=True)
        ),
        classes_left=tuple(int((shared_C >= level).sum()) for level in range(len(path_n) + 1)),
        branches=_branches(predicted, shared_C, leaving_C, uses),
        rivals=(),
        true_class=true_class,
        entering=tuple(entering_order(predicted, shared_C, features_K[leaving_C], scores_C).tolist()),
        p_values=None if p_values_C is None else tuple(p_values_C.tolist()),
        uses=tuple(uses),
        class_features=tuple(tuple(own) for own in weight_CK.nonzero()[1].reshape(len(weight_CK), -1).tolist()),
    )
    return with_set(found, set(np.flatnonzero(set_C).tolist()))


def _tree(
    features: NDArray[Any], weight: NDArray[Any], predicted: int, class_names: tuple[str, ...]
) -> tuple[NDArray[Any], NDArray[Any]]:
    found = tree(features[None], weight, np.array([predicted]))
    shared, leaving = np.asarray(found.shared_BC)[0], np.asarray(found.leaving_BC)[0]
    check_distinct(leaving, predicted, class_names)
    return shared, leaving


def check_distinct(leaving_C: NDArray[Any], predicted: int, class_names: tuple[str, ...]) -> None:
    """Raise ChiqpmError where another class never leaves the prediction's path."""
    for other in np.flatnonzero(leaving_C < 0):
        if other != predicted:
            raise ChiqpmError(
                f"the classes {class_names[predicted]!r} and {class_names[other]!r} use the same features: "
                "nothing tells them apart; solve the assignment again with distinct classes"
            )


def entering_order(
    predicted: int, shared_C: NDArray[Any], leaving_activation_C: NDArray[Any], scores_C: NDArray[Any] | None
) -> NDArray[np.intp]:
    """Return all classes in the order in which they enter a set as the coverage grows.

    Args:
        predicted: the predicted class; it comes first of those that tie.
        shared_C: how many leading features each class shares with the prediction.
        leaving_activation_C: activation of the feature with which it leaves.
        scores_C: nonconformity; None orders by the tree alone.
    """
    keys = [-leaving_activation_C, -shared_C, np.arange(len(shared_C)) != predicted]
    if scores_C is not None:
        keys.append(scores_C)
    return np.lexsort(keys)


def _branches(
    predicted: int, shared: NDArray[Any], leaving: NDArray[Any], uses: list[FeatureUse]
) -> tuple[Branch, ...]:
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for other, place in enumerate(zip(shared.tolist(), leaving.tolist(), strict=True)):
        if other != predicted:
            groups[place].append(other)
    ordered = sorted(groups, key=lambda place: (place[0], -uses[place[1]].activation, place[1]))
    return tuple(Branch(level, uses[k], tuple(groups[level, k]), ()) for level, k in ordered)
