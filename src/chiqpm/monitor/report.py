"""What a monitored stream told, image by image, over time, and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chiqpm.conformal import Rate, clopper_pearson


@dataclass(frozen=True)
class Observed:
    """What came of one image.

    Attributes:
        path: the image.
        label: its true class, if known.
        predicted: its predicted class.
        set_size: number of classes in its prediction set.
        covered: whether the set holds the label; None without one.
        p_image: p-value of the prediction's improbability among calibration and stream; small for strange images. None
            for an image that an earlier call has counted, of which the label became known since.
        p_label: p-value of the label's score; None without one.
        log10_capital: evidence against exchangeability after this image, the larger one of the two gamblers'.
    """

    path: str
    label: str | None
    predicted: str
    set_size: int
    covered: bool | None
    p_image: float | None
    p_label: float | None
    log10_capital: float

    @property
    def is_new(self) -> bool:
        """Whether the image is new, not only its label."""
        return self.p_image is not None


@dataclass(frozen=True)
class Window:
    """Coverage over some labelled images in a row.

    Attributes:
        first: number of the first image of the stream in it, from 1, those of earlier calls included.
        last: of the last one.
        coverage: share of its labelled images whose set holds the truth.
        mean_size: mean number of classes in the sets of all its images.
    """

    first: int
    last: int
    coverage: Rate
    mean_size: float


@dataclass(frozen=True)
class MonitorReport:
    """What a stream told.

    Attributes:
        coverage: requested coverage of the sets.
        false_alarm: probability with which an alarm is ever raised without a reason.
        images: what came of each image, in order; those whose label alone is new, too.
        windows: coverage over time, of the new images.
        total: coverage over all images with a new label.
        skipped: (path, reason) of what couldn't be read.
        before: how many images earlier calls have counted, whose stream this one continues.
        alarm_at: number of images, those of earlier calls included, after which the alarm was raised; None without.
        by: which evidence raised it, `images` or `labels`.
    """

    coverage: float
    false_alarm: float
    images: tuple[Observed, ...]
    windows: tuple[Window, ...]
    total: Rate
    skipped: tuple[tuple[str, str], ...]
    before: int
    alarm_at: int | None
    by: str | None

    def sentence(self) -> str:
        """Say the result in plain words."""
        count = sum(image.is_new for image in self.images)
        text = f"{count:,} images" + (f" after {self.before:,} of earlier calls" if self.before else "")
        if late := len(self.images) - count:
            text += f", for {late:,} of which labels came since"
        if self.total.trials:
            which = (
                f"; {self.total.trials:,} labels are new" if late else f", of which {self.total.trials:,} have labels"
            )
            text += (
                f"{which}: the set holds the truth for {self.total.value:.1%} of "
                f"them ({self.total.low:.1%} to {self.total.high:.1%}; asked for: {self.coverage:.1%})"
            )
        if self.alarm_at is None:
            return (
                f"{text}. No alarm: nothing shows that they differ from the calibration images (which is no proof that "
                "they don't)."
            )
        return (
            f"{text}. ALARM after {self.alarm_at:,} images, by the {self.by}: they no longer look like the calibration "
            "images. Without a change, such an alarm would ever come with a probability of at most "
            f"{self.false_alarm:g}. What the prediction sets promise can't be relied on; calibrate again with images "
            "like these."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values for JSON; the coverage of no image is None."""
        values = {**asdict(self), "sentence": self.sentence()}
        for rate in (values["total"], *(part["coverage"] for part in values["windows"])):
            rate["value"] = rate["value"] if rate["trials"] else None
        return values


def windows(images: Sequence[Observed], length: int, before: int = 0) -> Iterator[Window]:
    """Cut new images, which `before` others preceded, into windows of a length in images; the last may be shorter."""
    seen = [image for image in images if image.is_new]
    for start in range(0, len(seen), length):
        part = seen[start : start + length]
        size = float(np.mean([image.set_size for image in part]))
        yield Window(before + start + 1, before + start + len(part), coverage_of(part), size)


def coverage_of(seen: Sequence[Observed]) -> Rate:
    """Return the coverage over the images with labels."""
    covered = [image.covered for image in seen if image.covered is not None]
    return clopper_pearson(sum(covered), len(covered))
