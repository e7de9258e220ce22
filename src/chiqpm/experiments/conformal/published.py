"""The published rule for level-limited sets (arXiv 2511.20779), which does not keep its promise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def published_coverage(
    calibration_VM: NDArray[np.float64], test_VT: NDArray[np.float64], coverage: float
) -> NDArray[np.bool_]:
    """Tell which test images' true classes the published rule admits.

    Its score is 0 outside the subtree, its level the number of leading levels that a share `coverage` of the
    calibration images' true classes reach, its threshold an interpolated quantile, and scores must lie below it.

    Args:
        calibration_VM: `level_limited` scores of the calibration images' true classes at each level, infinite outside.
        test_VT: those of the test images.
        coverage: requested coverage.
    """
    num_images = calibration_VM.shape[1]
    frequency_V = np.isfinite(calibration_VM[1:]).mean(axis=1)
    level = int((frequency_V >= coverage).cumprod().sum())
    calibration_M, test_T = (
        np.where(np.isfinite(scores), scores, 0.0) for scores in (calibration_VM[level], test_VT[level])
    )
    threshold = np.quantile(calibration_M, min(1.0, (num_images + 1) * coverage / num_images))
    admitted_T: NDArray[np.bool_] = test_T < threshold
    return admitted_T
