"""The set at another coverage, from the values alone."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from chiqpm.conformal import ConformalPredictor, HierarchicalScore
from chiqpm.errors import ChiqpmError
from chiqpm.explain import Explanation, explain_sample

COVERAGES = (0.001, 0.3, 0.5, 0.8, 0.88, 0.9, 0.925, 0.95, 0.975, 0.98, 0.99, 0.9999)


@pytest.fixture(scope="module", params=["path", "evidence", "branch"])
def setting(request, cases: SimpleNamespace):
    weight = cases.assignment(30, 20, 4)
    generator = np.random.default_rng(1)
    labels = generator.integers(30, size=199)
    features = np.maximum(0.0, generator.normal(0.0, 1.0, (204, 20))).round(1)
    features[:199] += weight[labels] * generator.uniform(0, 2, (199, 20)).round(1)
    logits = features @ weight.T
    predictor = ConformalPredictor(HierarchicalScore(weight, kind=request.param))
    predictor.calibrate(logits[:199], labels, features[:199])
    return SimpleNamespace(weight=weight, predictor=predictor, features=features[199:], logits=logits[199:])


def explained(setting: SimpleNamespace, row: int, coverage: float) -> Explanation:
    features, logits, predictor = setting.features[row : row + 1], setting.logits[row : row + 1], setting.predictor
    return explain_sample(
        features[0],
        np.ones((20, 3, 3)),
        logits[0],
        setting.weight,
        predictor.predict_set(logits, features, coverage=coverage)[0],
        active_mean_K=np.full(20, 2.0),
        class_names=[f"class {c}" for c in range(30)],
        coverage=coverage,
        scores_C=predictor.scores(logits, features)[0],
        p_values_C=predictor.p_values(logits, features)[0],
    )


@pytest.mark.filterwarnings("ignore::chiqpm.conformal.SmallCalibrationWarning")
@pytest.mark.parametrize("row", range(5))
def test_moving_gives_what_predicting_again_gives(setting: SimpleNamespace, row: int) -> None:
    start = explained(setting, row, 0.9)
    for coverage in COVERAGES:
        assert start.at(coverage) == explained(setting, row, coverage)


@pytest.mark.filterwarnings("ignore::chiqpm.conformal.SmallCalibrationWarning")
def test_the_set_grows_with_the_coverage_also_after_json(setting: SimpleNamespace) -> None:
    start = explained(setting, 0, 0.9)
    again = Explanation.from_dict(json.loads(json.dumps(start.to_dict(), allow_nan=False)))
    assert again == start
    sets = [again.at(coverage).set_classes for coverage in COVERAGES]
    assert all(set(small) <= set(large) for small, large in pairwise(sets))
    assert all(large[: len(small)] == small for small, large in pairwise(sets))
    assert len(sets[-1]) == 30
    assert again.at(0.99).at(0.9) == start


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, float("nan")])
def test_a_wrong_coverage_is_refused(setting: SimpleNamespace, coverage: float) -> None:
    with pytest.raises(ChiqpmError, match="strictly between 0 and 1"):
        explained(setting, 0, 0.9).at(coverage)


def test_without_p_values_the_set_stays(cases: SimpleNamespace) -> None:
    with pytest.raises(ChiqpmError, match=r"predict the image again at coverage 0\.5"):
        cases.sample().at(0.5)
