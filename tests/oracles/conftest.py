"""Other people's conformal prediction as oracles; skipped where they aren't installed: pip install chiqpm[oracles].

Problems are drawn with float64 logits that don't tie, since the libraries differ in what they do with ties.
"""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(params=[0, 1, 2])
def problem(request):
    """Return logits and labels of calibration and test images."""
    generator = np.random.default_rng(request.param)
    labels = generator.integers(7, size=400)
    logits = generator.normal(size=(400, 7)) + 2.0 * np.eye(7)[labels]
    return logits[:150], labels[:150], logits[150:], labels[150:]
