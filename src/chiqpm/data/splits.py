"""Divide images into training, calibration and test parts, stratified by class, groups kept whole."""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from chiqpm.data.group_split import GroupsTooFewError, split_groups
from chiqpm.data.table import PARTS, ImageTable, Part, counted, some
from chiqpm.errors import ChiqpmError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chiqpm.config import DataConfig

_logger = logging.getLogger(__name__)


def split(table: ImageTable, config: DataConfig) -> ImageTable:
    """Give every image its part.

    Parts that the table has already stay. Calibration and test images that are missing are taken from its training
    images (from all, where nothing is split yet), the given share of each class, at least one. Which images are taken
    depends on the seed and on the paths alone. Groups stay whole; the shares then hold as well as the groups allow.

    A published data set comes with training and test images only. Its calibration images are then taken from the test
    part, unless `calibration_from` is "train". Prediction sets have their coverage for images that are exchangeable
    with those of the calibration, and a random, stratified division of the test part makes the images that calibrate
    and those that are measured exchangeable by construction. Training images are so only where the publishers drew
    their own division at random, which those of ImageNet and TravelingBirds did not. The training part also stays the
    published one, so that accuracies can be compared; they are measured on fewer test images, without bias.

    Args:
        table: As from `open_folder`.
        config: `calibration_fraction`, `test_fraction` (0 takes none), `calibration_from` and `split_seed` are used.

    Returns:
        The same table with `parts`; every class has at least one training image.

    Raises:
        ChiqpmError: Impossible fractions, classes with too few images, too few groups, or a group that lies
            in more than one of the parts that the table came with.
    """
    parts = np.full(len(table), "train", dtype="<U11") if table.parts is None else table.parts.astype("<U11")
    check_groups(parts, table.groups)
    fractions = _missing_fractions(table, config)
    from_test = "calibration" in fractions and _calibrates_from_test(table, config)
    if from_test:
        _take(parts, table, "test", {"calibration": fractions.pop("calibration")}, config.split_seed)
    if fractions:
        _take(parts, table, "train", fractions, config.split_seed)
    return replace(table, parts=parts)


def _calibrates_from_test(table: ImageTable, config: DataConfig) -> bool:
    if config.calibration_from not in ("auto", "train", "test"):
        raise ChiqpmError(f"calibration_from must be auto, train or test; received {config.calibration_from!r}")
    has_test = table.parts is not None and (table.parts == "test").any()
    if config.calibration_from == "test" and not has_test:
        raise ChiqpmError(
            "calibration_from is test, but these images have no test part; leave it out to take calibration images "
            "from the training images"
        )
    return has_test and (config.calibration_from == "test" or (config.calibration_from == "auto" and table.published))


def _take(parts: NDArray[np.str_], table: ImageTable, source: Part, fractions: Mapping[Part, float], seed: int) -> None:
    """Move shares of the images of one part to others, in place."""
    pool = np.flatnonzero(parts == source)
    labels = table.labels_N[pool]
    counts_C = np.bincount(labels, minlength=len(table.classes))
    wanted: list[Part] = list(fractions)
    if table.groups is None:
        needed = 1 + len(wanted)
        poor = np.flatnonzero(counts_C < needed)
        if len(poor):
            listed = some([f"{table.classes[c]} ({counts_C[c]})" for c in poor], 10)
            several = counted(len(poor), "class has", "classes have")
            raise ChiqpmError(
                f"{several} too few images for the parts {source}, {', '.join(wanted)}: {listed}; each needs "
                f"{needed} or more. Add images, remove these classes, or set the fraction of a part to 0"
            )
        targets_PC = _targets(counts_C, list(fractions.values()), seed, table.classes)
        keys = [_key(seed, table.paths[i]) for i in pool]
        chosen = _split_singly(labels, keys, targets_PC)
    else:
        targets_PC = _targets(counts_C, list(fractions.values()), seed, table.classes)
        groups = [table.groups[i] for i in pool]
        keys_of = {group: _key(seed, group) for group in groups}
        try:
            chosen = split_groups(labels, groups, keys_of, targets_PC)
        except GroupsTooFewError as error:
            raise ChiqpmError(
                f"{len(keys_of)} groups are too few to fill the part {wanted[error.part - 1]}: a class "
                f"must keep an image for {source} and a group stays whole. Use smaller groups, or set the "
                "fraction of that part to 0"
            ) from None
    parts[pool] = np.array([source, *wanted])[chosen]
    for part in wanted:
        counts_C = np.bincount(table.labels_N[parts == part], minlength=len(table.classes))
        without = [table.classes[c] for c in np.flatnonzero(counts_C == 0)]
        if without:
            _logger.warning(
                "%d classes have no %s image (their groups are too few): %s",
                len(without),
                part,
                some(without),
            )


def check_groups(parts: NDArray[np.str_], groups: Sequence[str] | None) -> None:
    """Refuse groups that lie in more than one part.

    Raises:
        ChiqpmError: Names such groups.
    """
    if groups is None:
        return
    parts_of: dict[str, set[str]] = {}
    for group, part in zip(groups, parts.tolist(), strict=True):
        parts_of.setdefault(group, set()).add(part)
    torn = [
        f"{group} ({', '.join(part for part in PARTS if part in found)})"
        for group, found in sorted(parts_of.items())
        if len(found) > 1
    ]
    if torn:
        raise ChiqpmError(
            f"{len(torn)} groups lie in more than one part of the split: {some(torn)}; training would "
            "then have seen them. Move each group to one part, make a new split, or leave the groups out"
        )


def _missing_fractions(table: ImageTable, config: DataConfig) -> dict[Part, float]:
    """The parts that have to be taken from the training images, with their shares."""
    asked: dict[Part, float] = {"calibration": config.calibration_fraction, "test": config.test_fraction}
    for part, fraction in asked.items():
        if not 0 <= fraction < 1:
            raise ChiqpmError(f"{part}_fraction must be in [0, 1), 0 for none; received {fraction}")
    if sum(asked.values()) >= 1:
        raise ChiqpmError(
            "calibration_fraction + test_fraction must be below 1, so that images are left to train on; "
            f"received {config.calibration_fraction} + {config.test_fraction}"
        )
    present = set() if table.parts is None else set(table.parts.tolist())
    return {part: fraction for part, fraction in asked.items() if fraction > 0 and part not in present}


def _targets(
    counts_C: NDArray[np.int64], fractions: Sequence[float], seed: int, classes: Sequence[str]
) -> NDArray[np.int64]:
    """How many images of each class each part gets: (P, C), training first.

    Shares are rounded so that a part's total is right too, each class at most one off.
    """
    order = np.argsort([_key(seed, name) for name in classes], kind="stable")
    rank_C = np.empty(len(classes), dtype=np.int64)
    rank_C[order] = np.arange(len(classes))
    taken = []
    for fraction in fractions:
        exact_C = fraction * counts_C
        target_C = np.floor(exact_C + 1e-9).astype(np.int64)
        rest = round(float(exact_C.sum())) - int(target_C.sum())
        by_remainder = np.lexsort((rank_C, -np.round(exact_C - target_C, 9)))
        target_C[by_remainder[: max(rest, 0)]] += 1
        taken.append(np.maximum(target_C, 1))
        # The next part favours the classes that this one didn't, so that training sets stay equal.
        rank_C = len(classes) - 1 - rank_C
    taken_PC = np.stack(taken)
    for c in np.flatnonzero(taken_PC.sum(axis=0) >= counts_C):
        while taken_PC[:, c].sum() > max(counts_C[c] - 1, 0):
            taken_PC[np.argmax(taken_PC[:, c]), c] -= 1
    return np.concatenate([(counts_C - taken_PC.sum(axis=0))[None], taken_PC])


def _split_singly(
    labels_N: NDArray[np.int64], keys: Sequence[bytes], targets_PC: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The part of each image: those of a class are put in the order of their keys and dealt out."""
    chosen = np.zeros(len(labels_N), dtype=np.int64)
    order = sorted(range(len(labels_N)), key=lambda i: keys[i])
    by_class: list[list[int]] = [[] for _ in range(targets_PC.shape[1])]
    for i in order:
        by_class[labels_N[i]].append(i)
    for label, members in enumerate(by_class):
        start = 0
        for part in range(1, len(targets_PC)):
            count = int(targets_PC[part, label])
            chosen[members[start : start + count]] = part
            start += count
    return chosen


def _key(seed: int, name: str) -> bytes:
    """A draw that belongs to a name: it doesn't change when other names come or go."""
    text = f"{seed}\0{unicodedata.normalize('NFC', name)}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
