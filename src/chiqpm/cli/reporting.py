"""The command `report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from chiqpm.cli.common import Common, write, write_json


@dataclass(frozen=True, kw_only=True)
class Report(Common):
    """Write all that is known of a run into one HTML file that can be read, printed and handed on."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory."""
    out: Path | None = None
    """The file; by default report.html in the run directory."""
    data: Path | None = None
    """The folder of images, where it has moved since the run."""
    examples: int = 3
    """Explained test images of each kind: right, uncertain, wrong."""
    features: int = 100
    """Features that are shown with pictures, those of most classes first."""
    faithfulness_images: int = 8
    """Test images on which faithfulness is measured, about a second each; 0 leaves it out."""
    device: str = "auto"
    """Where to compute."""

    def run(self) -> None:
        """Write the file."""
        from chiqpm.report import ReportOptions, write_report

        options = ReportOptions(
            examples=self.examples, features=self.features, faithfulness_images=self.faithfulness_images
        )
        file = write_report(self.model, self.out, data_folder=self.data, options=options, device=self.device)
        size = file.stat().st_size
        if self.json:
            write_json({"report": str(file), "bytes": size})
        else:
            write(f"Report: {file} ({size / 1e6:.1f} MB, one file without anything from elsewhere)")
