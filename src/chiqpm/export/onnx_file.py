"""Write a classifier as ONNX, and compare the file with PyTorch before anyone trusts it."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from chiqpm.classifier import Classifier
from chiqpm.errors import ChiqpmError
from chiqpm.export.metadata import KEY, describe
from chiqpm.export.network import OUTPUTS, ScoredNetwork, can_score

OPSET = 18
_CHECKED_BATCHES = (1, 2, 5)
_TOLERANCE = 1e-3
_TALKATIVE = ("onnx_ir", "onnxscript")


@dataclass(frozen=True)
class OnnxReport:
    """What was written, and how far it is from PyTorch.

    Attributes:
        path: the file.
        outputs: names of its outputs.
        differences: for each output the largest absolute difference from PyTorch on random images.
        batches: sizes of the batches that were compared.
        sets: whether the file can make prediction sets.
    """

    path: Path
    outputs: tuple[str, ...]
    differences: dict[str, float]
    batches: tuple[int, ...]
    sets: bool

    def sentence(self) -> str:
        """Say it in a line."""
        differences = ", ".join(f"{name} {value:.1e}" for name, value in self.differences.items())
        sets = "" if self.sets else "; without scores, so it makes no prediction sets"
        return f"{self.path}: {', '.join(self.outputs)}{sets}. Largest difference from PyTorch: {differences}"


def export_onnx(classifier: Classifier, path: str | Path, *, opset: int = OPSET) -> OnnxReport:
    """Write a classifier as one ONNX file, with any number of images in a batch.

    Its input is `images` (B, 3, S, S), normalised; its outputs are `logits` (B, C), `features` (B, K), `maps`
    (B, K, H, W) and, for a calibrated classifier, `scores` (B, C): a set at some coverage holds the classes whose score
    is at most the threshold in the metadata. The file is compared with PyTorch by onnxruntime before it appears.

    Args:
        classifier: any; without `scores` where `can_score` says that another runtime couldn't make its sets.
        path: the file.
        opset: version of the ONNX operators, 18 or newer.

    Raises:
        ChiqpmError: the extra `onnx` isn't installed, torch is too old, the network can't be exported, or the file
            doesn't compute what PyTorch does.
        OSError: the file can't be written.
    """
    onnxruntime = _require()
    if opset < OPSET:
        raise ChiqpmError(f"opset must be {OPSET} or newer, received {opset}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    predictor = classifier.predictor
    score = predictor.score if predictor is not None and can_score(predictor.score) else None
    model = copy.deepcopy(classifier.model).cpu().to(memory_format=torch.contiguous_format)
    network = ScoredNetwork(model, score).eval()
    side = classifier.data_config.image_size
    outputs = OUTPUTS if score is not None else OUTPUTS[:-1]
    program = _convert(network, side, outputs, opset, classifier.backbone_config.name)
    program.model.producer_name = "chiqpm"
    program.model.metadata_props[KEY] = json.dumps(describe(classifier), ensure_ascii=False, allow_nan=False)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        file = Path(folder) / path.name
        program.save(file)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        differences = _compare(network, session, side, outputs)
        file.replace(path)
    return OnnxReport(path, outputs, differences, _CHECKED_BATCHES, sets=score is not None)


def _require() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ChiqpmError(
            f"the export needs the extra `onnx` ({error.name} is missing): pip install 'chiqpm[onnx]'"
        ) from None
    if "dynamic_shapes" not in inspect.signature(torch.onnx.export).parameters:
        raise ChiqpmError(f"the export needs torch 2.6 or newer, found {torch.__version__}")
    return onnxruntime


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the exporter from telling what it optimises."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _convert(network: ScoredNetwork, side: int, outputs: tuple[str, ...], opset: int, name: str) -> Any:
    images = torch.zeros(2, 3, side, side)
    try:
        with warnings.catch_warnings(), _silent():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                input_names=["images"],
                output_names=list(outputs),
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # the exporter has no family of errors of its own
        cause = error.__cause__ or error
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise ChiqpmError(f"a classifier on {name} can't be exported to ONNX: {reason}") from error


def _compare(network: ScoredNetwork, session: Any, side: int, outputs: tuple[str, ...]) -> dict[str, float]:
    """Return the largest absolute difference of each output on random images, batches of several sizes.

    Raises:
        ChiqpmError: one is too large.
    """
    generator = torch.Generator().manual_seed(0)
    largest = dict.fromkeys(outputs, 0.0)
    for size in _CHECKED_BATCHES:
        images = torch.randn(size, 3, side, side, generator=generator)
        with torch.inference_mode():
            wanted = network(images)
        found = session.run(list(outputs), {"images": images.numpy()})
        for name, ours, theirs in zip(outputs, wanted, found, strict=True):
            expected = ours.numpy()
            difference = float(np.abs(expected - theirs).max())
            scale = max(1.0, float(np.abs(expected).max()))
            if not difference <= _TOLERANCE * scale:
                raise ChiqpmError(
                    f"the ONNX file doesn't compute what PyTorch does: {name} differ by {difference:.2g} (values up to "
                    f"{scale:.2g}); update torch, onnxscript and onnxruntime"
                )
            largest[name] = max(largest[name], difference)
    return largest
