"""Which test images show best what a classifier does: right and sure, right but unsure, wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError
from chiqpm.inference import Answers

Kind = Literal["right", "uncertain", "wrong"]
KINDS: tuple[Kind, ...] = ("right", "uncertain", "wrong")


@dataclass(frozen=True)
class Choice:
    """One chosen image.

    Attributes:
        kind: right: correct, with the prediction alone in the set; uncertain: correct, with others in the set; wrong.
        place: which of the images.
        coverage: at which coverage it is shown.
    """

    kind: Kind
    place: int
    coverage: float


def choose_images(
    answers: Answers, sets: Sequence[NDArray[np.bool_]], coverages: Sequence[float], *, each: int = 3
) -> list[Choice]:
    """Choose images of every kind, of different classes where possible.

    The clearest come first: among the right ones those with the largest margin between the two largest logits, among
    the uncertain ones those with the smallest sets, among the wrong ones those whose set holds the truth, then
    those with the largest margin. Where the first coverage leaves a kind without images, the next one is tried.

    Args:
        answers: of N images.
        sets: for each coverage the prediction sets (N, C).
        coverages: the coverages; the first is the one in use.
        each: how many of each kind.

    Raises:
        ChiqpmError: no coverage, or sets that don't belong to the answers.
    """
    if not coverages or len(sets) != len(coverages) or any(s.shape != answers.logits_NC.shape for s in sets):
        raise ChiqpmError(
            f"one set (N, C) per image is needed for each coverage; received {[s.shape for s in sets]} for coverages "
            f"{list(coverages)} and logits {answers.logits_NC.shape}"
        )
    right_N = answers.predicted_N == answers.labels_N
    top_N2 = np.sort(answers.logits_NC, axis=1)[:, -2:]
    margin_N = top_N2[:, -1] - top_N2[:, 0]
    chosen: list[Choice] = []
    for kind in KINDS:
        left = each
        taken: set[int] = set()
        for sets_NC, coverage in zip(sets, coverages, strict=True):
            size_N = sets_NC.sum(axis=1)
            if kind == "right":
                places, order = right_N & (size_N == 1), -margin_N
            elif kind == "uncertain":
                places, order = right_N & (size_N > 1), size_N + 1e-6 * margin_N
            else:
                covered_N = sets_NC[np.arange(len(size_N)), answers.labels_N]
                places, order = ~right_N, -margin_N - 1e6 * covered_N
            candidates = [int(i) for i in np.argsort(order, kind="stable") if places[i] and int(i) not in taken]
            picked = _of_different_classes(candidates, answers.labels_N, left)
            taken.update(picked)
            chosen += [Choice(kind, place, coverage) for place in picked]
            left -= len(picked)
            if left == 0:
                break
    return chosen


def _of_different_classes(candidates: Sequence[int], labels_N: NDArray[np.int64], most: int) -> list[int]:
    first: list[int] = []
    rest: list[int] = []
    seen: set[int] = set()
    for place in candidates:
        label = int(labels_N[place])
        (rest if label in seen else first).append(place)
        seen.add(label)
    return [*first, *rest][:most]
