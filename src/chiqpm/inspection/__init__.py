"""What a finished run shows to people, as values: for the report and the web demo, or for a caller's own page."""

from __future__ import annotations

from chiqpm.inspection.choices import Choice, choose_images
from chiqpm.inspection.examined import Examined, examine, explain_examined
from chiqpm.inspection.findings import Finding
from chiqpm.inspection.record import Lack, RunRecord, read_record
from chiqpm.inspection.tree_errors import ConfusedPair, TreeErrors, tree_errors

__all__ = [
    "Choice",
    "ConfusedPair",
    "Examined",
    "Finding",
    "Lack",
    "RunRecord",
    "TreeErrors",
    "choose_images",
    "examine",
    "explain_examined",
    "read_record",
    "tree_errors",
]
