"""The command `predict`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from chiqpm.cli.common import Common, write
from chiqpm.errors import ChiqpmError


@dataclass(frozen=True, kw_only=True)
class Predict(Common):
    """Classify images: label, prediction set and the path to it."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory."""
    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE...")]
    """Pictures, or folders of them."""
    coverage: float | None = None
    """Probability with which the set contains the truth; by default that of the run."""
    device: str = "auto"
    """Where to compute."""

    def run(self) -> None:
        """Predict and print."""
        from chiqpm.classifier import load

        classifier = load(self.model, device=self.device)
        for path in list_pictures(self.images):
            prediction = classifier.predict(path, self.coverage)
            if self.json:
                line = json.dumps({"image": str(path), **prediction.to_dict()}, ensure_ascii=False)
                write(line)
            else:
                write(f"{path}: {prediction.explanation.sentence()}")


def list_pictures(paths: Sequence[Path]) -> list[Path]:
    """Return pictures in the order given, those of a folder sorted, with subfolders.

    Raises:
        FileNotFoundError: a path doesn't exist.
        ChiqpmError: nothing to classify.
    """
    from chiqpm.data.images import is_image_name

    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no image or folder {path}")
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.is_file() and is_image_name(file.name))
        else:
            found.append(path)
    if not found:
        raise ChiqpmError(f"no pictures in {', '.join(str(path) for path in paths) or 'the arguments'}")
    return found
