"""Progress bars with the time left, for whatever takes longer than a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
Track = Callable[..., Iterable[Any]]


def bar(total: int, description: str, *, quiet: bool, initial: int = 0) -> Any:
    """Return a bar to be moved by hand: `update(n)`, `set_postfix_str(text)`, `close()`."""
    return tqdm(total=total, desc=f"{description:<24}", disable=quiet, initial=initial, delay=1.0, dynamic_ncols=True)


def track(items: Iterable[T], description: str, *, quiet: bool, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar that appears after a second.

    >>> list(track([1, 2], "counting", quiet=True))
    [1, 2]
    """
    yield from tqdm(items, desc=f"{description:<24}", total=total, disable=quiet, delay=1.0, dynamic_ncols=True)


def steps(description: str, *, quiet: bool) -> Callable[[int, int], None]:
    """Return a callback (done, total) that moves a bar, for code that reports its progress this way."""
    shown: list[Any] = []

    def step(done: int, total: int) -> None:
        if not shown:
            shown.append(bar(total, description, quiet=quiet))
        shown[0].update(done - shown[0].n)
        if done >= total:
            shown[0].close()

    return step
