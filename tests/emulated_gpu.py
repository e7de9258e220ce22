"""A GPU that isn't one: tensors on `cuda` that lie in main memory and are refused where real ones would be.

It shows where tensors are, not what a GPU makes of them: a tensor of the CPU among those of the GPU, an array of NumPy
over the GPU's memory, a generator of the CPU for numbers on the GPU are errors, as they are there. It sees what is
called from Python; what the gradients do inside the backward pass, it doesn't.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
WRITES = {"copy_", "__setitem__", "index_put_"}
"""What leaves its first tensor where it is, wherever the others are."""
TAKES_BOTH = WRITES | {"__getitem__", "to", "_has_compatible_shallow_copy_type"}
"""What real tensors of both kinds may meet in: copies, and indices of the CPU."""
WAITS = {"item", "tolist", "cpu", "equal", "nonzero", "unique", "__bool__", "__int__", "__float__", "__index__"}
"""What needs a number, or the size of a result, from the GPU; so does an index that is a mask."""


class OnGPU(torch.Tensor):
    """A tensor that says it is on the GPU."""


class EmulatedGPU(TorchFunctionMode):
    """Within it, `cuda` is a device; `waits` counts what would have waited for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0
        self._sent: list[tuple[torch.Tensor, torch.Tensor]] = []

    def wait(self, until: int | None = None) -> None:
        """Let what was asked of the GPU happen: copies to pinned memory arrive, all or the first ones."""
        self.waits += 1
        with torch._C.DisableTorchFunction(), torch.inference_mode():
            for target, source in self._sent[:until]:
                target.copy_(source)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name == "_parse_to":
            return func(*args, **kwargs)
        tensors = [value for value in _flat([args, kwargs]) if isinstance(value, torch.Tensor)]
        on_gpu = any(map(_on_gpu, tensors))
        if name in {"__get__", "__set__"}:
            return _attribute(func, args, on_gpu)
        if name == "__deepcopy__" and isinstance(args[0], OnGPU):
            return _copy(*args)
        if on_gpu and name in {"numpy", "__array__"}:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if name == "pin_memory":
            return _pin(args[0].clone())
        if kwargs.pop("pin_memory", False):
            return _pin(func(*args, **kwargs))
        if name == "copy_" and kwargs.get("non_blocking") and _is_pinned(args[0]):
            return self._send(*args[:2])
        target, args, kwargs = _target(name, args, kwargs)
        if target is None and on_gpu:
            if name in {"__getitem__", "__setitem__"} and not _on_gpu(args[0]):
                _refuse_indices(name, args[1])
            if name not in TAKES_BOTH and not _is_backward():
                _refuse_strangers(name, tensors)
            target = CPU if name in WRITES and not _on_gpu(args[0]) else GPU
        fetched = on_gpu and (name in WAITS or target == CPU or _is_masked(name, args))
        if fetched or (name in {"to", "cuda"} and target == GPU and _is_sent_slowly(args[0], kwargs)):
            self.wait()
        if target == GPU and kwargs.get("generator") is not None:
            raise RuntimeError(f"{name}: expected a generator of the device cuda, but found one of the cpu")
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
        if target == GPU and not (tensors and found is tensors[0] and _on_gpu(found)):
            return _mark(found)
        return _unmark(found) if target == CPU else found

    def _send(self, target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """Copy to pinned memory, at some time before the next wait; until then something else is there."""
        with torch._C.DisableTorchFunction():
            self._sent.append((target, source.clone()))
            return target.fill_(torch.nan)


class Event:
    """An event of an emulated GPU: waited for, what was asked before it was recorded has happened, and no more."""

    def __init__(self, gpu: EmulatedGPU) -> None:
        self._gpu, self._until = gpu, 0

    def record(self, _: Any = None) -> None:
        self._until = len(self._gpu._sent)

    def synchronize(self) -> None:
        self._gpu.wait(self._until)


@contextmanager
def emulated_gpu() -> Iterator[EmulatedGPU]:
    """Have a GPU for a while."""
    autocast, state = torch.autocast, torch.get_rng_state

    class Autocast(autocast):  # type: ignore[misc,valid-type]
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    answers = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_name": "emulated",
        "is_bf16_supported": True,
        "is_current_stream_capturing": False,
        **dict.fromkeys(("set_device", "synchronize", "set_rng_state", "manual_seed_all", "_lazy_init", "empty_cache")),
    }
    calls = {name: mock.Mock(return_value=answer) for name, answer in answers.items()}
    calls["get_rng_state"] = mock.Mock(side_effect=lambda *_: state())
    stream = mock.Mock(**{"return_value.is_capturing.return_value": False})
    mode = EmulatedGPU()
    calls["Event"] = mock.Mock(side_effect=lambda: Event(mode))
    calls["current_stream"] = mock.Mock()
    with (
        mock.patch.multiple(torch.cuda, **calls),
        mock.patch.multiple(torch.accelerator, current_device_index=lambda: 0, current_stream=stream),
        mock.patch.object(torch, "autocast", Autocast),
        mode,
    ):
        yield mode


def _on_gpu(tensor: torch.Tensor) -> bool:
    # A parameter stays the same object when its data move, so it carries a mark that counts more than its class.
    return bool(tensor.__dict__.get("on_gpu", isinstance(tensor, OnGPU)))


def _mark(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and not _on_gpu(value):
        return value.as_subclass(OnGPU)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_mark, value))
    return type(value)(map(_mark, value)) if isinstance(value, (tuple, list)) else value


def _pin(tensor: torch.Tensor) -> torch.Tensor:
    tensor.is_emulated_pinned = True  # type: ignore[attr-defined]
    return tensor


def _is_pinned(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, "is_emulated_pinned")


def _unmark(value: Any) -> Any:
    return value.as_subclass(torch.Tensor) if isinstance(value, OnGPU) else value


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list, dict)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _flat(entry)
    else:
        yield value


def _attribute(func: Any, args: Any, on_gpu: bool) -> Any:
    attribute = getattr(func.__self__, "__name__", "")
    if func.__name__ == "__set__" and attribute == "data":
        args[0].on_gpu = _on_gpu(args[1])
    elif attribute in {"device", "is_cuda", "is_cpu"} and on_gpu:
        return {"device": GPU, "is_cuda": True, "is_cpu": False}[attribute]
    with torch._C.DisableTorchFunctionSubclass():
        found = func(*args)
    return _mark(found) if on_gpu else found


def _copy(tensor: OnGPU, memo: dict[int, Any]) -> Any:
    if id(tensor) not in memo:
        copy = memo[id(tensor)] = _mark(tensor.detach().clone()).requires_grad_(tensor.requires_grad)
        if getattr(tensor, "_is_param", False):
            copy._is_param = True
    return memo[id(tensor)]


def _target(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[torch.device | None, Any, dict[str, Any]]:
    """Where a call asks its result to be, and its arguments with the CPU instead of the GPU."""
    if name == "cuda":
        return GPU, args[:1], {}
    if name == "cpu":
        return CPU, args, kwargs
    if name == "to":
        others = [value for value in (*args[1:], kwargs.get("other")) if isinstance(value, torch.Tensor)]
        if others:
            return GPU if _on_gpu(others[0]) else CPU, args, kwargs
    elif kwargs.get("device") is None:
        return None, args, kwargs
    asked = [value for value in (*args[1:], kwargs.get("device")) if _is_device(value)]
    args = tuple(CPU if _is_device(value) else value for value in args)
    kwargs = {key: CPU if key == "device" and value is not None else value for key, value in kwargs.items()}
    if not asked:
        return None, args, kwargs
    return GPU if torch.device(asked[0]).type == "cuda" else CPU, args, kwargs


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] in {"cpu", "cuda"})


def _refuse_strangers(name: str, tensors: list[torch.Tensor]) -> None:
    strangers = [tuple(tensor.shape) for tensor in tensors if tensor.ndim and not _on_gpu(tensor)]
    if strangers:
        raise RuntimeError(f"{name}: expected all tensors on cuda:0, but found {strangers} on cpu")


def _is_sent_slowly(value: Any, kwargs: dict[str, Any]) -> bool:
    """Whether values of the CPU go to the GPU in a copy that is waited for."""
    is_here = isinstance(value, torch.Tensor) and not _on_gpu(value)
    return is_here and not (kwargs.get("non_blocking") and _is_pinned(value))


def _is_masked(name: str, args: Any) -> bool:
    indices = args[1:2] if name in {"__getitem__", "__setitem__"} else ()
    return any(isinstance(value, torch.Tensor) and value.dtype == torch.bool for value in _flat(indices))


def _refuse_indices(name: str, indices: Any) -> None:
    if any(isinstance(value, torch.Tensor) and _on_gpu(value) for value in _flat(indices)):
        raise RuntimeError(f"{name}: indices of a tensor on cpu must be there, too, but are on cuda:0")


def _is_backward() -> bool:
    return bool(torch._C._current_graph_task_id() != -1)
