"""Who sees which image with which help, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any

import numpy as np

from chiqpm.errors import ChiqpmError

ARMS = ("none", "flat", "hierarchical")
"""Images with no help, with flat prediction sets, with hierarchical explanations and their sets."""

CELLS = 18
"""After so many readers, every image was seen equally often in every arm, every arm in every place, and both crossed:
6 orders of the arms times 3 rotations of the images."""


@dataclass(frozen=True)
class Block:
    """A part of a session with one kind of help.

    Attributes:
        arm: one of `ARMS`.
        practice: images with feedback, which don't count.
        trials: images that count, in the order in which they are shown.
    """

    arm: str
    practice: tuple[str, ...]
    trials: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """One reader's session.

    Attributes:
        reader: number of the reader, from 1.
        blocks: one for each arm, in order.
    """

    reader: int
    blocks: tuple[Block, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def make_plans(strata: Mapping[str, Any], practice: Sequence[str], readers: int, seed: int) -> tuple[Plan, ...]:
    """Randomise and counterbalance a study with three arms within readers.

    The images are dealt to three groups, balanced over the strata; a reader sees each group in another arm, so that
    nobody sees an image twice. Readers 1 to 18 get all combinations of the 6 orders of the arms and the 3 rotations
    of the groups, 19 to 36 again, and so on. The order of the images within a block is drawn for every reader.

    Args:
        strata: image -> what its groups are to be balanced over, for instance whether the model is right. A multiple
            of 3 images.
        practice: 3 further images, one for each block.
        readers: number of plans, >= 1.
        seed: of all draws.

    Raises:
        ChiqpmError: numbers that can't be balanced, or an image that both counts and is practice.
    """
    items = list(strata)
    if not items or len(items) % len(ARMS):
        raise ChiqpmError(f"a study needs a multiple of {len(ARMS)} images, 3 or more; received {len(items)}")
    if len(practice) != len(ARMS) or set(practice) & set(items):
        raise ChiqpmError(f"a study needs {len(ARMS)} other images for practice; received {list(practice)}")
    if readers < 1:
        raise ChiqpmError(f"readers must be 1 or more; received {readers}")
    groups = _deal(strata, np.random.default_rng([seed, 0]))
    orders = list(permutations(range(len(ARMS))))
    plans = []
    for number in range(readers):
        generator = np.random.default_rng([seed, 1, number])
        rotation = number // len(orders) % len(ARMS)
        blocks = []
        for arm in orders[number % len(orders)]:
            group = (arm + rotation) % len(ARMS)
            trials = tuple(groups[group][place] for place in generator.permutation(len(groups[group])))
            blocks.append(Block(ARMS[arm], (practice[group],), trials))
        plans.append(Plan(number + 1, tuple(blocks)))
    return tuple(plans)


def _deal(strata: Mapping[str, Any], generator: np.random.Generator) -> list[list[str]]:
    """Deal the images to as many groups as arms, one stratum after the other."""
    names = list(strata)
    shuffled = [names[place] for place in generator.permutation(len(names))]
    ordered = sorted(shuffled, key=lambda item: str(strata[item]))
    return [ordered[start :: len(ARMS)] for start in range(len(ARMS))]
