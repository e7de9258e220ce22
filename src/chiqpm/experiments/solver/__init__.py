"""Benchmark of the assignment solver: `python -m chiqpm.experiments.solver`."""
