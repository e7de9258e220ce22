"""A run as one self-contained HTML page."""

from __future__ import annotations

from chiqpm.report.page import report_html, write_report

__all__ = ["report_html", "write_report"]
