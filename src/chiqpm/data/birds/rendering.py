"""From species and image seed to a picture with the visible pixels of every part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from chiqpm.data.birds.canvas import Canvas
from chiqpm.data.birds.drawing import PART_LABEL, BirdPainter
from chiqpm.data.birds.frame import points
from chiqpm.data.birds.scene import Blob, Light, Scene, draw_scene
from chiqpm.data.birds.taxonomy import PARTS, check_species
from chiqpm.errors import ChiqpmError

MAX_IMAGE_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class BirdImage:
    """A rendered synthetic bird.

    Attributes:
        image: RGB picture.
        part_masks: part -> (H, W) bool, its visible pixels (what nothing else covers); empty without masks.
        object_mask: (H, W) bool, the visible pixels of the whole bird; all False without masks.
    """

    image: Image.Image
    part_masks: dict[str, NDArray[np.bool_]]
    object_mask: NDArray[np.bool_]


def render(
    species: Mapping[str, str],
    image_seed: int,
    size: int = 160,
    *,
    remove: str | None = None,
    masks: bool = True,
) -> BirdImage:
    """Draw one synthetic bird.

    Pose, light, colours of the body, background and clutter follow from the image seed alone. The same seed
    with another attribute is therefore an exact counterfactual: away from the changed part, all pixels agree.

    Args:
        species: attribute -> value, complete.
        image_seed: 0 to 2**63 - 1.
        size: side of the image in pixels, 32 to 1024.
        remove: a part that this bird lacks, or None.
        masks: also give the part masks; without them rendering is faster.

    Returns:
        The picture and its masks.

    Raises:
        ChiqpmError: the species, seed, size or part is not one of those allowed.
    """
    check_species(species)
    if isinstance(image_seed, bool) or not isinstance(image_seed, int) or not 0 <= image_seed <= MAX_IMAGE_SEED:
        raise ChiqpmError(f"birds: image_seed = {image_seed!r}; give a whole number from 0 to 2**63 - 1.")
    if isinstance(size, bool) or not isinstance(size, int) or not 32 <= size <= 1024:
        raise ChiqpmError(f"birds: size = {size!r}; give a whole number of pixels from 32 to 1024.")
    if remove is not None and remove not in PARTS:
        raise ChiqpmError(f"birds: remove = {remove!r} is no part; parts: {', '.join(PARTS)}.")
    scene = draw_scene(image_seed)
    canvas = Canvas(_background(scene, size), masks=masks)
    _scatter(canvas, scene.far)
    painter = BirdPainter(canvas, scene, species, remove)
    thickness, slope, bark = scene.perch
    perch = points((-2.0, -slope), (2.0, slope), (2.0, slope + thickness), (-2.0, thickness - slope))
    canvas.polygon(painter.bird.at(0.02, 0.315).place(perch), bark, 0)
    painter.paint()
    _scatter(canvas, scene.near)
    labels = canvas.labels()
    return BirdImage(
        image=_lit(canvas.picture(), scene.light, scene.noise_seed),
        part_masks={part: labels == label for part, label in PART_LABEL.items()} if masks else {},
        object_mask=labels > 0,
    )


def _scatter(canvas: Canvas, blobs: tuple[Blob, ...]) -> None:
    for blob in blobs:
        for polygon, colour in blob.shapes():
            canvas.polygon(polygon * canvas.size, colour, 0)


def _background(scene: Scene, size: int) -> Image.Image:
    return Image.fromarray(scene.texture).resize((size, size), Image.Resampling.BICUBIC)


def _lit(picture: Image.Image, light: Light, noise_seed: int) -> Image.Image:
    """Apply light and sensor noise; nothing depends on the content, which keeps counterfactuals exact."""
    size = picture.width
    if light.blur * size > 0.1:
        picture = picture.filter(ImageFilter.GaussianBlur(light.blur * size))
    pixels = np.asarray(picture, dtype=np.float32)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    gain = 1.0 + light.gradient[0] * ramp[None, :, None] + light.gradient[1] * ramp[:, None, None]
    gain = gain * np.float32(light.brightness) * np.array(light.tint, dtype=np.float32)
    noise = np.random.default_rng(noise_seed).standard_normal(pixels.shape, dtype=np.float32)
    pixels = ((pixels - 128.0) * np.float32(light.contrast) + 128.0) * gain + np.float32(light.noise) * noise
    return Image.fromarray(np.clip(pixels, 0.0, 255.0).astype(np.uint8))
