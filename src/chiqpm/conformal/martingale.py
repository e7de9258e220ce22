"""A conformal test martingale: an alarm when images stop looking like those of the calibration."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.conformal.arrays import Array, as_numpy
from chiqpm.errors import ChiqpmError

_FORMAT = 1


class ExchangeabilityMonitor:
    """Bets against the exchangeability of calibration images and a stream of new ones.

    Each new nonconformity score is ranked among those of the calibration and of the stream so far. If all images are
    exchangeable, these smoothed p-values are independent and uniform, and the capital of a gambler who bets on
    their being too small or too large is a martingale: that it ever exceeds 1 / `false_alarm` has at most the
    probability `false_alarm`, however long the stream is (Ville's inequality). The bets are those of the Simple Jumper
    (Vovk, Petej, Nouretdinov, Ahlberg, Carlsson and Gammerman, 2021, "Retrain or not retrain").

    With labels, give the scores of the true classes: the alarm is about coverage. Without, give any number that tells
    how strange an image is, for instance the score of its predicted class under `THR`, for calibration and stream
    alike.

    >>> generator = np.random.default_rng(0)
    >>> monitor = ExchangeabilityMonitor(generator.normal(size=200), false_alarm=0.01, seed=0)
    >>> monitor.update(generator.normal(size=300)).alarm
    False
    >>> monitor.update(generator.normal(size=300) + 1.0).alarm
    True
    """

    def __init__(self, scores_M: Array, *, false_alarm: float = 0.01, jump: float = 0.01, seed: int) -> None:
        """Start with the scores of the calibration images.

        Args:
            scores_M: finite or infinite scores, at least one.
            false_alarm: probability, in (0, 1), of an alarm that is ever raised without a reason.
            jump: share of the capital, in (0, 1], that changes its opinion at each image; larger forgets faster.
            seed: of the draws that break ties.

        Raises:
            ChiqpmError: a number out of range, no score, or NaN.
        """
        if not 0 < false_alarm < 1:
            raise ChiqpmError(f"false_alarm must lie strictly between 0 and 1; got {false_alarm}.")
        if not 0 < jump <= 1:
            raise ChiqpmError(f"jump must lie in (0, 1]; got {jump}.")
        scores = _column(scores_M)
        if scores.size == 0:
            raise ChiqpmError("the monitor needs the score of at least one calibration image; got none.")
        self.false_alarm, self.jump = float(false_alarm), float(jump)
        self.num_images = 0
        self.alarm_at: int | None = None
        self.last_p_value = math.nan
        self._generator = np.random.default_rng(seed)
        self._sorted: list[float] = sorted(scores.tolist())
        # Natural logarithm of the whole capital, and its division among the three opinions (small, any, large).
        self._log_capital = 0.0
        self._shares = np.full(3, 1 / 3)

    @property
    def alarm(self) -> bool:
        """Whether the alarm was ever raised."""
        return self.alarm_at is not None

    @property
    def log10_capital(self) -> float:
        """Evidence against exchangeability so far: the power of ten that the gambler made of 1."""
        return self._log_capital / math.log(10)

    def update(self, scores_B: Array | Iterable[float]) -> ExchangeabilityMonitor:
        """Take in the scores of new images, in the order in which they came.

        Returns:
            The monitor itself; `alarm_at` is the number of images after which the alarm was first raised, or None,
            `last_p_value` the p-value of the last image.

        Raises:
            ChiqpmError: NaN, or not one-dimensional.
        """
        for score in _column(scores_B).tolist():
            self.last_p_value = self._p_value(score)
            self._bet(self.last_p_value)
            bisect.insort(self._sorted, score)
            self.num_images += 1
            if self.alarm_at is None and self._log_capital >= -math.log(self.false_alarm):
                self.alarm_at = self.num_images
        return self

    def state(self) -> dict[str, Any]:
        """Return all that continues the monitor, as plain values for JSON."""
        return {
            "format": _FORMAT,
            "false_alarm": self.false_alarm,
            "jump": self.jump,
            "num_images": self.num_images,
            "alarm_at": self.alarm_at,
            "log_capital": self._log_capital,
            "shares": self._shares.tolist(),
            "scores": list(self._sorted),
            "generator": self._generator.bit_generator.state,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> ExchangeabilityMonitor:
        """Continue a monitor.

        Raises:
            ChiqpmError: something is missing or of another version.
        """
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        if found != _FORMAT:
            raise ChiqpmError(f"this is no state of a monitor in format {_FORMAT}; got {found!r}.")
        try:
            monitor = cls(state["scores"], false_alarm=state["false_alarm"], jump=state["jump"], seed=0)
            monitor.num_images, monitor.alarm_at = state["num_images"], state["alarm_at"]
            monitor._log_capital, monitor._shares = float(state["log_capital"]), np.array(state["shares"], dtype=float)
            monitor._generator.bit_generator.state = state["generator"]
        except KeyError as error:
            raise ChiqpmError(f"the state of the monitor lacks {error}.") from error
        except ChiqpmError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise ChiqpmError(f"the state of the monitor is damaged ({error}).") from error
        numbers = [monitor.num_images, 0 if monitor.alarm_at is None else monitor.alarm_at]
        if any(type(number) is not int or number < 0 for number in numbers) or monitor._shares.shape != (3,):
            raise ChiqpmError("the state of the monitor is damaged: impossible counts or shares.")
        return monitor

    def _p_value(self, score: float) -> float:
        """Smoothed p-value: small where the score is larger than the others."""
        below, through = bisect.bisect_left(self._sorted, score), bisect.bisect_right(self._sorted, score)
        larger, ties = len(self._sorted) - through, through - below + 1
        return (larger + self._generator.random() * ties) / (len(self._sorted) + 1)

    def _bet(self, p_value: float) -> None:
        shares = (1 - self.jump) * self._shares + self.jump / 3
        shares *= 1 + np.array([-1.0, 0.0, 1.0]) * (p_value - 0.5)
        growth = float(shares.sum())
        self._log_capital += math.log(growth)
        self._shares = shares / growth


def _column(scores: Array | Iterable[float]) -> NDArray[np.float64]:
    column = as_numpy(scores).astype(np.float64)
    if column.ndim != 1 or np.isnan(column).any():
        raise ChiqpmError(f"scores must be one number per image, without NaN; got shape {column.shape}.")
    return column
