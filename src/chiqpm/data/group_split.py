"""Deal whole groups of images out to parts, each part getting its share of every class where possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDS = 5


class GroupsTooFewError(ChiqpmError):
    """No group can be given to part `part` (its number) without taking a class's last training image."""

    def __init__(self, part: int) -> None:
        super().__init__(f"too few groups for part {part}")
        self.part = part


def split_groups(
    labels_N: NDArray[np.int64],
    groups: Sequence[str],
    keys: Mapping[str, bytes],
    targets_PC: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The part of each image.

    Greedy, large groups first, each to the part that it brings nearest to its targets (squared relative
    deviation, summed over classes); then groups are moved one by one as long as that helps.

    Args:
        labels_N: Class of each image.
        groups: Group of each image.
        keys: For each group a random key, which orders groups of the same size.
        targets_PC: Images of each class that each part should get; part 0 is training.

    Returns:
        Part numbers (N,). Part 0 has every class, and no part is empty.

    Raises:
        GroupsTooFewError: That isn't possible.
    """
    deal = _Deal(labels_N, groups, keys, targets_PC)
    for group in range(len(deal.names)):
        deal.put(group, int(np.argmin(deal.costs_of_adding(group))))
    for label in range(targets_PC.shape[1]):
        deal.give_training(label)
    for part in range(1, len(targets_PC)):
        deal.fill(part)
    for _ in range(_ROUNDS):
        if not deal.improve():
            break
    part_of = dict(zip(deal.names, deal.part_G, strict=True))
    return np.array([part_of[group] for group in groups], dtype=np.int64)


class _Deal:
    """Which group lies where, and what each part holds of each class."""

    def __init__(
        self,
        labels_N: NDArray[np.int64],
        groups: Sequence[str],
        keys: Mapping[str, bytes],
        targets_PC: NDArray[np.int64],
    ) -> None:
        members: dict[str, list[int]] = {}
        for index, group in enumerate(groups):
            members.setdefault(group, []).append(index)
        self.names = sorted(members, key=lambda name: (-len(members[name]), keys[name]))
        self.contents = [np.unique(labels_N[members[name]], return_counts=True) for name in self.names]
        self.part_G = [-1] * len(self.names)
        self.targets_PC = targets_PC.astype(np.float64)
        self.held_PC = np.zeros_like(self.targets_PC)
        self.groups_P = np.zeros(len(targets_PC), dtype=np.int64)
        self.weight_C = 1 / np.maximum(targets_PC.sum(axis=0), 1) ** 2

    def costs_of_adding(self, group: int) -> NDArray[np.float64]:
        """By how much the deviation grows if the group, which lies nowhere, is put into each part (P,)."""
        labels, counts = self.contents[group]
        over = self.held_PC[:, labels] - self.targets_PC[:, labels]
        costs: NDArray[np.float64] = ((2 * over + counts) * counts * self.weight_C[labels]).sum(axis=1)
        return costs

    def put(self, group: int, part: int) -> None:
        """Move the group into a part; -1 takes it out."""
        labels, counts = self.contents[group]
        old = self.part_G[group]
        for place, sign in ((old, -1), (part, 1)):
            if place >= 0:
                self.held_PC[place, labels] += sign * counts
                self.groups_P[place] += sign
        self.part_G[group] = part

    def costs_of_moving(self, group: int) -> NDArray[np.float64]:
        """By how much the deviation grows if the group moves to each part (P,); 0 for its own."""
        part = self.part_G[group]
        self.put(group, -1)
        costs = self.costs_of_adding(group)
        self.put(group, part)
        growth: NDArray[np.float64] = costs - costs[part]
        return growth

    def can_leave(self, group: int) -> bool:
        """Whether no class loses its last training image, and no other part its last group."""
        part = self.part_G[group]
        if part > 0:
            return bool(self.groups_P[part] > 1)
        labels, counts = self.contents[group]
        return bool((self.held_PC[0, labels] > counts).all())

    def give_training(self, label: int) -> None:
        """If a class has no training image, bring the group whose move costs least."""
        if self.held_PC[0, label] > 0:
            return
        having = [g for g, (labels, _) in enumerate(self.contents) if label in labels]
        if having:
            self.put(min(having, key=lambda g: float(self.costs_of_moving(g)[0])), 0)

    def fill(self, part: int) -> None:
        """If a part is empty, bring the group whose move costs least."""
        if self.groups_P[part] > 0:
            return
        free = [g for g in range(len(self.names)) if self.can_leave(g)]
        if not free:
            raise GroupsTooFewError(part)
        self.put(min(free, key=lambda g: float(self.costs_of_moving(g)[part])), part)

    def improve(self) -> bool:
        """Move every group that deviates less elsewhere; whether there was one."""
        moved = False
        for group in range(len(self.names)):
            costs = self.costs_of_moving(group)
            best = int(np.argmin(costs))
            if costs[best] < -1e-12 and self.can_leave(group):
                self.put(group, best)
                moved = True
        return moved
