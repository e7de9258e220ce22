"""Which jobs belong to the benchmark, and to the scaling study."""

from __future__ import annotations

from chiqpm.experiments.solver.jobs import Job

IMAGENET = ("1280x1000", "2048x1000")
"""Instances with ImageNet's classes; the second needs the weights of a second network."""
_RANDOM = "random-200x40-20-0.5"
_EXACT = ("highs", "scip", "cpsat", "gurobi")


def reduced() -> list[Job]:
    """A minute's worth, to see that the command works."""
    return [Job("tiny-0", method, seconds=20.0) for method in ("search", *_EXACT)] + [
        Job("random-200x40-20-0.5", seconds=4.0, effort=0.2, certify=True)
    ]


def benchmark() -> list[Job]:
    """The instances against the exact solvers, and cold starts from five seeds."""
    jobs = [Job(f"tiny-{i}", method, seconds=60.0) for i in range(3) for method in ("search", *_EXACT)]
    jobs += [Job("100x30", seed=seed, seconds=60.0, effort=2.0) for seed in range(5)]
    jobs += [Job("100x30", seconds=150.0, effort=2.0, certify=True)]
    jobs += [Job("100x30", method, seconds=150.0) for method in _EXACT]
    jobs += [Job(_RANDOM, seed=seed, seconds=60.0) for seed in range(5)]
    jobs += [Job(_RANDOM, method, seconds=60.0) for method in _EXACT]
    jobs += [Job("birds-1280x48", seed=seed, seconds=5.0, effort=2.0) for seed in range(5)]
    jobs += [Job("birds-1280x48", seconds=110.0, effort=10.0, certify=True)]
    jobs += [Job("2048x200", seed=seed, seconds=60.0, effort=effort) for effort in (1.0, 4.0) for seed in range(5)]
    jobs += [Job("2048x200", seconds=115.0, effort=5.0, certify=True)]
    jobs += [Job("2048x1000", seed=seed, seconds=240.0) for seed in range(5)]
    jobs += [Job("2048x1000", seconds=290.0, effort=3.0, certify=True)]
    jobs += [Job("1280x1000", seed=seed, seconds=240.0) for seed in range(5)]
    jobs += [Job("1280x1000", seconds=290.0, effort=3.0, certify=True)]
    jobs += [Job(name, method, seconds=60.0) for name in ("birds-1280x48", "2048x200") for method in _EXACT]
    return jobs


def golden() -> list[Job]:
    """Problems that the published implementation was run on, in a checkout of the repository."""
    names = [f"golden-{tag}" for tag in ("029", "062", "074")]
    return [Job(name, method, seconds=60.0) for name in names for method in ("search", *_EXACT)]


def imagenet() -> list[Job]:
    """All classes of ImageNet, with the features of one network and of two."""
    return [Job(name, seconds=240.0) for name in IMAGENET]


def scaling() -> list[Job]:
    """Time and memory against one variable at a time: classes, features, density of pairs, kept features."""
    names = [f"random-512x{classes}-50-0.5" for classes in (50, 200, 1000, 3000, 10000)]
    names += [f"random-{features}x200-50-0.5" for features in (128, 1024, 2048, 4096)]
    names += [f"random-512x200-50-{density}" for density in (0.0, 0.25, 1.0)]
    names += [f"random-512x200-{kept}-0.5" for kept in (20, 100, 200)]
    jobs = [Job(name, seconds=60.0, effort=0.5) for name in names]
    return jobs + [Job(name, seconds=240.0) for name in ("2048x200-1.0", "2048x1000-1.0")]


SUITES = {"reduced": reduced, "benchmark": benchmark, "golden": golden, "scaling": scaling, "imagenet": imagenet}
"""Suites by name."""
