"""The negative part of a slowly changing symmetric matrix, by subspace iteration from the previous one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Single = NDArray[Any]

_DEGREE = 4
_LARGEST_SHARE = 0.45
_SPARE = 10


class NegativePart:
    """Computes Σ max(0, -lambda_i) v_i v_iᵀ of a sequence of symmetric matrices, in single precision.

    While many eigenvalues are negative a full decomposition is taken. Later a Chebyshev polynomial of the matrix, which
    damps the positive eigenvalues, is applied to the previous eigenvectors. The result is approximate; whoever calls
    must not need it exactly.
    """

    def __init__(self) -> None:
        self.basis: Single | None = None

    def __call__(self, single: Single) -> Single:
        """The negative part of the matrix (M,M), with its sign changed: positive semidefinite."""
        if self.basis is not None:
            values, vectors = self._iterate(single, self.basis)
            # The basis must reach beyond the last negative eigenvalue.
            if values[-1] >= 0 or self.basis.shape[1] >= len(single):
                return self._part(values, vectors)
        values, vectors = eigh(single, overwrite_a=False, check_finite=False, driver="evd")
        return self._part(values, vectors)

    def grow(self, size: int) -> None:
        """Go on with matrices of a larger size, whose new entries matter little at first."""
        if self.basis is not None:
            self.basis = np.pad(self.basis, ((0, size - len(self.basis)), (0, 0)))

    def _part(self, values: Single, vectors: Single) -> Single:
        count = int(np.searchsorted(values, 0.0))
        wanted = count + max(_SPARE, count // 8)
        enough = min(wanted, vectors.shape[1])
        self.basis = np.ascontiguousarray(vectors[:, :enough]) if wanted < _LARGEST_SHARE * len(vectors) else None
        half = vectors[:, :count] * np.sqrt(-values[:count])
        return np.asarray(half @ half.T)

    def _iterate(self, matrix: Single, basis: Single) -> tuple[Single, Single]:
        # Values in [0, high] are damped, where high bounds the spectrum from above.
        high = self._bound(matrix)
        centre, radius = np.float32(high / 2), np.float32(high / 2)
        before, now = basis, (matrix @ basis - centre * basis) / radius
        for _ in range(_DEGREE - 1):
            before, now = now, (2 / radius) * (matrix @ now - centre * now) - before
        orthogonal, _ = np.linalg.qr(now)
        small = orthogonal.T @ (matrix @ orthogonal)
        values, rotation = np.linalg.eigh((small + small.T) / 2)
        return values, orthogonal @ rotation

    @staticmethod
    def _bound(matrix: Single) -> float:
        vector = np.ones(len(matrix), dtype=np.float32) + np.arange(len(matrix), dtype=np.float32) / len(matrix)
        for _ in range(12):
            vector = matrix @ (vector / np.linalg.norm(vector))
        return 1.1 * float(np.linalg.norm(vector)) + 1e-6
