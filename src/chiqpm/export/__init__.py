"""A classifier for other runtimes: ONNX, with the maps, the scores of the prediction sets and all names in the file."""

from __future__ import annotations

from chiqpm.export.onnx_file import OnnxReport, export_onnx

__all__ = ["OnnxReport", "export_onnx"]
