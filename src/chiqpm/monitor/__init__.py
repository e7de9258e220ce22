"""Coverage in deployment: a stream of images against the calibration, with an alarm of chosen probability."""

from __future__ import annotations

from chiqpm.monitor.report import MonitorReport, Observed
from chiqpm.monitor.watch import monitor

__all__ = ["MonitorReport", "Observed", "monitor"]
