"""Measurements that are kept on disk, so that an interrupted experiment goes on where it stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chiqpm.files import write_json

_log = logging.getLogger(__name__)


def kept(file: Path, made_from: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what was measured before from the same things, or measure now and keep it.

    Args:
        file: JSON file; its folder is made if need be.
        made_from: JSON-serialisable; everything that the result depends on.
        measure: measures.
    """
    plain = json.loads(json.dumps(made_from))
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if before["made_from"] == plain:
            return dict(before["result"])
    _log.info("measuring %s", file.stem)
    result = as_plain(measure())
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"made_from": plain, "result": result})
    return dict(result)


def as_plain(value: Any) -> Any:
    """Return what JSON makes of a value, with None for what isn't finite.

    >>> as_plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    return json.loads(json.dumps(value), parse_constant=lambda _: None)
