"""An upper bound on the objective that anybody can recompute from its multipliers.

Given prices for the classes' constraints (see `prices`), what remains is to choose K features with worth
c_f = b_f + q_f and the penalties R between them. With X = x xᵀ this is max <Diag(c) - R/2, X> over matrices that are
positive semidefinite and non-negative, with trace K and X_ff = (X 1)_f / K, of which only x xᵀ is lost. Its dual is an
eigenvalue: for any y and any Z >= 0

    max_x  <=  K · lambda,   lambda = lambda_max( Diag(c) - R/2 - Diag(y) + (y 1ᵀ + 1 yᵀ) / (2K) + Z ).

Only a core of features enters the matrix. Let a selection have the features T inside the core and the others O outside.
The same matrix shows that T adds at most |T| lambda + |O| / K Σ_T y, so a feature f of O adds at most

    u_f = c_f + max over T of Σ_{g in T} ( y_g / K - R_fg ),   |T| < K,

and the bound is K · lambda plus the K largest max(0, u_f - lambda). Features for which that isn't 0 enter the core as
it grows. Prices, y and Z are found together by alternating directions; no matter how badly they converged, the bound is
valid.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from threadpoolctl import ThreadpoolController

from chiqpm.assignment.prices import Array, ClassPrices
from chiqpm.assignment.problem import AssignmentProblem
from chiqpm.assignment.relaxation import Relaxation, Single

_FIRST_CORE, _SECOND_CORE = 400, 900
_LEAST_CORE = 2
_SECOND_FROM, _ALL_FROM, _ALL_UNTIL = 0.08, 0.25, 0.75
_HOLD = 0.5
_GROWTH = 3.0
_SMOOTH, _SHARP = 0.006, 0.001
_EVALUATE = 20
_LAST_SWEEPS = 50
_FIRST_PENALTY, _FIRST_STEPS = 1e-4, 100
_BLOCK = 256
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Certificate:
    """A bound and all that is needed to recompute it."""

    bound: float
    """No assignment that satisfies the pairs has a larger objective; rounded outwards."""
    prices: ClassPrices
    """Prices of the class counts and of the shared counts."""
    core_N: NDArray[np.int64]
    """Features in the matrix."""
    multiplier_N: Array
    """y, one per core feature."""
    nonnegative_NN: Single
    """Z, non-negative; its symmetric part counts."""


@dataclass(frozen=True)
class Evaluation:
    """What multipliers prove."""

    bound: float
    """Upper bound on the objective, rounded outwards."""
    others_M: NDArray[np.int64]
    """Features outside the core that raise the bound, those first that raise it most."""


def evaluate(
    problem: AssignmentProblem,
    *,
    prices: ClassPrices,
    core_N: NDArray[np.int64],
    multiplier_N: Array,
    nonnegative_NN: Single,
) -> Evaluation:
    """The bound that these multipliers prove, rounded outwards.

    The eigenvalue is raised by more than the backward error of the symmetric eigensolver, and every sum by more than
    its rounding error, so that the value holds in exact arithmetic.
    """
    kept, size = problem.kept_features, len(core_N)
    worth_F = prices.worth(sweeps=0) + problem.bias_F
    matrix = np.add(nonnegative_NN, nonnegative_NN.T, dtype=np.float64)
    matrix /= 2
    for first in range(0, size, _BLOCK):
        rows = slice(first, first + _BLOCK)
        matrix[rows] -= problem.penalty_FF[np.ix_(core_N[rows], core_N)] / 2
    half_N = multiplier_N / (2 * kept)
    matrix += half_N[:, None]
    matrix += half_N
    matrix[np.diag_indices(size)] += worth_F[core_N] - multiplier_N
    norm = float(np.linalg.norm(matrix))
    last = [size - 1, size - 1]
    # Transposed, because only a matrix in columns is overwritten instead of copied.
    level = float(eigh(matrix.T, eigvals_only=True, subset_by_index=last, overwrite_a=True, check_finite=False)[0])
    # Each worth is a sum over classes of differences; each pair's share is part of two.
    terms = len(prices.class_C) + 2 * len(prices.pair_P)
    largest = float(np.abs(prices.gain_FC).max() + np.abs(prices.class_C).max() + prices.pair_P.sum())
    rounding = 8 * _EPS * (size * norm + terms * (largest + float(np.abs(worth_F).max())))
    level += rounding
    others_F = problem.allowed_F.copy()
    others_F[core_N] = False
    outside_M = np.flatnonzero(others_F)
    excess_M = _outside(problem, worth_F, core_N, multiplier_N, outside_M) + rounding - level
    order = np.argsort(-excess_M, kind="stable")
    order = order[excess_M[order] > 0]
    total = prices.constant + kept * level + float(excess_M[order[:kept]].sum())
    scale = prices.per_class * (np.abs(prices.class_C).sum() + prices.pair_P.sum())
    return Evaluation(float(total + 8 * _EPS * (terms * scale + abs(total))), outside_M[order])


def _outside(
    problem: AssignmentProblem,
    worth_F: Array,
    core_N: NDArray[np.int64],
    multiplier_N: Array,
    outside_M: NDArray[np.int64],
) -> Array:
    """u, what each feature outside the core can add at most, rounded outwards (M,)."""
    partners = problem.kept_features - 1
    most_M = worth_F[outside_M]
    for first in range(0, len(outside_M), _BLOCK):
        rows = slice(first, first + _BLOCK)
        adds_BN = multiplier_N / problem.kept_features - problem.penalty_FF[np.ix_(outside_M[rows], core_N)]
        if partners < len(core_N):
            adds_BN = np.partition(adds_BN, -partners, axis=1)[:, -partners:] if partners else adds_BN[:, :0]
        sums_B = np.maximum(adds_BN, 0.0).sum(axis=1)
        most_M[rows] += sums_B * (1 + 8 * _EPS * problem.kept_features)
    return most_M + 8 * _EPS * np.abs(most_M)


def certify(
    problem: AssignmentProblem,
    *,
    pairs: NDArray[np.int64] | None = None,
    guess_K: NDArray[np.int64] | None = None,
    core_size: int = _FIRST_CORE,
    iterations: int = 800,
    deadline: float = float("inf"),
    target: float = -float("inf"),
    progress: Callable[[float, float], bool | None] | None = None,
) -> Certificate:
    """Prove an upper bound on the objective.

    Args:
        problem: the problem.
        pairs: forced pairs to be respected (P,2); fewer give a weaker bound. None takes the problem's.
        guess_K: a good selection, which helps to choose the first core.
        core_size: features that enter the matrix at first, at least 2 K. Those that it needs are added on the way.
        iterations: rounds of alternating directions.
        deadline: moment of `time.monotonic()` after which no further round starts.
        target: stop as soon as the bound is no larger.
        progress: called with the fraction done and the bound so far; returns True to stop.

    As many threads look at the prices as linear algebra may use at that moment.

    Returns:
        The best certificate found on the way. Wishes other than the pairs and the forbidden features are not used,
        which leaves the bound valid.
    """
    kept = problem.kept_features
    prices = ClassPrices(problem.gain_FC, problem.pairs if pairs is None else pairs, problem.features_per_class, kept)
    guess_F = np.full(problem.num_features, kept / problem.num_features)
    if guess_K is not None:
        guess_F[:] = 0.0
        guess_F[guess_K] = 1.0
    score_F = prices.worth() + problem.bias_F - problem.penalty_FF @ guess_F
    if guess_K is not None:
        score_F[guess_K] = np.inf
    allowed = np.flatnonzero(problem.allowed_F)
    core_N = allowed[np.argsort(-score_F[allowed], kind="stable")[: max(core_size, _LEAST_CORE * kept)]]
    use_N = (guess_F[core_N] + kept / len(core_N)) / 2
    prices.smoothing = _SMOOTH * prices.largest
    prices.descend(core_N, use_N, -prices.worth(core_N), _FIRST_PENALTY, _FIRST_STEPS)
    relaxation = Relaxation(problem, prices, core_N, guess_F)
    best: Certificate | None = None
    began = time.monotonic()
    allowance = max(deadline - began, 1e-3)
    libraries = ThreadpoolController()
    count = 0
    while True:
        prices.threads = max(
            (pool["num_threads"] for pool in libraries.info() if pool["user_api"] == "blas"), default=1
        )
        fraction = min(max(count / iterations, (time.monotonic() - began) / allowance), 1.0)
        prices.smoothing = prices.largest * _SMOOTH * (_SHARP / _SMOOTH) ** min(fraction / _HOLD, 1.0)
        relaxation.step(_GROWTH ** (max(fraction - _HOLD, 0.0) / (1.0 - _HOLD)))
        count += 1
        if count < iterations and fraction < 1.0 and count % _EVALUATE:
            continue
        found, others_M = _certificate(relaxation)
        if best is None or found.bound < best.bound:
            best = found
        stop = progress is not None and progress(fraction, best.bound)
        if count >= iterations or fraction >= 1.0 or stop or best.bound <= target:
            return best
        if _SECOND_FROM < fraction < _ALL_UNTIL:
            room = len(others_M) if fraction > _ALL_FROM else max(_SECOND_CORE - len(relaxation.core_N), 0)
            relaxation.grow(others_M[:room])


def _certificate(relaxation: Relaxation) -> tuple[Certificate, NDArray[np.int64]]:
    """What the present multipliers prove, and the features outside the core that raise it."""
    problem, core_N = relaxation.problem, relaxation.core_N
    prices = relaxation.prices.copy()
    prices.worth(sweeps=_LAST_SWEEPS)
    multiplier_N, nonnegative_NN = relaxation.multiplier_N.copy(), relaxation.nonnegative.copy()
    proven = evaluate(problem, prices=prices, core_N=core_N, multiplier_N=multiplier_N, nonnegative_NN=nonnegative_NN)
    return Certificate(proven.bound, prices, core_N, multiplier_N, nonnegative_NN), proven.others_M
