"""The table of the benchmark, from its results."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

_HEAD = "| instance | method | runs | objective (worst to best) | bound | gap | pairs | seconds | peak MB |"


def table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: one line for each instance and way of solving it, cold starts gathered.

    Args:
        results: what `measure` returned.
    """
    groups: dict[tuple[str, str, float, float, bool], list[dict[str, Any]]] = {}
    for result in results:
        key = (result["instance"], result["method"], result["effort"], result["seconds"], result["certify"])
        groups.setdefault(key, []).append(result)
    lines = [_HEAD, "|---" * 9 + "|"]
    for (instance, method, effort, limit, certify), members in groups.items():
        name = method + (f", effort {effort:g}" if method == "search" else "") + (" + proof" if certify else "")
        found = [member for member in members if "objective" in member]
        if not found:
            took, peak = _took(members, limit), _peak(members)
            lines.append(
                f"| {instance} | {name} | {len(members)} | {_short(members[0]['failure'])} | | | | {took} | {peak} |"
            )
            continue
        objective = [member["objective"] for member in found]
        bounds = [member["bound"] for member in found if member["bound"] is not None]
        gap = max((m["bound"] - m["objective"]) / abs(m["objective"]) for m in found) if bounds else None
        lines.append(
            f"| {instance} | {name} | {len(members)} | {_span(objective)} | {f'{min(bounds):.2f}' if bounds else ''} | "
            f"{_percent(gap) if gap is not None else ''} | "
            f"{min(m['satisfied'] for m in found)}/{found[0]['pairs']} | {_took(found, limit)} | {_peak(found)} |"
        )
    return "\n".join(lines) + "\n"


def _span(values: list[float], digits: int = 3) -> str:
    low, high = np.min(values), np.max(values)
    text = f"{low:.{digits}f}"
    return text if f"{high:.{digits}f}" == text else f"{text} to {high:.{digits}f}"


def _took(members: list[dict[str, Any]], limit: float) -> str:
    seconds = [member["took"] for member in members if "took" in member]
    return f"{_span(seconds, 1)} (limit {limit:g})" if seconds else f"(limit {limit:g})"


def _peak(members: list[dict[str, Any]]) -> str:
    return str(max((member["peak_mb"] for member in members if "peak_mb" in member), default=""))


def _percent(gap: float) -> str:
    return f"{gap:.2%}" if gap <= 1 else "over 100%"


def _short(text: str) -> str:
    return re.split(r": | \(", text, maxsplit=1)[0]
