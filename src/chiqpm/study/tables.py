"""Results of a study as text."""

from __future__ import annotations

from collections.abc import Sequence

from chiqpm.study.analysis import OUTCOMES, Analysis, Contrast, Interval
from chiqpm.study.design import ARMS
from chiqpm.study.power import PowerRow

_WIDTH = 26


def analysis_table(result: Analysis) -> str:
    """Write an analysis for a terminal."""
    left_out = "; ".join(f"{reader}: {reason}" for reader, reason in sorted(result.readers_left_out.items())) or "none"
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(result.answers_left_out.items())) or "none"
    lines = [
        f"{result.readers} readers count" + (f", {result.simulated} of them SIMULATED" if result.simulated else "")
    ]
    lines += [f"Readers left out: {left_out}", f"Answers left out: {dropped}", *(f"  {rule}" for rule in result.rules)]
    lines += ["", " " * 16 + "".join(f"{arm:>{_WIDTH}}" for arm in ARMS) + f"{'any difference':>16}"]
    for outcome, arms in result.arms.items():
        cells = [_cell(arms[arm]) if arm in arms else "" for arm in ARMS]
        lines.append(
            f"{outcome:<16}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells) + f"{_p(result.omnibus[outcome]):>16}"
        )
    lines += [f"  {name}: {meaning}" for name, meaning in OUTCOMES.items() if name in result.arms]
    for name, arms in result.where.items():
        cells = [_cell(arms[arm]) if arm in arms else "" for arm in ARMS]
        lines.append(f"{name:<16}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells))
    lines.append("  model right, model wrong: accuracy where the computer's suggestion is right, and where it is wrong")
    lines += ["", f"{'differences':<44}{'':<28}{'p':>8}{'Holm':>9}"]
    lines += [_contrast(found) for found in result.contrasts]
    if result.preference:
        lines.append("Would choose: " + ", ".join(f"{arm} {count}" for arm, count in sorted(result.preference.items())))
    return "\n".join([*lines, "", f"VERDICT: {result.sentence()}"])


def power_table(rows: Sequence[PowerRow]) -> str:
    """Write powers for a terminal, a line for each number of readers and a column for each effect."""
    effects = sorted({row.effect for row in rows})
    at = {(row.readers, row.effect): row for row in rows}
    lines = [
        f"Power of the study, from {rows[0].studies} studies with SIMULATED readers each (95% interval)",
        "hierarchical minus flat accuracy of a typical reader:",
        f"{'readers':<10}" + "".join(f"{effect:>+22.2f}" for effect in effects),
    ]
    for readers in sorted({row.readers for row in rows}):
        cells = [at[readers, effect] for effect in effects]
        lines.append(f"{readers:<10}" + "".join(f"{f'{c.power:.2f} ({c.low:.2f} to {c.high:.2f})':>22}" for c in cells))
    enough = {effect: [r.readers for r in rows if r.effect == effect and r.power >= 0.8] for effect in effects}
    for effect, counts in enough.items():
        if effect != 0:
            lines.append(
                f"Power .8 for a difference of {effect:+.2f}: "
                + (f"{min(counts)} readers" if counts else "more readers than were tried")
            )
    return "\n".join(lines)


def _contrast(found: Contrast) -> str:
    sign = "/" if found.outcome == "seconds" else "-"
    what = f"{found.outcome}: {found.first} {sign} {found.second}"
    cell = _cell(found.difference) if found.outcome == "seconds" else _cell(found.difference, signed=True)
    return f"{what:<44}{cell:<28}{_p(found.p_value):>8}{_p(found.adjusted):>9}"


def _cell(interval: Interval, *, signed: bool = False) -> str:
    digits = 1 if abs(interval.value) >= 10 else 3
    form = f"{'+' if signed else ''}.{digits}f"
    return f"{interval.value:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def _p(value: float) -> str:
    return f"{value:.4f}"
