"""Render pictures to files, in several processes where there are enough of them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from chiqpm.data.birds.dataset import SyntheticBirds
from chiqpm.data.birds.taxonomy import BirdsConfig

_log = logging.getLogger(__name__)

_FEW = 200
"""Up to this many pictures one process is sooner done than a second one is started."""
_REPORT_EVERY = 20

# Workers are plain interpreters that import this module: unlike those of multiprocessing they never run the
# caller's script again, so that no `if __name__ == "__main__"` is needed, and they are alike on every system.
_WORKER = "import sys; from chiqpm.data.birds.workers import work; work(sys.argv[1])"


def render_in_processes(
    folder: Path,
    datasets: Sequence[SyntheticBirds],
    *,
    processes: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write every missing picture of the data sets; the class folders exist.

    What the worker processes leave undone, because they did not start or were stopped, this one does itself.
    """
    total = sum(map(len, datasets))
    missing = _count_missing(folder, datasets)
    done = total - missing

    def report(count: int) -> None:
        nonlocal done
        done = min(done + count, total)
        if progress is not None:
            progress(done, total)

    report(0)
    if processes > 1 and missing > _FEW:
        _run_workers(folder, datasets, processes, report)
        done = total - _count_missing(folder, datasets)
    render_share(folder, datasets, 0, 1, report)


def render_share(
    folder: Path, datasets: Sequence[SyntheticBirds], share: int, shares: int, report: Callable[[int], None]
) -> None:
    """Write what is missing among every `shares`-th picture, from number `share` on; report now and then."""
    unreported = 0
    for dataset in datasets:
        for index in range(share, len(dataset), shares):
            path = folder / dataset.names[index]
            if path.exists():
                continue
            part = path.with_name(path.name + ".part")
            image = dataset.render(index, masks=False).image
            image.save(part, format="JPEG", quality=95, subsampling=0)
            part.replace(path)
            unreported += 1
            if unreported == _REPORT_EVERY:
                report(unreported)
                unreported = 0
    if unreported:
        report(unreported)


def work(task: str) -> None:
    """A worker's whole life: render the share that the JSON text describes; print the progress as numbers."""
    given = json.loads(task)
    config = BirdsConfig(**given["config"])
    datasets = [SyntheticBirds(config, split, count) for split, count in given["counts"].items()]

    def report(count: int) -> None:
        sys.stdout.write(f"{count}\n")
        sys.stdout.flush()

    render_share(Path(given["folder"]), datasets, given["share"], given["shares"], report)


def child_environment() -> dict[str, str]:
    """Return the environment in which another interpreter finds this very package, installed or not."""
    root = str(Path(__file__).resolve().parents[3])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _count_missing(folder: Path, datasets: Sequence[SyntheticBirds]) -> int:
    return sum(not (folder / name).exists() for dataset in datasets for name in dataset.names)


def _run_workers(
    folder: Path, datasets: Sequence[SyntheticBirds], processes: int, report: Callable[[int], None]
) -> None:
    environment = child_environment()
    task = {
        "folder": str(folder.resolve()),
        "config": asdict(datasets[0].config),
        "counts": {dataset.split: dataset.per_class for dataset in datasets},
        "shares": processes,
    }
    workers: list[subprocess.Popen[str]] = []
    try:
        for share in range(processes):
            command = [sys.executable, "-c", _WORKER, json.dumps({**task, "share": share})]
            workers.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
            )
        for worker in workers:
            for line in worker.stdout or ():
                report(int(line))
            if worker.wait():
                _log.warning(
                    "a rendering process ended with code %d; its pictures are rendered here",
                    worker.returncode,
                )
    except OSError as error:
        _log.warning("could not start rendering processes (%s); one process renders everything", error)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()
