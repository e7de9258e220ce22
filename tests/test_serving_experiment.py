"""The benchmark of serving measures what it says, and its page holds the numbers."""

from __future__ import annotations

import json

import pytest

from chiqpm.experiments.serving import main


def test_the_command_keeps_numbers_and_writes_a_page(tmp_path, capsys):
    options = ["--backbones", "lite0", "--image-size", "64", "--classes", "20", "--threads", "1", "--rounds", "3"]
    main(["--out", str(tmp_path / "serving.json"), *options, "--files", "3"])
    result = json.loads((tmp_path / "serving.json").read_text())["lite0, 64 px, 1 core"]
    batch, stream, one, files = (result["measured"][name] for name in ("batch", "stream", "one", "files"))
    assert set(batch) == set(stream) == set(one) == {"wall", "processor"}
    for clock in batch:
        assert all(value > 0 for value in [*stream[clock]["ms"].values(), *stream[clock]["ratio"].values()])
        assert all(value > 0 for value in [*batch[clock]["ms"].values(), *batch[clock]["ratio"].values()])
        assert all(value > 0 for value in one[clock]["ms"].values()) and len(one[clock]["added_ms"]) == 2
    assert set(files["per_second_by_workers"]) >= {"0", "chosen"} and files["pictures"] == 3
    page = (tmp_path / "serving.md").read_text()
    assert page.count("| lite0, 64 px, 1 core, processor time |") == 3 and "torch" in page
    assert capsys.readouterr().out == page


def test_wrong_options_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "s.json"), "--rounds", "1"])
    assert "--rounds must be 3 or more" in capsys.readouterr().err
