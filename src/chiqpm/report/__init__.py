"""A run as one self-contained HTML page."""

from __future__ import annotations

from chiqpm.report.page import ReportOptions, report_html, write_report

__all__ = ["ReportOptions", "report_html", "write_report"]
