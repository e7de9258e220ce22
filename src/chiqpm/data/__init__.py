"""Images: folders, splits, groups, duplicates and attributes of classes. Nothing in here needs torch.

What does (`chiqpm.data.transforms`, `chiqpm.data.dataset`) is imported by its own name.
"""

from __future__ import annotations

from chiqpm.data.annotations import Annotations, PartPlaces, annotation_stamps, read_annotations
from chiqpm.data.attributes import Attributes, find_attributes, read_attributes
from chiqpm.data.duplicates import Duplicate, find_duplicates
from chiqpm.data.folder import open_folder
from chiqpm.data.frame import Geometry, geometry, to_square
from chiqpm.data.groups import read_groups
from chiqpm.data.images import UnreadableImageError, as_rgb, load_image
from chiqpm.data.packing import write_shards
from chiqpm.data.source import open_source
from chiqpm.data.split_file import apply_split, read_split, write_split
from chiqpm.data.splits import split
from chiqpm.data.table import PARTS, Fingerprints, ImageTable, Part, Progress

__all__ = [
    "PARTS",
    "Annotations",
    "Attributes",
    "Duplicate",
    "Fingerprints",
    "Geometry",
    "ImageTable",
    "Part",
    "PartPlaces",
    "Progress",
    "UnreadableImageError",
    "annotation_stamps",
    "apply_split",
    "as_rgb",
    "find_attributes",
    "find_duplicates",
    "geometry",
    "load_image",
    "open_folder",
    "open_source",
    "read_annotations",
    "read_attributes",
    "read_groups",
    "read_split",
    "split",
    "to_square",
    "write_shards",
    "write_split",
]
