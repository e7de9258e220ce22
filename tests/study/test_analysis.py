"""Permutation tests, exclusions and the analysis, on answers of simulated readers."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chiqpm.cli import main
from chiqpm.errors import ChiqpmError
from chiqpm.study import (
    ARMS,
    Answer,
    Exclusions,
    ReaderModel,
    analyse,
    exclude,
    holm,
    omnibus_test,
    power,
    read_answers,
    sign_flip_test,
    simulate_answers,
    write_answers,
)
from chiqpm.study.key import read_key
from chiqpm.study.tables import analysis_table, power_table

values = st.lists(st.floats(-5, 5).map(lambda x: round(x, 2)), min_size=2, max_size=8)


@given(values)
@settings(max_examples=40, deadline=None)
def test_exact_sign_flips_agree_with_scipy(differences):
    ours = sign_flip_test(np.array(differences))
    theirs = stats.permutation_test(
        (np.array(differences),),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert ours == pytest.approx(min(1.0, theirs.pvalue), abs=1e-12)


def test_the_exact_omnibus_test_agrees_with_scipy():
    columns = np.random.default_rng(3).normal(size=(4, 3)) + np.array([0, 0.5, 1.5])

    def variance(*arms, axis):
        return np.stack([arm.mean(axis=axis) for arm in arms]).var(axis=0)

    theirs = stats.permutation_test(
        tuple(columns.T),
        variance,
        permutation_type="samples",
        n_resamples=np.inf,
        alternative="greater",
        vectorized=True,
    )
    assert omnibus_test(columns) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_drawn_permutations_come_near_the_exact_ones_and_are_never_zero():
    differences = np.random.default_rng(0).normal(0.4, 1, 12)
    exact = sign_flip_test(differences)
    drawn = sign_flip_test(differences, exact_up_to=1, resamples=20_000)
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))
    assert sign_flip_test(np.full(40, 1.0), resamples=99) == 0.01
    columns = np.random.default_rng(0).normal(size=(4, 3))
    assert omnibus_test(columns, exact_up_to=1, resamples=4000) == pytest.approx(omnibus_test(columns), abs=0.04)
    assert sign_flip_test(np.zeros(3)) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values):
    adjusted = holm(p_values)
    assert all(after >= before and after <= 1 for before, after in zip(p_values, adjusted, strict=True))
    assert min(adjusted) == pytest.approx(min(1.0, len(p_values) * min(p_values)))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


@pytest.mark.parametrize("wrong", [np.array([]), np.array([np.nan]), np.zeros((2, 2))])
def test_tests_refuse_what_is_no_list_of_numbers(wrong):
    with pytest.raises(ChiqpmError, match="finite"):
        sign_flip_test(wrong)
    with pytest.raises(ChiqpmError, match="finite"):
        omnibus_test(np.zeros((0, 3)) if wrong.ndim == 2 else wrong)


def test_false_findings_keep_to_the_level_and_real_effects_are_found():
    nothing = ReaderModel(accuracy=dict.fromkeys(ARMS, 0.7))
    none, large = power([20], [0.0, 0.2], trials=18, model=nothing, studies=300, resamples=199, seed=2)
    assert none.low <= 0.05
    assert none.power <= 0.08
    assert large.power > 0.6 > none.high
    more = power([60], [0.2], trials=18, model=nothing, studies=100, resamples=199)[0]
    assert more.power > large.power
    assert "SIMULATED" in power_table([none, large])


def test_simulated_readers_do_as_their_model_says_and_say_what_they_are(key):
    model = ReaderModel(accuracy={"none": 0.5, "flat": 0.7, "hierarchical": 0.9}, reader_sd=0, item_sd=0, slope_sd=0)
    answers = simulate_answers(key, 400, model=model, seed=1)
    assert {answer.simulated for answer in answers} == {1}
    assert all(answer.reader.startswith("simulated-") for answer in answers)
    right = {arm: [] for arm in ARMS}
    for answer in answers:
        if answer.kind == "trial":
            right[answer.arm].append(int(answer.answer) == key.items[answer.item].truth)
    for arm, wanted in model.accuracy.items():
        assert np.mean(right[arm]) == pytest.approx(wanted, abs=0.06)
    result = analyse(answers, key, resamples=199)
    assert result.simulated == result.readers == 400
    assert result.sentence().startswith("400 SIMULATED readers (no people) are more accurate")


def test_an_effect_is_found_with_its_interval_and_the_table_says_it(key):
    model = ReaderModel(
        accuracy={"none": 0.3, "flat": 0.5, "hierarchical": 0.95},
        seconds={"none": 5.0, "flat": 5.0, "hierarchical": 10.0},
    )
    result = analyse(simulate_answers(key, 36, model=model), key)
    primary = result.primary()
    assert primary.adjusted < 0.01
    assert 0.2 < primary.difference.low < primary.difference.value < primary.difference.high
    ratio = next(c for c in result.contrasts if (c.outcome, c.first, c.second) == ("seconds", "hierarchical", "flat"))
    assert ratio.difference.low < 2 < ratio.difference.high
    assert {c.outcome: sum(d.outcome == c.outcome for d in result.contrasts) for c in result.contrasts} == {
        "accuracy": 3,
        "seconds": 3,
        "confidence": 3,
        "overconfidence": 3,
        "trust": 1,
    }
    assert set(result.where) == {"model right", "model wrong"}
    text = analysis_table(result)
    assert "VERDICT: 36 SIMULATED readers" in text and "Left out are answers" in text
    json.dumps(result.to_dict(), allow_nan=False)


def trial(key, reader="1", **changes):
    block = key.plans[0].blocks[0]
    plain = Answer(
        study=key.study,
        reader=reader,
        kind="trial",
        block=1,
        position=1,
        arm=block.arm,
        item=block.trials[0],
        answer="0",
        confidence=60,
        seconds=4.0,
        hidden_seconds=0.0,
    )
    return replace(plain, **changes)


def session(key, reader, **changes):
    return [
        trial(key, reader, arm=block.arm, item=item, answer=str(place % 5), **changes)
        for place, (block, item) in enumerate((b, i) for b in key.plans[0].blocks for i in b.trials)
    ]


def test_each_rule_of_exclusion_leaves_out_what_it_says(key):
    good = session(key, "good")
    answers = [
        *good,
        *session(key, "hasty", seconds=0.5),
        *session(key, "blind", seconds=0.1),
        *session(key, "away", hidden_seconds=20.0),
        *session(key, "lost", seconds=400.0),
        *session(key, "left")[:3],
        *[replace(row, answer="1") for row in session(key, "same")],
        *session(key, "gone"),
        trial(key, "gone", kind="withdrawn"),
    ]
    kept = exclude(answers, key.trials_per_arm)
    assert kept.trials == {"good": good}
    assert kept.answers_left_out == {"too fast": 6, "page out of sight": 6, "too slow": 6}
    assert kept.readers_left_out["hasty"] == "median time 0.50 s"
    assert kept.readers_left_out["same"] == "the same class nearly always"
    assert kept.readers_left_out["gone"] == "withdrew"
    assert kept.readers_left_out["left"].startswith("answered")
    lenient = exclude(answers, key.trials_per_arm, Exclusions(fastest_median=0.1, most_equal=1.0, longest_hidden=60))
    assert set(lenient.trials) == {"good", "hasty", "same", "away"}
    with pytest.raises(ChiqpmError, match="1 of 8 readers count"):
        analyse(answers, key)


def test_answers_survive_a_file_and_formulas_are_disarmed(key, tmp_path):
    comment = Answer(study=key.study, reader="1", kind="comment", answer='=HYPERLINK()\n"x", y')
    write_answers(tmp_path / "a.csv", [trial(key), comment])
    assert read_answers([tmp_path / "a.csv"]) == [trial(key), replace(comment, answer="'" + comment.answer)]
    assert read_answers([]) == []


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("confidence", "55", "none of"),
        ("seconds", "-1", "time"),
        ("seconds", "", "needs an arm"),
        ("arm", "best", "none of"),
        ("kind", "x", "none of"),
        ("answer", "1.5", "whole number"),
        ("simulated", "2", "none of"),
        ("block", "²", "whole number"),
        ("item", "x" * 3000, "longer"),
    ],
)
def test_wrong_values_are_named_with_their_place(key, tmp_path, column, value, words):
    file = tmp_path / "a.csv"
    write_answers(file, [trial(key), trial(key, position=2)])
    lines = file.read_text().splitlines()
    cells = dict(zip(lines[0].split(","), lines[2].split(","), strict=True)) | {column: value}
    file.write_text("\n".join([*lines[:2], ",".join(cells.values())]) + "\n")
    with pytest.raises(ChiqpmError, match=f"line 3.*{words}"):
        read_answers([file])


def test_files_that_are_no_answers_are_refused(key, tmp_path):
    with pytest.raises(FileNotFoundError, match="no answer file"):
        read_answers([tmp_path / "none.csv"])
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ChiqpmError, match="no CSV"):
        read_answers([tmp_path / "b.csv"])
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ChiqpmError, match="columns must be"):
        read_answers([tmp_path / "c.csv"])
    for name in ("d.csv", "e.csv"):
        write_answers(tmp_path / name, [trial(key)])
    with pytest.raises(ChiqpmError, match="both in"):
        read_answers([tmp_path / "d.csv", tmp_path / "e.csv"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"study": "other"}, "belongs to study"),
        ({"item": "image-777"}, "doesn't have"),
        ({"answer": "99"}, "no option"),
    ],
)
def test_answers_to_something_else_are_refused(key, changes, words):
    with pytest.raises(ChiqpmError, match=words):
        analyse([*session(key, "1"), trial(key, "2", **changes)], key)
    with pytest.raises(ChiqpmError, match="twice"):
        analyse([*session(key, "1"), trial(key, "1")], key)


def test_the_key_survives_its_file_and_damage_is_named(key, tmp_path):
    key.save(tmp_path)
    assert read_key(tmp_path) == key
    (tmp_path / "study.json").write_text('{"format": 9}')
    with pytest.raises(ChiqpmError, match="format 9"):
        read_key(tmp_path)
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(ChiqpmError, match="damaged"):
        read_key(tmp_path)


def test_commands_simulate_analyse_and_plan(study, tmp_path, capsys):
    file = tmp_path / "simulated.csv"
    assert main(["study", "simulate", str(study), "--out", str(file), "--readers", "8"]) == 0
    assert "SIMULATED" in capsys.readouterr().out
    given = ["study", "analyse", str(file), "--study", str(study), "--resamples", "99"]
    assert main(given) == 0
    out = capsys.readouterr().out
    assert re.search("VERDICT: 8 SIMULATED readers", out)
    assert main([*given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["simulated"] == 8
    assert main(["study", "simulate", str(study), "--out", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["simulated"] is True
    plan = ["study", "power", "--readers", "6", "12", "--effects", "0", "0.2", "--studies", "10"]
    assert main(plan) == 0
    assert "readers" in capsys.readouterr().out
    assert main([*plan, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert Counter(row["readers"] for row in rows) == {6: 2, 12: 2}
    assert main(["study", "power", "--effects", "0.5"]) == 2


@pytest.mark.parametrize("wrong", [{"readers": [1]}, {"trials": 4}, {"studies": 0}, {"level": 1.0}])
def test_power_refuses_impossible_numbers(wrong):
    with pytest.raises(ChiqpmError):
        power(**{"readers": [4], "effects": [0.1], **wrong})
    with pytest.raises(ChiqpmError):
        ReaderModel(accuracy={"none": 1.0})
    with pytest.raises(ChiqpmError):
        ReaderModel(reader_sd=-1.0)
