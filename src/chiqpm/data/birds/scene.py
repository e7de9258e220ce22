"""All in an image that is not a species attribute: pose, colours of the body, light, background, clutter.

A scene is drawn from the image seed alone. No attribute can influence it, so two species in one scene differ
only where their parts differ.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Points = NDArray[np.float64]

COLOURS: Mapping[str, Colour] = {
    "black": (26, 24, 28),
    "white": (246, 244, 238),
    "yellow": (250, 200, 30),
    "red": (214, 38, 34),
    "rose": (244, 150, 170),
    "sky": (130, 190, 245),
    "blue": (40, 110, 235),
}
"""The colours of parts; clutter has them too, so that a colour alone says little about the species."""
PALE: Colour = (242, 236, 220)
DARK: Colour = (34, 28, 32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pose:
    """How the bird stands; lengths in units of its own, angles in radians, positive = upwards in its view.

    Attributes:
        scale: length of the bird as a share of the image side.
        centre: its position in the image, as shares of the side.
        facing: 1.0 looks to the right, -1.0 to the left.
        roll: rotation of everything.
        tilt: of the body.
        neck: length added to the neck.
        nod: of the head.
        tail: of the tail against the body.
        stance: slant of the legs.
    """

    scale: float
    centre: tuple[float, float]
    facing: float
    roll: float
    tilt: float
    neck: float
    nod: float
    tail: float
    stance: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Blob:
    """A leaf-like or round thing before or behind the bird; places and sizes are shares of the image side."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    angle: float
    pointed: bool
    colour: Colour
    marks: str = "plain"
    mark_colour: Colour = PALE

    def shapes(self) -> list[tuple[Points, Colour]]:
        """Its polygons from back to front in shares of the image side, each with its colour."""
        t = np.linspace(0, 2 * math.pi, 16, endpoint=False)
        narrowing = np.abs(np.sin(t)) ** 0.6 if self.pointed else 1.0
        local = [(np.stack([np.cos(t), np.sin(t) * narrowing], axis=1), self.colour)]
        if self.marks == "bars":
            bar = np.array([(-0.11, -0.6), (0.11, -0.6), (0.11, 0.6), (-0.11, 0.6)])
            local += [(bar + np.array([x, 0.0]), self.mark_colour) for x in (-0.45, 0.0, 0.45)]
        if self.marks == "spots":
            spot = 0.17 * np.stack([np.cos(t[::2]), np.sin(t[::2])], axis=1)
            places = (
                (0.0, 0.0),
                (0.5, 0.15),
                (-0.5, -0.1),
                (0.1, 0.55),
                (0.0, -0.55),
                (-0.4, 0.45),
                (0.45, -0.4),
            )
            local += [(spot + place, self.mark_colour) for place in places]
        c, s = math.cos(self.angle), math.sin(self.angle)
        matrix = np.array([[c, s], [-s, c]]) * np.array(self.radii)[:, None]
        return [(polygon @ matrix + self.centre, colour) for polygon, colour in local]


@dataclass(frozen=True, kw_only=True, eq=False)
class Light:
    """How the finished drawing is lit: contrast, brightness, tint, a gradient, then noise.

    Attributes:
        contrast: factor around mid-grey.
        brightness: factor.
        tint: (3) factor of each channel.
        gradient: change of brightness from one edge to the other, along x and y.
        noise: standard deviation of the sensor noise, in grey levels of 255.
        blur: radius of the defocus, as a share of the image side.
    """

    contrast: float
    brightness: float
    tint: tuple[float, float, float]
    gradient: tuple[float, float]
    noise: float
    blur: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """One drawn scene; `noise_seed` seeds the sensor noise, whose shape depends on the image size."""

    pose: Pose
    light: Light
    back: Colour
    wing: Colour
    crest: Colour
    outline: Colour
    perch: tuple[float, float, Colour]
    texture: NDArray[np.uint8]
    far: tuple[Blob, ...]
    near: tuple[Blob, ...]
    noise_seed: int


def draw_scene(image_seed: int) -> Scene:
    """Draw the scene of one image.

    Args:
        image_seed: any whole number >= 0.

    Returns:
        The scene, always the same for the same seed.
    """
    rng = np.random.default_rng(image_seed)
    noise_seed = int(rng.integers(2**63))
    pose = _pose(rng)
    back = _hsv(rng, value=(0.30, 0.58), saturation=(0.25, 0.75))
    shade = 0.72 if rng.random() < 0.7 else 1.3
    return Scene(
        pose=pose,
        light=_light(rng),
        back=back,
        wing=_scaled(back, shade),
        crest=_lively(rng),
        outline=_scaled(back, 0.3),
        perch=(float(rng.uniform(0.022, 0.04)), float(rng.uniform(-0.15, 0.15)), _bark(rng)),
        texture=_texture(rng),
        far=tuple(_decoy(rng) for _ in range(int(rng.integers(8, 17)))),
        near=tuple(_occluder(rng) for _ in range(int(rng.integers(2, 7)))),
        noise_seed=noise_seed,
    )


def _pose(rng: np.random.Generator) -> Pose:
    scale = float(rng.uniform(0.68, 0.90))
    room_x, room_y = 0.5 - 0.5 * scale, max(0.0, 0.5 - 0.46 * scale)
    return Pose(
        scale=scale,
        centre=(0.5 + float(rng.uniform(-room_x, room_x)), 0.5 + float(rng.uniform(-room_y, room_y))),
        facing=float(rng.choice([-1.0, 1.0])),
        roll=math.radians(float(rng.uniform(-14, 14))),
        tilt=math.radians(float(rng.uniform(-6, 32))),
        neck=float(rng.uniform(0.0, 0.05)),
        nod=math.radians(float(rng.uniform(-18, 16))),
        tail=math.radians(float(rng.uniform(-16, 22))),
        stance=float(rng.uniform(-0.25, 0.25)),
    )


def _light(rng: np.random.Generator) -> Light:
    tint = rng.uniform(0.93, 1.07, size=3)
    return Light(
        contrast=float(rng.uniform(0.82, 1.15)),
        brightness=float(rng.uniform(0.82, 1.18)),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        gradient=(float(rng.uniform(-0.22, 0.22)), float(rng.uniform(-0.22, 0.22))),
        noise=float(rng.uniform(3.0, 11.0)),
        blur=float(rng.uniform(0.0, 0.004)),
    )


def _texture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A small random picture (12, 12, 3) that becomes the blurred background when it is enlarged."""
    first = np.array(_hsv(rng, value=(0.45, 0.9), saturation=(0.1, 0.6)), dtype=np.float64)
    second = np.array(_hsv(rng, value=(0.45, 0.9), saturation=(0.1, 0.6)), dtype=np.float64)
    mix = rng.random((12, 12, 1))
    speckle = rng.normal(0.0, 20.0, size=(12, 12, 1)) + rng.normal(0.0, 9.0, size=(12, 12, 3))
    picture: NDArray[np.uint8] = np.clip(first * mix + second * (1 - mix) + speckle, 60, 250).astype(np.uint8)
    return picture


def _blob(rng: np.random.Generator, size: tuple[float, float], colour: Colour) -> Blob:
    radius = float(rng.uniform(*size))
    return Blob(
        centre=(float(rng.uniform(0, 1)), float(rng.uniform(0, 1))),
        radii=(radius, radius * float(rng.uniform(0.35, 1.0))),
        angle=float(rng.uniform(0, math.pi)),
        pointed=bool(rng.random() < 0.5),
        colour=colour,
    )


def _decoy(rng: np.random.Generator) -> Blob:
    """A thing in the background with the colours and markings of parts, but not their place."""
    names = list(COLOURS)
    colour = COLOURS[names[int(rng.integers(len(names)))]]
    lively = _lively(rng)
    blob = _blob(rng, (0.03, 0.11), colour if rng.random() < 0.6 else lively)
    return replace(
        blob,
        marks=str(rng.choice(["plain", "plain", "bars", "spots"])),
        mark_colour=PALE if rng.random() < 0.5 else DARK,
    )


def _occluder(rng: np.random.Generator) -> Blob:
    """A leaf or, now and then, a twig before the bird."""
    leaf = _blob(rng, (0.025, 0.075), _foliage(rng))
    length, bark, is_twig = float(rng.uniform(0.1, 0.25)), _bark(rng), rng.random() < 0.2
    return replace(leaf, radii=(length, 0.012), colour=bark) if is_twig else leaf


def _lively(rng: np.random.Generator) -> Colour:
    """Any colour, from near black over the saturated ones to near white: those of the parts among them."""
    return _hsv(rng, value=(0.12, 1.0), saturation=(0.0, 0.9))


def _foliage(rng: np.random.Generator) -> Colour:
    return _hsv(rng, hue=(0.05, 0.42), value=(0.25, 0.65), saturation=(0.35, 0.8))


def _bark(rng: np.random.Generator) -> Colour:
    return _hsv(rng, hue=(0.03, 0.14), value=(0.25, 0.6), saturation=(0.2, 0.6))


def _hsv(
    rng: np.random.Generator,
    *,
    hue: tuple[float, float] = (0.0, 1.0),
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(
        float(rng.uniform(*hue)), float(rng.uniform(*saturation)), float(rng.uniform(*value))
    )
    return int(255 * red), int(255 * green), int(255 * blue)


def _scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue
