"""Draws the figures of the concept pages with the package's own code: `python docs/figures.py`."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from chiqpm.assignment import AssignmentProblem, Progress, solve
from chiqpm.conformal import ConformalPredictor, HierarchicalScore, find_threshold
from chiqpm.losses import feature_diversity_loss

OUT = Path(__file__).parent / "images"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")


def draw_assignment(file: Path) -> None:
    """Draw a solved assignment: classes, features, and the pairs that differ in one."""
    generator = np.random.default_rng(4)
    families = np.repeat(np.arange(6), 2)
    similarity = generator.normal(size=(30, 6))[:, families] + 0.35 * generator.normal(size=(30, 12))
    problem = AssignmentProblem(similarity, np.zeros((30, 30)), np.zeros(30), 10, 3, 0.5)
    found = solve(problem, time_limit=5, seed=0)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    classes, features = found.weight_CK.shape
    for label, feature in np.ndindex(classes, features):
        used = found.weight_CK[label, feature] > 0
        axes.scatter(feature, label, s=190 if used else 16, color=COLOURS[0] if used else "0.8", zorder=3)
    for number, (first, second) in enumerate(problem.pairs):
        x = -1.2 - 0.25 * number
        axes.plot([-0.6, x, x, -0.6], [first, first, second, second], color=COLOURS[1 + number % 3], lw=2)
    axes.set(xticks=range(features), yticks=range(classes), xlabel="kept feature", ylabel="class")
    axes.set_xlim(-3.2, features - 0.4)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    figure.savefig(file)


def draw_losses(file: Path) -> None:
    """Draw three maps of a class before and after descending the diversity loss alone."""
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    centres = [(3.5, 4.0), (4.0, 4.5), (4.5, 3.5)]
    start = torch.stack([3 * torch.exp(-((y - a) ** 2 + (x - b) ** 2) / 6) for a, b in centres])
    free = torch.nn.Parameter(start + 0.1 * torch.rand(3, 9, 9))
    optimiser = torch.optim.Adam([free], lr=0.03)
    logits, weight = torch.zeros(1, 1), torch.ones(1, 3)
    for _ in range(300):
        loss = feature_diversity_loss(free.relu()[None], logits, weight, beta=1.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    figure = Figure(figsize=(6.4, 4.3), layout="constrained")
    rows = figure.subplots(2, 3)
    for axes_row, maps, name in zip(rows, (start, free.detach().relu()), ("before", "after"), strict=True):
        for number, (axes, values) in enumerate(zip(axes_row, maps, strict=True)):
            axes.imshow(values, cmap="viridis")
            axes.set(xticks=[], yticks=[], title=f"feature {number + 1}, {name}")
    figure.savefig(file)


def draw_certificate(file: Path) -> None:
    """Draw the best objective and the bound over time."""
    generator = np.random.default_rng(1)
    similarity = generator.normal(size=(200, 6)) @ generator.normal(size=(6, 60)) + generator.normal(size=(200, 60))
    nothing = np.zeros((200, 200)), np.zeros(200)
    problem = AssignmentProblem(similarity / np.abs(similarity).max(), *nothing, 30, 5, 0.5)
    seen: list[tuple[float, float, float]] = []
    began = time.monotonic()

    def note(state: Progress) -> None:
        seen.append((time.monotonic() - began, state.objective, state.bound))

    found = solve(problem, time_limit=12, seed=0, method="search", certify=True, progress=note)
    seconds, objective, bound = np.array([*seen, (seen[-1][0], found.objective, found.bound)]).T
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.step(seconds, objective, where="post", color=COLOURS[0], label="best assignment found")
    known = np.isfinite(bound)
    axes.step(seconds[known], bound[known], where="post", color=COLOURS[1], label="nothing is above this")
    axes.set_ylim(0.95 * found.objective, 1.15 * found.objective)
    axes.set(xlabel="seconds", ylabel="objective", title=f"gap at the end: {found.gap:.2%}")
    axes.legend()
    figure.savefig(file)


def draw_threshold(file: Path) -> None:
    """Draw scores of true classes, their threshold, and how sets grow with the coverage."""
    generator = np.random.default_rng(0)
    weight = np.zeros((12, 12))
    for label in range(12):
        weight[label, [label // 6, 2 + label // 2, 8 + label % 4]] = 1
    labels = generator.integers(12, size=1200)
    features = np.maximum(0, weight[labels] * 1.6 + generator.normal(0, 0.9, (1200, 12)))
    logits = features @ weight.T
    predictor = ConformalPredictor(HierarchicalScore(weight)).calibrate(logits[:600], labels[:600], features[:600])
    scores = np.asarray(predictor.scores(logits[:600], features[:600]))[np.arange(600), labels[:600]]
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.hist(scores, bins=40, color="0.75")
    targets = (0.8, 0.9, 0.95)
    for colour, target in zip(COLOURS, targets, strict=False):
        left.axvline(find_threshold(np.sort(scores)[None], target).value, color=colour, label=f"{target:g}")
    left.set(xlabel="score of the true class", ylabel="calibration images")
    left.legend(title="coverage")
    asked = np.linspace(0.5, 0.99, 25)
    sets = [np.asarray(predictor.predict_set(logits[600:], features[600:], coverage=float(c))) for c in asked]
    right.plot(
        asked, [s[np.arange(600), labels[600:]].mean() for s in sets], color=COLOURS[0], label="observed coverage"
    )
    right.plot(asked, asked, color="0.7", ls="--", label="asked for")
    right.plot(asked, [s.sum(1).mean() / 12 for s in sets], color=COLOURS[1], label="mean size / 12")
    right.set(xlabel="coverage")
    right.legend()
    figure.savefig(file)


def main() -> None:
    """Draw all figures."""
    OUT.mkdir(exist_ok=True)
    draw_assignment(OUT / "assignment.svg")
    draw_losses(OUT / "losses.svg")
    draw_certificate(OUT / "certificate.svg")
    draw_threshold(OUT / "threshold.svg")


if __name__ == "__main__":
    main()
