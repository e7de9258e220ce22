"""The rules and the objective against numbers of the published implementation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from chiqpm.assignment import nearest_class_pairs, redundancy_threshold, sharing_pairs, solve
from chiqpm.experiments.solver.instances import published

GOLDEN = Path(__file__).parents[1] / "golden"
INSTANCES = json.loads((GOLDEN / "qp_instances.json").read_text())


def _problem(entry):
    stored = np.load(GOLDEN / f"qp_{entry['tag']}.npz")
    return published(entry["tag"], GOLDEN), stored


@pytest.mark.parametrize("index", [0, 1, 2])
def test_pairs_are_the_published_ones(index):
    stored = np.load(GOLDEN / "pairs.npz")
    ours = nearest_class_pairs(stored[f"A{index}"], float(stored["rho"]))
    published = np.sort(stored[f"pairs{index}"], axis=1)
    assert {tuple(p) for p in ours} == {tuple(p) for p in published}


def test_sharing_pairs_are_the_published_ones():
    stored = np.load(GOLDEN / "pairs.npz")
    assert np.array_equal(sharing_pairs(stored["W"], 3), np.sort(stored["total_pairs"], axis=1))


def test_threshold_is_the_published_one():
    stored = np.load(GOLDEN / "clique_threshold_N60_t8.npz")
    threshold = redundancy_threshold(stored["R_upper"], int(stored["target"]))
    assert threshold == float(stored["threshold"])
    assert int((stored["R_upper"] >= threshold).sum()) == int(stored["n_disallowed_pairs"])


@pytest.mark.parametrize("entry", INSTANCES, ids=lambda entry: entry["tag"])
def test_instances(entry):
    problem, stored = _problem(entry)
    reached = problem.objective(stored["selected"], stored["W"])
    assert reached == pytest.approx(entry["objective_of_returned_solution"], rel=1e-9)
    if entry["useR"]:
        assert redundancy_threshold(np.triu(stored["R"], 1), entry["n_features"]) == entry["threshold"]

    found = solve(problem)
    assert problem.check(found.selection_K, found.weight_CK).feasible
    assert found.objective == pytest.approx(problem.objective(found.selection_K, found.weight_CK))
    assert found.objective >= reached - 1e-6
    assert found.pairs_satisfied == len(problem.pairs)
    assert found.gap <= 1e-6
    if entry.get("exact_optimum") is not None:
        assert found.objective == pytest.approx(entry["exact_optimum"], abs=1e-5)
