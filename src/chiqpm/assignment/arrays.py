"""The arrays of a candidate solution, as the compiled moves take them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rows(NamedTuple):
    """The arrays that the moves change in place, and those that they read."""

    has_CK: NDArray[np.bool_]
    """Class c uses slot k."""
    rows_CN: NDArray[np.int64]
    """The same as lists of slots, unordered."""
    value_CK: NDArray[np.float64]
    """What slot k is worth to class c: the scaled similarity of the feature in that slot."""
    locked_CK: NDArray[np.bool_]
    """Class c must keep slot k."""
    hash_C: NDArray[np.uint64]
    """XOR of the random keys of a class's slots."""
    bucket: NDArray[np.int32]
    """How many classes fall into each bucket of hashes, so that most rows are known to be distinct without comparing
    them with any other."""
    key_K: NDArray[np.uint64]
    """Random key of each slot."""
    start: NDArray[np.int64]
    """Where the neighbours of each class begin: the graph of class pairs in compressed rows."""
    neighbour: NDArray[np.int64]
    """The neighbours."""
    component_C: NDArray[np.int64]
    """Connected component of each class in that graph."""
    mark_C: NDArray[np.bool_]
    """Work space: the present region."""
    queue_C: NDArray[np.int64]
    """Work space: its classes."""
    seen_CK: NDArray[np.int64]
    """Work space: the pass in which class c's region with slot k was last looked at."""
    best_C: NDArray[np.float64]
    """Work space: the best gain of a class."""
    partner_C: NDArray[np.int64]
    """Work space: the slot that brings it."""
    saved_CN: NDArray[np.int64]
    """Work space: remembered rows."""
    changed_C: NDArray[np.bool_]
    """Work space: components that changed."""
    clock: NDArray[np.int64]
    """Work space: the number of the pass."""


class Features(NamedTuple):
    """What the moves need to know of all features, and the selection that they change in place."""

    gain_FC: NDArray[np.float64]
    """What each feature adds for each class."""
    separation_FP: NDArray[np.float64]
    """Reward of each feature for each pair, of which the largest among the selected counts."""
    screen_DM: NDArray[np.float32]
    """`gain_FC` and `separation_FP`, one below the other, for the candidates only."""
    candidate_M: NDArray[np.int64]
    """Features that may enter the selection."""
    bias_F: NDArray[np.float64]
    """Preference for each feature."""
    penalty_FF: NDArray[np.float64]
    """Penalty of two features together."""
    redundancy_F: NDArray[np.float64]
    """Each feature's total penalty with the selected ones."""
    chosen_F: NDArray[np.bool_]
    """Selected or forbidden."""
    fixed_K: NDArray[np.bool_]
    """Slots whose feature some class requires."""
    selection_K: NDArray[np.int64]
    """Features in the slots."""
    base_D: NDArray[np.float32]
    """Work space: what a new feature has to beat for each class and pair."""
    score_M: NDArray[np.float32]
    """Work space: predicted worth of each candidate."""
    best_M: NDArray[np.float32]
    """Work space: its worth to the best region of a component."""
    region_M: NDArray[np.float32]
    """Work space: its worth to a region."""


class Regions(NamedTuple):
    """What a new feature can replace in the components of paired classes."""

    grouped: NDArray[np.int64]
    """Classes of the components with at least two, one component after another."""
    group_start: NDArray[np.int64]
    """Where each component begins in `grouped`."""
    alone_C: NDArray[np.float64]
    """Least value that a class can give up alone."""
    first: NDArray[np.int64]
    """Where each component's regions begin."""
    start: NDArray[np.int64]
    """Where each region's classes begin in `member`."""
    member: NDArray[np.int64]
    """Classes of the regions."""
    cost: NDArray[np.float64]
    """Value that a region gives up."""
    code: NDArray[np.int64]
    """Hash of a region's classes."""
