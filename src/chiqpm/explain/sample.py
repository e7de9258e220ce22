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

    uses = [
        FeatureUse(k, labels[k], float(f), strength(float(f), float(active_mean[k]))) for k, f in enumerate(features)
    ]
    scores = None if scores_C is None else np.array(scores_C, dtype=float)
    if scores is not None and scores.shape != (num_classes,):
        raise ChiqpmError(f"the scores must have shape ({num_classes},), received {scores.shape}")
    p_values = None if p_values_C is None else finite_array(p_values_C, "the p-values", (num_classes,))
    found = Explanation(
        class_names=class_labels,
        predicted=predicted,
        coverage=float(coverage),
        set_classes=(),
        features=tuple(
            FeatureEvidence(**vars(uses[k]), peak=peak(maps[k]), map_HW=read_only_map(maps[k]))
            for k in class_paths(features[None], weight, np.array([predicted]))[0, 0].tolist()
        ),
        classes_left=tuple(int((shared >= level).sum()) for level in range(int(weight[predicted].sum()) + 1)),
        branches=_branches(predicted, shared, leaving, uses),
        rivals=(),
        true_class=None if true_class is None else class_index(true_class, "the true class", num_classes),
        entering=_entering_order(predicted, shared, features[leaving], scores),
        p_values=None if p_values is None else tuple(p_values.tolist()),
        uses=tuple(uses),
        class_features=tuple(tuple(own) for own in weight.nonzero()[1].reshape(num_classes, -1).tolist()),
    )
    return with_set(found, set(np.flatnonzero(in_set).tolist()))


def _tree(
    features: NDArray[Any], weight: NDArray[Any], predicted: int, class_names: tuple[str, ...]
) -> tuple[NDArray[Any], NDArray[Any]]:
    found = tree(features[None], weight, np.array([predicted]))
    shared, leaving = np.asarray(found.shared_BC)[0], np.asarray(found.leaving_BC)[0]
    for other in np.flatnonzero(leaving < 0):
        if other != predicted:
            raise ChiqpmError(
                f"the classes {class_names[predicted]!r} and {class_names[other]!r} use the same features: "
                "nothing tells them apart; solve the assignment again with distinct classes"
            )
    return shared, leaving


def _entering_order(
    predicted: int, shared: NDArray[Any], leaving_activation: NDArray[Any], scores: NDArray[Any] | None
) -> tuple[int, ...]:
    keys = [-leaving_activation, -shared, np.arange(len(shared)) != predicted]
    if scores is not None:
        keys.append(scores)
    return tuple(np.lexsort(keys).tolist())


def _branches(
    predicted: int, shared: NDArray[Any], leaving: NDArray[Any], uses: list[FeatureUse]
) -> tuple[Branch, ...]:
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for other, place in enumerate(zip(shared.tolist(), leaving.tolist(), strict=True)):
        if other != predicted:
            groups[place].append(other)
    ordered = sorted(groups, key=lambda place: (place[0], -uses[place[1]].activation, place[1]))
    return tuple(Branch(level, uses[k], tuple(groups[level, k]), ()) for level, k in ordered)
