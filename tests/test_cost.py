"""The command that measures what the method costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chiqpm.experiments import cost

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks"


def test_every_kind_of_step_is_timed_beside_the_plain_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cost, "KEPT", 12)
    monkeypatch.setattr(cost, "PER_CLASS", 3)
    small = ["--backbone", "resnet18", "--image-size", "32", "--batch-size", "4", "--rounds", "3"]
    cost.main(["--out", str(tmp_path / "cost.json"), *small])
    (result,) = json.loads((tmp_path / "cost.json").read_text()).values()
    assert set(result["measured"]) == {cost.PLAIN, cost.DENSE, cost.SPARSE, cost.EVALUATION, cost.STATISTICS}
    for kind in (cost.PLAIN, cost.EVALUATION):
        assert result["measured"][kind]["ratio"] == 1
    for values in result["measured"].values():
        low, high = values["ratio_quartiles"]
        assert 0 < low <= values["ratio"] <= high
        assert values["seconds"] > 0
    assert capsys.readouterr().out.count("resnet18, 32 px, batch 4, float32, cpu, 1 threads") == 5
    cost.main(["--out", str(tmp_path / "cost.json"), *small[:-1], "2", "--output-stride", "8"])
    assert capsys.readouterr().out.count("resnet18, 32 px, stride 8, batch 4") == 5
    assert len(json.loads((tmp_path / "cost.json").read_text())) == 2


@pytest.mark.skipif(not (DOCUMENT / "cost.json").exists(), reason="without the measured numbers")
def test_the_document_shows_the_numbers_that_were_kept():
    results = json.loads((DOCUMENT / "cost.json").read_text(encoding="utf-8"))
    assert cost.table(results) in (DOCUMENT / "cost.md").read_text(encoding="utf-8")
