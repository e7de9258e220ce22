"""The processes that work on one run together: one, one for each GPU, or those of several machines.

`accelerate launch` and `torchrun` start them; what they say to each other goes through `accelerate`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType, broadcast, broadcast_object_list, gather_object
from numpy.typing import NDArray

from chiqpm.config import ComputeConfig
from chiqpm.devices import find_device
from chiqpm.errors import ChiqpmError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PATIENCE = timedelta(days=1)
"""The others wait while the main process solves the assignment; where one dies, its launcher ends the rest."""


class Processes:
    """This process among those of the run, and where it computes.

    Args:
        device: `auto` (CUDA, then Apple's GPU, then CPU), or a torch device; of several processes each takes its own
            GPU.
        compute: precision, compilation and the tracker of the training.
        folder: where trackers that write files put them; None tracks nothing.

    Attributes:
        accelerator: of this run, for the training loop.
        device: where this process computes.
        rank: the number of this process, 0 is the main one.
        count: the number of processes.

    Raises:
        ChiqpmError: no such device, precision or tracker here.
    """

    def __init__(
        self, device: str = "auto", *, compute: ComputeConfig | None = None, folder: Path | None = None
    ) -> None:
        compute = compute or ComputeConfig()
        self.device = find_device(device)
        self.compute = compute
        self._tracker = None if folder is None else _find_tracker(compute.tracker)
        self._tracks = False
        self.accelerator = _accelerator(self.device, compute, self._tracker, folder)
        self.rank: int = self.accelerator.process_index
        self.count: int = self.accelerator.num_processes
        if self.count > 1:
            if ":" in device:
                self.wait()  # until all are connected: one that left earlier would break the connections of the others
                raise ChiqpmError(
                    f"{self.count} processes can't share the device {device!r}; leave it 'auto': each takes its own"
                )
            self.device = self.accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def on_main(self, work: Callable[[], T]) -> T:
        """Do something in the main process alone; its result, or its error, is that of all of them."""
        if self.count == 1:
            return work()
        outcome: list[Any] = [None, None]
        if self.is_main:
            try:
                outcome = [work(), None]
            except Exception as error:  # the others would wait for ever
                outcome = [None, error]
        broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result

    def wait(self) -> None:
        """Go on when all processes have come here."""
        self.accelerator.wait_for_everyone()

    def own_rows(self, count: int, batch_size: int) -> NDArray[np.int64]:
        """Return which of `count` rows this process evaluates, perhaps none.

        They are neighbours, so that all parts in order are the whole, and whole batches: what a network computes for
        an image depends, in its last digits, on the batch around it.
        """
        batches = np.array_split(np.arange(0, count, batch_size), self.count)[self.rank]
        return np.arange(batches[0], min(count, batches[-1] + batch_size)) if len(batches) else batches

    def add(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes of a tensor that has the same shape in each."""
        if self.count == 1:
            return values
        total: torch.Tensor = self.accelerator.reduce(values, reduction="sum")
        return total

    def add_array(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the sum over all processes of an array that has the same shape in each."""
        return self.add(torch.from_numpy(values).to(self.device)).cpu().numpy() if self.count > 1 else values

    def collect(self, rows: NDArray[Any] | None) -> NDArray[Any]:
        """Return the rows of all processes, in the order of `own_rows`; None stands for no rows."""
        own = [] if rows is None else [rows]
        return np.concatenate(gather_object(own)) if self.count > 1 else own[0]

    def gather(self, value: T) -> list[T]:
        """Return what each process has, in their order."""
        gathered: list[T] = gather_object([value]) if self.count > 1 else [value]
        return gathered

    def align(self, module: torch.nn.Module) -> None:
        """Give every process the main one's buffers (running statistics of batch norm)."""
        if self.count > 1:
            for buffer in module.buffers():
                buffer.copy_(broadcast(buffer.detach()))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Tell the tracker, if there is one; a disk that is full or gone costs the record, not the training."""
        if self._tracker is None:
            return
        try:
            if not self._tracks:
                self._tracks = True
                self.accelerator.init_trackers("chiqpm")
            self.accelerator.log(dict(values), step=step)
        except OSError as error:
            logger.warning("the training is no longer recorded by %s (%s); it goes on", self._tracker, error)
            self._tracker = None

    def close(self) -> None:
        """Finish what the tracker writes."""
        if not self._tracks:
            return
        for tracker in self.accelerator.trackers:
            # Of a tracker that can't write, which was said, the end can't be written either.
            with suppress(OSError):
                tracker.finish()
        self.accelerator.trackers = []
        self._tracks = False


def _find_tracker(name: str) -> str | None:
    if name == "auto":
        return "tensorboard" if find_spec("tensorboard") else None
    if name == "none":
        return None
    known = [str(kind) for kind in LoggerType if kind != LoggerType.ALL]
    if name not in known:
        raise ChiqpmError(f"unknown tracker {name!r}; choose auto, none, {', '.join(known)}")
    if name not in map(str, get_available_trackers()):
        raise ChiqpmError(f"the tracker {name!r} is not installed here; install it, or choose auto or none")
    return name


def _accelerator(device: torch.device, compute: ComputeConfig, tracker: str | None, folder: Path | None) -> Accelerator:
    backend = "inductor" if compute.compile else "no"
    if compute.precision == "fp16" and device.type == "cpu":
        raise ChiqpmError("fp16 needs a GPU; on a CPU choose bf16, or no mixed precision")
    known = AcceleratorState._shared_state
    if known and (
        known["_mixed_precision"] != compute.precision
        or known["_cpu"] != (device.type == "cpu")
        or known["dynamo_plugin"].backend.value.lower() != backend
    ):
        # An earlier run of this program computed in another way; accelerate keeps its way for the whole program.
        AcceleratorState._reset_state(reset_partial_state=True)
    try:
        return Accelerator(
            device_placement=False,
            mixed_precision=compute.precision,
            dynamo_backend=backend,
            cpu=device.type == "cpu",
            log_with=tracker,
            project_dir=None if tracker is None or folder is None else str(folder / "tracking"),
            kwargs_handlers=[
                InitProcessGroupKwargs(timeout=_PATIENCE),
                DistributedDataParallelKwargs(gradient_as_bucket_view=True),
            ],
        )
    except (ValueError, NotImplementedError, ImportError) as error:
        raise ChiqpmError(f"the training can't be set up as asked on {device}: {error}") from None
