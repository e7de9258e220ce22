"""Explained features and models: planted properties are found, and values survive JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chiqpm.errors import ChiqpmError
from chiqpm.experiments.polysemanticity import measure_polysemanticity
from chiqpm.explain import (
    FeatureExplanation,
    FeatureObserver,
    ModelExplanation,
    contrast,
    explain_features,
    explain_model,
)
from chiqpm.explain.clusters import two_clusters
from chiqpm.explain.feature_values import crop_box
from chiqpm.metrics import active_mean

CLASSES, FEATURES = 12, 8
WEIGHT = np.zeros((CLASSES, FEATURES))
for _c in range(CLASSES):
    WEIGHT[_c, [_c % 4, 4 + _c % 3]] = 1
NAMES = [f"class {c}" for c in range(CLASSES)]
DEAD, BORDER, SPECIFIC, MIXED = 7, 4, 5, 0
ATTRIBUTES = np.stack([np.arange(CLASSES) % 4 == 1, np.arange(CLASSES) < 6], axis=1).astype(float)


@pytest.fixture(scope="module")
def observations():
    """Feature 7 is dead, 4 sits on the border, 5 belongs to one class, 0 fires for two unlike things."""
    generator = np.random.default_rng(0)
    observer = FeatureObserver(CLASSES, FEATURES)
    labels = np.repeat(np.arange(CLASSES), 20)
    values = (WEIGHT[labels] * generator.uniform(2, 3, (len(labels), FEATURES))).astype(np.float32)
    maps = (0.1 * generator.random((len(labels), FEATURES, 8, 8))).astype(np.float32)
    values[:, DEAD] = 0
    values[:, SPECIFIC] *= np.where(labels == 1, 1.0, 0.05)
    values[:, MIXED] = np.where(labels % 4 == 0, generator.uniform(2, 3, len(labels)), 0)
    for i, label in enumerate(labels.tolist()):
        for k in range(FEATURES):
            y, x = (0, generator.integers(8)) if k == BORDER else (generator.integers(1, 7), generator.integers(1, 7))
            maps[i, k, y, x] = 5.0
            if k == MIXED:
                # Where it peaks, feature 1 also shows in images of classes 0 and 4, feature 2 in those of class 8.
                maps[i, 1 if label < 6 else 2, y, x] += 3.0
    observer.update(values, maps, labels)
    return observer.observations()


@pytest.fixture(scope="module")
def features(observations):
    return explain_features(
        observations,
        WEIGHT,
        class_names=NAMES,
        active_mean_K=np.full(FEATURES, 2.5),
        feature_names=["", "crest", *[""] * 6],
        paths=[f"train/{i}.jpg" for i in range(240)],
        attribute_names=["fourth", "early"],
        attributes_CA=ATTRIBUTES,
    )


def test_planted_flaws_are_found_and_nothing_else(features: list[FeatureExplanation]) -> None:
    warned = {feature.index: feature.warnings for feature in features if feature.warnings}
    assert warned == {
        DEAD: ("dead", "unused"),
        BORDER: ("border",),
        SPECIFIC: ("class-specific",),
        MIXED: ("polysemantic",),
    }
    mixed = features[MIXED].polysemanticity
    assert mixed is not None
    assert [cluster.classes[0] in ("class 0", "class 4") for cluster in mixed.clusters] == [True, False]
    assert mixed.clusters[1].classes[0] == "class 8"
    assert mixed.attribute == "early" and mixed.shares[0] > 0.9 and mixed.shares[1] < 0.1
    for feature in features:
        assert len(feature.warning_sentences()) == len(feature.warnings)
        assert all(sentence[0].isupper() for sentence in feature.warning_sentences())


def test_a_feature_knows_its_classes_images_and_attributes(features: list[FeatureExplanation], observations) -> None:
    crest = features[1]
    assert {use.class_index for use in crest.classes} == {1, 5, 9}
    assert all(use.assigned for use in crest.classes) and not crest.others
    assert crest.attributes[0].name == "fourth" and crest.attributes[0].auc == 1.0
    assert [image.activation for image in crest.top] == sorted((i.activation for i in crest.top), reverse=True)
    assert len(crest.top) == 12
    assert crest.top[0].path == f"train/{crest.top[0].place}.jpg"
    assert sum(crest.histogram.counts) == 240 == crest.images
    assert crest.active_share == 0.25
    assert crest.histogram.components[1].mean == pytest.approx(active_mean(observations.sample_SK, 0)[1])
    for image in crest.top:
        top, left, bottom, right = image.box
        assert 0 <= top <= image.peak[0] <= bottom <= 1 and 0 <= left <= image.peak[1] <= right <= 1
        assert bottom - top >= 0.25 - 1e-9 and right - left >= 0.25 - 1e-9
    assert "feature 1 (crest)" in crest.text().lower()


def test_both_groups_of_a_feature_are_shown(features: list[FeatureExplanation], observations) -> None:
    mixed = features[MIXED]
    shown = mixed.representatives(6)
    assert len(shown) == 6 and len(set(shown)) == 6
    assert sorted(mixed.group(t) for t in shown) == ["A", "A", "A", "B", "B", "B"]
    assert features[1].representatives(6) == tuple(range(6)) and features[1].group(0) == ""
    assert features[1].representatives(99) == tuple(range(12)) and features[DEAD].representatives(6) == ()
    activations = [image.activation for image in mixed.top]
    assert activations == sorted(activations, reverse=True)
    few = explain_features(observations, WEIGHT, class_names=NAMES, active_mean_K=np.full(FEATURES, 2.5), top=6)[MIXED]
    assert few.polysemanticity is not None
    assert all(len(cluster.images) >= 3 for cluster in few.polysemanticity.clusters)
    assert sum(len(cluster.images) for cluster in few.polysemanticity.clusters) == len(few.top) == 6


def test_values_survive_json(features: list[FeatureExplanation], observations) -> None:
    for feature in features:
        again = FeatureExplanation.from_dict(json.loads(json.dumps(feature.to_dict(), allow_nan=False)))
        assert again == feature
        assert all((a.map_HW == b.map_HW).all() for a, b in zip(again.top, feature.top, strict=True))
        assert "map_HW" not in json.dumps(feature.to_dict(maps=False))
    model = explain_model(WEIGHT, class_names=NAMES, features=features, observations=observations)
    assert ModelExplanation.from_dict(json.loads(json.dumps(model.to_dict(), allow_nan=False))) == model


def test_without_attributes_paths_and_names(observations) -> None:
    found = explain_features(observations, WEIGHT, class_names=NAMES, active_mean_K=np.full(FEATURES, 2.5))
    assert not found[1].attributes and found[1].top[0].path == "" and found[1].name == ""
    assert "polysemantic" in found[MIXED].warnings
    assert "AUC" not in found[1].text()


def test_a_model_puts_related_classes_together(features: list[FeatureExplanation], observations) -> None:
    model = explain_model(
        WEIGHT,
        class_names=NAMES,
        feature_names=[f.name for f in features],
        features=features,
        observations=observations,
    )
    assert sorted(model.class_order) == list(range(CLASSES))
    assert sorted(model.feature_order) == list(range(FEATURES))
    assert model.feature_order[-1] == DEAD
    assert len(model.merges) == CLASSES - 1 and model.merges[-1].size == CLASSES
    heights = [merge.shared for merge in model.merges]
    assert heights == sorted(heights, reverse=True)
    matrix = model.matrix()
    assert (matrix == WEIGHT[np.ix_(model.class_order, model.feature_order)]).all()
    assert (model.matrix(ordered=False) == WEIGHT).all()
    pair = model.pairs[0]
    assert pair.shared == 1
    plain = contrast(WEIGHT, pair.class_a, pair.class_b, NAMES)
    assert [f.index for f in pair.only_a] == [f.index for f in plain.only_a]
    weakest = [p.weakest for p in model.pairs if p.shared == pair.shared]
    assert weakest == sorted(weakest)
    assert {u.index for u in model.untrusted} == {DEAD, BORDER, SPECIFIC, MIXED}
    assert model.num_pairs == int(np.triu(WEIGHT @ WEIGHT.T == 1, 1).sum())
    assert "Features not to be trusted blindly" in model.text()
    assert "and 2 more classes" in model.text(max_classes=10)


def test_the_smallest_model_has_two_classes() -> None:
    model = explain_model(np.eye(2), class_names=["a", "b"])
    assert [p.shared for p in model.pairs] == [0] and model.pairs[0].weakest is None
    assert "only a has feature 0" in model.pairs[0].sentence()
    with pytest.raises(ChiqpmError, match="at least two classes"):
        explain_model(np.eye(1), class_names=["a"])
    with pytest.raises(ChiqpmError, match="binary"):
        explain_model(np.eye(2) * 2, class_names=["a", "b"])


def test_wrong_names_and_paths_are_refused(observations) -> None:
    options = {"class_names": NAMES, "active_mean_K": np.ones(FEATURES)}
    with pytest.raises(ChiqpmError, match="12 class names"):
        explain_features(observations, WEIGHT, **{**options, "class_names": NAMES[:3]})
    with pytest.raises(ChiqpmError, match="paths"):
        explain_features(observations, WEIGHT, paths=["one.jpg"], **options)
    with pytest.raises(ChiqpmError, match="the attributes must have shape"):
        explain_features(observations, WEIGHT, attribute_names=["x"], attributes_CA=ATTRIBUTES, **options)


def test_one_cloud_is_no_two_clusters() -> None:
    generator = np.random.default_rng(3)
    clouds = [generator.standard_normal((48, 20)) * generator.uniform(0.1, 3, 20) for _ in range(20)]
    assert max(two_clusters(cloud).z for cloud in clouds) < 4.0
    two = clouds[0] + np.where(np.arange(48) < 16, 30.0, 0.0)[:, None] * np.eye(20)[3]
    found = two_clusters(two)
    assert found.z > 4.0 and found.second_T.sum() == 16 and found.second_T[:16].all()
    assert two_clusters(np.ones((48, 3))).z == 0.0
    assert two_clusters(np.eye(3)).z == 0.0


def test_a_crop_box_surrounds_the_peak_alone() -> None:
    grid = np.zeros((10, 10))
    grid[1:3, 1:4], grid[8, 8] = 1.0, 0.9
    grid[1, 1] = 1.1
    assert crop_box(grid, smallest=0.1) == pytest.approx((0.1, 0.1, 0.3, 0.4))
    corner = np.zeros((10, 10))
    corner[9, 0] = 1.0
    assert crop_box(corner) == pytest.approx((0.75, 0.0, 1.0, 0.25))
    assert crop_box(np.zeros((4, 4))) == (0.0, 0.0, 1.0, 1.0)


def test_merged_features_are_found_and_plain_ones_spared() -> None:
    generator = np.random.default_rng(0)
    observer = FeatureObserver(2, 12)
    # Features 0 to 5 sit on one part of the image, 6 to 11 on another; what else shows there varies.
    place = np.repeat([2, 6], 6)
    values = generator.uniform(0.5, 3.0, (200, 12)).astype(np.float32)
    maps = np.zeros((200, 12, 8, 8), dtype=np.float32)
    maps[:, np.arange(12), place, place] = values
    observer.update(values, maps, generator.integers(2, size=200))
    found = measure_polysemanticity(observer.observations(), pairs=30)
    assert found.single <= 0.1
    # 6 of 11 pairs lie on different parts; merged on one part two features show the same thing.
    assert 0.35 <= found.merged <= 0.75
