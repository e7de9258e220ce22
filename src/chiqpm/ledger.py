"""Which stages of a run are finished, and what each was made from."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from chiqpm.errors import ChiqpmError
from chiqpm.files import digest, write_json
from chiqpm.processes import Processes

logger = logging.getLogger(__name__)

FORMAT = 1
T = TypeVar("T")


class Ledger:
    """Remembers for each stage a digest of all that made it, so that a rerun redoes exactly what has changed.

    Args:
        path: the JSON file; made on first use.
        processes: those that work on the run: the main one reads and writes, all agree.

    Raises:
        ChiqpmError: the file was written by a version with another format, or is no ledger.
    """

    def __init__(self, path: Path, processes: Processes | None = None) -> None:
        self.path = path
        self._on_main = processes.on_main if processes is not None else _alone
        self.stages: dict[str, Any] = self._on_main(lambda: _read(path) if path.exists() else {})

    @contextmanager
    def stage(self, name: str, made_from: Mapping[str, Any], products: list[Path]) -> Iterator[StageState]:
        """Enter a stage: its state says whether it is finished already; leaving without an error finishes it.

        Args:
            name: name of the stage.
            made_from: JSON-serialisable; everything the result depends on, keys of earlier stages included.
            products: files that a finished stage must have left.
        """
        made = json.loads(json.dumps(made_from))
        key = digest({"stage": name, **made})
        known = self.stages.get(name)
        done = self._on_main(
            lambda: known is not None and known["key"] == key and all(product.exists() for product in products)
        )
        if known is not None and not done:
            logger.info("%s: doing it again, because %s", name, _reason(known["made_from"], made))
        start = time.monotonic()
        yield StageState(key, done)
        if not done:
            self.stages[name] = {"key": key, "seconds": round(time.monotonic() - start, 2), "made_from": made}
            content = {"format": FORMAT, "stages": self.stages}
            # The others go on when the stage is written down, and so after all its files.
            self._on_main(lambda: write_json(self.path, content))


class StageState:
    """Key of a stage, and whether it is finished."""

    def __init__(self, key: str, done: bool) -> None:
        self.key, self.done = key, done


def _alone(work: Callable[[], T]) -> T:
    return work()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        form, stages = content["format"], dict(content["stages"])
    except (ValueError, KeyError, TypeError) as error:
        raise ChiqpmError(f"{path} is damaged ({error}); delete it to do all stages again") from None
    if form != FORMAT:
        raise ChiqpmError(
            f"{path.parent} was written in run format {form}, this version of chiqpm reads format {FORMAT}; "
            "use another run directory (--out), or the version of chiqpm that wrote it"
        )
    return stages


def _reason(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    changes = list(_changes("", old, new))
    return ", ".join(changes[:3]) + (" and more" if len(changes) > 3 else "") if changes else "a file is missing"


def _changes(prefix: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from _changes(f"{prefix}.{name}".lstrip("."), old.get(name), new.get(name))
    elif old != new:
        hidden = any(isinstance(value, str) and len(value) == 64 for value in (old, new))
        yield f"{prefix} changed" if hidden else f"{prefix} changed from {old} to {new}"
