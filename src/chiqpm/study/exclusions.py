"""Which readers and answers don't count, by rules that are fixed before anybody looks at the answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from chiqpm.study.answers import Answer
from chiqpm.study.design import ARMS


@dataclass(frozen=True, kw_only=True)
class Exclusions:
    """The rules. A reader is left out, or one of their answers.

    Attributes:
        fewest_share: a reader who answered less than this share of the images in any arm is left out.
        fastest_median: so is one whose median time is shorter, in seconds.
        most_equal: and one who gave the same class for more than this share of the images.
        fastest: an answer that took less than this, in seconds, is left out.
        slowest: and one that took more.
        longest_hidden: and one during which the page was out of sight for longer, in seconds.
    """

    fewest_share: float = 0.8
    fastest_median: float = 1.0
    most_equal: float = 0.8
    fastest: float = 0.3
    slowest: float = 300.0
    longest_hidden: float = 10.0

    def sentences(self) -> list[str]:
        """Say the rules in plain words."""
        return [
            "Practice doesn't count, nor do readers who withdrew.",
            f"Left out are answers given in less than {self.fastest:g} s or more than {self.slowest:g} s, or while the "
            f"page was out of sight for more than {self.longest_hidden:g} s.",
            f"Left out are readers with fewer than {self.fewest_share:.0%} of the images of any arm (after this), with "
            f"a median time below {self.fastest_median:g} s, or with one and the same class for more than "
            f"{self.most_equal:.0%} of the images.",
        ]


@dataclass(frozen=True)
class Kept:
    """What counts, and what was left out for which reason.

    Attributes:
        trials: reader -> answers that count.
        readers_left_out: reader -> reason.
        answers_left_out: reason -> number of answers, of all readers.
    """

    trials: dict[str, list[Answer]]
    readers_left_out: dict[str, str]
    answers_left_out: dict[str, int]


def exclude(answers: Sequence[Answer], trials_per_arm: Mapping[str, int], rules: Exclusions | None = None) -> Kept:
    """Apply the rules.

    Args:
        answers: of all readers.
        trials_per_arm: arm -> number of images that count for a reader.
        rules: None takes the defaults.
    """
    rules = rules or Exclusions()
    of_reader: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        of_reader[answer.reader].append(answer)
    kept: dict[str, list[Answer]] = {}
    left_out: dict[str, str] = {}
    reasons: dict[str, int] = defaultdict(int)
    for reader, rows in of_reader.items():
        if any(row.kind == "withdrawn" for row in rows):
            left_out[reader] = "withdrew"
            continue
        trials = [row for row in rows if row.kind == "trial"]
        counted = []
        for row in trials:
            reason = _unusable(row, rules)
            if reason:
                reasons[reason] += 1
            else:
                counted.append(row)
        why = _unfit(trials, counted, trials_per_arm, rules)
        if why:
            left_out[reader] = why
        else:
            kept[reader] = counted
    return Kept(kept, left_out, dict(reasons))


def _unusable(row: Answer, rules: Exclusions) -> str | None:
    seconds, hidden = row.seconds or 0.0, row.hidden_seconds or 0.0
    if seconds < rules.fastest:
        return "too fast"
    if seconds > rules.slowest:
        return "too slow"
    return "page out of sight" if hidden > rules.longest_hidden else None


def _unfit(
    trials: list[Answer], counted: list[Answer], trials_per_arm: Mapping[str, int], rules: Exclusions
) -> str | None:
    for arm in ARMS:
        count = sum(row.arm == arm for row in counted)
        if count == 0 or count < rules.fewest_share * trials_per_arm[arm]:
            return f"answered {count} of {trials_per_arm[arm]} images in arm {arm}"
    middle = median(row.seconds or 0.0 for row in trials)
    if middle < rules.fastest_median:
        return f"median time {middle:.2f} s"
    given = [row.answer for row in trials]
    most = max(given.count(answer) for answer in set(given))
    return "the same class nearly always" if most > rules.most_equal * len(given) else None
