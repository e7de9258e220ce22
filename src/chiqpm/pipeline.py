"""From a folder of images to a calibrated, explained classifier: the stages in order over a run directory."""

from __future__ import annotations

import logging
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from chiqpm import assignment, config_file, data
from chiqpm.backbone import Backbone, build_backbone, pretrained_classifier
from chiqpm.calibration import make_score
from chiqpm.classifier import CALIBRATION, DESCRIPTION, WEIGHTS, Classifier, load, write_weights
from chiqpm.config import FitConfig
from chiqpm.conformal import ConformalPredictor
from chiqpm.data.dataset import ImageDataset
from chiqpm.data.transforms import evaluation_transform, training_transform
from chiqpm.dense_checkpoint import load_dense_checkpoint
from chiqpm.devices import deterministic_algorithms, place, send_images
from chiqpm.errors import ChiqpmError, DamagedFileError
from chiqpm.evaluation import evaluate
from chiqpm.explain import FeatureObserver
from chiqpm.files import Lock, digest, read_npz, write_json, write_npz, write_text
from chiqpm.inference import Answers, Features, accuracy, answer, gather
from chiqpm.ledger import Ledger
from chiqpm.metrics import active_mean
from chiqpm.model import CHiQPM, DenseClassifier, Output, keep_features
from chiqpm.pivots import pivot_similarity, separation
from chiqpm.processes import Processes
from chiqpm.progress import bar, steps
from chiqpm.provenance import describe_environment
from chiqpm.recalibration import CALIBRATION_ANSWERS, write_digests
from chiqpm.run_explanation import write_observations
from chiqpm.statistics import FeatureStatistics, Statistics
from chiqpm.training import Batches, CachedBatches, ImageBatches, Share, fine_tune, train_dense
from chiqpm.training.batches import in_order, num_batches
from chiqpm.training.cache import cache_hidden
from chiqpm.training.checkpoint import drop_checkpoints

logger = logging.getLogger(__name__)

_EVALUATED_TOGETHER = 32
"""Training images that are evaluated at once."""


def fit(
    data: str | Path | Any, out: str | Path, *, config: FitConfig | None = None, quiet: bool = True, **changes: Any
) -> Classifier:
    """Train, calibrate and evaluate a classifier on a folder of images, or on a data set in memory.

    Stages that are finished in the run directory, by the same data and options, are not done again; an interrupted
    one goes on where its training was last kept (`compute.checkpoint_seconds`). Several processes, started by
    `accelerate launch` or `torchrun`, do it together and see the same `data` and `out`.

    Args:
        data: `DIR/<class>/*.jpg`, `DIR/{train,calibration,test}/<class>/*.jpg`, the folder of a published data set
            (CUB, TravelingBirds, Cars, Aircraft, ImageNet) or of WebDataset shards; or a Hugging Face `Dataset` or
            `DatasetDict` with an image and a class column.
        out: the run directory; made if need be.
        config: all options; None takes the defaults.
        quiet: show no progress bars.
        **changes: single options that differ from `config`, groups as dictionaries: `seed=1, dense={"epochs": 3}`.

    Returns:
        The classifier, as `chiqpm.load(out)` gives it.

    Raises:
        ChiqpmError: the data or an option can't be used; says what to do.
        FileNotFoundError: no such folder.
        OSError: the run directory can't be written.
    """
    options = config_file.updated(config_file.to_dict(config or FitConfig()), changes)
    run = Run(data, out, config_file.from_dict(options), quiet=quiet)
    try:
        with deterministic_algorithms(run.config.compute.deterministic):
            return run.finish()
    finally:
        run.processes.close()


@contextmanager
def _told_how_to_redo() -> Iterator[None]:
    try:
        yield
    except DamagedFileError as error:
        raise ChiqpmError(f"{error}. Delete the file, and the same command makes it again") from None


class Run:
    """One run directory and the stages over it.

    Args:
        source: the folder of images, or a Hugging Face data set.
        out: the run directory.
        config: all options.
        quiet: show no progress bars.
    """

    def __init__(self, source: str | Path | Any, out: str | Path, config: FitConfig, *, quiet: bool = True) -> None:
        self.out = Path(out)
        self.config = replace(config, backbone=config.backbone.resolved())
        self.processes = Processes(config.device, compute=config.compute, folder=self.out)
        self.device = self.processes.device
        self.quiet = quiet or not self.processes.is_main
        # One process reads the folder, so that all have the same table.
        self.table = self.processes.on_main(lambda: self._open(source))
        self.root = self.table.root
        self._keep_what_can_be_used()
        self.processes.on_main(lambda: self.out.mkdir(parents=True, exist_ok=True))
        self.ledger = Ledger(self.out / "stages.json", self.processes)

    def finish(self) -> Classifier:
        """Do what isn't done yet, and return the classifier."""
        with _told_how_to_redo():
            with ExitStack() as stack:
                self.processes.on_main(lambda: self._claim(stack))
                self._finish()
            return load(self.out, device=self.config.device)

    def _claim(self, stack: ExitStack) -> None:
        """Keep others from the run directory."""
        try:
            stack.callback(Lock(self.out / ".lock").release)
        except BlockingIOError:
            raise ChiqpmError(
                f"another chiqpm fit is at work in {self.out}; wait for it, or choose another run directory"
            ) from None

    def _finish(self) -> None:
        assignment.check_preconditions(
            max(self.backbone.num_features, 1),
            len(self.table.classes),
            self.config.assignment.kept_features,
            self.config.assignment.features_per_class,
            self.config.assignment.pair_density,
        )
        self.split()
        self._check_share()
        self.processes.on_main(self._check_annotations)
        text = yaml.safe_dump(
            {"data_folder": str(self.root), **config_file.to_dict(self.config)},
            sort_keys=False,
            allow_unicode=True,
        )
        self.processes.on_main(lambda: write_text(self.out / "config.yaml", text))
        dense_key = self.dense()
        assignment_key = self.assign(self.measure(dense_key))
        calibration_key = self.calibrate(self.fine_tune(assignment_key))
        self.evaluate(calibration_key)
        self.processes.on_main(lambda: shutil.rmtree(self.out / "cache", ignore_errors=True))

    def split(self) -> None:
        """Divide the images into train, calibration and test, or take up the written division."""
        options = asdict(self.config.data)
        names = ("calibration_fraction", "test_fraction", "calibration_from", "split_seed", "groups", "crop_to_box")
        made_from = {name: options[name] for name in (*names, "aircraft_classes")}
        file = self.out / "split.csv"
        with self.ledger.stage("split", {"options": made_from}, [file]) as stage:
            self.table = self.processes.on_main(lambda: self._divide(file, written=stage.done))

    def dense(self) -> str:
        """Train the dense classifier; returns the key of the stage."""
        file = self.out / "dense.safetensors"
        made_from = {
            "images": self.images_key,
            "preparation": self._preparation(),
            "backbone": asdict(self.config.backbone),
            "dense": asdict(self.config.dense),
            "compute": self._numerics(),
            "seed": self.config.seed,
        }
        with self.ledger.stage("dense", made_from, [file]) as stage:
            if not stage.done:
                model = self._new_dense()
                if self.config.dense.checkpoint is not None:
                    load_dense_checkpoint(model, Path(self.config.dense.checkpoint))
                elif self.config.dense.epochs > 0:
                    train_dense(
                        model,
                        self._batches(model.backbone, self.config.dense.optimiser.batch_size),  # type: ignore[arg-type]
                        self.config.dense,
                        seed=self.config.seed,
                        cached=self.cached,
                        processes=self.processes,
                        checkpoint=self._checkpoint("dense"),
                        key=stage.key,
                        quiet=self.quiet,
                    )
                else:
                    self._take_pretrained_classifier(model)
                self.processes.on_main(lambda: write_weights(file, model))
                self._drop_checkpoints("dense")
        return stage.key

    def measure(self, dense_key: str) -> str:
        """Compute the constants of the quadratic problem and the dense accuracy in one pass each."""
        file = self.out / "statistics.npz"
        with self.ledger.stage("statistics", {"dense": dense_key}, [file]) as stage:
            if not stage.done:
                model = self._trained_dense()
                sums = FeatureStatistics(
                    self.backbone.num_features,
                    len(self.table.classes),
                    pooling=self.config.dense.pooled_share,
                )
                total = len(self.table.indices("train"))
                with torch.inference_mode(), bar(total, "measuring features", quiet=self.quiet) as progress:
                    for inputs, labels in self._plain_training_inputs(model.backbone):  # type: ignore[arg-type]
                        sums.update(inputs, labels)
                        progress.update(len(labels) * self.processes.count)
                sums.reduce(self.processes.add_array)
                found = np.nan
                if model.classifier.weight.any():
                    found = accuracy(model, self._dataset("test"), **self._evaluation("dense model on test images"))
                self.processes.on_main(
                    lambda: write_npz(file, {**vars(sums.compute()), "dense_test_accuracy": np.array(found)})
                )
        return stage.key

    def assign(self, statistics_key: str) -> str:
        """Select the features and give each class its own."""
        file = self.out / "assignment.npz"
        options = self.config.assignment
        made_from = {"statistics": statistics_key, "assignment": asdict(options), "seed": self.config.seed}
        with self.ledger.stage("assignment", made_from, [file]) as stage:
            if not stage.done:
                self.processes.on_main(lambda: self._solve(file))
        return stage.key

    def _solve(self, file: Path) -> None:
        logger.info("choosing features (the first time after an installation, the search is compiled)")
        arrays = read_npz(self.out / "statistics.npz")
        found, problem = solve_assignment(
            Statistics(**{field.name: arrays[field.name] for field in fields(Statistics)}),
            self.config,
            progress=steps("choosing features", quiet=self.quiet),
        )
        found = prove(found, problem, self.config, progress=steps("proving how good they are", quiet=self.quiet))
        write_npz(
            file,
            {
                "selection_K": found.selection_K,
                "weight_CK": found.weight_CK,
                "objective": np.array(found.objective),
                "bound": np.array(np.inf if found.bound is None else found.bound),
                "pairs": np.asarray(problem.pairs, dtype=np.int64).reshape(-1, 2),
                "pairs_satisfied": np.array(found.pairs_satisfied),
            },
        )

    def fine_tune(self, assignment_key: str) -> str:
        """Fine-tune the sparse model and write it, without calibration."""
        made_from = {
            "assignment": assignment_key,
            "finetune": asdict(self.config.finetune),
            "compute": self._numerics(),
            "seed": self.config.seed,
        }
        products = [self.out / name for name in (WEIGHTS, DESCRIPTION)]
        with self.ledger.stage("finetune", made_from, products) as stage:
            if not stage.done:
                model = self._new_sparse()
                fine_tune(
                    model,
                    self._batches(model.backbone, self.config.finetune.optimiser.batch_size),  # type: ignore[arg-type]
                    self.config.dense,
                    self.config.finetune,
                    seed=self.config.seed,
                    cached=self.cached,
                    processes=self.processes,
                    checkpoint=self._checkpoint("finetune"),
                    key=stage.key,
                    quiet=self.quiet,
                )
                own = self.processes.own_rows(len(self.table.indices("train")), _EVALUATED_TOGETHER)
                observer = FeatureObserver(*model.weight_CK.shape, seed=self.config.seed, first=int(own[:1].sum()))
                features = self._training_features(
                    model, lambda output, labels: observer.update(output.features, output.maps, labels)
                )
                observers = self.processes.gather(observer)
                self.processes.on_main(lambda: self._write_sparse(model, features, observers))
                self._drop_checkpoints("finetune")
        return stage.key

    def _write_sparse(self, model: CHiQPM, features: Features, observers: list[FeatureObserver]) -> None:
        write_npz(self.out / "train_answers.npz", vars(features))
        for other in observers[1:]:
            observers[0].merge(other)
        write_observations(self.out, model, observers[0].observations())
        write_digests(self.out, self.table, "train")
        write_json(self.out / "environment.json", describe_environment())
        self._classifier(model, active_mean(features.features_NK, self.config.seed)).save(self.out)

    def calibrate(self, model_key: str) -> str:
        """Calibrate the prediction sets on images that no training saw."""
        made_from = {
            "model": model_key,
            "images": self._part_key("calibration"),
            "calibration": {
                "score": self.config.calibration.score,
                "coverage": self.config.calibration.coverage,
            },
        }
        file = self.out / CALIBRATION
        with self.ledger.stage("calibration", made_from, [file]) as stage:
            if not stage.done:
                classifier = load(self.out, device=self.config.device)
                answers = answer(classifier.model, self._dataset("calibration"), **self._evaluation("calibrating"))
                self.processes.on_main(lambda: self._write_calibrated(classifier, answers))
        return stage.key

    def _write_calibrated(self, classifier: Classifier, answers: Answers) -> None:
        score = make_score(self.config.calibration.score, classifier.model.weight_CK.cpu().numpy())
        classifier.predictor = ConformalPredictor(score).calibrate(
            answers.logits_NC, answers.labels_N, answers.features_NK
        )
        classifier.coverage = self.config.calibration.coverage
        write_npz(self.out / CALIBRATION_ANSWERS, vars(answers))
        write_digests(self.out, self.table, "calibration")
        classifier.save(self.out)

    def evaluate(self, calibration_key: str) -> None:
        """Measure everything on the test images, and draw examples."""
        attributes = data.find_attributes(self.root, self.config.data.attributes)
        made_from = {
            "calibration": calibration_key,
            "images": self._part_key("test"),
            "targets": list(self.config.calibration.targets),
            "attributes": None if attributes is None else digest(attributes.read_text(encoding="utf-8-sig")),
            "annotations": data.annotation_stamps(self.table),
        }
        with self.ledger.stage("evaluation", made_from, [self.out / "metrics.json"]) as stage:
            if not stage.done:
                self.processes.on_main(lambda: write_digests(self.out, self.table, "test"))
                evaluate(
                    self.out,
                    self.table,
                    self.config,
                    attributes=attributes,
                    processes=self.processes,
                    quiet=self.quiet,
                )

    @cached_property
    def backbone(self) -> Backbone:
        """A fresh backbone; what is asked of it here is its shape."""
        torch.manual_seed(self.config.seed)
        return build_backbone(self.config.backbone, image_size=self.config.data.image_size)

    @property
    def cached(self) -> bool:
        """Whether the frozen part's activations are cached."""
        return self.config.backbone.frozen is not None

    @cached_property
    def images_key(self) -> str:
        """Digest of the training images, their classes and their place in the split."""
        return self._part_key("train")

    def _open(self, source: str | Path | Any) -> data.ImageTable:
        if isinstance(source, (str, Path)) and self.out.resolve().is_relative_to(Path(source).resolve()):
            raise ChiqpmError(
                f"the run directory {self.out} lies in the folder of images {source}, where its figures would be taken "
                "for a class; choose one outside"
            )
        return data.open_source(
            source,
            replace(self.config.data, find_duplicates=True),
            progress=steps("reading images", quiet=self.quiet),
        )

    def _keep_what_can_be_used(self) -> None:
        """Keep no more features than all classes together can have."""
        options, classes = self.config.assignment, len(self.table.classes)
        usable = classes * options.features_per_class
        if options.kept_features > usable > options.features_per_class:
            if self.processes.is_main:
                logger.warning(
                    "%d classes with %d features each can use %d features at most: %d are kept, not %d",
                    classes,
                    options.features_per_class,
                    usable,
                    usable,
                    options.kept_features,
                )
            self.config = replace(self.config, assignment=replace(options, kept_features=usable))

    def _divide(self, file: Path, *, written: bool) -> data.ImageTable:
        if written:
            return data.apply_split(self.table, file)
        table = data.split(self.table, self.config.data)
        data.write_split(table, file)
        if self.config.data.find_duplicates and self.config.data.check_images:
            self._report_duplicates(table)
        return table

    def _check_share(self) -> None:
        """Refuse processes that would have nothing to do, before any work."""
        count = len(self.table.indices("train"))
        share = Share(processes=self.processes.count, accumulation=self.config.compute.accumulation)
        for optimiser in (self.config.dense.optimiser, self.config.finetune.optimiser):
            share.check(count // num_batches(count, optimiser.batch_size))

    def _check_annotations(self) -> None:
        """Refuse annotations that the evaluation wouldn't understand, before any work."""
        attributes = data.find_attributes(self.root, self.config.data.attributes)
        if attributes is not None:
            data.read_attributes(attributes, self.table.classes)
        if "dense" not in self.ledger.stages:
            data.read_annotations(self.table)

    def _numerics(self) -> dict[str, Any]:
        """What changes the trained numbers by more than rounding."""
        compute = self.config.compute
        return {"precision": compute.precision, "accumulation": compute.accumulation}

    def _part_key(self, part: data.Part) -> str:
        table, rows = self.table, self.table.indices(part)
        if table.fingerprints is not None:
            content = table.fingerprints.digest_N[rows].tolist()
        else:
            content = [table.stamp(row) for row in rows.tolist()]
        return digest([table.classes, [table.paths[row] for row in rows], table.labels_N[rows].tolist(), content])

    def _preparation(self) -> dict[str, Any]:
        options = asdict(self.config.data)
        names = ("image_size", "resize", "centre_share", "crop_to_box", "augmentation", "flip")
        used = {name: options[name] for name in names}
        return {**used, "cached_views": self.config.cached_views if self.cached else None}

    def _new_dense(self) -> DenseClassifier:
        torch.manual_seed(self.config.seed)
        backbone = build_backbone(self.config.backbone, image_size=self.config.data.image_size)
        model = DenseClassifier(
            backbone,
            len(self.table.classes),
            pooled_share=self.config.dense.pooled_share,
            dropout=self.config.dense.dropout,
        )
        return place(model, self.device)

    def _take_pretrained_classifier(self, model: DenseClassifier) -> None:
        """Give a model that isn't trained here the classifier of its pretrained weights, or zeros where none fits."""
        size, num_classes = self.config.data.image_size, len(self.table.classes)
        linear = None
        # Only there are the classes, and their order, those of pretrained classifiers.
        if self.table.dataset == "imagenet" and num_classes == 1000 and self.config.dense.pooled_share == 1:
            linear = pretrained_classifier(self.config.backbone, self.backbone, num_classes, image_size=size)
        with torch.no_grad():
            model.classifier.weight.copy_(linear.weight if linear is not None else torch.tensor(0.0))
            model.classifier.bias.copy_(linear.bias if linear is not None else torch.tensor(0.0))

    def _trained_dense(self) -> DenseClassifier:
        model, file = self._new_dense(), self.out / "dense.safetensors"
        try:
            model.load_state_dict(load_file(file))
        except SafetensorError as error:
            raise DamagedFileError(f"{file} is damaged or cut short ({error})") from None
        return place(model, self.device).eval()

    def _new_sparse(self) -> CHiQPM:
        arrays, statistics = read_npz(self.out / "assignment.npz"), read_npz(self.out / "statistics.npz")
        backbone = self._trained_dense().backbone
        selection_K = torch.from_numpy(arrays["selection_K"]).long()
        mean_K, std_K = (torch.from_numpy(statistics[name])[selection_K] for name in ("mean_F", "std_F"))
        torch.manual_seed(self.config.seed)
        model = CHiQPM(
            backbone,
            keep_features(backbone, selection_K),
            torch.from_numpy(arrays["weight_CK"].astype(np.float32)),
            mean_K,
            std_K,
            pooled_share=self.config.dense.pooled_share,
            dropout=self.config.finetune.dropout,
            dropout_place=self.config.finetune.dropout_place,
            rectify=self.config.finetune.rectify,
        )
        return place(model, self.device)

    def _classifier(self, model: CHiQPM, active_mean_K: NDArray[np.float64]) -> Classifier:
        return Classifier(
            model,
            backbone=self.config.backbone,
            data=self.config.data,
            class_names=self.table.classes,
            active_mean_K=active_mean_K,
            coverage=self.config.calibration.coverage,
        )

    def _dataset(self, part: data.Part, *, augmented: bool = False) -> ImageDataset:
        make = training_transform if augmented else evaluation_transform
        transform = make(self.config.data, self.backbone.mean, self.backbone.std)
        return ImageDataset(
            self.table,
            self.table.indices(part),
            transform,
            max_pixels=self.config.data.max_pixels,
            seed=self.config.seed,
        )

    def _batches(self, backbone: Backbone, batch_size: int) -> Batches:
        if not self.cached:
            dataset = self._dataset("train", augmented=True)
            return ImageBatches(dataset, batch_size, seed=self.config.seed, workers=self.config.workers)
        labels_N = self.table.labels_N[self.table.indices("train")]
        return CachedBatches(self._hidden(backbone), labels_N, batch_size, seed=self.config.seed)

    def _hidden(self, backbone: Backbone) -> NDArray[np.float32]:
        made_from = {
            "images": self.images_key,
            "preparation": self._preparation(),
            "backbone": asdict(self.config.backbone),
            "seed": self.config.seed,
        }
        return cache_hidden(
            backbone,
            [self._dataset("train"), *(self._view(number) for number in range(1, self.config.cached_views))],
            self.out / "cache" / "train.npy",
            key=digest(made_from),
            description="caching frozen part",
            workers=self.config.workers,
            device=self.device,
            processes=self.processes,
            quiet=self.quiet,
        )

    def _view(self, number: int) -> ImageDataset:
        dataset = self._dataset("train", augmented=self.config.data.augmentation != "none")
        dataset.set_epoch(number)
        return dataset

    def _plain_training_inputs(self, backbone: Backbone) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield maps and labels of this process's training images under the evaluation transform."""
        rows_N = self.processes.own_rows(len(self.table.indices("train")), _EVALUATED_TOGETHER)
        if self.cached:
            hidden_N, labels_N = self._hidden(backbone)[0], self.table.labels_N[self.table.indices("train")]
            for start in range(0, len(rows_N), _EVALUATED_TOGETHER):
                own = slice(rows_N[start], rows_N[start : start + _EVALUATED_TOGETHER][-1] + 1)
                hidden = torch.from_numpy(np.array(hidden_N[own])).to(self.device)
                yield backbone.forward_trainable(hidden), torch.from_numpy(labels_N[own])
        else:
            for images, labels in in_order(self._dataset("train"), _EVALUATED_TOGETHER, self.config.workers, rows_N):
                yield backbone(send_images(images, self.device)), labels

    def _training_features(self, model: CHiQPM, each: Callable[[Output, torch.Tensor], None]) -> Features:
        """Return the sparse model's features of the training images under the evaluation transform."""
        model.eval()
        with torch.inference_mode():
            inputs = self._plain_training_inputs(model.backbone)  # type: ignore[arg-type]
            return gather(
                ((model.head(maps), labels) for maps, labels in inputs),
                len(self.table.indices("train")),
                Features,
                description="features of training images",
                quiet=self.quiet,
                each=each,
                processes=self.processes,
            )

    def _evaluation(self, description: str) -> dict[str, Any]:
        """Return what `answer` and `accuracy` need besides a model and images."""
        return {
            "device": self.device,
            "description": description,
            "workers": self.config.workers,
            "quiet": self.quiet,
            "processes": self.processes,
        }

    def _checkpoint(self, stage: str) -> Path:
        folder = self.out / "checkpoints"
        self.processes.on_main(lambda: folder.mkdir(exist_ok=True))
        return folder / f"{stage}.safetensors"

    def _drop_checkpoints(self, stage: str) -> None:
        folder = self.out / "checkpoints"
        self.processes.on_main(lambda: drop_checkpoints(folder, stage) if folder.exists() else None)

    def _report_duplicates(self, table: data.ImageTable) -> None:
        found = data.find_duplicates(
            table,
            max_pixels=self.config.data.max_pixels,
            progress=steps("looking for duplicates", quiet=self.quiet),
        )
        file = self.out / "duplicates.json"
        write_json(file, [asdict(duplicate) for duplicate in found])
        if found:
            warnings.warn(
                f"{len(found)} pairs of images in different parts of the split are the same picture (see {file}); "
                "they make the test look better than it is. Remove one of each, or keep them together with --groups.",
                stacklevel=2,
            )


def solve_assignment(
    statistics: Statistics, config: FitConfig, *, progress: Callable[[int, int], None] | None = None
) -> tuple[assignment.Assignment, assignment.AssignmentProblem]:
    """State the quadratic problem, pivot-aware if asked for, and solve it.

    Returns:
        The assignment, and the problem with its threshold and pairs.

    Raises:
        ChiqpmError: a precondition fails.
    """
    options = config.assignment
    sizes = (options.kept_features, options.features_per_class, options.pair_density)
    published = assignment.AssignmentProblem(
        statistics.similarity_FC, statistics.redundancy_FF, statistics.bias_F, *sizes
    )
    problem = published
    if options.pivot_weight > 0 and len(published.pairs):
        pairs = [(int(a), int(b)) for a, b in published.pairs]
        separated = separation(statistics, pairs)
        problem = assignment.AssignmentProblem(
            pivot_similarity(statistics.similarity_FC, separated, pairs, options.pivot_weight),
            statistics.redundancy_FF,
            statistics.bias_F,
            *sizes,
            threshold=published.threshold,
            pairs=published.pairs,
        )

    def report(state: assignment.Progress) -> None:
        if progress is not None:
            progress(round(100 * state.fraction), 100)

    found = assignment.solve(
        problem,
        time_limit=options.time_limit,
        seed=config.seed,
        method="search",
        progress=report,
    )
    if found.pairs_satisfied < len(published.pairs):
        logger.warning(
            "%d of %d pairs could not be satisfied",
            len(published.pairs) - found.pairs_satisfied,
            len(published.pairs),
        )
    return found, problem


def prove(
    found: assignment.Assignment,
    problem: assignment.AssignmentProblem,
    config: FitConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> assignment.Assignment:
    """Prove how far from the best an assignment can be, as long as the options allow.

    It comes after the search and not beside it, so that the assignment depends on the seed alone.

    Returns:
        The same assignment, with a bound that is no larger.
    """
    options = config.assignment
    enough = found.objective + options.gap * abs(found.objective)
    if options.proof_seconds <= 0 or found.bound <= enough:
        return found
    dropped = {pair.classes for pair in found.dropped}
    held = [pair for pair in map(tuple, problem.pairs.tolist()) if pair not in dropped]
    proof = assignment.certify(
        problem,
        pairs=np.array(held, dtype=np.int64).reshape(-1, 2),
        guess_K=found.selection_K,
        deadline=time.monotonic() + options.proof_seconds,
        target=enough,
        progress=None if progress is None else lambda fraction, _: progress(round(100 * fraction), 100),
    )
    if progress is not None:
        progress(100, 100)
    bound = min(found.bound, max(proof.bound, found.objective))
    return replace(found, bound=bound, gap=(bound - found.objective) / max(abs(found.objective), 1e-12))
