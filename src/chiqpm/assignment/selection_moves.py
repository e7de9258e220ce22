"""Compiled moves that exchange a feature of the selection. Import this module only when a search starts.

`features` is an `arrays.Features`, `regions` an `arrays.Regions`, `rows` an `arrays.Rows`.
"""

# ruff: noqa: PLR0917  (compiled functions take their arguments by position)
from __future__ import annotations

from typing import Any

import numpy as np

from chiqpm.assignment.compiled import compiled, gumbel, uniform
from chiqpm.assignment.rows import chain, leave_slot, polish_slot, restore_rows, save_rows, unmark

_FARTHEST = 15.0
_WORTHLESS = -1e4


@compiled
def find_regions(k: int, rows: Any, regions: Any) -> None:  # pragma: no cover - compiled
    """Collect what a new feature in the unused slot k can replace in the components of paired classes.

    A slot that only one class of its neighbourhood uses can be given up by that class alone: the least valuable one is
    its `alone_C`. Any other is given up by a whole region; of equal regions only the least valuable slot is kept.
    """
    per_class = rows.rows_CN.shape[1]
    rows.clock[0] += 1
    clock = rows.clock[0]
    count, filled = 0, 0
    for i in range(len(regions.group_start) - 1):
        first = count
        regions.first[i] = count
        for j in range(regions.group_start[i], regions.group_start[i + 1]):
            c = regions.grouped[j]
            # A class that could not leave the slot takes the new feature for nothing.
            base = _WORTHLESS if rows.has_CK[c, k] else np.inf
            for slot in range(per_class):
                h = rows.rows_CN[c, slot]
                if h == k or rows.seen_CK[c, h] == clock:
                    continue
                size, gain = chain(c, h, k, rows)
                unmark(size, rows)
                cost, code = 0.0, np.int64(0)
                for q in range(size):
                    u = rows.queue_C[q]
                    rows.seen_CK[u, h] = clock
                    cost += np.inf if rows.has_CK[u, k] else rows.value_CK[u, h]
                    code += (u + 1) * (u + 7919) * np.int64(2654435761)
                if gain == -np.inf or cost == np.inf:
                    continue
                if size == 1:
                    base = min(base, cost)
                    continue
                known = False
                for r in range(first, count):
                    if regions.code[r] == code:
                        regions.cost[r] = min(regions.cost[r], cost)
                        known = True
                if not known:
                    regions.code[count], regions.cost[count], regions.start[count] = code, cost, filled
                    for q in range(size):
                        regions.member[filled + q] = rows.queue_C[q]
                    filled += size
                    count += 1
            regions.alone_C[c] = base
    regions.first[len(regions.group_start) - 1] = count
    regions.start[count] = filled


@compiled
def screen(k: int, features: Any, regions: Any, rows: Any) -> None:  # pragma: no cover - compiled
    """Predict what every candidate is worth to the classes in the unused slot k.

    A class gives up its least valuable slot for the new feature; a class of a component, one that it can give up alone,
    or the best region of the component gives up a slot together. The columns behind those of the classes are the pairs'
    separations, of which the largest among the selected features counts.
    """
    base_D, score_M, region_M, best_M = features.base_D, features.score_M, features.region_M, features.best_M
    screen_DM = features.screen_DM
    num_classes, num_slots = rows.has_CK.shape
    find_regions(k, rows, regions)
    for c in range(num_classes):
        base = np.inf
        for j in range(rows.rows_CN.shape[1]):
            h = rows.rows_CN[c, j]
            if not rows.locked_CK[c, h] and rows.value_CK[c, h] < base:
                base = rows.value_CK[c, h]
        base_D[c] = base
    for j in range(len(regions.grouped)):
        base_D[regions.grouped[j]] = regions.alone_C[regions.grouped[j]]
    for p in range(features.separation_FP.shape[1]):
        largest = 0.0
        for h in range(num_slots):
            if h != k and features.separation_FP[features.selection_K[h], p] > largest:
                largest = features.separation_FP[features.selection_K[h], p]
        base_D[num_classes + p] = largest
    score_M[:] = 0
    for d in range(len(base_D)):
        base = base_D[d]
        for m in range(len(score_M)):
            score_M[m] += max(screen_DM[d, m] - base, np.float32(0.0))
    for i in range(len(regions.group_start) - 1):
        if regions.first[i] == regions.first[i + 1]:
            continue
        best_M[:] = 0
        for r in range(regions.first[i], regions.first[i + 1]):
            region_M[:] = -regions.cost[r]
            for q in range(regions.start[r], regions.start[r + 1]):
                c = regions.member[q]
                base = base_D[c]
                for m in range(len(score_M)):
                    region_M[m] += min(screen_DM[c, m], base)
            for m in range(len(score_M)):
                best_M[m] = max(best_M[m], region_M[m])
        for m in range(len(score_M)):
            score_M[m] += best_M[m]


@compiled
def propose(
    k: int, present: float, temperature: float, random: Any, features: Any
) -> Any:  # pragma: no cover - compiled
    """Draw a feature for the unused slot k by its predicted worth, like a heat bath.

    Returns the feature (the one that was there before, worth `present`, is among them), and its predicted worth.
    """
    old = features.selection_K[k]
    new: Any = old
    drawn = present
    highest = present + temperature * gumbel(random)
    for m in range(len(features.candidate_M)):
        f = features.candidate_M[m]
        if features.chosen_F[f]:
            continue
        score = features.score_M[m] + features.bias_F[f] - features.redundancy_F[f] + features.penalty_FF[old, f]
        if score + _FARTHEST * temperature < highest:
            continue
        noisy = score + temperature * gumbel(random)
        if noisy > highest:
            highest, new, drawn = noisy, f, score
    return new, drawn


@compiled
def empty_slot(k: int, random: Any, features: Any, regions: Any, rows: Any) -> Any:  # pragma: no cover - compiled
    """Take the feature out of slot k, for which `screen` then predicts others; its classes fall back on other slots.

    Returns the change of the classes' worth, and what the feature was worth altogether.
    """
    save_rows(rows)
    num_classes = len(rows.has_CK)
    for c in range(num_classes):
        rows.changed_C[c] = False
    for c in range(num_classes):
        if rows.has_CK[c, k]:
            rows.changed_C[rows.component_C[c]] = True
    old = features.selection_K[k]
    nothing: Any = np.int64(-1)
    change = fill_slot(k, nothing, rows, features)
    change += leave_slot(k, random, rows)
    screen(k, features, regions, rows)
    present = features.bias_F[old] - features.redundancy_F[old] - change
    for p in range(features.separation_FP.shape[1]):
        present += max(features.separation_FP[old, p] - features.base_D[num_classes + p], 0.0)
    return change, present


@compiled
def appraise(margin_M: Any, random: Any, features: Any, regions: Any, rows: Any) -> None:  # pragma: no cover - compiled
    """Note by how much each candidate would improve on the present feature of the slot where it improves most."""
    for k in range(rows.has_CK.shape[1]):
        if features.fixed_K[k]:
            continue
        old = features.selection_K[k]
        _, present = empty_slot(k, random, features, regions, rows)
        for m in range(len(margin_M)):
            f = features.candidate_M[m]
            score = features.score_M[m] + features.bias_F[f] - features.redundancy_F[f] + features.penalty_FF[old, f]
            margin_M[m] = max(margin_M[m], score - present)
        fill_slot(k, old, rows, features)
        restore_rows(rows)


@compiled
def fill_slot(k: int, f: int, rows: Any, features: Any) -> Any:  # pragma: no cover - compiled
    """Put feature f (-1: a worthless one) into slot k; returns what that changes for the classes that use it."""
    change = 0.0
    for c in range(len(rows.has_CK)):
        value = _WORTHLESS if f < 0 else features.gain_FC[f, c]
        if rows.has_CK[c, k]:
            change += value - rows.value_CK[c, k]
        rows.value_CK[c, k] = value
    return change


@compiled
def anneal_selection(
    steps: int, hot: float, cold: float, random: Any, features: Any, regions: Any, rows: Any
) -> Any:  # pragma: no cover - compiled
    """Heat bath over the features in the slots, the temperature falling from `hot` to `cold`; returns the total gain.

    A slot is emptied and its classes fall back on others; the feature to be put into it is drawn by predicted worth,
    the classes are re-optimised, and what the prediction missed decides about acceptance.
    """
    num_classes, num_slots = rows.has_CK.shape
    bias_F, penalty_FF, redundancy_F = features.bias_F, features.penalty_FF, features.redundancy_F
    total = 0.0
    for step in range(steps):
        temperature = hot * (cold / hot) ** (step / steps)
        k = int(uniform(random) * num_slots)
        if features.fixed_K[k]:
            continue
        old = features.selection_K[k]
        gain, present = empty_slot(k, random, features, regions, rows)
        new, drawn = propose(k, present, temperature, random, features)
        if new != old:
            gain += bias_F[new] - bias_F[old] - redundancy_F[new] + penalty_FF[old, new] + redundancy_F[old]
            gain += fill_slot(k, new, rows, features)
            for p in range(features.separation_FP.shape[1]):
                others = features.base_D[num_classes + p]
                gain += max(features.separation_FP[new, p], others) - max(features.separation_FP[old, p], others)
            rows.changed_C[:] = True
            gain += polish_slot(k, random, rows)
            missed = gain - (drawn - present)
            if gain >= 0 or uniform(random) < np.exp(missed / temperature):
                total += gain
                features.selection_K[k] = new
                features.chosen_F[old], features.chosen_F[new] = False, True
                for f in range(len(bias_F)):
                    redundancy_F[f] += penalty_FF[new, f] - penalty_FF[old, f]
                continue
        fill_slot(k, old, rows, features)
        restore_rows(rows)
    return total
