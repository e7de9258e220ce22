"""Published data sets in their original files: recognised, checked on opening, and read into a `Layout`."""

from __future__ import annotations

from chiqpm.data.releases.aircraft import AIRCRAFT, find_aircraft, read_aircraft
from chiqpm.data.releases.cars import CARS, find_cars, read_cars
from chiqpm.data.releases.cub import CUB, find_cub, read_cub
from chiqpm.data.releases.imagenet import IMAGENET, find_imagenet, read_imagenet
from chiqpm.data.releases.release import Release
from chiqpm.data.releases.travelingbirds import TRAVELINGBIRDS, find_travelingbirds, read_travelingbirds

__all__ = [
    "AIRCRAFT",
    "CARS",
    "CUB",
    "IMAGENET",
    "TRAVELINGBIRDS",
    "Release",
    "find_aircraft",
    "find_cars",
    "find_cub",
    "find_imagenet",
    "find_travelingbirds",
    "read_aircraft",
    "read_cars",
    "read_cub",
    "read_imagenet",
    "read_travelingbirds",
]
