from __future__ import annotations

import pickle
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from chiqpm.data import UnreadableImageError, as_rgb, load_image
from chiqpm.data.images import cut, decode_image
from chiqpm.errors import ChiqpmError


def picture(width=40, height=30, seed=0):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def save(image, path, **options):
    image.save(path, **options)
    return path


def pixels(path, **options):
    image = load_image(path, **options)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def test_rgb_files_come_back_unchanged(tmp_path):
    for name in ("a.png", "a b.BMP", "ü.tif", "a.ppm"):
        path = save(picture(), tmp_path / name)
        assert (pixels(path) == np.asarray(picture())).all()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}])
def test_jpeg(tmp_path, options):
    assert abs(pixels(save(picture(), tmp_path / "a.jpg", **options)) - np.asarray(picture())).mean() < 8


def test_cmyk_jpeg(tmp_path):
    path = save(picture().convert("CMYK"), tmp_path / "a.jpg", quality=95)
    with Image.open(path) as stored:
        assert stored.mode == "CMYK"
    assert abs(pixels(path) - np.asarray(picture())).mean() < 8


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_palette_and_one_bit(tmp_path, mode):
    image = picture().convert(mode)
    assert (pixels(save(image, tmp_path / "a.png")) == np.asarray(image.convert("RGB"))).all()


def test_alpha_lies_over_white(tmp_path):
    for mode, colour in (("LA", (0, 0)), ("RGBA", (255, 0, 0, 0))):
        assert (pixels(save(Image.new(mode, (3, 2), colour), tmp_path / "a.png")) == 255).all()
    half = pixels(save(Image.new("RGBA", (3, 2), (0, 0, 0, 128)), tmp_path / "b.png"))
    assert ((half > 125) & (half < 129)).all()


def test_transparent_palette(tmp_path):
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    for transparency in (0, b"\x00\xff"):
        path = save(image, tmp_path / "a.png", transparency=transparency)
        assert pixels(path).tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_sixteen_bit_grey_is_scaled_by_its_range_not_clipped(tmp_path):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    for name in ("a.png", "a.tif"):
        path = save(Image.fromarray(values), tmp_path / name)
        assert pixels(path)[0, :, 0].tolist() == [0, 1, 128, 255]
    assert np.asarray(as_rgb(Image.fromarray(values.astype(np.int32))))[0, :, 1].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 100, 200], [0, 100, 200]),
        ([0, 257, 65535], [0, 1, 255]),
        ([-1, 0, 1], [0, 128, 255]),
        ([-3, -3, -3], [0, 0, 0]),
    ],
)
def test_float_tiff(tmp_path, values, expected):
    path = save(Image.fromarray(np.array([values], dtype=np.float32)), tmp_path / "a.tif")
    assert pixels(path)[0, :, 2].tolist() == expected


def test_float_tiff_with_nan_is_named(tmp_path):
    path = save(Image.fromarray(np.array([[0, np.nan]], dtype=np.float32)), tmp_path / "a.tif")
    with pytest.raises(UnreadableImageError, match=r"a\.tif: it has infinite or undefined"):
        load_image(path)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_first_frame_of_many(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    red, green, blue = pixels(tmp_path / name)[4, 4]
    assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_exif_orientation(tmp_path, orientation, name):
    upright = picture()
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / name, exif=exif, **({"quality": 100} if name == "a.jpg" else {}))
    image = load_image(tmp_path / name)
    assert image.size == upright.size
    assert abs(np.asarray(image).astype(int) - np.asarray(upright)).mean() < 6
    assert not image.getexif()


def test_broken_exif_does_not_matter(tmp_path):
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow tells of the broken metadata
        assert load_image(tmp_path / "a.jpg").size == (40, 30)


def test_unusable_orientation_counts_as_upright(monkeypatch):
    image = picture()
    monkeypatch.setattr(image, "getexif", lambda: {0x0112: "up"})
    assert as_rgb(image).size == image.size


def test_truncated_files(tmp_path):
    for name in ("a.jpg", "a.png", "a.bmp"):
        path = save(picture(400, 300), tmp_path / name)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(UnreadableImageError, match=name) as caught:
            load_image(path)
        assert caught.value.path == path
        assert caught.value.reason


def test_unreadable_files(tmp_path):
    for name, content, reason in (
        ("empty.jpg", b"", "empty"),
        ("text.png", b"<html>not found</html>", "isn't a picture"),
        ("head.jpg", b"\xff\xd8\xff\xe0", "picture"),
        ("phone.heic", b"\0\0\0\x18ftypheic", "convert the picture to JPEG"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableImageError, match=reason):
            load_image(tmp_path / name)
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(UnreadableImageError, match=r"folder\.jpg"):
        load_image(tmp_path / "folder.jpg")
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "none.jpg")


def huge_png(path, side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def test_huge_images_are_refused_before_decoding(tmp_path):
    for side in (60000, 10000):  # beyond Pillow's error, beyond its warning
        with pytest.raises(UnreadableImageError, match=r"huge\.png.*more pixels"):
            load_image(huge_png(tmp_path / "huge.png", side))
    with pytest.raises(UnreadableImageError, match="40×30 pixels, more than max_pixels = 1,199"):
        load_image(save(picture(), tmp_path / "a.png"), max_pixels=1199)
    assert load_image(tmp_path / "a.png", max_pixels=1200).size == (40, 30)


def test_pillows_warning_does_not_decide(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UnreadableImageError, match="10000×10000 pixels, more than max_pixels = 99"):
            load_image(huge_png(tmp_path / "huge.png", 10000), max_pixels=99_999_999)


def test_postscript_is_not_run(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n")
    with pytest.raises(UnreadableImageError, match="isn't a picture"):
        load_image(tmp_path / "a.jpg")


def test_a_given_image_is_not_changed():
    image = picture()
    copy = as_rgb(image)
    copy.putpixel((0, 0), (1, 2, 3))
    assert image.getpixel((0, 0)) != (1, 2, 3)


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(UnreadableImageError.of(None, "broken")))
    assert isinstance(error, ChiqpmError)
    assert error.reason == "broken" and error.path is None and "the image" in str(error)


def test_a_picture_in_memory_is_the_picture_on_disk(tmp_path):
    path = save(picture(), tmp_path / "a.jpg")
    content = path.read_bytes()
    assert decode_image(content, "a").tobytes() == load_image(path).tobytes()
    for broken, reason in ((b"", "0 bytes"), (content[: len(content) // 2], "b/2"), (b"text", "isn't a picture")):
        with pytest.raises(UnreadableImageError, match=reason):
            decode_image(broken, "b/2")
    with pytest.raises(UnreadableImageError, match="more than max_pixels = 10"):
        decode_image(content, "a", max_pixels=10)


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    box=st.tuples(*[st.integers(-50, 90)] * 4),
)
@settings(max_examples=200, deadline=None)
def test_a_box_is_cut_out_or_refused(width, height, box):
    pixels = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    left, top, right, bottom = box
    right, bottom = (right if right > 0 else width + right), (bottom if bottom > 0 else height + bottom)
    inside = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if inside.size:
        assert np.array_equal(np.asarray(cut(Image.fromarray(pixels), box)), inside)
    else:
        with pytest.raises(UnreadableImageError, match=f"lies outside the {width}×{height} pixels"):
            cut(Image.fromarray(pixels), box)
