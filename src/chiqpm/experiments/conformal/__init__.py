"""What the prediction sets promise, cost and look like, measured: `python -m chiqpm.experiments.conformal`."""
