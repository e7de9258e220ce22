"""Calibration, thresholds, sets and p-values for every score."""

from __future__ import annotations

import warnings
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.conformal import (
    APS,
    RAPS,
    SAPS,
    THR,
    ConformalPredictor,
    HierarchicalScore,
    Margin,
    SmallCalibrationWarning,
    TopK,
    deepest_level,
    tree,
)
from chiqpm.errors import ChiqpmError

KINDS = ["path", "evidence", "level_limited", "branch"]
SEEDS = st.integers(0, 10**6)
LEVELS = st.sampled_from([1, 3, None])


def problem(seed, num_images=120, levels=None):
    """Features, logits and labels of a fair model; with few `levels` of activation, heavy ties."""
    generator = np.random.default_rng(seed)
    num_classes, num_features, per_class = 8, 14, 3
    triples = np.array(list(combinations(range(num_features), per_class)))
    weight = np.zeros((num_classes, num_features))
    np.put_along_axis(weight, generator.choice(triples, num_classes, replace=False), 1, axis=1)
    labels = generator.integers(num_classes, size=num_images)
    features = np.maximum(0, generator.normal(size=(num_images, num_features)) + 1.2 * weight[labels])
    if levels:
        features = np.floor(features * levels) / levels
    features = features.astype(np.float32)
    return weight, features, (features @ weight.T).astype(np.float32), labels


def all_scores(weight):
    hierarchical = [HierarchicalScore(weight, kind) for kind in KINDS]
    flat = [THR(), APS(), RAPS(), SAPS(), TopK(), Margin()]
    randomized = [score(randomized=True) for score in (APS, RAPS, SAPS, TopK)]
    return [*hierarchical, *flat, *randomized]


def generator_for(score, seed=0):
    return np.random.default_rng(seed) if score.randomized else None


def plain_hierarchical(features, weight, logits, kind, depth=1):
    """The formulas, one image and class at a time."""
    result, branch = np.zeros(logits.shape), np.zeros(logits.shape, dtype=object)
    per_class = int(weight[0].sum())
    for i, row in enumerate(features.astype(np.float64)):
        paths = [sorted(np.flatnonzero(w), key=lambda f: (-row[f], f)) for w in weight]
        own = paths[int(np.argmax(logits[i]))]
        evidence = row[own]
        for c, path in enumerate(paths):
            k = 0
            while k < per_class and path[k] == own[k]:
                k += 1
            leaving = row[path[k]] if k < per_class else 0.0
            branch[i, c] = str((k, path[k : k + depth])) if k < per_class else "own"
            if kind == "path":
                strength = 0.0 if k == per_class else min(leaving / max(evidence[k], 1e-9), 0.999)
                result[i, c] = -(k + strength)
            elif kind == "evidence":
                result[i, c] = max(0.0, evidence[k:].sum() - leaving) / max(evidence.sum(), 1e-9)
        if kind == "branch":
            probability = np.exp(logits[i].astype(float) - logits[i].max())
            probability /= probability.sum()
            for c, b in enumerate(branch[i]):
                result[i, c] = 0.0 if b == "own" else -np.log(probability[branch[i] == b].mean())
    return result


@settings(max_examples=25, deadline=None)
@given(
    seed=SEEDS,
    kind=st.sampled_from(["path", "evidence", "branch"]),
    levels=LEVELS,
)
def test_hierarchical_scores_are_their_formulas(seed, kind, levels):
    weight, features, logits, _ = problem(seed, num_images=12, levels=levels)
    scores = ConformalPredictor(HierarchicalScore(weight, kind)).scores(logits, features)
    np.testing.assert_allclose(scores, plain_hierarchical(features, weight, logits, kind), atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, depth=st.integers(1, 3), levels=LEVELS, wide=st.booleans())
def test_branches_of_any_depth_have_the_mean_probability_of_their_classes(seed, depth, levels, wide):
    weight, features, logits, labels = problem(seed, num_images=12, levels=levels)
    if wide:  # More features than one number has digits.
        blank = np.zeros((8, 60))
        weight = np.hstack([weight[:, :7], blank, weight[:, 7:]])
        features = np.hstack([features[:, :7], np.full((12, 60), 0.4, np.float32), features[:, 7:]])
    score = HierarchicalScore(weight, depth=depth)
    predictor = ConformalPredictor(score).calibrate(logits, labels, features)
    scores = predictor.scores(logits, features)
    np.testing.assert_allclose(scores, plain_hierarchical(features, weight, logits, "branch", depth), atol=2e-6)
    again = ConformalPredictor.from_state(predictor.state())
    np.testing.assert_array_equal(again.scores(logits, features), scores)


@settings(max_examples=30, deadline=None)
@given(
    seed=SEEDS,
    which=st.integers(0, 13),
    levels=LEVELS,
    size=st.integers(1, 40),
)
def test_sets_are_the_order_statistic_rule(seed, which, levels, size):
    weight, features, logits, labels = problem(seed, levels=levels)
    score = all_scores(weight)[which]
    predictor = ConformalPredictor(score)
    predictor.calibrate(logits[:size], labels[:size], features[:size], generator=generator_for(score))
    for coverage in (0.2, 0.9):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallCalibrationWarning)
            threshold = predictor.threshold(coverage)
            sets = predictor.predict_set(
                logits[size:], features[size:], coverage=coverage, generator=generator_for(score, 1)
            )
        own = predictor.scores(
            logits[:size], features[:size], variant=threshold.variant, generator=generator_for(score)
        )
        own = np.sort(own[np.arange(size), labels[:size]])
        rank = int(np.ceil(round((size + 1) * coverage, 6)))
        value = own[rank - 1] if rank <= size else np.inf
        scores = predictor.scores(
            logits[size:], features[size:], variant=threshold.variant, generator=generator_for(score, 1)
        )
        expected = scores <= value
        if threshold.next_variant:
            variant = threshold.variant + 1
            expected |= np.isfinite(predictor.scores(logits[size:], features[size:], variant=variant))
        np.testing.assert_array_equal(sets, expected)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, which=st.sampled_from([0, 1, *range(3, 14)]), levels=LEVELS)
def test_sets_are_nested_and_are_the_classes_with_a_large_p_value(seed, which, levels):
    weight, features, logits, labels = problem(seed, levels=levels)
    score = all_scores(weight)[which]
    predictor = ConformalPredictor(score)
    predictor.calibrate(logits[:60], labels[:60], features[:60], generator=generator_for(score))
    p_values = predictor.p_values(logits[60:], features[60:], generator=generator_for(score, 1))
    assert p_values.dtype == np.float64
    assert (p_values > 0).all() and (p_values <= 1).all()
    coverages = [0.2, 0.5, 0.7, 0.9, 0.95]
    sets = predictor.predict_sets(logits[60:], features[60:], coverages=coverages, generator=generator_for(score, 1))
    for coverage, chosen in zip(coverages, sets, strict=True):
        np.testing.assert_array_equal(chosen, p_values > 1 - coverage + 1e-12)
    for smaller, larger in pairwise(sets):
        assert not (smaller & ~larger).any()


@settings(max_examples=20, deadline=None)
@given(
    seed=SEEDS,
    kind=st.sampled_from(["path", "evidence", "branch"]),
    levels=LEVELS,
)
def test_the_prediction_is_always_in_a_set_of_whole_branches(seed, kind, levels):
    weight, features, logits, labels = problem(seed, num_images=80, levels=levels)
    predictor = ConformalPredictor(HierarchicalScore(weight, kind)).calibrate(logits[:60], labels[:60], features[:60])
    predicted = logits.argmax(axis=1)
    found = tree(features, weight, predicted)
    for coverage in (0.3, 0.9):
        sets = predictor.predict_set(logits, features, coverage=coverage)
        assert sets[np.arange(len(sets)), predicted].all()
        for i, chosen in enumerate(sets):
            branch = found.shared_BC[i] * 1000 + found.leaving_BC[i]
            for code in np.unique(branch):
                assert len(np.unique(chosen[branch == code])) == 1
            if kind == "path":
                deepest_outside = found.shared_BC[i][~chosen].max(initial=-1)
                assert (found.shared_BC[i][chosen] >= deepest_outside).all()


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, which=st.integers(0, 9))
def test_the_order_of_images_and_of_classes_changes_nothing(seed, which):
    weight, features, logits, labels = problem(seed)
    classes, images = np.random.default_rng(seed).permutation(8), np.random.default_rng(seed).permutation(40)
    unique = np.array([(row == row.max()).sum() == 1 for row in logits])
    features, logits, labels = features[unique], logits[unique], labels[unique]
    score, relabelled = all_scores(weight)[which], all_scores(weight[classes])[which]
    sets = (
        ConformalPredictor(score)
        .calibrate(logits[:40], labels[:40], features[:40])
        .predict_set(logits[40:], features[40:], coverage=0.8)
    )
    back = np.argsort(classes)
    other = (
        ConformalPredictor(relabelled)
        .calibrate(logits[:40][images][:, classes], back[labels[:40]][images], features[:40][images])
        .predict_set(logits[40:][:, classes], features[40:], coverage=0.8)
    )
    np.testing.assert_array_equal(sets[:, classes], other)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, kind=st.sampled_from(KINDS), equal=st.booleans())
def test_the_names_of_features_matter_only_where_activations_are_equal(seed, kind, equal):
    """Ties between activations are broken by index; `evidence` doesn't even depend on that where they are 0."""
    weight, features, logits, labels = problem(seed)
    kind = "evidence" if equal else kind
    if not equal:
        features = features + np.random.default_rng(seed).uniform(0.1, 0.2, features.shape).astype(np.float32)
        logits = (features @ weight.T).astype(np.float32)
    order = np.random.default_rng(seed).permutation(14)

    def sets(weight, features):
        predictor = ConformalPredictor(HierarchicalScore(weight, kind))
        predictor.calibrate(logits[:60], labels[:60], features[:60])
        return predictor.predict_set(logits[60:], features[60:], coverage=0.8)

    np.testing.assert_array_equal(sets(weight, features), sets(weight[:, order], features[:, order]))


@pytest.mark.parametrize("which", range(14))
def test_blocks_kinds_and_layouts_of_arrays_change_nothing(which, monkeypatch):
    weight, features, logits, labels = problem(3)
    score = all_scores(weight)[which]

    def sets(logits, labels, features):
        predictor = ConformalPredictor(score)
        predictor.calibrate(logits[:60], labels[:60], features[:60], generator=generator_for(score))
        return predictor.predict_set(logits[60:], features[60:], coverage=0.8, generator=generator_for(score, 1))

    expected = sets(logits, labels, features)
    tensors = sets(torch.from_numpy(logits), torch.from_numpy(labels), torch.from_numpy(features))
    assert isinstance(tensors, torch.Tensor) and tensors.dtype == torch.bool
    np.testing.assert_array_equal(tensors.numpy(), expected)
    frozen = logits.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(sets(frozen, labels.astype(np.uint8), np.asfortranarray(features)), expected)
    np.testing.assert_array_equal(sets(logits.astype(np.float64), labels, features), expected)
    graph = torch.from_numpy(logits).requires_grad_()
    assert not sets(graph, labels, torch.from_numpy(features)).requires_grad
    monkeypatch.setattr("chiqpm.conformal.arrays._BLOCK_ENTRIES", 20)
    np.testing.assert_array_equal(sets(logits, labels, features), expected)


@pytest.mark.parametrize("which", range(14))
def test_a_saved_predictor_gives_the_same_sets(which, tmp_path):
    weight, features, logits, labels = problem(4)
    score = all_scores(weight)[which]
    predictor = ConformalPredictor(score)
    predictor.calibrate(logits[:60], labels[:60], features[:60], generator=generator_for(score))
    predictor.save(tmp_path / "predictor.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["predictor.npz"]
    for copy in (
        ConformalPredictor.load(tmp_path / "predictor.npz"),
        ConformalPredictor.from_state(predictor.state()),
    ):
        assert repr(copy.score) == repr(score)
        assert copy.num_calibration == 60
        for coverage in (0.5, 0.8, 0.95):
            assert copy.threshold(coverage) == predictor.threshold(coverage)
            np.testing.assert_array_equal(
                copy.predict_set(logits, features, coverage=coverage, generator=generator_for(score)),
                predictor.predict_set(logits, features, coverage=coverage, generator=generator_for(score)),
            )


def test_too_few_images_give_all_classes_and_a_warning_that_says_how_many_are_needed():
    weight, features, logits, labels = problem(5)
    for score in all_scores(weight)[:10]:
        predictor = ConformalPredictor(score).calibrate(logits[:18], labels[:18], features[:18])
        with pytest.warns(SmallCalibrationWarning, match=r"18 calibration .* At least 19 "):
            assert predictor.predict_set(logits, features, coverage=0.95).all()
        predictor.calibrate(logits[:19], labels[:19], features[:19])
        assert np.isfinite(predictor.threshold(0.95).value)


def test_level_limited_takes_the_deepest_level_that_enough_true_classes_reach():
    weight, features, logits, labels = problem(6, num_images=400)
    shared = tree(features, weight, logits.argmax(axis=1)).shared_BC[np.arange(400), labels]
    predictor = ConformalPredictor(HierarchicalScore(weight, "level_limited")).calibrate(logits, labels, features)
    for coverage in (0.2, 0.4, 0.6, 0.8, 0.9, 0.99):
        rank = int(np.ceil(401 * coverage))
        deepest = max(level for level in range(4) if (shared >= level).sum() >= rank)
        assert predictor.threshold(coverage).variant == deepest
    fixed = ConformalPredictor(HierarchicalScore(weight, "level_limited", level=1)).calibrate(logits, labels, features)
    assert np.isinf(fixed.scores(logits, features)).any()
    assert fixed.p_values(logits, features).shape == (400, 8)
    with pytest.raises(ChiqpmError, match="no score of its own"):
        predictor.p_values(logits, features)


def test_a_level_from_other_images_makes_an_ordinary_score():
    weight, features, logits, labels = problem(12, num_images=400)
    level = deepest_level(weight, logits[:100], labels[:100], features[:100], coverage=0.6)
    shared = tree(features[:100], weight, logits[:100].argmax(axis=1)).shared_BC[np.arange(100), labels[:100]]
    assert level == max(L for L in range(4) if (shared >= L).sum() >= np.ceil(101 * 0.6))
    score = HierarchicalScore(weight, "level_limited", level=level)
    predictor = ConformalPredictor(score).calibrate(logits[100:250], labels[100:250], features[100:250])
    sets = predictor.predict_set(logits[250:], features[250:], coverage=0.6)
    p_values = predictor.p_values(logits[250:], features[250:])
    np.testing.assert_array_equal(sets, p_values > 0.4)
    with pytest.warns(SmallCalibrationWarning):
        assert deepest_level(weight, logits[:3], labels[:3], features[:3], coverage=0.9) == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_level_is_chosen_as_if_the_test_image_were_a_calibration_image(seed):
    weight, features, logits, labels = problem(seed, num_images=60)
    predictor = ConformalPredictor(HierarchicalScore(weight, "level_limited"))
    predictor.calibrate(logits[:30], labels[:30], features[:30])
    scores_VBC = np.stack([predictor.scores(logits, features, variant=level) for level in range(4)])
    own_VM = scores_VBC[:, np.arange(30), labels[:30]]
    told = 0
    for rank in range(1, 31):
        coverage = rank / 31
        sets = predictor.predict_set(logits[30:], features[30:], coverage=coverage)
        told += predictor.threshold(coverage).next_variant
        for b, c in np.ndindex(sets.shape):
            everyone = np.column_stack([own_VM, scores_VBC[:, 30 + b, c]])
            level = max(v for v in range(4) if np.isfinite(everyone[v]).sum() >= rank)
            assert sets[b, c] == (everyone[level, -1] <= np.sort(everyone[level])[rank - 1])
    assert told >= 1


def test_a_given_level_that_too_few_true_classes_reach_gives_all_classes():
    weight, features, logits, labels = problem(6)
    score = HierarchicalScore(weight, "level_limited", level=3)
    predictor = ConformalPredictor(score).calibrate(logits, labels, features)
    assert predictor.predict_set(logits, features, coverage=0.99).all()


def test_randomised_scores_take_either_generator_and_repeat_with_its_seed():
    _, _, logits, labels = problem(7)
    predictor = ConformalPredictor(APS(randomized=True))
    predictor.calibrate(logits, labels, generator=torch.Generator().manual_seed(0))
    one = predictor.predict_set(logits, coverage=0.8, generator=torch.Generator().manual_seed(1))
    two = predictor.predict_set(logits, coverage=0.8, generator=torch.Generator().manual_seed(1))
    np.testing.assert_array_equal(one, two)
    other = predictor.predict_set(logits, coverage=0.8, generator=np.random.default_rng(1))
    assert (one != other).any()
    with pytest.raises(ChiqpmError, match="generator"):
        predictor.predict_set(logits, coverage=0.8)
    with pytest.raises(TypeError, match="generator"):
        predictor.predict_set(logits, coverage=0.8, generator=3)


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_a_coverage_outside_0_and_1_is_refused(coverage):
    _, _, logits, labels = problem(8)
    predictor = ConformalPredictor(THR()).calibrate(logits, labels)
    with pytest.raises(ChiqpmError, match=r"coverage .*between 0 and 1"):
        predictor.predict_set(logits, coverage=coverage)


@pytest.mark.parametrize("coverage", ["ninety", None, [0.9]])
def test_a_coverage_that_is_no_number_is_refused(coverage):
    _, _, logits, labels = problem(8)
    with pytest.raises(TypeError, match="coverage must be a number"):
        ConformalPredictor(THR()).calibrate(logits, labels).threshold(coverage)


def test_wrong_input_is_named():
    weight, features, logits, labels = problem(9)
    thr, path = ConformalPredictor(THR()), ConformalPredictor(HierarchicalScore(weight))
    with pytest.raises(ChiqpmError, match="isn't calibrated"):
        thr.predict_set(logits, coverage=0.9)
    with pytest.raises(ChiqpmError, match="isn't calibrated"):
        thr.state()
    with pytest.raises(ChiqpmError, match="at least one image"):
        thr.calibrate(logits[:0], labels[:0])
    with pytest.raises(ChiqpmError, match=r"0\.\.7.*got 8"):
        thr.calibrate(logits, np.where(labels == 0, 8, labels))
    with pytest.raises(ChiqpmError, match=r"0\.\.7.*got -1"):
        thr.calibrate(logits, torch.from_numpy(labels - 1))
    with pytest.raises(TypeError, match="labels must be integers"):
        thr.calibrate(logits, labels.astype(float))
    with pytest.raises(ChiqpmError, match=r"labels .*shape \(120,\)"):
        thr.calibrate(logits, labels[:-1])
    with pytest.raises(ChiqpmError, match="two axes"):
        thr.calibrate(logits[0], labels)
    with pytest.raises(ChiqpmError, match="at least one class"):
        thr.calibrate(logits[:, :0], labels)
    with pytest.raises(ChiqpmError, match="pass features"):
        path.calibrate(logits, labels)
    with pytest.raises(ChiqpmError, match="same images"):
        path.calibrate(logits, labels, features[1:])
    with pytest.raises(ChiqpmError, match="13 columns where the assignment has 14"):
        path.calibrate(logits, labels, features[:, 1:])
    with pytest.raises(ChiqpmError, match="7 classes where 8"):
        path.calibrate(logits[:, 1:], np.zeros_like(labels), features)
    thr.calibrate(logits, labels)
    with pytest.raises(ChiqpmError, match="7 classes where 8"):
        thr.predict_set(logits[:, 1:], coverage=0.9)
    bad = logits.copy()
    bad[70, 2] = np.nan
    with pytest.raises(ChiqpmError, match=r"logits must be finite; row 70"):
        thr.predict_set(bad, coverage=0.9)
    spoilt = features.copy()
    spoilt[3, 3] = np.inf
    with pytest.raises(ChiqpmError, match=r"features must be finite; row 3"):
        path.calibrate(logits, labels, spoilt)
    with pytest.raises(ChiqpmError, match="variant"):
        thr.scores(logits, variant=1)
    with pytest.raises(TypeError, match="score must be"):
        ConformalPredictor("thr")
    with pytest.raises(ChiqpmError, match="kind must be one of"):
        HierarchicalScore(weight, "deep")
    for level, kind in [(4, "level_limited"), (-1, "level_limited"), (1, "path")]:
        with pytest.raises(ChiqpmError, match="level must be"):
            HierarchicalScore(weight, kind, level=level)
    for depth, kind in [(0, "branch"), (4, "branch"), (2, "path")]:
        with pytest.raises(ChiqpmError, match="depth must be"):
            HierarchicalScore(weight, kind, depth=depth)
    with pytest.raises(ChiqpmError, match="pass features"):
        HierarchicalScore(weight).class_scores(torch.from_numpy(logits))


def test_an_empty_batch_gives_empty_sets():
    weight, features, logits, labels = problem(10)
    predictor = ConformalPredictor(HierarchicalScore(weight)).calibrate(logits, labels, features)
    assert predictor.predict_set(logits[:0], features[:0], coverage=0.9).shape == (0, 8)
    assert predictor.p_values(logits[:0], features[:0]).shape == (0, 8)


def test_files_that_are_no_predictor_are_refused(tmp_path):
    _, _, logits, labels = problem(11)
    predictor = ConformalPredictor(THR()).calibrate(logits, labels)
    with pytest.raises(FileNotFoundError):
        ConformalPredictor.load(tmp_path / "absent.npz")
    junk = tmp_path / "junk.npz"
    for content in (b"", b"not a zip", b"PK\x03\x04broken"):
        junk.write_bytes(content)
        with pytest.raises(ChiqpmError, match="no saved conformal predictor"):
            ConformalPredictor.load(junk)
    np.savez(junk, other=np.zeros(2))
    with pytest.raises(ChiqpmError, match="no saved conformal predictor"):
        ConformalPredictor.load(junk)
    np.savez(junk, json=np.array([None], dtype=object))
    with pytest.raises(ChiqpmError, match="no saved conformal predictor"):
        ConformalPredictor.load(junk)
    state = predictor.state()
    for change, message in [
        ({"format": 99}, "format"),
        ({"score": "magic"}, "unknown score 'magic'"),
        ({"options": {"colour": 1}}, "don't fit"),
        ({"arrays": {}}, "lacks arrays"),
        ({"arrays": {"calibration_scores_VM": np.zeros((2, 3))}}, "shape"),
        ({"arrays": {"calibration_scores_VM": np.full((1, 3), np.nan)}}, "shape"),
    ]:
        with pytest.raises(ChiqpmError, match=message):
            ConformalPredictor.from_state({**state, **change})
    with pytest.raises(ChiqpmError, match="lacks options"):
        ConformalPredictor.from_state({k: v for k, v in state.items() if k != "options"})
    with pytest.raises(ChiqpmError, match="format"):
        ConformalPredictor.from_state(None)
