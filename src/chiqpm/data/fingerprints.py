"""What stays the same when a picture is copied, re-encoded or resized: digest, outline, thumbnail."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

THUMBNAIL_SIDE = 16
# A step between neighbouring cells counts from this many grey levels on, so that flat backgrounds give no
# random bits.
_STEP = 2.0


def digest(image: Image.Image) -> int:
    """64-bit digest of the size and the pixels of an RGB image."""
    state = hashlib.blake2b(repr(image.size).encode(), digest_size=8)
    state.update(image.tobytes())
    return int.from_bytes(state.digest(), "little")


def outline(image: Image.Image) -> int:
    """64-bit difference hash of an RGB image: is a cell of an 8×9 grid clearly brighter than its left one?"""
    small = image.resize((9, 8), Image.Resampling.BILINEAR, reducing_gap=3.0).convert("L")
    grey_87 = np.asarray(small, dtype=np.float64)
    bits = (np.diff(grey_87, axis=1) >= _STEP).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "little")


def thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """A tiny colour version of an RGB image, squashed to a square: (side, side, 3)."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.asarray(image.resize(side, Image.Resampling.BILINEAR, reducing_gap=3.0), dtype=np.uint8)
