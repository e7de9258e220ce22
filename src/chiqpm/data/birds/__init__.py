"""Procedural synthetic birds: a fine-grained data set whose evidence is known, drawn with Pillow.

No real birds are shown. Species are combinations of discrete attributes of parts; siblings differ in exactly
one. The same picture can be rendered again with an attribute exchanged or a part removed.
"""

from chiqpm.data.birds.dataset import SPLITS, Split, SyntheticBirds
from chiqpm.data.birds.folder import BirdReference, is_birds, locate, open_birds, write_birds
from chiqpm.data.birds.rendering import BirdImage, render
from chiqpm.data.birds.taxonomy import (
    ATTRIBUTE_PART,
    ATTRIBUTE_VALUES,
    PARTS,
    BirdsConfig,
    Taxonomy,
    describe,
    make_taxonomy,
    swap,
)

__all__ = [
    "ATTRIBUTE_PART",
    "ATTRIBUTE_VALUES",
    "PARTS",
    "SPLITS",
    "BirdImage",
    "BirdReference",
    "BirdsConfig",
    "Split",
    "SyntheticBirds",
    "Taxonomy",
    "describe",
    "is_birds",
    "locate",
    "make_taxonomy",
    "open_birds",
    "render",
    "swap",
    "write_birds",
]
