"""Any picture file as an upright 8-bit RGB image, or one error that says why not."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from chiqpm.errors import ChiqpmError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif"}
)
"""Files with these endings (in any case) are taken for pictures."""

# Only formats that hold photographs: Pillow also knows some that start other programs (EPS) or aren't
# pictures.
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")

_TURN_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(ChiqpmError):
    """A file that can't be used as a picture.

    Attributes:
        path: The file, or None for an image that came without one.
        reason: What is wrong with it.
    """

    path: Path | None = None
    reason: str = ""

    @classmethod
    def of(cls, path: str | Path | None, reason: str) -> UnreadableImageError:
        """The error for one file."""
        # The constructor keeps one message, so that the error survives the way back from a worker process.
        error = cls(f"can't read {path if path is not None else 'the image'}: {reason}")
        error.path = None if path is None else Path(path)
        error.reason = reason
        return error


def is_image_name(name: str) -> bool:
    """Whether a file name ends as a picture's does.

    >>> is_image_name("Jay 1.JPG"), is_image_name("notes.txt")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (a Path per name is slow)


def load_image(path: str | os.PathLike[str], *, max_pixels: int = 100_000_000) -> Image.Image:
    """Read a picture as the model should see it.

    The first frame of an animated or multi-page file, turned upright by its EXIF orientation, transparency
    laid over white, 16-bit and float greys scaled to 8 bits (see `as_rgb`).

    Args:
        path: The file.
        max_pixels: A picture with more pixels is refused after reading its header, before decoding.

    Returns:
        An RGB image (H, W), 8 bits per channel.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableImageError: Everything else: empty, truncated, corrupt, too large, not a picture.
    """
    # Not as a Path: some versions of Python keep the names of all paths there ever were.
    file = os.fspath(path)
    return _decode(file, file, max_pixels)


def decode_image(content: bytes, name: str, *, max_pixels: int = 100_000_000) -> Image.Image:
    """`load_image` of a file's content that comes from elsewhere.

    Args:
        content: The bytes of a picture file.
        name: What to call it in messages.
        max_pixels: As for `load_image`.

    Raises:
        UnreadableImageError: As for `load_image`.
    """
    return _decode(content, name, max_pixels)


def cut(picture: Image.Image, box: Sequence[int], path: Path | None = None) -> Image.Image:
    """The part of a picture inside a box, clipped to the picture.

    Args:
        picture: Any picture.
        box: Left, top, right and bottom in pixels; right and bottom count from the far edge where they aren't
            positive.
        path: For the message.

    Raises:
        UnreadableImageError: The box has no pixel of the picture.

    >>> cut(Image.new("RGB", (40, 30)), (10, 0, 60, -20)).size
    (30, 10)
    """
    left, top, right, bottom = box
    right, bottom = (
        edge if edge > 0 else size + edge for edge, size in zip((right, bottom), picture.size, strict=True)
    )
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)
    if left >= right or top >= bottom:
        raise UnreadableImageError.of(
            path, f"its box {tuple(box)} lies outside the {picture.width}×{picture.height} pixels"
        )
    return picture.crop((left, top, right, bottom))


def _decode(source: str | bytes, file: str, max_pixels: int) -> Image.Image:
    try:
        if (os.stat(source).st_size if isinstance(source, str) else len(source)) == 0:  # noqa: PTH116
            raise UnreadableImageError.of(file, "the file is empty (0 bytes)")
        opened = source if isinstance(source, str) else io.BytesIO(source)
        with Image.open(opened, formats=_readable_formats()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise UnreadableImageError.of(
                    file,
                    f"it has {width}×{height} pixels, more than max_pixels = {max_pixels:,}; "
                    "raise the limit if the picture is genuine",
                )
            image.load()
            return as_rgb(image)
    except (FileNotFoundError, MemoryError):
        raise
    except UnreadableImageError as error:
        raise UnreadableImageError.of(file, error.reason) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableImageError.of(
            file,
            f"it has more pixels than Pillow's own limit (PIL.Image.MAX_IMAGE_PIXELS = {Image.MAX_IMAGE_PIXELS})",
        ) from None
    except UnidentifiedImageError:
        raise UnreadableImageError.of(file, _why_unidentified(file)) from None
    except Exception as error:  # decoders meet hostile bytes with nearly every kind of exception
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise UnreadableImageError.of(file, reason) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """An open picture as an upright 8-bit RGB image.

    16-bit greys are scaled by their range 0..65535. Float and 32-bit greys are taken to lie in the first of
    0..1 (float only), 0..255 (float only) or 0..65535 that holds them, else they are stretched from their
    own least to their own greatest value.

    Args:
        image: Any Pillow image, of any mode.

    Returns:
        A new image of mode RGB.

    Raises:
        UnreadableImageError: A float picture with infinite or undefined pixels.
    """
    orientation = _orientation(image)
    if image.mode.startswith("I;16"):
        rgb = _grey(np.asarray(image).astype(np.float64) / 257)
    elif image.mode in ("I", "F"):
        rgb = _grey(_to_eight_bits(np.asarray(image), is_float=image.mode == "F"))
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    else:
        rgb = image.convert("RGB")
    turn = _TURN_UPRIGHT.get(orientation)
    rgb = rgb if turn is None else rgb.transpose(turn)
    rgb.info = {}
    return rgb


def _grey(values_HW: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(values_HW).astype(np.uint8)).convert("RGB")


def _to_eight_bits(values_HW: np.ndarray, *, is_float: bool) -> np.ndarray:
    values = values_HW.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise UnreadableImageError.of(None, "it has infinite or undefined (NaN) pixels")
    if is_float and low >= 0 and high <= 1:
        return values * 255
    if is_float and low >= 0 and high <= 255:
        return values
    if low >= 0 and high <= 65535:
        return values / 257
    return (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken metadata don't make a picture unreadable
        return 1


def _readable_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _why_unidentified(file: str) -> str:
    suffix = os.path.splitext(file)[1].lower()  # noqa: PTH122
    if suffix in (".heic", ".heif", ".avif"):
        return f"Pillow can't read {suffix} as installed here; convert the picture to JPEG or PNG"
    return "it isn't a picture in a format that can be read (JPEG, PNG, GIF, BMP, TIFF, WebP ...), or is corrupt"
