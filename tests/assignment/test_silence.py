"""Standard output belongs to the caller's answers: no solver prints on it, not even from its compiled parts."""

from __future__ import annotations

import subprocess
import sys

SOLVE = """
import numpy as np
from chiqpm.assignment import AssignmentProblem, solve
problem = AssignmentProblem(np.random.default_rng(0).normal(size=(9, 6)), np.zeros((9, 9)), np.zeros(9), 6, 3, 0.5)
for method in ("search", "highs"):
    solve(problem, method=method)
"""


def test_solvers_print_nothing():
    done = subprocess.run([sys.executable, "-c", SOLVE], capture_output=True, text=True, check=True)
    assert done.stdout == ""
