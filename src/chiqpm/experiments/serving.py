"""What an answer costs beside the backbone that it comes from.

    python -m chiqpm.experiments.serving --out docs/benchmarks/serving.json

writes the JSON and a page of the same name. Networks have random weights and classifiers random assignments, which cost
what trained ones do. Every round takes each kind once, in changing order; a ratio or a difference is the median over
rounds of those within the same round. Decoding of pictures is outside of all; preparing is inside where it says so.
On one core, the processor time of this process is measured too: what else the machine does lengthens it little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from operator import sub, truediv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from chiqpm.answering import one_behind
from chiqpm.backbone import build_backbone
from chiqpm.bulk import predict_files
from chiqpm.classifier import Classifier
from chiqpm.cli.memory import keep_freed_memory
from chiqpm.config import BackboneConfig, DataConfig
from chiqpm.conformal import ConformalPredictor, HierarchicalScore
from chiqpm.devices import find_device, place, send_images
from chiqpm.files import write_json, write_text
from chiqpm.inference import BATCH_SIZE
from chiqpm.model import CHiQPM, keep_features
from chiqpm.provenance import describe_environment, machine_words

KEPT, PER_CLASS, BATCH, STREAM = 50, 5, 64, 8
WHOLE = "backbone alone, 64 at once"
PARTS = f"backbone alone, {BATCH_SIZE} at a time"
BULK = "predict_batch: labels, sets, paths, maps"
EXPLAINED = "predict_batch, and every explanation"
PLAIN_STREAM = f"backbone alone, {STREAM} × 64, each"
STREAMED = f"start_batch and result, {STREAM} × 64, each"
ONE = "backbone alone, one image"
ONE_EXPLAINED = "predict_batch and the explanation"
PREPARED = "preparing and backbone, one picture"
PICTURE = "predict and the explanation, one picture"
LEAST_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured.

    Attributes:
        backbone: name of a network.
        image_size: pixels.
        classes: C.
        threads: cores that compute.
        device: where.
        rounds: repetitions that are timed, for batches; single images get ten times as many.
        files: JPEG files of 500×375 pixels that go through `predict_files`; 0 leaves that out.
    """

    backbone: str = "lite0"
    image_size: int = 224
    classes: int = 200
    threads: int = 1
    device: str = "cpu"
    rounds: int = 7
    files: int = 0


def measure_serving(setting: Setting) -> dict[str, Any]:
    """Time one setting.

    Returns:
        The setting, the environment, and for each kind its median in milliseconds.
    """
    with _cores(setting.threads if setting.device == "cpu" else None):
        classifier = make_classifier(setting)
        measured = {
            "batch": _batches(classifier, setting),
            "stream": _stream(classifier, setting),
            "one": _single(classifier, setting),
        }
        if setting.files:
            measured["files"] = _files(classifier, setting)
    return {"setting": asdict(setting), "environment": describe_environment(), "measured": measured}


@contextmanager
def _cores(count: int | None) -> Iterator[None]:
    """Compute on so many cores, workers included, where the system can say so."""
    threads = torch.get_num_threads()
    allowed = os.sched_getaffinity(0) if sys.platform == "linux" else None
    if count is not None:
        torch.set_num_threads(count)
        if allowed is not None:
            os.sched_setaffinity(0, set(sorted(allowed)[:count]))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if allowed is not None:
            os.sched_setaffinity(0, allowed)


def make_classifier(setting: Setting) -> Classifier:
    """Make a calibrated classifier with random weights, as large as a trained one."""
    torch.manual_seed(0)
    config = BackboneConfig(name=setting.backbone, pretrained=False).resolved()
    backbone = build_backbone(config, image_size=setting.image_size)
    random = np.random.default_rng(0)
    weight_CK = np.zeros((setting.classes, KEPT), dtype=np.float32)
    for row in weight_CK:
        row[random.choice(KEPT, PER_CLASS, replace=False)] = 1
    selection_K = torch.from_numpy(np.sort(random.choice(backbone.num_features, KEPT, replace=False)))
    kept_K = keep_features(backbone, selection_K)
    model = CHiQPM(backbone, kept_K, torch.from_numpy(weight_CK), torch.zeros(KEPT), torch.ones(KEPT))
    logits_MC, features_MK = random.normal(size=(500, setting.classes)), random.random((500, KEPT))
    predictor = ConformalPredictor(HierarchicalScore(weight_CK))
    return Classifier(
        place(model, find_device(setting.device)),
        backbone=config,
        data=DataConfig(image_size=setting.image_size),
        class_names=[f"class {number}" for number in range(setting.classes)],
        active_mean_K=np.ones(KEPT),
        predictor=predictor.calibrate(logits_MC, random.integers(0, setting.classes, 500), features_MK),
    )


def _batches(classifier: Classifier, setting: Setting) -> dict[str, Any]:
    images = _images(classifier, setting)
    parts = torch.split(images, classifier.batch_size)
    backbone = classifier.model.backbone

    def explained() -> None:
        for part in parts:
            batch = classifier.predict_batch(part)
            for row in range(len(batch)):
                batch.explanation(row)

    kinds: dict[str, Callable[[], object]] = {
        WHOLE: lambda: backbone(images),
        PARTS: lambda: [backbone(part) for part in parts],
        BULK: lambda: [classifier.predict_batch(part) for part in parts],
        EXPLAINED: explained,
    }
    return {
        clock: {
            "ms": _medians(seconds),
            "ratio": {
                f"{name} / {plain}": statistics.median(map(truediv, seconds[name], seconds[plain]))
                for name in (BULK, EXPLAINED)
                for plain in (WHOLE, PARTS)
            },
        }
        for clock, seconds in _time(kinds, setting.rounds, classifier.device).items()
    }


def _images(classifier: Classifier, setting: Setting) -> torch.Tensor:
    side = setting.image_size
    images = torch.randn(BATCH, 3, side, side, generator=torch.Generator().manual_seed(0))
    return send_images(images, classifier.device)


def _stream(classifier: Classifier, setting: Setting) -> dict[str, Any]:
    """Time batches that follow each other, as `predict_files` has them: the next is started before one is fetched."""
    images = _images(classifier, setting)
    parts = torch.split(images, classifier.batch_size) * STREAM
    backbone = classifier.model.backbone
    kinds: dict[str, Callable[[], object]] = {
        PLAIN_STREAM: lambda: [backbone(images) for _ in range(STREAM)],
        STREAMED: lambda: [pending.result() for pending in one_behind(map(classifier.start_batch, parts))],
    }
    return {
        clock: {
            "ms": {name: median / STREAM for name, median in _medians(seconds).items()},
            "ratio": {
                f"{STREAMED} / {PLAIN_STREAM}": statistics.median(
                    map(truediv, seconds[STREAMED], seconds[PLAIN_STREAM])
                )
            },
        }
        for clock, seconds in _time(kinds, setting.rounds, classifier.device).items()
    }


def _single(classifier: Classifier, setting: Setting) -> dict[str, Any]:
    side = setting.image_size
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(classifier.device)
    pixels = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    backbone = classifier.model.backbone
    kinds: dict[str, Callable[[], object]] = {
        ONE: lambda: backbone(image),
        ONE_EXPLAINED: lambda: classifier.predict_batch(image).explanation(0),
        PREPARED: lambda: backbone(classifier.transform(picture)[None].to(classifier.device)),
        PICTURE: lambda: classifier.predict(picture).explanation,
    }
    pairs = ((ONE_EXPLAINED, ONE), (PICTURE, PREPARED))
    return {
        clock: {
            "ms": _medians(seconds),
            "added_ms": {
                f"{name} - {plain}": 1000 * statistics.median(map(sub, seconds[name], seconds[plain]))
                for name, plain in pairs
            },
        }
        for clock, seconds in _time(kinds, 10 * setting.rounds, classifier.device).items()
    }


def _medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: 1000 * statistics.median(times) for name, times in seconds.items()}


def _files(classifier: Classifier, setting: Setting) -> dict[str, Any]:
    """Send files through `predict_files`, and what it consists of through this process alone."""
    random = np.random.default_rng(0)
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(setting.files):
            small = Image.fromarray(random.integers(0, 256, (15, 20, 3), dtype=np.uint8))
            small.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg", quality=92)
        paths = sorted(folder.glob("*.jpg"))
        start = time.perf_counter()
        for path in paths:
            with Image.open(path) as picture:
                classifier.transform(picture.convert("RGB"))
        decoding = time.perf_counter() - start
        rates = {}
        for workers in (0, 1, 2, None):
            if workers is None or workers <= setting.threads:
                label = "chosen" if workers is None else str(workers)
                summary = predict_files(classifier, [folder], folder / f"{label}.csv", workers=workers)
                rates[label] = summary.per_second
    return {"pictures": setting.files, "decoding_ms": 1000 * decoding / setting.files, "per_second_by_workers": rates}


def _time(
    kinds: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, dict[str, list[float]]]:
    """Return, for the wall clock and on one core also for the processor's, the seconds of each kind in each round."""
    names = list(kinds)
    clocks = {"wall": time.perf_counter}
    if device.type == "cpu" and torch.get_num_threads() == 1:
        clocks["processor"] = time.process_time
    seconds: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in names} for clock in clocks}
    with torch.inference_mode():
        for number in range(-2, rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                start = {clock: now() for clock, now in clocks.items()}
                kinds[name]()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                for clock, now in clocks.items():
                    if number >= 0:
                        seconds[clock][name].append(now() - start[clock])
    return seconds


def page(results: Mapping[str, Any]) -> str:
    """Return the results as a page in Markdown."""
    lines = [
        "# Serving: what an answer costs beside its backbone",
        "",
        "Measured by `python -m chiqpm.experiments.serving --out docs/benchmarks/serving.json`, which writes this",
        "page. Random weights, 50 features, 5 a class, calibrated `branch` sets. *Backbone* is the network's own",
        "forward pass, from prepared images to feature maps, in inference mode. An answer adds the head, the set, the",
        f"path and its maps (`Classifier.predict_batch`, {BATCH_SIZE} at a time; on a GPU {BATCH}, where the column",
        f"*{BATCH_SIZE} at a time* means {BATCH} as well); an explanation adds tree, rivals and p-values as Python",
        "values. Batches that follow each other are answered as by `chiqpm predict --out`: the next one is started",
        "before the answers of one are fetched (`Classifier.start_batch`); a row missing there wasn't measured.",
        "Decoding is outside of all. Medians over interleaved rounds; ratios and differences are taken within a round.",
        "Processor time, on one core, is what the measuring process computed; wall time also holds what else the",
        "machine did.",
        "",
    ]
    lines += ["| 64 images | " + " | ".join(_SHORT.values()) + " | answers / backbone (64 at once; 16 at a time) |"]
    lines += ["|---|" + "---|" * (len(_SHORT) + 1)]
    for name, result in results.items():
        for clock, measured in result["measured"]["batch"].items():
            ratio = [measured["ratio"][f"{BULK} / {plain}"] for plain in (WHOLE, PARTS)]
            times = " | ".join(f"{measured['ms'][kind]:.0f} ms" for kind in _SHORT)
            lines.append(f"| {name}, {clock} time | {times} | {ratio[0]:.3f}; {ratio[1]:.3f} |")
    lines += ["", f"| {STREAM} batches of 64, each | backbone | answers | answers / backbone |", "|---|---|---|---|"]
    for name, result in results.items():
        for clock, stream in result["measured"].get("stream", {}).items():
            times = " | ".join(f"{stream['ms'][kind]:.0f} ms" for kind in (PLAIN_STREAM, STREAMED))
            lines.append(f"| {name}, {clock} time | {times} | {stream['ratio'][f'{STREAMED} / {PLAIN_STREAM}']:.3f} |")
    lines += ["", "| one image | backbone | answer with explanation | added | added, from a decoded 500×375 picture |"]
    lines += ["|---|---|---|---|---|"]
    for name, result in results.items():
        for clock, one in result["measured"]["one"].items():
            first, second = one["added_ms"].values()
            times = f"{one['ms'][ONE]:.1f} ms | {one['ms'][ONE_EXPLAINED]:.1f} ms"
            lines.append(f"| {name}, {clock} time | {times} | {first:.2f} ms | {second:.2f} ms |")
    lines += _files_table(results)
    machines = dict.fromkeys(machine_words(result["environment"]) for result in results.values())
    versions = dict.fromkeys(f"torch {result['environment']['packages']['torch']}" for result in results.values())
    lines += ["", f"Measured on: {'; '.join(machines)}; {', '.join(versions)}.", ""]
    return "\n".join(lines)


_SHORT = {
    WHOLE: "backbone, 64 at once",
    PARTS: f"backbone, {BATCH_SIZE} at a time",
    BULK: "answers",
    EXPLAINED: "answers, all explained",
}


def _files_table(results: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {name} | {files['decoding_ms']:.1f} ms | "
        + ", ".join(f"{workers}: {rate:.1f}" for workers, rate in files["per_second_by_workers"].items())
        + " |"
        for name, result in results.items()
        if (files := result["measured"].get("files"))
    ]
    head = ["", "| JPEG files, 500×375 | decoding and preparing one | pictures a second, by workers |", "|---|---|---|"]
    return [*head, *rows] if rows else []


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure from the command line; what is in the file stays, row by row."""
    parser = argparse.ArgumentParser(
        prog="python -m chiqpm.experiments.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file; the page stands beside it")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="cores that compute, one row for each")
    parser.add_argument("--backbones", nargs="+", default=["lite0", "resnet50"])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--files", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds must be {LEAST_ROUNDS} or more, received {options.rounds}")
    keep_freed_memory()
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for backbone in options.backbones:
        for threads in options.threads:
            setting = Setting(
                backbone=backbone,
                image_size=options.image_size,
                classes=options.classes,
                threads=threads,
                device=options.device,
                rounds=options.rounds,
                files=options.files,
            )
            where = f"{threads} core{'s' * (threads > 1)}" if options.device == "cpu" else options.device
            results[f"{backbone}, {setting.image_size} px, {where}"] = measure_serving(setting)
            write_json(options.out, results)
            write_text(options.out.with_suffix(".md"), page(results))
    sys.stdout.write(page(results))


if __name__ == "__main__":
    main()
