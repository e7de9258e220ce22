"""Watch a calibrated classifier in use: do the images still look like those that it was calibrated on?

Every image of a stream gets a p-value, from its label where it has one and from the prediction alone in any case, and a
gambler bets that the p-values are not those of exchangeable images. A large capital is evidence against the promise
of the prediction sets. See `chiqpm.conformal.ExchangeabilityMonitor` for what exactly is guaranteed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.classifier import Classifier, load
from chiqpm.conformal import THR, ConformalPredictor, ExchangeabilityMonitor
from chiqpm.data import UnreadableImageError, load_image
from chiqpm.errors import ChiqpmError
from chiqpm.files import digest, read_json, write_json
from chiqpm.inference import BATCH_SIZE, Answers
from chiqpm.monitor.report import MonitorReport, Observed, coverage_of, windows
from chiqpm.monitor.stream import StreamImage, read_stream
from chiqpm.progress import track
from chiqpm.recalibration import read_calibration_answers

logger = logging.getLogger(__name__)

_FORMAT = 2


def monitor(
    run: str | Path,
    stream: str | Path,
    *,
    coverage: float | None = None,
    false_alarm: float = 0.01,
    window: int = 100,
    seed: int = 0,
    state: str | Path | None = None,
    device: str = "auto",
    quiet: bool = True,
) -> MonitorReport:
    """Read a stream of images, compare them with the calibration images, and report coverage over time.

    Two gamblers share the probability of a false alarm. One sees every image: how improbable its predicted class is.
    The other sees those with labels: the nonconformity score of the truth, which decides about coverage. Which images
    have labels, and when they come, may not depend on the picture, its class or the prediction: to this gambler, images
    of one class alone look like a shift.

    Args:
        run: folder of a calibrated classifier.
        stream: a CSV file or a folder, see `chiqpm.stream.read_stream`.
        coverage: of the prediction sets; None takes the classifier's own.
        false_alarm: probability, in (0, 1), of an alarm that is ever raised although all images, calibration and
            stream, are exchangeable.
        window: images for each value of the coverage over time, >= 1.
        seed: of the draws that break ties, and of the order of a folder of class folders.
        state: JSON file that continues an earlier stream, if it exists, and is written at the end. A folder or a CSV
            may grow: files that an earlier call has counted, and that haven't changed since, are left out, but for
            those to which the CSV gives a label now; these go to the gambler who sees labels, and to the coverage.
            A file that was moved counts as another one.
        device: where to compute.
        quiet: show no progress bar.

    Raises:
        ChiqpmError: not calibrated, nothing to read, a label that the classifier doesn't know, or a number out of
            range.
        FileNotFoundError: no such run or stream.
    """
    if window < 1:
        raise ChiqpmError(f"window must be 1 or more images; got {window}.")
    if not 0 < false_alarm < 1:
        raise ChiqpmError(f"false_alarm must lie strictly between 0 and 1; got {false_alarm}.")
    classifier = load(run, device=device)
    wanted = classifier.coverage if coverage is None else coverage
    images = read_stream(Path(stream), classifier.class_names, seed=seed)
    watch = _Watch(classifier, read_calibration_answers(Path(run), classifier), wanted, false_alarm, seed)
    kept = None if state is None else Path(state)
    if kept is not None and kept.exists():
        try:
            watch.restore(read_json(kept))
        except ChiqpmError as error:
            raise ChiqpmError(f"{kept} can't continue the stream: {error}") from None
    before, given = watch.num_images, len(images)
    images = watch.new(images)
    if len(images) < given:
        logger.info("%d of %d images were counted by an earlier call, as they are", given - len(images), given)
    seen: list[Observed] = []
    skipped: list[tuple[str, str]] = []
    progress = track(images, "watching", quiet=quiet, total=len(images))
    while batch := list(islice(progress, BATCH_SIZE)):
        readable = list(_open(batch, classifier, skipped))
        if readable:
            seen += watch.look([image for image, _ in readable], [picture for _, picture in readable])
    if images and not seen and not before:
        raise ChiqpmError(f"none of the {len(images)} images of {stream} can be read (first: {skipped[0][1]}).")
    if kept is not None:
        write_json(kept, watch.state())
    return MonitorReport(
        coverage=wanted,
        false_alarm=false_alarm,
        images=tuple(seen),
        windows=tuple(windows(seen, window, before)),
        total=coverage_of(seen),
        skipped=tuple(skipped),
        before=before,
        alarm_at=watch.alarm_at,
        by=watch.alarm_by,
    )


class _Watch:
    """The two gamblers and what they know of the calibration images."""

    def __init__(
        self, classifier: Classifier, calibration: Answers, coverage: float, false_alarm: float, seed: int
    ) -> None:
        assert classifier.predictor is not None
        self._classifier, self._coverage, self._predictor = classifier, coverage, classifier.predictor
        # A score that chooses its level for each coverage gives a class no number; improbability does as well.
        self._label_score = (
            classifier.predictor if classifier.predictor.score.variants == 1 else ConformalPredictor(THR())
        )
        self.num_images = 0
        self._counted: set[str] = set()
        self._labels: dict[str, str] = {}
        self._earlier: frozenset[str] = frozenset()
        self.alarm_at: int | None = None
        self.alarm_by: str | None = None
        scores = self._scores(calibration.logits_NC, calibration.features_NK, calibration.labels_N)
        self._calibration_key = digest([values.tolist() for values in scores.values()])
        self._gamblers = {
            name: ExchangeabilityMonitor(values, false_alarm=false_alarm / 2, seed=seed + number)
            for number, (name, values) in enumerate(scores.items())
        }

    def new(self, images: Sequence[StreamImage]) -> list[StreamImage]:
        """Return the images that no earlier call has counted, or whose label it didn't know."""
        found, changed = [], 0
        for image in images:
            stamp = _stamp(image.path)
            if stamp not in self._counted or (image.label is not None and stamp not in self._labels):
                found.append(image)
            changed += image.label not in (None, self._labels.get(stamp, image.label))
        if changed:
            logger.warning(
                "images with another label than the one that was counted: %d; for the new ones to count, start with "
                "another state file",
                changed,
            )
        return found

    def look(self, images: Sequence[StreamImage], pictures: Sequence[Any]) -> list[Observed]:
        """Take in a batch of images, in order."""
        logits, features, _ = self._classifier.outputs(pictures)
        names = self._classifier.class_names
        labels = np.array([0 if image.label is None else names.index(image.label) for image in images])
        sets = np.asarray(self._predictor.predict_set(logits, features, coverage=self._coverage))
        scores = self._scores(logits, features, labels)
        seen = []
        for row, image in enumerate(images):
            stamp = _stamp(image.path)
            is_new = stamp not in self._earlier
            p_image = self._bet("images", scores["images"][row]) if is_new else None
            p_label = None if image.label is None else self._bet("labels", scores["labels"][row])
            self.num_images += is_new
            if stamp:
                self._counted.add(stamp)
                if image.label is not None:
                    self._labels[stamp] = image.label
            for name, gambler in self._gamblers.items():
                if gambler.alarm and self.alarm_at is None:
                    self.alarm_at, self.alarm_by = self.num_images, name
            seen.append(
                Observed(
                    path=str(image.path),
                    label=image.label,
                    predicted=names[int(logits[row].argmax())],
                    set_size=int(sets[row].sum()),
                    covered=None if image.label is None else bool(sets[row, labels[row]]),
                    p_image=p_image,
                    p_label=p_label,
                    log10_capital=max(gambler.log10_capital for gambler in self._gamblers.values()),
                )
            )
        return seen

    def state(self) -> dict[str, Any]:
        """Return all that continues the stream, as plain values for JSON."""
        gamblers = {name: gambler.state() for name, gambler in self._gamblers.items()}
        plain = {"num_images": self.num_images, "alarm_at": self.alarm_at, "alarm_by": self.alarm_by}
        return {
            "format": _FORMAT,
            "calibration": self._calibration_key,
            **plain,
            "gamblers": gamblers,
            "counted": sorted(self._counted),
            "labels": dict(sorted(self._labels.items())),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue an earlier stream."""
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise ChiqpmError("it is no state of a monitor of this version; start with another file.")
        if state.get("calibration") != self._calibration_key:
            raise ChiqpmError(
                "the run was calibrated with other images or another score since; start with another file."
            )
        given = {name: gambler.false_alarm for name, gambler in self._gamblers.items()}
        try:
            self._gamblers = {name: ExchangeabilityMonitor.from_state(state["gamblers"][name]) for name in given}
            self.num_images, self.alarm_at, self.alarm_by = state["num_images"], state["alarm_at"], state["alarm_by"]
            self._earlier = frozenset(state["counted"])
            self._counted, self._labels = set(self._earlier), dict(state["labels"])
        except (KeyError, TypeError, ValueError) as error:
            raise ChiqpmError(f"it is damaged ({error!r}); start with another file.") from None
        if self.num_images != self._gamblers["images"].num_images:
            raise ChiqpmError("it is damaged (its counts differ); start with another file.")
        if any(gambler.false_alarm != given[name] for name, gambler in self._gamblers.items()):
            raise ChiqpmError("it has another false_alarm, which can't be changed once a stream has begun.")

    def _bet(self, name: str, score: float) -> float:
        return self._gamblers[name].update([score]).last_p_value

    def _scores(
        self, logits: NDArray[Any], features: NDArray[Any], labels: NDArray[np.int64]
    ) -> dict[str, NDArray[Any]]:
        rows = np.arange(len(labels))
        improbability = np.asarray(ConformalPredictor(THR()).scores(logits)).min(axis=1)
        return {"images": improbability, "labels": np.asarray(self._label_score.scores(logits, features))[rows, labels]}


def _stamp(path: Path) -> str:
    """Return what tells a file from others and from what it was before; nothing where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return digest([str(path.resolve()), found.st_size, found.st_mtime_ns])[:32]


def _open(
    batch: Sequence[StreamImage], classifier: Classifier, skipped: list[tuple[str, str]]
) -> Iterator[tuple[StreamImage, Any]]:
    for image in batch:
        try:
            yield image, load_image(image.path, max_pixels=classifier.data_config.max_pixels)
        except (UnreadableImageError, FileNotFoundError) as error:
            skipped.append((str(image.path), str(error)))
