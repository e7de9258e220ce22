"""What the commands share: their options, and how they print."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def is_main_process() -> bool:
    """Whether this process, of those that a launcher has started together, is the one that talks."""
    return os.environ.get("RANK", "0") == "0"


def write(text: str) -> None:
    """Write a line to standard output."""
    if is_main_process():
        sys.stdout.write(text + "\n")


def write_json(value: Any) -> None:
    """Write JSON to standard output."""
    write(json.dumps(value, indent=2, ensure_ascii=False))


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command."""

    quiet: bool = False
    """Show no progress bars and no notes."""
    json: bool = False
    """Print JSON, for scripts."""


def show(result: dict[str, Any], out: Path | None, *, as_json: bool) -> None:
    """Print the numbers of a run and where its pictures are."""
    from chiqpm.cli.table import metrics_table

    if as_json:
        write_json(result)
        return
    write(metrics_table(result))
    figures = sorted((out / "figures").glob("*.png")) if out is not None else []
    if figures:
        write("\nPictures:\n" + "\n".join(f"  {figure}" for figure in figures))
