"""Compiled moves that exchange a feature of the selection. Import this module only when a search starts.

`features` is an `arrays.Features`, `regions` an `arrays.Regions`, `rows` an `arrays.Rows`.
"""

# ruff: noqa: PLR0917  (compiled functions take their arguments by position)
from __future__ import annotations

from typing import Any

import numpy as np

from chiqpm.assignment.compiled import compiled, uniform
from chiqpm.assignment.rows import chain, polish_slot, restore_rows, save_rows, unmark

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
def screen(k: int, rows: Any, features: Any) -> None:  # pragma: no cover - compiled
    """Optimistic worth of every candidate in the unused slot k to the classes, as if each class chose alone.

    A class gives up its least valuable slot for the new feature. The columns behind those of the classes are the
    pairs' separations, of which the largest among the selected features counts.
    """
    base_D = features.base_D
    num_classes, num_slots = rows.has_CK.shape
    for c in range(num_classes):
        base = np.inf
        for j in range(rows.rows_CN.shape[1]):
            h = rows.rows_CN[c, j]
            if not rows.locked_CK[c, h] and rows.value_CK[c, h] < base:
                base = rows.value_CK[c, h]
        base_D[c] = base
    for p in range(features.separation_FP.shape[1]):
        largest = 0.0
        for h in range(num_slots):
            if h != k and features.separation_FP[features.selection_K[h], p] > largest:
                largest = features.separation_FP[features.selection_K[h], p]
        base_D[num_classes + p] = largest
    for m in range(features.screen_MD.shape[0]):
        total = np.float32(0.0)
        for d in range(features.screen_MD.shape[1]):
            excess = features.screen_MD[m, d] - base_D[d]
            total += excess if excess > 0 else np.float32(0.0)
        features.score_M[m] = total


@compiled
def excess_of_screen(f: int, regions: Any, features: Any) -> Any:  # pragma: no cover - compiled
    """By how much `screen` overstates feature f, since paired classes give up shared slots only together."""
    gain_FC, base_D = features.gain_FC, features.base_D
    excess = 0.0
    for i in range(len(regions.group_start) - 1):
        optimistic, alone = 0.0, 0.0
        for j in range(regions.group_start[i], regions.group_start[i + 1]):
            c = regions.grouped[j]
            optimistic += max(gain_FC[f, c] - base_D[c], 0.0)
            alone += max(gain_FC[f, c] - regions.alone_C[c], 0.0)
        if optimistic == 0.0:
            continue
        best = alone
        for r in range(regions.first[i], regions.first[i + 1]):
            together = alone - regions.cost[r]
            for q in range(regions.start[r], regions.start[r + 1]):
                c = regions.member[q]
                together += gain_FC[f, c] - max(gain_FC[f, c] - regions.alone_C[c], 0.0)
            best = max(best, together)
        excess += optimistic - best
    return excess


@compiled
def propose(k: int, temperature: float, random: Any, regions: Any, features: Any) -> Any:  # pragma: no cover - compiled
    """Draw a feature for the unused slot k by its predicted worth, like a heat bath.

    Returns the feature (the present one is among them), and the predicted worth of both.
    """
    old = features.selection_K[k]
    top_T, value_T = features.top_T, features.value_T
    last = len(top_T) - 1
    value_T[:] = -np.inf
    present = 0.0
    for m in range(len(features.candidate_M)):
        f = features.candidate_M[m]
        if features.chosen_F[f] and f != old:
            continue
        score = features.score_M[m] + features.bias_F[f] - features.redundancy_F[f] + features.penalty_FF[old, f]
        if f == old:
            present = score
            continue
        if score > value_T[last]:
            place = last
            while place > 0 and value_T[place - 1] < score:
                value_T[place], top_T[place] = value_T[place - 1], top_T[place - 1]
                place -= 1
            value_T[place], top_T[place] = score, f
    present -= excess_of_screen(old, regions, features)
    new, drawn = old, present
    highest = present - temperature * np.log(-np.log(uniform(random) + 1e-300) + 1e-300)
    for i in range(last + 1):
        if value_T[i] + _FARTHEST * temperature < highest:
            break
        score = value_T[i] - excess_of_screen(top_T[i], regions, features)
        noisy = score - temperature * np.log(-np.log(uniform(random) + 1e-300) + 1e-300)
        if noisy > highest:
            highest, new, drawn = noisy, top_T[i], score
    return new, drawn, present


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
    nothing: Any = np.int64(-1)
    for step in range(steps):
        temperature = hot * (cold / hot) ** (step / steps)
        k = int(uniform(random) * num_slots)
        if features.fixed_K[k]:
            continue
        old = features.selection_K[k]
        save_rows(rows)
        for c in range(num_classes):
            rows.changed_C[c] = False
        for c in range(num_classes):
            if rows.has_CK[c, k]:
                rows.changed_C[rows.component_C[c]] = True
        gain = fill_slot(k, nothing, rows, features)
        gain += polish_slot(k, random, rows)
        screen(k, rows, features)
        find_regions(k, rows, regions)
        new, drawn, present = propose(k, temperature, random, regions, features)
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
