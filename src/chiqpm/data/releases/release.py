"""What all published data sets share: what they are, where they come from, and checks that name what is missing."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chiqpm.data.layout import FoundImage
from chiqpm.data.table import PARTS, some
from chiqpm.errors import ChiqpmError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """A published data set.

    Attributes:
        key: What `--dataset` calls it.
        title: Its name.
        source: The page to download it from, its owner, and the files to unpack.
        classes: Its number of classes.
        counts: Images of each part as published.
    """

    key: str
    title: str
    source: str
    classes: int
    counts: Mapping[str, int]

    def refuse(self, root: Path, problem: str) -> ChiqpmError:
        """The error that says what is wrong with a folder and where the whole data set is to be had."""
        return ChiqpmError(f"{root} isn't a whole {self.title}: {problem}. To download: {self.source}")

    def require(self, root: Path, folder: Path, names: Iterable[str]) -> None:
        """Refuse a folder that lacks files or folders, naming each.

        Raises:
            ChiqpmError: Something is missing.
        """
        wanted = list(names)
        missing = [name for name in wanted if not (folder / name).exists()]
        if missing:
            there = [name for name in wanted if name not in missing]
            found = f"; found: {', '.join(there)}" if there else ""
            raise self.refuse(root, f"missing in {folder}: {', '.join(missing)}{found}")

    def check_pictures(self, root: Path, paths: Sequence[str], listed_in: str) -> None:
        """Refuse a folder in which listed pictures don't exist.

        Args:
            root: The data folder.
            paths: Below the data folder, with forward slashes.
            listed_in: What lists them.

        Raises:
            ChiqpmError: Names how many and the first.
        """
        there: dict[str, set[str]] = {}
        missing = []
        for path in paths:
            folder, _, name = path.rpartition("/")
            if folder not in there:
                there[folder] = _names(root / folder)
            if name not in there[folder]:
                missing.append(path)
        if missing:
            raise self.refuse(
                root, f"{len(missing):,} of the {len(paths):,} pictures in {listed_in} are missing: {some(missing, 3)}"
            )

    def report(self, images: Sequence[FoundImage], num_classes: int) -> None:
        """Say what was found, and how it differs from what was published."""
        counted = Counter(image.part for image in images)
        found = [f"{num_classes:,} classes", *(f"{counted[part]:,} {part}" for part in PARTS if counted[part])]
        published = [f"{self.classes:,} classes", *(f"{count:,} {part}" for part, count in self.counts.items())]
        if found == published:
            _logger.info("%s: %s images, as published", self.title, ", ".join(found))
        else:
            _logger.warning(
                "%s: found %s images; published are %s: results can't be compared with published ones",
                self.title,
                ", ".join(found),
                ", ".join(published),
            )


def read_lines(release: Release, root: Path, path: Path) -> list[str]:
    """The lines of a text file that aren't empty, without blanks at their ends.

    Raises:
        ChiqpmError: Not text, or empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise release.refuse(root, f"{path} isn't UTF-8 text") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise release.refuse(root, f"{path} is empty")
    return lines


def read_numbered(release: Release, root: Path, path: Path) -> dict[int, str]:
    """A file whose lines are a number and a value: number -> value.

    Raises:
        ChiqpmError: A line of another kind, or a number that comes twice.
    """
    values: dict[int, str] = {}
    for line in read_lines(release, root, path):
        number, _, value = line.partition(" ")
        if not number.isdecimal() or not value.strip() or int(number) in values:
            raise release.refuse(root, f"{path} has the line {line!r}; each line must be a new number and a value")
        values[int(number)] = value.strip()
    return values


def check_same_numbers(release: Release, root: Path, numbers: Mapping[str, Iterable[int]]) -> None:
    """Refuse two files of numbered lines that don't have the same numbers.

    Args:
        release: The data set, for the message.
        root: The data folder, for the message.
        numbers: The numbers of each of the two files, by its name.

    Raises:
        ChiqpmError: Names how many differ and the first.
    """
    (first, first_numbers), (second, second_numbers) = numbers.items()
    wanted, given = set(first_numbers), set(second_numbers)
    for lacking, having, difference in ((second, first, wanted - given), (first, second, given - wanted)):
        if difference:
            raise release.refuse(
                root,
                f"{lacking} has no line for {len(difference):,} of the numbers in {having}, first {min(difference)}",
            )


def below(root: Path, folder: Path) -> str:
    """How paths below `root` begin that lie in `folder`: empty, or with a slash at the end.

    >>> below(Path("/data"), Path("/data/CUB_200_2011"))
    'CUB_200_2011/'
    """
    relative = folder.relative_to(root).as_posix()
    return "" if relative == "." else f"{relative}/"


def folders_in(folder: Path) -> list[str]:
    """Sorted names of the folders in a folder, hidden ones left out; empty where it doesn't exist."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return []


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - a Path per name is slow
    except OSError:
        return set()
