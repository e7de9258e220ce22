"""Several processes on one machine that talk through gloo, as `torchrun` starts them."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from contextlib import closing

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from timm.layers import BatchNormAct2d
from torch import nn

from chiqpm.model import CHiQPM, DenseClassifier


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


class TinyBackbone(nn.Module):
    """Two convolutions with batch norm, one of them timm's with its own activation."""

    def __init__(self):
        super().__init__()
        self.num_features = 10
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2), BatchNormAct2d(6), nn.Conv2d(6, 10, 3), nn.BatchNorm2d(10), nn.ReLU()
        )

    def forward(self, images):
        return self.layers(images)

    forward_trainable = forward


@pytest.fixture
def small():
    """Return a namespace of what trains in milliseconds."""

    class Small:
        IMAGES, CLASSES, SIDE = 27, 3, 16

        @classmethod
        def data(cls):
            """One view of 27 images, and labels."""
            generator = np.random.default_rng(3)
            labels = np.arange(cls.IMAGES) % cls.CLASSES
            images = generator.normal(size=(1, cls.IMAGES, 3, cls.SIDE, cls.SIDE)).astype(np.float32)
            images[0, :, 0] += labels[:, None, None]
            return images, labels

        @classmethod
        def dense(cls):
            torch.manual_seed(0)
            return DenseClassifier(TinyBackbone(), cls.CLASSES, dropout=0.3)

        @staticmethod
        def sparse():
            torch.manual_seed(1)
            weight = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]])
            return CHiQPM(
                TinyBackbone(), torch.tensor([1, 4, 6, 9]), weight, torch.full((4,), 0.3), torch.full((4,), 0.4)
            )

    return Small
