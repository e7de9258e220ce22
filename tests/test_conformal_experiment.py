"""The experiment on prediction sets, small, and the tables in the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from chiqpm.experiments.conformal import __main__ as experiment
from chiqpm.experiments.conformal import models
from chiqpm.experiments.conformal.models import HeldOut
from chiqpm.experiments.conformal.populations import synthetic
from chiqpm.experiments.conformal.tables import markdown
from chiqpm.experiments.conformal.validity import PUBLISHED, measure_validity
from chiqpm.files import write_npz

DOCUMENTED = Path(__file__).parents[1] / "docs" / "benchmarks"


def cells(validity):
    for by_coverage in validity["sizes"].values():
        for at in by_coverage.values():
            yield from at["scores"].items()


def test_every_pair_of_made_up_classes_shares_all_features_but_one():
    population = synthetic(40, 30, seed=0)
    shared = population.weight_CK @ population.weight_CK.T
    assert (np.diag(shared) == 5).all()
    assert (shared[np.arange(0, 40, 2), np.arange(1, 40, 2)] == 4).all()
    assert len(np.unique(population.weight_CK, axis=0)) == 40


def test_the_bands_hold_for_every_score_and_not_for_the_published_rule():
    found = measure_validity(
        synthetic(20, 300, seed=0), calibration_sizes=(10, 150), splits=60, seed=0, confidence=1 - 1e-6
    )
    ours = [cell for name, cell in cells(found) if name != PUBLISHED]
    assert all(cell["holds"] for cell in ours)
    assert any(cell["two_sided"] for cell in ours) and not all(cell["two_sided"] for cell in ours)
    assert not all(cell["holds"] for name, cell in cells(found) if name == PUBLISHED)


def made_up_model(*_, **__):
    """Answers as a trained model's, without the training."""
    images = synthetic(24, 240, seed=1)
    similarity_CC = images.weight_CK @ images.weight_CK.T / 5
    family_C = np.arange(24) // 2
    return HeldOut(**vars(images), similarity_CC=similarity_CC.astype(np.float64), family_C=family_C)


def test_the_whole_experiment_runs_once_and_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "held_out_answers", made_up_model)
    experiment.main(["--reduced", "--out", str(tmp_path)])
    assert str(tmp_path / "conformal.md") in capsys.readouterr().out
    result = json.loads((tmp_path / "conformal.json").read_text())
    for validity in result["validity"].values():
        assert all(cell["holds"] for name, cell in cells(validity) if name != PUBLISHED)
    for by_target in (model["scores"] for model in result["sets"].values()):
        for kind in ("branch", "evidence", "path"):
            for values in by_target[kind].values():
                assert values["whole"] == 1 and values["empty"] == 0
    # A table of images, classes and features would take 0.6 GB.
    assert result["speed"]["branch"]["work_and_sets_gb"] < 0.2

    def again(*_, **__):
        raise AssertionError("measured again")

    for name in ("measure_validity", "measure_sets", "measure_speed", "held_out_answers"):
        monkeypatch.setattr(experiment, name, again)
    experiment.main(["--reduced", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "conformal.json").read_text()) == result


def test_a_model_is_trained_on_few_birds_once_and_its_answers_are_mixed(tmp_path, monkeypatch):
    fits = []

    def fit(folder, out, *, config, quiet):
        fits.append(config)
        assert len(list((folder / "train").rglob("*.jpg"))) == 6
        for part in ("calibration", "test"):
            labels = np.repeat(np.arange(6), 2)
            write_npz(
                out / f"{part}_answers.npz",
                {"logits_NC": np.eye(6)[labels], "features_NK": np.ones((12, 4)), "labels_N": labels},
            )
        return SimpleNamespace(model=SimpleNamespace(weight_CK=torch.ones(6, 4)))

    monkeypatch.setattr(models, "fit", fit)
    size = models.ModelSize(held_out=2, image_size=32, families=1)
    first, second = (models.held_out_answers(tmp_path / "m", 5, 1, size) for _ in range(2))
    assert len(fits) == 1 and fits[0].seed == 5
    assert first.accuracy == 1 and len(first.labels_N) == 24 and (np.diff(first.labels_N) < 0).any()
    np.testing.assert_array_equal(first.labels_N, second.labels_N)
    assert first.similarity_CC.shape == (6, 6) and first.family_C.tolist() == [0] * 6


def test_the_documented_tables_are_made_from_the_committed_values():
    values = json.loads((DOCUMENTED / "conformal.json").read_text())
    assert (DOCUMENTED / "conformal.md").read_text() == markdown(values)
