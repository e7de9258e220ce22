"""How a synthetic bird is drawn: each part by its attributes, in the frame of what carries it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from chiqpm.data.birds.canvas import Canvas
from chiqpm.data.birds.frame import Frame, curve, ellipse, grown, lobe, points, ribbon, rotation
from chiqpm.data.birds.scene import COLOURS, DARK, PALE, Colour, Points, Scene
from chiqpm.data.birds.taxonomy import PARTS

BODY_LABEL = 1
PART_LABEL: Mapping[str, int] = {part: BODY_LABEL + 1 + index for index, part in enumerate(PARTS)}
"""Part -> its number in the part map; 0 is no bird, 1 the body."""

_OUTLINE = 0.011
_BODY = (0.215, 0.155)
_HEAD = 0.125


class BirdPainter:
    """Paint one bird of a scene on a canvas, from back to front.

    Args:
        canvas: where to paint.
        scene: pose and colours.
        species: attribute -> value.
        remove: a part to leave out, or None.
    """

    def __init__(self, canvas: Canvas, scene: Scene, species: Mapping[str, str], remove: str | None) -> None:
        self._canvas = canvas
        self._scene = scene
        self._species = species
        self._remove = remove
        pose = scene.pose
        matrix = canvas.size * pose.scale * rotation(pose.roll) @ np.diag([pose.facing, 1.0])
        self.bird = Frame(matrix, np.array(pose.centre) * canvas.size).at(-0.02, 0.06)
        self._body = self.bird.at(0.0, 0.0, pose.tilt)
        neck = self.bird.locate(self._body, 0.165, -0.10)
        self._head = self.bird.at(neck[0] + 0.5 * pose.neck, neck[1] - pose.neck, pose.nod)
        self._tail = self._body.at(-0.18, -0.02, -pose.tail)

    def paint(self) -> None:
        """Paint every part that is not removed."""
        steps = {
            "tail": self._paint_tail,
            "legs": self._paint_legs,
            "crest": self._paint_crest,
            "body": self._paint_body,
            "breast": self._paint_breast,
            "wing": self._paint_wing,
            "beak": self._paint_beak,
            "face": self._paint_face,
        }
        for part, step in steps.items():
            if part != self._remove:
                step()

    def _fill(self, frame: Frame, polygon: Points, colour: Colour, part: str, *, outline: float = 0.0) -> None:
        label = PART_LABEL.get(part, BODY_LABEL)
        if outline:
            self._canvas.polygon(frame.place(grown(polygon, outline)), self._scene.outline, label)
        self._canvas.polygon(frame.place(polygon), colour, label)

    def _paint_tail(self) -> None:
        lobes = _tail_lobes(self._species["tail"])
        for line, width in lobes:
            self._fill(self._tail, lobe(line, width), self._scene.wing, "tail", outline=_OUTLINE)
        slices = {"plain": (), "barred": ((0.38, 0.50), (0.62, 0.74), (0.86, 0.96)), "tipped": ((0.66, 1.0),)}
        for start, stop in slices[self._species["tail_mark"]]:
            for line, width in lobes:
                along = np.linspace(start, stop, 8) * (len(line) - 1)
                steps = np.arange(len(line))
                piece = np.stack([np.interp(along, steps, line[:, axis]) for axis in (0, 1)], axis=1)
                self._fill(self._tail, lobe(piece, np.interp(along, steps, width)), PALE, "tail")

    def _paint_legs(self) -> None:
        colour = COLOURS[self._species["leg_colour"]]
        for hip_x, foot_x in ((-0.035, -0.02), (0.06, 0.085)):
            hip = self.bird.locate(self._body, hip_x, 0.11)
            foot = foot_x + 0.16 * self._scene.pose.stance
            leg = curve(hip, (0.5 * (hip[0] + foot) - 0.015, 0.21), (foot, 0.305), count=5)
            toes = points((foot - 0.045, 0.295), (foot + 0.05, 0.29), (foot + 0.07, 0.325), (foot - 0.05, 0.325))
            shapes = (ribbon(leg, 0.036), toes)
            for shape in shapes:
                self._canvas.polygon(self.bird.place(grown(shape, 0.008)), self._scene.outline, PART_LABEL["legs"])
            for shape in shapes:
                self._fill(self.bird, shape, colour, "legs")

    def _paint_body(self) -> None:
        head = self.bird.locate(self._head, 0.0, 0.0)
        chest = self.bird.locate(self._body, 0.055, 0.0)
        shapes = (
            (self._body, _body_outline()),
            (self.bird, lobe(points(chest, head), np.array([0.115, 0.105]))),
            (self._head, ellipse(0.0, 0.0, _HEAD, _HEAD * 0.95)),
        )
        for frame, shape in shapes:
            self._canvas.polygon(frame.place(grown(shape, _OUTLINE)), self._scene.outline, BODY_LABEL)
        for frame, shape in shapes:
            self._fill(frame, shape, self._scene.back, "body")

    def _paint_breast(self) -> None:
        angles = np.radians(np.linspace(-38, 118, 16))
        rim = 0.97 * np.stack([_BODY[0] * np.cos(angles), _BODY[1] * np.sin(angles)], axis=1)
        inner = curve(tuple(rim[-1]), (-0.03, 0.01), (0.06, -0.07), tuple(rim[0]))
        patch = np.concatenate([rim, inner[1:-1]])
        self._fill(self._body, patch, COLOURS[self._species["breast_colour"]], "breast", outline=0.007)
        for mark in _breast_marks(self._species["breast"]):
            self._fill(self._body, mark, DARK, "breast")

    def _paint_wing(self) -> None:
        wing = self._body.at(-0.075, -0.045, math.radians(-6))
        self._fill(wing, _wing_outline(1.0), self._scene.wing, "wing", outline=_OUTLINE)
        pattern = self._species["wing"]
        if pattern == "edge":
            self._fill(wing, _wing_outline(0.97), PALE, "wing")
            self._fill(wing, _wing_outline(0.66), self._scene.wing, "wing")
        for mark in _wing_marks(pattern):
            self._fill(wing, mark, PALE, "wing")

    def _paint_crest(self) -> None:
        for shape in _crest_shapes(self._species["crest"]):
            self._fill(self._head, shape, self._scene.crest, "crest", outline=_OUTLINE)

    def _paint_beak(self) -> None:
        shape = _beak_outline(self._species["beak_shape"])
        self._fill(self._head, shape, COLOURS[self._species["beak_colour"]], "beak", outline=_OUTLINE)

    def _paint_face(self) -> None:
        for shape, colour in _face_marks(self._species["face"]):
            self._fill(self._head, shape, colour, "face")
        self._fill(self._head, ellipse(0.04, -0.03, 0.031, 0.031, count=14), PALE, "face")
        self._fill(self._head, ellipse(0.043, -0.03, 0.022, 0.022, count=12), (16, 14, 16), "face")


def _body_outline() -> Points:
    outline = ellipse(0.0, 0.0, *_BODY, count=28)
    # The rear narrows towards the tail.
    outline[:, 1] *= 1.0 - 0.9 * np.maximum(-outline[:, 0] - 0.08, 0.0) / _BODY[0]
    return outline


def _wing_outline(size: float) -> Points:
    t = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    x, y = 0.175 * np.cos(t), 0.092 * np.sin(t)
    return size * np.stack([x, y * (1.0 + 0.45 * np.cos(t)) - 0.25 * np.minimum(x, 0.0) * 0.5], axis=1)


def _wing_marks(pattern: str) -> list[Points]:
    if pattern == "bars":
        return [
            points((x - 0.018, top), (x + 0.014, top), (x + 0.018, end), (x - 0.014, end))
            for x, top, end in ((0.085, -0.072, 0.072), (0.02, -0.075, 0.075), (-0.045, -0.045, 0.065))
        ]
    if pattern == "spots":
        centres = [(0.115, -0.03), (0.115, 0.035), (0.065, 0.0), (0.06, 0.065), (0.06, -0.06), (0.01, -0.035)]
        centres += [(0.01, 0.035), (-0.04, 0.005), (-0.045, 0.055), (-0.09, 0.03)]
        return [ellipse(x, y, 0.0175, 0.0175, count=10) for x, y in centres]
    return []


def _breast_marks(pattern: str) -> list[Points]:
    if pattern == "bib":
        angles = np.radians(np.linspace(-38, 22, 8))
        rim = 0.97 * np.stack([_BODY[0] * np.cos(angles), _BODY[1] * np.sin(angles)], axis=1)
        return [np.concatenate([rim, curve(tuple(rim[-1]), (0.11, 0.02), (0.10, -0.04), tuple(rim[0]))[1:-1]])]
    centres = [(0.165, -0.045), (0.125, -0.01), (0.17, 0.015), (0.125, 0.05), (0.075, 0.035), (0.08, 0.09)]
    centres += [(0.03, 0.065), (0.025, 0.115), (-0.02, 0.10), (0.145, 0.085)]
    if pattern == "spots":
        return [ellipse(x, y, 0.0145, 0.0145, count=10) for x, y in centres]
    if pattern == "streaks":
        return [
            points((x - 0.034, y - 0.004), (x + 0.03, y - 0.012), (x + 0.034, y + 0.001), (x - 0.03, y + 0.009))
            for x, y in centres[1:9]
        ]
    return []


def _crest_shapes(crest: str) -> list[Points]:
    if crest == "spike":
        return [points((0.06, -0.09), (-0.06, -0.16), (-0.17, -0.23), (-0.125, -0.11), (-0.10, 0.0))]
    if crest == "fan":
        corners = [(0.085, -0.06)]
        for step in range(5):
            angle = math.radians(-62 - 24 * step)
            for turn, radius in ((-0.2, 0.135), (0.0, 0.215), (0.2, 0.135)):
                corners.append((radius * math.cos(angle - turn), radius * math.sin(angle - turn)))
        return [points(*corners, (-0.09, -0.02))]
    if crest == "plume":
        stalk = curve((-0.01, -0.09), (-0.05, -0.21), (0.05, -0.21), count=8)
        return [ribbon(stalk, 0.022), ellipse(0.062, -0.20, 0.042, 0.032, count=14, turn=0.35)]
    return []


def _beak_outline(shape: str) -> Points:
    if shape == "cone":
        return points((0.08, -0.085), (0.165, -0.055), (0.26, 0.035), (0.165, 0.085), (0.08, 0.09))
    if shape == "dagger":
        return points((0.10, -0.04), (0.37, 0.02), (0.10, 0.055))
    if shape == "hook":
        top = curve((0.08, -0.075), (0.22, -0.10), (0.275, 0.0), (0.22, 0.14), count=9)
        return np.concatenate([top, curve((0.195, 0.06), (0.16, 0.065), (0.085, 0.07), count=4)])
    end = np.linspace(-2.6, 2.6, 14)
    spoon = np.stack([0.285 + 0.068 * np.cos(end), 0.01 + 0.068 * np.sin(end)], axis=1)
    return np.concatenate([points((0.10, -0.03), (0.21, -0.022)), spoon, points((0.21, 0.034), (0.10, 0.045))])


def _face_marks(face: str) -> list[tuple[Points, Colour]]:
    if face == "mask":
        band = points((0.115, -0.055), (0.02, -0.078), (-0.10, -0.055), (-0.10, 0.0), (0.02, 0.022), (0.118, 0.005))
        return [(band, DARK)]
    if face == "brow":
        brow = curve((0.10, -0.065), (0.03, -0.115), (-0.115, -0.045), count=8)
        return [(ribbon(brow, 0.036), PALE)]
    if face == "cheek":
        return [(ellipse(-0.015, 0.052, 0.060, 0.047, count=16), PALE)]
    return []


def _tail_lobes(tail: str) -> list[tuple[Points, np.ndarray[tuple[int], np.dtype[np.float64]]]]:
    s = np.linspace(0.0, 1.0, 13)
    if tail == "fan":
        width = 0.035 + 0.115 * s
        width[-1] *= 0.75
        return [(np.stack([-0.27 * s, 0.0 * s], axis=1), width)]
    if tail == "fork":
        width = 0.042 * np.sqrt(1 - s**4) + 0.006
        return [(np.stack([-0.31 * s, side * (0.015 + 0.13 * s**1.6)], axis=1), width) for side in (-1.0, 1.0)]
    if tail == "pin":
        return [(np.stack([-0.34 * s, 0.0 * s], axis=1), 0.055 * (1 - s) ** 0.6 + 0.006)]
    width = np.where(s < 0.45, 0.024, 0.0)
    disc = np.clip((s - 0.40) / 0.60, 0.0, 1.0)
    width = np.maximum(width, 0.092 * np.sqrt(np.maximum(1 - (2 * disc - 1) ** 2, 0.0)))
    return [(np.stack([-0.33 * s, 0.0 * s], axis=1), width)]
