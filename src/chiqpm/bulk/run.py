"""Predict the pictures of files and folders into one file, from where the last try stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from chiqpm.answering import one_behind
from chiqpm.bulk.listing import count_pictures, list_pictures
from chiqpm.bulk.loading import Chunk, load_chunks
from chiqpm.bulk.output import Output
from chiqpm.bulk.rows import rows_of
from chiqpm.classifier import Classifier
from chiqpm.conformal.quantile import check_coverage
from chiqpm.errors import ChiqpmError
from chiqpm.loading import affordable_workers, count_cores
from chiqpm.prediction import PendingBatch
from chiqpm.progress import bar

_MOST_WORKERS = 16


@dataclass(frozen=True)
class Summary:
    """What became of a job.

    Attributes:
        out: the file.
        images: pictures in all.
        unreadable: how many of them can't be read; their rows say why.
        done_before: how many an earlier try had done.
        seconds: that this try took, from the first picture on.
    """

    out: Path
    images: int
    unreadable: int
    done_before: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Pictures a second of this try."""
        return (self.images - self.done_before) / max(self.seconds, 1e-9)

    def sentence(self) -> str:
        """Say it in a line."""
        before = f", {self.done_before:,} of them before" if self.done_before else ""
        read = (
            f"{self.unreadable:,} can't be read (column `error` says why)" if self.unreadable else "all were readable"
        )
        speed = f"; {self.per_second:.1f} pictures a second" if self.images > self.done_before else ""
        return f"{self.images:,} pictures{before}; {read}{speed}. Predictions: {self.out}"


def predict_files(
    classifier: Classifier,
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    coverage: float | None = None,
    workers: int | None = None,
    batch_size: int | None = None,
    overwrite: bool = False,
    quiet: bool = True,
) -> Summary:
    """Predict pictures into a CSV or JSON Lines file, one row each, in a fixed order (docs/predictions.md).

    Stopped at any moment, even killed, the same call goes on behind the last whole row; the file ends the same, byte
    for byte, as without the stop. Memory doesn't grow with the number of pictures.

    Args:
        classifier: a calibrated one.
        paths: pictures and folders of them.
        out: `.csv` or `.jsonl`.
        coverage: probability with which the sets contain the truth; None takes the classifier's own.
        workers: loading processes; 0 loads in this one, None chooses.
        batch_size: pictures that are computed together; None chooses by the device.
        overwrite: begin again where a file is there.
        quiet: show no progress bar.

    Returns:
        How many pictures were predicted and how many can't be read.

    Raises:
        ChiqpmError: no pictures, a file of another job, or an option that can't be used.
        FileNotFoundError: a path doesn't exist.
        OSError: the file can't be written; what is written stays.
    """
    coverage = check_coverage(classifier.coverage if coverage is None else coverage)
    batch_size = classifier.batch_size if batch_size is None else batch_size
    if batch_size < 1 or (workers is not None and workers < 0):
        raise ChiqpmError(f"batch_size must be 1 or more and workers 0 or more, received {batch_size} and {workers}")
    total = count_pictures(paths)
    if total == 0:
        raise ChiqpmError(f"no pictures in {', '.join(str(path) for path in paths) or 'the arguments'}")
    out = Path(out)
    model, on_gpu = classifier.fingerprint()[:12], classifier.device.type == "cuda"
    with closing(Output(out, overwrite=overwrite)) as output:
        done, unreadable = output.continue_after(list_pictures(paths), coverage=coverage, model=model)
        # From the beginning of a chunk on, so that every picture is computed among the same ones as without a stop.
        first = done - done % batch_size
        start = time.monotonic()
        chunks = load_chunks(
            islice(list_pictures(paths), first, None),
            classifier.transform,
            size=batch_size,
            max_pixels=classifier.data_config.max_pixels,
            # By the pictures in all: workers take cores from torch, and the last digits depend on its threads.
            workers=_workers(total) if workers is None else workers,
            pin=on_gpu,
        )
        with closing(chunks), bar(total, "predicting", quiet=quiet, initial=done) as progress:
            started = ((chunk, _start(classifier, chunk, coverage)) for chunk in chunks)
            for chunk, pending in one_behind(started) if on_gpu else started:
                batch = None if pending is None else pending.result()
                rows = list(rows_of(chunk, batch, coverage=coverage, model=model))[max(0, done - first) :]
                first += len(chunk.paths)
                output.append(rows)
                unreadable += sum(row["error"] is not None for row in rows)
                progress.update(len(rows))
    return Summary(out, total, unreadable, done, time.monotonic() - start)


def _start(classifier: Classifier, chunk: Chunk, coverage: float) -> PendingBatch | None:
    return classifier.start_batch(chunk.images_B3SS, coverage) if len(chunk.images_B3SS) else None


def _workers(num_images: int) -> int:
    """Choose: half of the cores where the CPU computes too, most of them where a GPU does."""
    cores = count_cores()
    wanted = cores - 1 if torch.cuda.is_available() else cores // 2
    return affordable_workers(min(_MOST_WORKERS, wanted), num_images)
