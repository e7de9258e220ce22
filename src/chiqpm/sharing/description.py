"""`classifier.json`: all of a classifier but its weights and its calibration, as checked plain values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from chiqpm import __version__
from chiqpm.config import BackboneConfig, DataConfig
from chiqpm.config_file import build
from chiqpm.errors import ChiqpmError, DamagedFileError
from chiqpm.files import read_json, write_json
from chiqpm.lines import is_line

FORMAT = 1
"""Version of the files of a saved classifier; docs/versioning.md says when it grows and what is read."""
LARGEST_IMAGE = 4096
"""A file can't ask for larger images than this (pixels a side): it would ask for all memory, too."""


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """How the maps become features; as for `CHiQPM`."""

    pooled_share: float
    dropout: float
    dropout_place: Literal["pooled", "normalised"]
    rectify: bool


@dataclass(frozen=True, kw_only=True)
class Description:
    """What `classifier.json` holds.

    Attributes:
        backbone: the network, without `auto`.
        data: how pictures are prepared.
        model: how maps become features.
        classes: C names.
        features: K names, or None.
        active_mean: K usual activations of features where they are active.
        coverage: coverage of the sets when none is asked for.
        format: version of the files.
        version: the chiqpm that wrote them.
        weights: fingerprint of the weights beside it; None where an earlier version wrote it.
    """

    backbone: BackboneConfig
    data: DataConfig
    model: HeadOptions
    classes: tuple[str, ...]
    features: tuple[str, ...] | None
    active_mean: tuple[float, ...]
    coverage: float
    format: int = FORMAT
    version: str = __version__
    weights: str | None = None

    def write(self, path: Path) -> None:
        """Write the file, without names of files on the machine that trained."""
        write_json(path, asdict(replace(self, data=replace(self.data, groups=None, attributes=None))))


def read_description(path: Path) -> Description:
    """Read and check a `classifier.json`; it can name options and networks, and nothing that would be run.

    Raises:
        ChiqpmError: it is damaged, of a newer format, or holds an impossible value; file and key are named.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise DamagedFileError(f"{path} must hold an object with keys, received {type(values).__name__}")
    _check_format(path, values)
    missing = [name for name in _required() if name not in values]
    if missing:
        raise DamagedFileError(f"{path} is damaged: the key {missing[0]!r} is missing; save the classifier again")
    try:
        description = build(Description, values, "")
        _check(description)
    except TypeError as error:
        raise DamagedFileError(f"{path} is damaged: in the key 'model', {error}") from None
    except ChiqpmError as error:
        raise DamagedFileError(f"{path}: {error}") from None
    return description


def _required() -> list[str]:
    return [field.name for field in fields(Description) if field.default is MISSING]


def _check_format(path: Path, values: dict[str, Any]) -> None:
    found = values.get("format")
    if type(found) is not int or found < 1:
        raise ChiqpmError(f"{path}: the key 'format' must be a whole number from 1 to {FORMAT}, received {found!r}")
    if found > FORMAT:
        raise ChiqpmError(
            f"{path} was written in format {found} by chiqpm {values.get('version', 'of a later version')}; this is "
            f"chiqpm {__version__}, which reads format {FORMAT}. Update it: pip install --upgrade chiqpm"
        )


def _check(description: Description) -> None:
    """Raise ChiqpmError for values of the right kind that can't be meant; the message begins with the key."""
    side = description.data.image_size
    if side > LARGEST_IMAGE:
        raise ChiqpmError(f"option data.image_size must be at most {LARGEST_IMAGE} pixels, received {side}")
    if len(description.classes) < 2:
        raise ChiqpmError(f"option classes must name at least 2 classes, received {len(description.classes)}")
    _check_names("classes", description.classes)
    if description.features is not None and len(description.features) != len(description.active_mean):
        raise ChiqpmError(
            f"option features names {len(description.features)} features where active_mean has "
            f"{len(description.active_mean)} values"
        )
    _check_lines("features", [name for name in description.features or () if name])
    for place, value in enumerate(description.active_mean):
        if not math.isfinite(value):
            raise ChiqpmError(f"option active_mean must be finite, received {value} at place {place}")
    if not 0.0 < description.coverage < 1.0:
        raise ChiqpmError(f"option coverage must lie in (0, 1), received {description.coverage}")


def _check_names(key: str, names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ChiqpmError(f"option {key} must be distinct names, received {twice[0]!r} more than once")
    _check_lines(key, names)


def _check_lines(key: str, names: Sequence[str]) -> None:
    unfit = [name for name in names if not is_line(name)]
    if unfit:
        raise ChiqpmError(
            f"option {key} must be names that are not blank, without line breaks and control characters, "
            f"received {unfit[0]!r}"
        )
