"""What the method costs: its training steps beside a plain one, its statistics beside a plain evaluation.

    python -m chiqpm.experiments.cost --out docs/benchmarks/cost.json
    python -m chiqpm.experiments.cost --out docs/benchmarks/cost.json --device cuda
    python -m chiqpm.experiments.cost --out docs/benchmarks/cost.json --device cuda --output-stride 8

The first is ResNet18 on a CPU (128 pixels, batch 32), the second ResNet50 on a GPU (224 pixels, batch 64, bf16), the
third the same with the published maps of 28×28 cells, on which the diversity loss costs most. Images are random and in
memory, so that decoding hides nothing. Every round takes one step of each kind, one after the other in changing order;
a ratio is the median over rounds of the time divided by the plain one's in the same round. The ratio of processor time
tells the same where other programs disturb the clock; on a GPU it says nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from chiqpm.backbone import build_backbone
from chiqpm.cli.memory import keep_freed_memory
from chiqpm.config import BackboneConfig, ComputeConfig, DenseConfig, FineTuneConfig, OptimiserConfig
from chiqpm.devices import place, send_images
from chiqpm.files import write_json
from chiqpm.model import CHiQPM, DenseClassifier
from chiqpm.processes import Processes
from chiqpm.statistics import FeatureStatistics
from chiqpm.training.batch_norm import BatchCounts
from chiqpm.training.dropout import SharedDropout
from chiqpm.training.optimiser import build_optimiser
from chiqpm.training.share import Batch, Rows
from chiqpm.training.stages import dense_loss, sparse_loss
from chiqpm.training.step import Forward, Loss, Stepper

KEPT, PER_CLASS = 50, 5
PLAIN = "plain step (cross-entropy)"
DENSE = "dense step (cross-entropy, diversity)"
SPARSE = "fine-tuning step (cross-entropy, diversity, grounding)"
EVALUATION = "plain evaluation pass"
STATISTICS = "statistics pass"
_SGD = OptimiserConfig(name="sgd", lr=1e-3, head_lr=1e-3)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured.

    Attributes:
        backbone: name of a timm model, with random weights.
        image_size: pixels.
        output_stride: pixels of the image per cell of the last maps; None keeps the backbone's own.
        batch_size: images of a step.
        classes: C.
        precision: mixed precision of the training steps; evaluation is in float32.
        device: where.
        rounds: repetitions that are timed.
        warm_up: repetitions before, that are not.
    """

    backbone: str = "resnet18"
    image_size: int = 128
    output_stride: int | None = None
    batch_size: int = 32
    classes: int = 200
    precision: str = "no"
    device: str = "cpu"
    rounds: int = 20
    warm_up: int = 3


def measure_cost(setting: Setting) -> dict[str, Any]:
    """Time the steps and passes of one setting.

    Returns:
        The setting, the machine, and for each kind the median seconds and the ratio to the plain one.
    """
    compute = ComputeConfig(precision=setting.precision, tracker="none")  # type: ignore[arg-type]
    processes = Processes(setting.device, compute=compute)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(setting.batch_size, 3, setting.image_size, setting.image_size, generator=generator)
    images = send_images(images, processes.device)
    labels = torch.randint(setting.classes, (setting.batch_size,), generator=generator).to(processes.device)
    dense, sparse = _dense(setting, processes), _sparse(setting, processes)
    dense_terms, sparse_terms = dense_loss(dense, DenseConfig()), sparse_loss(sparse, DenseConfig(), FineTuneConfig())
    with BatchCounts(dense) as dense_counts, BatchCounts(sparse) as sparse_counts:
        steps = {
            PLAIN: _plain_step(_dense(setting, processes), setting, images, labels),
            DENSE: _own_step(dense, dense_terms, processes, images, labels, counts=dense_counts),
            SPARSE: _own_step(sparse, sparse_terms, processes, images, labels, counts=sparse_counts),
        }
        timed = _time(steps, PLAIN, setting, processes.device)
    evaluated = _dense(setting, processes).eval()
    sums = FeatureStatistics(evaluated.backbone.num_features, setting.classes)  # type: ignore[arg-type]
    passes = {
        EVALUATION: _evaluation(evaluated, images, labels),
        STATISTICS: _statistics(evaluated, sums, images, labels.cpu()),
    }
    timed |= _time(passes, EVALUATION, setting, processes.device)
    return {"setting": asdict(setting), "machine": _machine(processes.device), "measured": timed}


def _dense(setting: Setting, processes: Processes) -> DenseClassifier:
    torch.manual_seed(0)
    config = BackboneConfig(name=setting.backbone, pretrained=False, output_stride=setting.output_stride)
    backbone = build_backbone(config, image_size=setting.image_size)
    return place(DenseClassifier(backbone, setting.classes), processes.device)


def _sparse(setting: Setting, processes: Processes) -> CHiQPM:
    dense = _dense(setting, processes)
    count = int(dense.backbone.num_features)  # type: ignore[arg-type]
    generator = np.random.default_rng(0)
    weight_CK = np.zeros((setting.classes, KEPT), dtype=np.float32)
    for row in weight_CK:
        row[generator.choice(KEPT, PER_CLASS, replace=False)] = 1
    selection_K = torch.from_numpy(np.sort(generator.choice(count, KEPT, replace=False)))
    mean_K, std_K = torch.full((KEPT,), 0.5), torch.full((KEPT,), 0.5)
    return place(CHiQPM(dense.backbone, selection_K, torch.from_numpy(weight_CK), mean_K, std_K), processes.device)


def _plain_step(
    model: DenseClassifier, setting: Setting, images: torch.Tensor, labels: torch.Tensor
) -> Callable[[], None]:
    """As anyone would write it: torch alone, as it is."""
    optimiser = torch.optim.SGD(
        model.train().parameters(), lr=_SGD.lr, momentum=_SGD.momentum, weight_decay=_SGD.weight_decay
    )
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(setting.precision)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, dtype=half, enabled=half is not None):
            loss = F.cross_entropy(model(images).logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss.item()

    return step


def _own_step(
    model: DenseClassifier | CHiQPM,
    loss: Loss,
    processes: Processes,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    counts: BatchCounts,
) -> Callable[[], None]:
    """As the training loop does it."""
    model.dropout = SharedDropout(model.dropout.p)
    optimiser = build_optimiser(model.train(), [], _SGD)
    forward = Forward(model, loss, cached=False)
    stepper = Stepper(forward, optimiser, processes, dropouts=[model.dropout], accumulation=1, counts=counts)
    batch = Batch(images, labels, Rows(0, len(labels)))

    def step() -> None:
        stepper.step([batch], epoch=0, lr_factor=1.0)

    return step


def _evaluation(model: DenseClassifier, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    def step() -> None:
        with torch.inference_mode():
            int((model(images).logits.argmax(dim=1) == labels).sum())

    return step


def _statistics(
    model: DenseClassifier, sums: FeatureStatistics, images: torch.Tensor, labels: torch.Tensor
) -> Callable[[], None]:
    def step() -> None:
        with torch.inference_mode():
            sums.update(model.backbone(images), labels)

    return step


def _time(
    kinds: Mapping[str, Callable[[], None]], plain: str, setting: Setting, device: torch.device
) -> dict[str, dict[str, Any]]:
    names = list(kinds)
    seconds = {name: np.zeros((2, setting.rounds)) for name in names}
    for number in range(-setting.warm_up, setting.rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter(), time.process_time()
            kinds[name]()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number >= 0:
                seconds[name][:, number] = time.perf_counter() - start[0], time.process_time() - start[1]
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        clock, processor = seconds[name] / seconds[plain]
        low, middle, high = np.quantile(clock, (0.25, 0.5, 0.75))
        found[name] = {
            "seconds": float(np.median(seconds[name][0])),
            "ratio": float(middle),
            "ratio_quartiles": [float(low), float(high)],
            "processor_ratio": float(np.median(processor)) if device.type == "cpu" else None,
        }
    return found


def _machine(device: torch.device) -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        processor = lines[0].partition(": ")[2] if lines else processor
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def table(results: Mapping[str, Any]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| what | where | ms | ratio (quartiles) | of processor time |", "|---|---|---|---|---|"]
    for name, result in results.items():
        machine = result["machine"]
        where = f"{name}; {machine['device']}, torch {machine['torch']}"
        for kind, values in result["measured"].items():
            low, high = values["ratio_quartiles"]
            ratio = f"{values['ratio']:.3f} ({low:.3f} to {high:.3f})"
            processor = "" if values["processor_ratio"] is None else f"{values['processor_ratio']:.3f}"
            lines.append(f"| {kind} | {where} | {1000 * values['seconds']:.1f} | {ratio} | {processor} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure from the command line, keep the numbers, print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m chiqpm.experiments.cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file; what is in it stays, row by row")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=None, help="of torch; by default those it takes")
    parser.add_argument("--backbone", default=None, help="by default resnet18 on a CPU, resnet50 on a GPU")
    parser.add_argument("--image-size", type=int, default=None)
    parser.add_argument("--output-stride", type=int, default=None, help="by default the backbone's own")
    parser.add_argument("--batch-size", type=int, default=None)
    options = parser.parse_args(arguments)
    usual = ("resnet18", 128, 32, "no") if options.device == "cpu" else ("resnet50", 224, 64, "bf16")
    setting = Setting(
        backbone=options.backbone or usual[0],
        image_size=options.image_size or usual[1],
        output_stride=options.output_stride,
        batch_size=options.batch_size or usual[2],
        precision=usual[3],
        device=options.device,
        rounds=options.rounds,
    )
    keep_freed_memory()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    precision = "float32" if setting.precision == "no" else setting.precision
    maps = "" if setting.output_stride is None else f", stride {setting.output_stride}"
    name = (
        f"{setting.backbone}, {setting.image_size} px{maps}, batch {setting.batch_size}, {precision}, {options.device}"
    )
    if options.device == "cpu":
        name += f", {torch.get_num_threads()} threads"
    results[name] = measure_cost(setting)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, results)
    sys.stdout.write(table(results) + "\n")


if __name__ == "__main__":
    main()
