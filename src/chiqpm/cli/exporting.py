"""The command `export`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from chiqpm.cli.common import Common, write, write_json


@dataclass(frozen=True, kw_only=True)
class Export(Common):
    """Write a classifier as ONNX, with features, maps, logits, and what makes prediction sets (needs chiqpm[onnx])."""

    model: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run directory, or the name of a model on the Hugging Face Hub, `owner/name`."""
    out: Path = Path("model.onnx")
    """The file."""
    opset: int = 18
    """Version of the ONNX operators."""

    def run(self) -> None:
        """Export and report the difference from PyTorch."""
        from chiqpm.classifier import load
        from chiqpm.export import export_onnx

        report = export_onnx(load(self.model, device="cpu"), self.out, opset=self.opset)
        if self.json:
            write_json({**asdict(report), "path": str(report.path)})
        else:
            write(report.sentence())
