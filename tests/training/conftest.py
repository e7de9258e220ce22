"""Several processes on one machine that talk through gloo, as `torchrun` starts them."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from contextlib import closing

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState


def _free_port():
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _child(rank, count, port, work, arguments):
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count), OMP_NUM_THREADS="1"
    )
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    torch.set_num_threads(1)
    code = 0
    try:
        work(*arguments)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stderr.flush()
        # Without the interpreter's end: what pytest has registered for its own is not the child's to do.
        os._exit(code)


@pytest.fixture
def together():
    """Return a function that calls another in `count` processes, and returns their exit codes."""

    def start(count, work, *arguments, timeout=120.0):
        context, port = multiprocessing.get_context("fork"), _free_port()
        children = [context.Process(target=_child, args=(rank, count, port, work, arguments)) for rank in range(count)]
        for child in children:
            child.start()
        for child in children:
            child.join(timeout)
        hanging = [child for child in children if child.is_alive()]
        for child in hanging:
            child.kill()
        assert not hanging, f"{len(hanging)} of {count} processes hang"
        return [child.exitcode for child in children]

    return start
