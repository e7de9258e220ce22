"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

# Several test processes share the cores; threads that wait for each other by spinning make all of them slower.
torch.set_num_threads(1)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden():
    """Return a function from a name to the recorded arrays of the published implementation."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    return read
