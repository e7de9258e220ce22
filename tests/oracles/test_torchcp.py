"""Scores, thresholds and p-values against torchcp (LGPL: used for comparison only)."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from chiqpm.conformal import APS, RAPS, SAPS, THR, ConformalPredictor, Margin, MondrianPredictor, TopK

found = importlib.util.find_spec("torchcp")
if found is None:
    pytest.skip("torchcp isn't installed", allow_module_level=True)


def bare(name):
    """A package without its __init__, which imports training losses and graph learning that are not needed here."""
    package = types.ModuleType(name)
    package.__path__ = [str(Path(found.submodule_search_locations[0], *name.split(".")[1:]))]
    sys.modules[name] = package


for name in ("torchcp", "torchcp.classification"):
    bare(name)
other_score = importlib.import_module("torchcp.classification.score")
other_predictor = importlib.import_module("torchcp.classification.predictor")

pytestmark = pytest.mark.filterwarnings("ignore:The 'temperature' parameter:DeprecationWarning")

PAIRS = [
    (APS(), other_score.APS(randomized=False)),
    (RAPS(0.03, 2), other_score.RAPS(randomized=False, penalty=0.03, kreg=2)),
    (TopK(), other_score.TOPK(randomized=False)),
    (Margin(), other_score.Margin()),
]
IDS = ["aps", "raps", "topk", "margin"]


@pytest.mark.parametrize(("ours", "theirs"), [*PAIRS, (SAPS(0.1), other_score.SAPS(randomized=False, weight=0.1))])
def test_scores_of_all_classes_agree(problem, ours, theirs):
    logits = torch.from_numpy(problem[0])
    expected = theirs(logits)
    torch.testing.assert_close(ours.class_scores(logits), expected)


def test_thr_is_minus_the_logarithm_of_their_score(problem):
    logits = torch.from_numpy(problem[0])
    torch.testing.assert_close((-THR().class_scores(logits)).exp(), 1 - other_score.LAC()(logits))


@pytest.mark.parametrize(("ours", "theirs"), [*PAIRS, (THR(), other_score.LAC())], ids=[*IDS, "thr"])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_sets_and_p_values_agree(problem, ours, theirs, coverage):
    first, labels, second, _ = problem
    other = other_predictor.SplitPredictor(theirs, model=torch.nn.Identity(), alpha=1 - coverage, device="cpu")
    other.calculate_threshold(torch.from_numpy(first.copy()), torch.from_numpy(labels), 1 - coverage)
    predictor = ConformalPredictor(ours).calibrate(first, labels)
    sets = predictor.predict_set(second, coverage=coverage)
    np.testing.assert_array_equal(sets, other.predict_with_logits(torch.from_numpy(second)).bool().numpy())


@pytest.mark.parametrize("coverage", [0.6, 0.9])
def test_class_conditional_sets_agree(problem, coverage):
    first, labels, second, _ = problem
    other = other_predictor.ClassConditionalPredictor(other_score.LAC(), model=torch.nn.Identity(), device="cpu")
    other.calculate_threshold(torch.from_numpy(first.copy()), torch.from_numpy(labels), 1 - coverage)
    predictor = MondrianPredictor(THR(), "class", min_count=1).calibrate(first, labels)
    sets = predictor.predict_set(second, coverage=coverage)
    np.testing.assert_array_equal(sets, other.predict_with_logits(torch.from_numpy(second)).bool().numpy())


def test_randomised_scores_have_the_same_law(problem):
    """Their draw is one for each class of a test image, ours one for each image: the truth's score is alike."""
    first, labels, _, _ = problem
    logits, truth = torch.from_numpy(first), torch.from_numpy(labels)
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    for ours, theirs in (
        (APS(randomized=True), other_score.APS()),
        (SAPS(0.1, randomized=True), other_score.SAPS(weight=0.1)),
    ):
        means = [theirs(logits, truth).double().mean().item() for _ in range(200)]
        own = [
            ours.label_scores(logits, truth, None, torch.from_numpy(generator.random(len(labels)))).mean().item()
            for _ in range(200)
        ]
        assert np.mean(own) == pytest.approx(np.mean(means), abs=0.01)


def test_their_unrandomised_saps_calibrates_a_correct_prediction_by_0(problem):
    """A difference of theirs from the paper: the score of the likeliest class is 0 in calibration and p_max in use."""
    first, labels, _, _ = problem
    logits, truth = torch.from_numpy(first), torch.from_numpy(labels)
    theirs = other_score.SAPS(randomized=False, weight=0.1)
    right = logits.argmax(dim=1) == truth
    assert (theirs(logits.clone(), truth)[right] == 0).all()
    assert (theirs(logits).gather(1, truth[:, None])[right] > 0).all()
