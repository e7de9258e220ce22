"""The command `predict`."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from chiqpm.cli.common import Common, write, write_json
from chiqpm.errors import ChiqpmError
from chiqpm.lines import as_line

if TYPE_CHECKING:
    from chiqpm.classifier import Classifier

logger = logging.getLogger(__name__)

SOME_UNREADABLE = 3
"""Exit code where all was done but pictures couldn't be read."""


@dataclass(frozen=True, kw_only=True)
class Predict(Common):
    """Classify images: label, prediction set and the path to it.

    With --out, folders of any size go into a CSV or JSON Lines file, one row a picture; stopped at any moment, the same
    command goes on. Unreadable pictures get a row, too, or without --out a warning; they make the exit code 3.
    """

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory, or the name of a model on the Hugging Face Hub, `owner/name`."""
    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE...")]
    """Pictures, or folders of them."""
    out: Path | None = None
    """Write a row for each picture into this file, .csv or .jsonl, instead of printing."""
    overwrite: bool = False
    """Begin again where the file is there already (only with --out)."""
    coverage: float | None = None
    """Probability with which the set contains the truth; by default that of the run."""
    batch_size: int | None = None
    """Pictures that are computed together; None chooses by the device."""
    workers: int | None = None
    """Processes that load pictures; 0 loads in the main process; None chooses by the machine and their number."""
    device: str = "auto"
    """Where to compute."""

    def run(self) -> int:
        """Predict into a file, or print; returns the exit code."""
        from chiqpm.classifier import load

        classifier = load(self.model, device=self.device)
        unreadable = self._print(classifier) if self.out is None else self._write(classifier, self.out)
        return SOME_UNREADABLE if unreadable else 0

    def _write(self, classifier: Classifier, out: Path) -> int:
        from chiqpm.bulk import predict_files

        summary = predict_files(
            classifier,
            self.images,
            out,
            coverage=self.coverage,
            workers=self.workers,
            batch_size=self.batch_size,
            overwrite=self.overwrite,
            quiet=self.quiet,
        )
        if self.json:
            write_json({**asdict(summary), "out": str(summary.out), "per_second": summary.per_second})
        else:
            write(summary.sentence())
        return summary.unreadable

    def _print(self, classifier: Classifier) -> int:
        from chiqpm.bulk import list_pictures
        from chiqpm.data.images import UnreadableImageError

        total = unreadable = 0
        for path in list_pictures(self.images):
            total += 1
            try:
                prediction = classifier.predict(path, self.coverage)
            except UnreadableImageError as error:
                unreadable += 1
                logger.warning("%s", as_line(str(error)))
                continue
            if self.json:
                write(json.dumps({"image": path, **prediction.to_dict()}, ensure_ascii=False))
            else:
                write(f"{as_line(path)}: {prediction.explanation.sentence()}")
        if total == 0:
            raise ChiqpmError(f"no pictures in {', '.join(str(path) for path in self.images) or 'the arguments'}")
        return unreadable
