"""From observations to explained features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import rankdata

from chiqpm.errors import ChiqpmError
from chiqpm.explain.features import (
    AttributeLink,
    ClassUse,
    Component,
    FeatureExplanation,
    Histogram,
    Polysemanticity,
    TopImage,
)
from chiqpm.explain.inputs import finite_array, names
from chiqpm.explain.observations import Observations
from chiqpm.explain.polysemanticity import polysemanticity
from chiqpm.explain.saliency import peak, strength
from chiqpm.explain.values import read_only_map
from chiqpm.metrics import Mixtures, fit_mixtures

_BINS = 40
_LINKS = 5
_OTHERS = 5
_OF_EACH_GROUP = 3
_DEAD_SHARE = 0.001
_CHANCE = 0.5
_CLASS_SHARE = 0.5
_BORDER_ODDS = 3.0


def explain_features(
    observations: Observations,
    weight_CK: Any,
    *,
    class_names: Sequence[str],
    active_mean_K: Any,
    feature_names: Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
    attribute_names: Sequence[str] = (),
    attributes_CA: Any = None,
    top: int = 12,
    seed: int = 0,
) -> list[FeatureExplanation]:
    """Explain every feature by what was observed.

    Warnings: "dead", active in fewer than one image in a thousand; "unused", no class has it; "border", the odds that
    its activation peaks on the border of the grid are more than three times those of a random cell;
    "class-specific", more than half of its activation falls on one class (more than 4/C with few classes);
    "polysemantic", its top images fall into two groups, each with at least a fifth of them, three standard
    deviations further apart than a normal cloud with the same covariance would, seen by what all features show at
    the place of its peak; where attributes are known, the frequency of one must also differ by half between the
    groups.

    Args:
        observations: from a pass over the training images.
        weight_CK: binary assignment.
        class_names: C names.
        active_mean_K: mean of every feature where it is active.
        feature_names: K names, "" where a feature has none; None for no names at all.
        paths: path of every image of the pass, in its order.
        attribute_names: A names.
        attributes_CA: attributes of the classes (C, A), present where above 0.5; None for none.
        top: how many of the most activating images are kept for each feature.
        seed: of the mixtures and of the clusters.

    Returns:
        K explanations, by index.

    Raises:
        ChiqpmError: shapes or names that don't fit.
    """
    num_classes, num_features = observations.sum_CK.shape
    weight = finite_array(weight_CK, "the weight", (num_classes, num_features)).astype(bool)
    means = finite_array(active_mean_K, "the active means", (num_features,))
    labels = names(feature_names, "feature", num_features) if feature_names is not None else ("",) * num_features
    class_labels = names(class_names, "class", num_classes)
    if paths is not None and len(paths) <= observations.top_KT.max():
        raise ChiqpmError(f"{observations.num_images} images were observed, but {len(paths)} paths given")
    present_CA = _present(attributes_CA, attribute_names, num_classes)
    auc_KA = _attribute_auc(observations, present_CA)
    mixtures = fit_mixtures(observations.sample_SK, seed) if len(observations.sample_SK) > 1 else None
    explained = []
    for k in range(num_features):
        auc_A = auc_KA[k]
        poly = polysemanticity(observations, k, class_labels, attribute_names, present_CA, auc_A=auc_A, seed=seed)
        kept = _kept_images(int((observations.top_KT[k] >= 0).sum()), top, poly)
        images = _top_images(observations, k, class_labels, paths, kept=kept, active_mean=float(means[k]))
        total = float(observations.sum_CK[:, k].sum())
        main_share = float(observations.sum_CK[:, k].max()) / total if total > 0 else 0.0
        active_share = float(observations.active_K[k]) / observations.num_images
        border_share = float(observations.border_K[k])
        found = {
            "dead": active_share < _DEAD_SHARE,
            "unused": not weight[:, k].any(),
            "border": border_share > _border_limit(observations.top_maps_KTHW.shape[2:]),
            "class-specific": main_share > max(_CLASS_SHARE, 4 / num_classes),
            "polysemantic": poly is not None,
        }
        used, others = _class_uses(observations.mean_CK[:, k], weight[:, k], class_labels)
        explained.append(
            FeatureExplanation(
                index=k,
                name=labels[k],
                images=observations.num_images,
                active_share=active_share,
                classes=used,
                others=others,
                top=images,
                histogram=_histogram(observations.sample_SK[:, k], mixtures, k, float(means[k])),
                attributes=_links(auc_A, attribute_names),
                main_class_share=main_share,
                border_share=border_share,
                warnings=tuple(name for name, holds in found.items() if holds),
                polysemanticity=None if poly is None else _renumbered(poly, kept),
            )
        )
    return explained


def crop_box(map_HW: NDArray[Any], *, smallest: float = 0.25) -> tuple[float, float, float, float]:
    """Return the part of an image around a map's peak: the cells at least half as high that hang together with it.

    Args:
        map_HW: the map.
        smallest: smallest height and width of the box, as a share of the image's.

    Returns:
        Top, left, bottom, right as fractions of height and width.

    >>> crop_box(np.eye(4)[:, [1, 0, 2, 3]], smallest=0.1)
    (0.0, 0.25, 0.25, 0.5)
    """
    height, width = map_HW.shape
    row, column = np.unravel_index(int(map_HW.argmax()), map_HW.shape)
    regions, _ = ndimage.label(map_HW >= 0.5 * map_HW[row, column])
    rows, columns = np.nonzero(regions == regions[row, column])
    top, bottom = _widened(rows.min() / height, (rows.max() + 1) / height, smallest)
    left, right = _widened(columns.min() / width, (columns.max() + 1) / width, smallest)
    return top, left, bottom, right


def _widened(low: float, high: float, smallest: float) -> tuple[float, float]:
    """Widen a range within [0, 1] to a smallest length around its middle."""
    missing = max(0.0, smallest - (high - low)) / 2
    low, high = low - missing, high + missing
    shift = max(0.0, -low) - max(0.0, high - 1.0)
    return max(0.0, float(low + shift)), min(1.0, float(high + shift))


def _present(attributes_CA: Any, attribute_names: Sequence[str], num_classes: int) -> NDArray[np.bool_]:
    if attributes_CA is None:
        return np.zeros((num_classes, 0), dtype=bool)
    present: NDArray[np.bool_] = (
        finite_array(attributes_CA, "the attributes", (num_classes, len(attribute_names))) > 0.5
    )
    return present


def _attribute_auc(observations: Observations, present_CA: NDArray[np.bool_]) -> NDArray[np.float64]:
    """AUC (K, A) on the sampled images; NaN for an attribute that all of them or none has."""
    present_SA = present_CA[observations.sample_label_S].astype(np.float64)
    count_A = present_SA.sum(axis=0)
    pairs_A = count_A * (len(present_SA) - count_A)
    rank_SK = rankdata(observations.sample_SK, axis=0)
    wins_KA = rank_SK.T @ present_SA - count_A * (count_A + 1) / 2
    auc_KA: NDArray[np.float64] = np.where(pairs_A > 0, wins_KA / np.maximum(pairs_A, 1.0), np.nan)
    return auc_KA


def _links(auc_A: NDArray[np.float64], attribute_names: Sequence[str]) -> tuple[AttributeLink, ...]:
    order = np.argsort(-np.nan_to_num(auc_A, nan=-1.0), kind="stable")[:_LINKS]
    return tuple(AttributeLink(attribute_names[a], float(auc_A[a])) for a in order if auc_A[a] > _CHANCE)


def _kept_images(available: int, top: int, poly: Polysemanticity | None) -> list[int]:
    """Positions of the images to keep: the first ones, but at least three of either group."""
    kept = list(range(min(top, available)))
    for cluster in () if poly is None else poly.clusters:
        missing = [t for t in cluster.images[:_OF_EACH_GROUP] if t not in kept]
        others = [t for t in kept if t not in cluster.images]
        for t in missing:
            if len(others) > _OF_EACH_GROUP:
                kept.remove(others.pop())
                kept.append(t)
    return sorted(kept)


def _renumbered(poly: Polysemanticity, kept: Sequence[int]) -> Polysemanticity:
    """Name the images of the groups by their position among those that are kept."""
    first, second = (
        replace(cluster, images=tuple(n for n, t in enumerate(kept) if t in cluster.images))
        for cluster in poly.clusters
    )
    return replace(poly, clusters=(first, second))


def _top_images(
    observations: Observations,
    k: int,
    class_names: tuple[str, ...],
    paths: Sequence[str] | None,
    *,
    kept: Sequence[int],
    active_mean: float,
) -> tuple[TopImage, ...]:
    images = []
    for t in kept:
        place, label = int(observations.top_KT[k, t]), int(observations.top_label_KT[k, t])
        activation, map_HW = float(observations.top_activation_KT[k, t]), observations.top_maps_KTHW[k, t]
        images.append(
            TopImage(
                place=place,
                path="" if paths is None else paths[place],
                class_index=label,
                class_name=class_names[label],
                activation=activation,
                strength=strength(activation, active_mean),
                peak=peak(map_HW),
                box=crop_box(map_HW),
                map_HW=read_only_map(map_HW),
            )
        )
    return tuple(images)


def _histogram(values_S: NDArray[np.float32], mixtures: Mixtures | None, k: int, active_mean: float) -> Histogram:
    low, high = min(0.0, float(values_S.min())), float(values_S.max())
    counts, edges = np.histogram(values_S, bins=_BINS, range=(low, high if high > low else low + 1.0))
    if mixtures is None:
        silent = active = Component(0.5, float(values_S.mean()), 0.0)
    else:
        deviation = np.sqrt(mixtures.variance_K2[k])
        silent, active = (
            Component(float(mixtures.weight_K2[k, s]), float(mixtures.mean_K2[k, s]), float(deviation[s]))
            for s in (0, 1)
        )
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), (silent, active), active_mean)


def _class_uses(
    mean_C: NDArray[np.float64], assigned_C: NDArray[np.bool_], class_names: tuple[str, ...]
) -> tuple[tuple[ClassUse, ...], tuple[ClassUse, ...]]:
    uses = [
        ClassUse(c, class_names[c], float(mean_C[c]), bool(assigned_C[c]))
        for c in np.argsort(-mean_C, kind="stable").tolist()
    ]
    others = [use for use in uses if not use.assigned and use.mean > 0]
    return tuple(use for use in uses if use.assigned), tuple(others[:_OTHERS])


def _border_limit(grid: tuple[int, ...]) -> float:
    """The share of peaks on the border whose odds are three times those of a random cell."""
    height, width = grid
    inside = max(0, height - 2) * max(0, width - 2)
    odds = _BORDER_ODDS * (height * width - inside) / max(inside, 1e-9)
    return odds / (1 + odds)
