"""Choose K features and give each class n of them: the quadratic problem of CHiQPM, without a commercial solver.

    problem = AssignmentProblem(similarity_FC, redundancy_FF, bias_F, kept_features=50, features_per_class=5,
    pair_density=0.5)
    assignment = solve(problem)

This package needs NumPy, SciPy, HiGHS and numba, and nothing else of chiqpm but its error type.
"""

from __future__ import annotations

from chiqpm.assignment.bound import Certificate, certify
from chiqpm.assignment.pairs import nearest_class_pairs, sharing_pairs
from chiqpm.assignment.preconditions import check_preconditions
from chiqpm.assignment.problem import AssignmentProblem, Feasibility
from chiqpm.assignment.run import Progress
from chiqpm.assignment.solve import Assignment, DroppedPair, solve
from chiqpm.assignment.threshold import redundancy_threshold

__all__ = [
    "Assignment",
    "AssignmentProblem",
    "Certificate",
    "DroppedPair",
    "Feasibility",
    "Progress",
    "certify",
    "check_preconditions",
    "nearest_class_pairs",
    "redundancy_threshold",
    "sharing_pairs",
    "solve",
]
