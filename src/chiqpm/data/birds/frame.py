"""Nested coordinate frames and the few curves from which a bird is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from chiqpm.data.birds.scene import Points


@dataclass(frozen=True, eq=False)
class Frame:
    """A place, direction and scale: own coordinates -> pixels. In every frame x is ahead and y is down."""

    matrix: NDArray[np.float64]
    origin: NDArray[np.float64]

    def place(self, points: Points) -> Points:
        """Points (N, 2) of this frame in pixels."""
        return points @ self.matrix.T + self.origin

    def at(self, x: float, y: float, upwards: float = 0.0) -> Frame:
        """The frame whose origin is (x, y) in this one and which is turned upwards by an angle in radians."""
        return Frame(self.matrix @ rotation(-upwards), self.place(np.array([[x, y]]))[0])

    def locate(self, other: Frame, x: float, y: float) -> tuple[float, float]:
        """Coordinates in this frame of the point (x, y) of another frame."""
        pixel = other.place(np.array([[x, y]]))[0]
        inside = np.linalg.solve(self.matrix, pixel - self.origin)
        return float(inside[0]), float(inside[1])


def rotation(angle: float) -> NDArray[np.float64]:
    """The (2, 2) matrix that turns ahead (x) towards down (y) by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


def points(*corners: tuple[float, float]) -> Points:
    """A polygon from its corners."""
    return np.array(corners, dtype=np.float64)


def ellipse(x: float, y: float, width: float, height: float, *, count: int = 20, turn: float = 0.0) -> Points:
    """An ellipse (count, 2) with half axes `width` and `height`, turned by an angle in radians."""
    t = np.linspace(0, 2 * math.pi, count, endpoint=False)
    return np.stack([width * np.cos(t), height * np.sin(t)], axis=1) @ rotation(turn).T + (x, y)


def curve(*controls: tuple[float, float], count: int = 12) -> Points:
    """A Bézier curve (count, 2) of any degree."""
    t = np.linspace(0, 1, count)[:, None]
    level = [np.array(control, dtype=np.float64)[None] for control in controls]
    while len(level) > 1:
        level = [(1 - t) * a + t * b for a, b in pairwise(level)]
    return level[0]


def ribbon(line: Points, width: float) -> Points:
    """A band of constant `width` along a line (N, 2)."""
    return lobe(line, np.full(len(line), width / 2))


def lobe(line: Points, half_width: NDArray[np.float64]) -> Points:
    """A band along a line (N, 2) whose half width (N) varies."""
    along = np.gradient(line, axis=0)
    across = along[:, ::-1] * (-1.0, 1.0) / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    offset = across * half_width[:, None]
    return np.concatenate([line + offset, (line - offset)[::-1]])


def grown(polygon: Points, margin: float) -> Points:
    """A polygon (N, 2) whose edges are moved outwards by about `margin`, for outlines."""
    edge = np.roll(polygon, -1, axis=0) - polygon
    edge /= np.maximum(np.linalg.norm(edge, axis=1, keepdims=True), 1e-9)
    x, y = polygon.T
    clockwise = math.copysign(1.0, float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    normal = edge[:, ::-1] * (clockwise, -clockwise)
    corner = normal + np.roll(normal, 1, axis=0)
    # At a sharp corner the mitre would run far out; its length is limited to twice the margin.
    scale = 2.0 / np.maximum((corner**2).sum(axis=1, keepdims=True), 1.0)
    moved: Points = polygon + margin * corner * scale
    return moved
