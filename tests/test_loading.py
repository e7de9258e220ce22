"""Batches that other processes load: the same batches, errors that stay readable, threads that are given back."""

from __future__ import annotations

import multiprocessing
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from chiqpm import loading
from chiqpm.data.images import UnreadableImageError
from chiqpm.errors import ChiqpmError
from chiqpm.loading import affordable_workers, be_silent_at_the_end, count_cores, load_batches

# More workers than cores are slow, which torch says; here they are asked for whatever the machine has.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are started another way")


class Numbers(Dataset):
    def __getitem__(self, index):
        if index == 13:
            raise UnreadableImageError("13.jpg can't be read: it ends too early")
        return torch.tensor(index), torch.get_num_threads()


ORDER = [np.array([3, 1]), np.array([2, 5, 4])]


@linux
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_their_order_whoever_loads_them(workers):
    batches = [items.tolist() for items, _ in load_batches(Numbers(), ORDER, workers=workers)]
    assert batches == [[3, 1], [2, 5, 4]]


@linux
@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named_without_a_traceback(workers):
    with pytest.raises(UnreadableImageError) as caught:
        list(load_batches(Numbers(), [np.array([13])], workers=workers))
    assert str(caught.value) == "13.jpg can't be read: it ends too early"


@linux
def test_torch_leaves_the_workers_their_cores_and_gets_them_back(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    monkeypatch.setattr(loading, "count_cores", lambda: 4)
    try:
        seen = [torch.get_num_threads() for _ in load_batches(Numbers(), ORDER, workers=2)]
        assert seen == [2, 2]
        assert torch.get_num_threads() == 3
        batches = load_batches(Numbers(), ORDER, workers=2)
        next(batches)
        batches.close()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(ChiqpmError, match="0 or more"):
        list(load_batches(Numbers(), ORDER, workers=-1))


def test_workers_are_not_started_where_they_do_not_pay(monkeypatch):
    assert affordable_workers(4, 10) == 0
    assert affordable_workers(4, 10_000) == (4 if sys.platform == "linux" else 0)
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    assert affordable_workers(4, 10_000) == 0
    assert count_cores() >= 1


def test_a_caller_that_leaves_the_choice_open_gets_its_batches(monkeypatch):
    monkeypatch.setattr(loading, "_FEW_IMAGES", 1)
    monkeypatch.setattr(loading, "count_cores", lambda: 4)
    assert [items.tolist() for items, _ in load_batches(Numbers(), ORDER, workers=None)] == [[3, 1], [2, 5, 4]]


@pytest.mark.parametrize(
    ("error", "shown"), [(ConnectionResetError("gone"), False), (EOFError(), False), (ValueError("wrong"), True)]
)
def test_a_loading_process_is_silent_about_a_main_one_that_was_interrupted(monkeypatch, capsys, error, shown):
    """Its thread that hands over batches has nobody to hand them to; whoever pressed Ctrl-C knows."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    be_silent_at_the_end(0)
    sys.excepthook(type(error), error, None)
    assert ("wrong" in capsys.readouterr().err) == shown
