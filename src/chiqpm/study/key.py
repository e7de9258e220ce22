"""What the experimenter keeps and the readers don't see: the truth of every image, and what the help said."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chiqpm.errors import ChiqpmError
from chiqpm.files import write_json
from chiqpm.study.design import ARMS, Block, Plan

KEY, PAGE, ANSWERS = "study.json", "index.html", "answers"
"""Names of the files of a study, and of the folder into which its server writes."""
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image of the study.

    Attributes:
        id: its name in the page, which says nothing about its class.
        path: where it lies in the data folder.
        truth: true class.
        predicted: what the model says.
        flat_set: classes that the arm `flat` shows, the most probable first.
        hierarchical_set: classes that the arm `hierarchical` shows, the prediction first.
        options: classes that can be answered, ascending; the same in every arm.
        stratum: `wrong`, `several` or `single`: is the model wrong; does a set hold several classes.
    """

    id: str
    path: str
    truth: int
    predicted: int
    flat_set: tuple[int, ...]
    hierarchical_set: tuple[int, ...]
    options: tuple[int, ...]
    stratum: str


@dataclass(frozen=True, kw_only=True)
class StudyKey:
    """A study.

    Attributes:
        study: digest of images and plans, which every answer repeats.
        classes: the C names.
        coverage: of the sets.
        flat_score: nonconformity score of the flat sets.
        items: id -> image; those for practice included.
        plans: who sees what.
    """

    study: str
    classes: tuple[str, ...]
    coverage: float
    flat_score: str
    items: dict[str, Item]
    plans: tuple[Plan, ...]

    @property
    def trials_per_arm(self) -> dict[str, int]:
        """Number of images that a reader sees in each arm."""
        return {block.arm: len(block.trials) for block in self.plans[0].blocks}

    def save(self, folder: Path) -> None:
        """Write `study.json`."""
        write_json(folder / KEY, {"format": FORMAT, **asdict(self)})


def read_key(folder: str | Path) -> StudyKey:
    """Read `study.json` from the folder of a study.

    Raises:
        FileNotFoundError: there is none.
        ChiqpmError: it is damaged or of another version.
    """
    file = Path(folder) / KEY
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no study ({KEY} is missing); make one with `chiqpm study RUN`")
    try:
        plain: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if plain["format"] != FORMAT:
            raise ChiqpmError(f"{file} has format {plain['format']}, this version of chiqpm reads format {FORMAT}")
        key = StudyKey(
            study=plain["study"],
            classes=tuple(plain["classes"]),
            coverage=plain["coverage"],
            flat_score=plain["flat_score"],
            items={name: _item(item) for name, item in plain["items"].items()},
            plans=tuple(
                Plan(plan["reader"], tuple(_block(block) for block in plan["blocks"])) for plan in plain["plans"]
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ChiqpmError(f"{file} is damaged ({error!r}); make the study again") from None
    if set(key.trials_per_arm) != set(ARMS):
        raise ChiqpmError(f"{file} has the arms {sorted(key.trials_per_arm)}; they must be {', '.join(ARMS)}")
    return key


def _item(plain: dict[str, Any]) -> Item:
    lists = {name: tuple(plain[name]) for name in ("flat_set", "hierarchical_set", "options")}
    return Item(**{**plain, **lists})


def _block(plain: dict[str, Any]) -> Block:
    return Block(plain["arm"], tuple(plain["practice"]), tuple(plain["trials"]))
