"""What a user holds: every kind of input, the same answers from several threads, and errors that say what to do."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from chiqpm.classifier import load
from chiqpm.conformal import APS, THR, ConformalPredictor, HierarchicalScore, class_paths, tree
from chiqpm.conformal.quantile import SmallCalibrationWarning
from chiqpm.errors import ChiqpmError
from chiqpm.prediction import SCHEMA


@pytest.fixture(scope="module")
def classifier(make_classifier):
    return make_classifier(classes=6)


@pytest.fixture(scope="module")
def paths(pictures):
    return sorted(pictures.rglob("*.png"))


def test_all_kinds_of_images_give_the_same_answer(classifier, paths):
    path = paths[0]
    wanted = classifier.predict(path).to_dict(maps=True)
    image = Image.open(path)
    for given in (str(path), image, np.asarray(image)):
        assert classifier.predict(given).to_dict(maps=True) == wanted
    grey = image.convert("L")
    assert classifier.predict(np.asarray(grey)).label == classifier.predict(grey).label
    for several in ([path], (path,), np.asarray(image)[None]):
        (found,) = classifier.predict(several)
        assert found.to_dict(maps=True) == wanted


def test_lists_of_any_length_are_answered_in_order(classifier, paths):
    many = (paths * 3)[:33]
    found = classifier.predict(many)
    assert [prediction.label for prediction in found] == [classifier.predict(path).label for path in many]
    assert classifier.predict([]) == []


def test_a_batch_is_what_single_predictions_are(classifier, paths):
    images = torch.stack([classifier.transform(Image.open(path).convert("RGB")) for path in paths])
    batch = classifier.predict_batch(images, 0.8)
    assert len(batch) == len(paths)
    for row, prediction in enumerate(classifier.predict(paths, 0.8)):
        assert batch.labels[row] == prediction.label
        assert tuple(classifier.class_names[c] for c in batch.members(row)) == prediction.prediction_set
        explanation = batch.explanation(row)
        assert explanation.set_classes == prediction.explanation.set_classes
        levels = [rival.level for rival in explanation.rivals]
        assert batch.depth_B[row] == min(levels, default=len(explanation.features))
    softmax = torch.from_numpy(batch.logits_BC).double().softmax(dim=1).max(dim=1).values
    np.testing.assert_allclose(batch.softmax_B, softmax, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::chiqpm.conformal.SmallCalibrationWarning")
@pytest.mark.parametrize("score", [HierarchicalScore, THR, APS])
def test_sets_are_those_of_the_predictor(make_classifier, score):
    classifier = make_classifier(score=score)
    images = torch.randn(20, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for coverage in (0.3, 0.7, 0.9, 0.99):
        batch = classifier.predict_batch(images, coverage)
        sets = classifier.predictor.predict_set(batch.logits_BC, batch.features_BK, coverage=coverage)
        np.testing.assert_array_equal(batch.sets_BC, sets)
        p_values = classifier.predictor.p_values(batch.logits_BC, batch.features_BK)
        np.testing.assert_array_equal(batch.p_values_BC, p_values)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_a_classifier_that_was_loaded_without_gradients_predicts(classifier, paths, tmp_path, mode):
    """As in a function of a server that is decorated with one of them."""
    classifier.save(tmp_path)
    with mode():
        again = load(tmp_path, device="cpu")
        inside = again.predict(paths[0])
    assert not any(tensor.is_inference() for tensor in again.model.state_dict().values())
    assert again.predict(paths[0]).to_dict() == inside.to_dict() == classifier.predict(paths[0]).to_dict()


@pytest.mark.parametrize("change", ["in place", "other tensor", "other score"])
def test_an_assignment_that_changes_is_followed(make_classifier, change):
    """What is kept of it between predictions is never that of an older one."""
    classifier = make_classifier()
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    classifier.predict_batch(images)
    rolled = classifier.model.weight_CK.roll(1, dims=1)
    if change == "in place":
        classifier.model.weight_CK.copy_(rolled)
    elif change == "other tensor":
        classifier.model.weight_CK = rolled
    else:
        logits, features = classifier.predict_batch(images).logits_BC, classifier.predict_batch(images).features_BK
        score = HierarchicalScore(rolled)
        classifier.predictor = ConformalPredictor(score).calibrate(logits, np.arange(8) % 4, features)
    batch = classifier.predict_batch(images, 0.5)
    weight = classifier.model.weight_CK.numpy()
    found = tree(batch.features_BK, weight, batch.predicted_B)
    np.testing.assert_array_equal(batch.shared_BC, found.shared_BC)
    np.testing.assert_array_equal(batch.leaving_BC, found.leaving_BC)
    paths = class_paths(batch.features_BK, weight)
    np.testing.assert_array_equal(batch.path_Bn, paths[np.arange(8), batch.predicted_B])
    np.testing.assert_array_equal(batch.scores_BC, classifier.predictor.scores(batch.logits_BC, batch.features_BK))


def test_a_score_that_chooses_a_level_has_sets_but_no_p_values(make_classifier):
    classifier = make_classifier()
    score = HierarchicalScore(classifier.model.weight_CK, kind="level_limited")
    images = torch.randn(40, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    batch = classifier.predict_batch(images)
    classifier.predictor = type(classifier.predictor)(score).calibrate(
        batch.logits_BC, batch.predicted_B, batch.features_BK
    )
    again = classifier.predict_batch(images, 0.8)
    assert again.p_values_BC is None and again.explanation(0).p_values is None
    sets = classifier.predictor.predict_set(again.logits_BC, again.features_BK, coverage=0.8)
    np.testing.assert_array_equal(again.sets_BC, sets)


def test_a_prediction_moves_to_another_coverage(classifier, paths):
    prediction = classifier.predict(paths[0], 0.5)
    moved = prediction.at(0.9)
    asked = classifier.predict(paths[0], 0.9)
    assert moved.to_dict(maps=True) == asked.to_dict(maps=True)
    assert prediction.coverage == 0.5
    for coverage in (0.0, 1.0, 2.0):
        with pytest.raises(ChiqpmError, match="coverage"):
            prediction.at(coverage)


def test_several_threads_get_the_answers_of_one(classifier, paths):
    wanted = [classifier.predict(path, 0.8).to_dict(maps=True) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = list(pool.map(lambda path: classifier.predict(path, 0.8).to_dict(maps=True), paths))
            assert found == wanted


def test_the_schema_is_the_documented_one(classifier, paths):
    plain = json.loads(json.dumps(classifier.predict(paths[0]).to_dict()))
    page = (Path(__file__).parent.parent / "docs" / "predictions.md").read_text(encoding="utf-8")
    assert plain["schema"] == SCHEMA
    for name in [*plain, *plain["explanation"], *plain["explanation"]["features"][0]]:
        assert name in ("true_class", "predicted") or f"`{name}`" in page, name


def test_predictions_survive_a_process(classifier, paths):
    prediction = classifier.predict(paths[0])
    again = pickle.loads(pickle.dumps(prediction))
    assert again.to_dict(maps=True) == prediction.to_dict(maps=True)


@pytest.mark.parametrize("images", [3, None, 2.5, {"a": 1}, object()])
def test_what_is_no_image_is_refused(classifier, images):
    with pytest.raises(TypeError, match=r"received (int|NoneType|float|dict|object)"):
        classifier.predict(images)
    with pytest.raises(TypeError, match="an image is a path"):
        classifier.predict([images])


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (4, 4, 5), (0, 4, 3), (1, 2, 4, 4, 3)])
def test_arrays_of_other_shapes_are_refused(classifier, shape):
    with pytest.raises(ChiqpmError, match="uint8"):
        classifier.predict(np.zeros(shape, np.uint8))


def test_arrays_of_other_kinds_are_refused(classifier):
    for kind in (np.float32, np.int64, bool):
        with pytest.raises(ChiqpmError, match=r"must be uint8 .* received"):
            classifier.predict(np.zeros((4, 4, 3), kind))


@pytest.mark.parametrize("images", [torch.zeros(3, 64, 64), torch.zeros(1, 3, 32, 64), torch.zeros(1, 1, 64, 64), [1]])
def test_batches_of_other_shapes_are_refused(classifier, images):
    with pytest.raises(ChiqpmError, match=r"\(B, 3, 64, 64\), received"):
        classifier.predict_batch(images)


def test_an_empty_batch_is_refused(classifier):
    with pytest.raises(ChiqpmError, match="at least one image"):
        classifier.predict_batch(torch.zeros(0, 3, 64, 64))


@pytest.mark.parametrize("coverage", ["0.9", "high", None])
def test_coverages_that_are_no_numbers(classifier, paths, coverage):
    if coverage == "high":
        with pytest.raises(TypeError, match="coverage must be a number"):
            classifier.predict(paths[0], coverage)
    else:
        assert classifier.predict(paths[0], coverage).coverage == 0.9


def test_pictures_with_undefined_values_are_named(classifier, paths):
    images = torch.full((1, 3, 64, 64), float("nan"))
    with pytest.raises(ChiqpmError, match="finite"):
        classifier.predict_batch(images)


def test_too_few_calibration_images_warn(classifier, paths):
    with pytest.warns(SmallCalibrationWarning):
        assert len(classifier.predict(paths[0], 0.99).prediction_set) == 6
