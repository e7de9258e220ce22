"""The order-statistic quantile of split conformal prediction."""

from __future__ import annotations

import math
import warnings

from chiqpm.errors import ChiqpmError

# Absorbs the rounding of (m + 1) * coverage, so that 0.88 * 25 counts as 22 and not as 22.000000000000004.
_ROUNDING = 1e-9


class SmallCalibrationWarning(UserWarning):
    """The calibration set is too small for the requested coverage, so that every class enters the set."""


def check_coverage(coverage: float) -> float:
    """Return `coverage` as a float.

    Raises:
        TypeError: it is no number.
        ChiqpmError: it does not lie strictly between 0 and 1.
    """
    try:
        value = float(coverage)
    except (TypeError, ValueError) as error:
        raise TypeError(f"coverage must be a number between 0 and 1, for instance 0.9; got {coverage!r}.") from error
    if not 0.0 < value < 1.0:
        raise ChiqpmError(
            f"coverage must lie strictly between 0 and 1 (0.9 asks that the truth be in nine sets of ten); got {value}."
        )
    return value


def conformal_rank(num_calibration: int, coverage: float) -> int:
    """Rank of the calibration score that becomes the threshold: ceil((m + 1) · coverage).

    A value above `num_calibration` means that no finite threshold gives the coverage: the set is all classes.

    >>> conformal_rank(9, 0.9), conformal_rank(99, 0.9), conformal_rank(5, 0.9)
    (9, 90, 6)
    """
    return max(1, math.ceil((num_calibration + 1) * check_coverage(coverage) - _ROUNDING))


def required_images(coverage: float) -> int:
    """Smallest number of calibration images with a finite threshold at this coverage.

    >>> required_images(0.9), required_images(0.95), required_images(0.99)
    (9, 19, 99)
    """
    coverage = check_coverage(coverage)
    return max(1, math.ceil(coverage / (1.0 - coverage) - _ROUNDING))


def warn_too_small(num_calibration: int, *coverages: float, whom: str = "") -> None:
    """Warn that every class enters the set because the calibration set is too small.

    Args:
        num_calibration: images at hand.
        coverages: requested ones that they are too few for, in (0, 1).
        whom: whose calibration images are too few, for instance `" of group 'night'"`; empty for all of them.
    """
    listed = ", ".join(f"{coverage:g}" for coverage in coverages)
    warnings.warn(
        f"{num_calibration} calibration image(s){whom} are too few for coverage {listed}: the prediction sets contain "
        f"every class. At least {required_images(max(coverages))} are needed; add images or ask for less coverage.",
        SmallCalibrationWarning,
        stacklevel=3,
    )
