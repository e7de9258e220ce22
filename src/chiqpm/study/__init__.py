"""A user study: do people decide better with the explanations than with flat sets, or with nothing?

A run becomes one web page that needs no network: a randomised questionnaire with three arms. Its answers are CSV files,
downloaded or collected by a small local server, and are analysed with permutation tests within readers. "Reader" is
the term for a person who judges images. What simulated readers show is about the analysis, not about people.
"""

from __future__ import annotations

from chiqpm.study.analysis import Analysis, Interval, analyse
from chiqpm.study.answers import Answer, read_answers, write_answers
from chiqpm.study.design import ARMS, Block, Plan, make_plans
from chiqpm.study.exclusions import Exclusions, exclude
from chiqpm.study.permutation import holm, omnibus_test, sign_flip_test
from chiqpm.study.power import PowerRow, power
from chiqpm.study.simulation import ReaderModel, simulate_answers

__all__ = [
    "ARMS",
    "Analysis",
    "Answer",
    "Block",
    "Exclusions",
    "Interval",
    "Plan",
    "PowerRow",
    "ReaderModel",
    "analyse",
    "exclude",
    "holm",
    "make_plans",
    "omnibus_test",
    "power",
    "read_answers",
    "sign_flip_test",
    "simulate_answers",
    "write_answers",
]
