"""What a user holds: the model, its transform, its class names and its calibrated prediction sets, together."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from chiqpm.answering import Computed, OwnedFeatures, begin, one_behind
from chiqpm.config import BackboneConfig, DataConfig
from chiqpm.conformal import ConformalPredictor, HierarchicalScore, tree
from chiqpm.conformal.quantile import check_coverage
from chiqpm.conformal.scoring import scored_tree
from chiqpm.data import as_rgb, load_image, to_square
from chiqpm.data.transforms import evaluation_transform
from chiqpm.devices import find_device, place, send_images
from chiqpm.errors import ChiqpmError
from chiqpm.feature_names import FEATURE_NAMES, read_feature_names
from chiqpm.inference import BATCH_SIZE
from chiqpm.model import CHiQPM
from chiqpm.prediction import BatchPrediction, Legend, PendingBatch, Prediction, answer_batch, predictions_of
from chiqpm.sharing import (
    CALIBRATION,
    CARD,
    DESCRIPTION,
    WEIGHTS,
    Description,
    HeadOptions,
    fingerprint,
    locate,
    push,
    read_folder,
    write_card,
    write_folder,
    write_weights,
)

__all__ = [
    "CALIBRATION",
    "DESCRIPTION",
    "WEIGHTS",
    "Classifier",
    "ImageLike",
    "Prediction",
    "load",
    "write_weights",
]
GPU_BATCH_SIZE = 64
ImageLike = str | Path | Image.Image | NDArray[np.uint8]


class Classifier:
    """A fitted CHiQPM with all that is needed to use it on a picture.

    Args:
        model: the sparse network.
        backbone: the configuration that its backbone was built from.
        data: how pictures are prepared.
        class_names: C names.
        active_mean_K: usual activation of each feature where it is active (larger mean of a two-component mixture).
        predictor: calibrated prediction sets; None before calibration.
        coverage: coverage of the sets when none is asked for.
        feature_names: K names; None calls them by number.
        metrics: numbers that were measured with exactly this model and predictor; they go into the model card.

    Several threads may predict with one classifier at a time.
    """

    def __init__(
        self,
        model: CHiQPM,
        *,
        backbone: BackboneConfig,
        data: DataConfig,
        class_names: Sequence[str],
        active_mean_K: NDArray[np.float64],
        predictor: ConformalPredictor | None = None,
        coverage: float = 0.9,
        feature_names: Sequence[str] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        self.model = model.eval()
        self.backbone_config, self.data_config = backbone, data
        self.class_names = tuple(class_names)
        self.active_mean_K = np.asarray(active_mean_K, dtype=np.float64)
        self.predictor, self.coverage = predictor, coverage
        self.feature_names = None if feature_names is None else tuple(feature_names)
        self.metrics = metrics
        self._known: OwnedFeatures | None = None
        self.transform = evaluation_transform(data, model.backbone.mean, model.backbone.std)  # type: ignore[arg-type]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.weight_CK.device

    @property
    def batch_size(self) -> int:
        """How many images are best computed together where the model is."""
        return BATCH_SIZE if self.device.type == "cpu" else GPU_BATCH_SIZE

    def to(self, device: str | torch.device) -> Classifier:
        """Move the model; "auto" chooses the best device there is."""
        place(self.model, find_device(str(device)))
        return self

    @overload
    def predict(self, images: ImageLike, coverage: float | None = None) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def predict(
        self, images: Sequence[ImageLike] | NDArray[np.uint8], coverage: float | None = None
    ) -> list[Prediction]: ...

    def predict(
        self, images: ImageLike | Sequence[ImageLike], coverage: float | None = None
    ) -> Prediction | list[Prediction]:
        """Classify one image or several, each with its prediction set and its explanation.

        Args:
            images: a path, a PIL image or an array (H, W, 3), (H, W, 4) or (H, W) of uint8; or a sequence of them, or
                an array (B, H, W, 3) of uint8.
            coverage: probability, in (0, 1), with which the set contains the truth; None takes the classifier's own.

        Returns:
            One prediction for one image, a list for several. The explanation is put together when it is read.

        Raises:
            ChiqpmError: an image can't be read, the coverage is outside (0, 1), or the classifier isn't calibrated.
            FileNotFoundError: no such image.
            TypeError: something that is no image.
        """
        if _is_one(images):
            return self.predict([images], coverage)[0]
        if not isinstance(images, (Sequence, np.ndarray)):
            raise TypeError(
                f"images are a path, a PIL image, a uint8 array or a sequence of them, received {type(images).__name__}"
            )
        parts = (images[start : start + self.batch_size] for start in range(0, len(images), self.batch_size))
        predictions: list[Prediction] = []
        for pictures, pending in one_behind(self._start([*map(self._open, part)], coverage) for part in parts):
            predictions += predictions_of(pending.result(), pictures)
        return predictions

    def _start(self, pictures: Sequence[Image.Image], coverage: float | None) -> tuple[list[Image.Image], PendingBatch]:
        """Return pictures as the model's maps lie over them, and their answers to come."""
        pending = self.start_batch(torch.stack([self.transform(picture) for picture in pictures]), coverage)
        return [self.frame(picture) for picture in pictures], pending

    def predict_batch(self, images_B3SS: torch.Tensor, coverage: float | None = None) -> BatchPrediction:
        """Classify a batch of prepared images, as arrays: for throughput, or pictures that were prepared elsewhere.

        Args:
            images_B3SS: images (B, 3, S, S) as `classifier.transform` makes them, on any device; computed together,
                so 16 to 64 at a time are best.
            coverage: probability, in (0, 1), with which the sets contain the truth; None takes the classifier's own.

        Raises:
            ChiqpmError: another shape, the coverage is outside (0, 1), or the classifier isn't calibrated.
        """
        return self.start_batch(images_B3SS, coverage).result()

    def start_batch(self, images_B3SS: torch.Tensor, coverage: float | None = None) -> PendingBatch:
        """Have a batch of prepared images classified and fetch the answers later: `predict_batch` in two halves.

        A CUDA GPU computes meanwhile: start the next batch before you fetch this one's answers, and it needn't wait for
        you in between. Elsewhere the network has computed when this returns, or when the answers are fetched.

        Args:
            images_B3SS: as for `predict_batch`. Pinned ones (`pin_memory()`) are fetched by the GPU itself and may not
                change until the answers are there; others are sent after what the GPU has to do already.
            coverage: as for `predict_batch`.

        Raises:
            ChiqpmError: another shape, the coverage is outside (0, 1), or the classifier isn't calibrated.
        """
        coverage = check_coverage(self.coverage if coverage is None else coverage)
        predictor = self._calibrated()
        side = self.data_config.image_size
        is_tensor = isinstance(images_B3SS, torch.Tensor)
        if not is_tensor or images_B3SS.shape[1:] != (3, side, side) or len(images_B3SS) == 0:
            found = tuple(images_B3SS.shape) if is_tensor else type(images_B3SS).__name__
            raise ChiqpmError(
                f"a prepared batch must be a tensor (B, 3, {side}, {side}), received {found}; B is at least one image. "
                "Prepare pictures with classifier.transform, or give them to classifier.predict"
            )
        owned = self._owned()
        wait = begin(self.model, owned, images_B3SS)
        return PendingBatch(lambda: self._answer(wait(), owned, predictor, coverage))

    def _answer(
        self, computed: Computed, owned: OwnedFeatures, predictor: ConformalPredictor, coverage: float
    ) -> BatchPrediction:
        logits, features, path, maps = computed
        score = predictor.score
        if isinstance(score, HierarchicalScore) and score.variants == 1 and owned.is_of(score):
            scores, trees = scored_tree(score, logits, features)
        else:
            scores = predictor.scores(logits, features)
            trees = tree(features, owned.weight_CK, logits.argmax(axis=1))
        scores = np.asarray(scores)
        if score.variants == 1:
            # What `predict_set` does, without computing the scores again.
            sets = predictor.threshold(coverage).admits({0: torch.from_numpy(scores)}).numpy()
        else:
            sets = np.asarray(predictor.predict_set(logits, features, coverage=coverage))
        unnamed = ("",) * len(self.active_mean_K)
        return answer_batch(
            Legend(self.class_names, self.feature_names or unnamed, self.active_mean_K, owned.weight_CK),
            predictor,
            coverage,
            logits_BC=logits,
            features_BK=features,
            sets_BC=sets,
            scores_BC=scores,
            path_Bn=path,
            maps_BnHW=maps,
            found=trees,
        )

    def _owned(self) -> OwnedFeatures:
        """Return what is fixed by the assignment; nothing waits for the device to know it again."""
        weight_CK = self.model.weight_CK
        if self._known is None or not self._known.is_from(weight_CK):
            self._known = OwnedFeatures(weight_CK)
        return self._known

    def outputs(
        self, pictures: Sequence[Image.Image]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return logits (B, C), features (B, K) and maps (B, K, H, W) of upright RGB pictures, all in one batch."""
        batch = torch.stack([self.transform(picture) for picture in pictures])
        with torch.inference_mode():
            output = self.model(send_images(batch, self.device))
        return output.logits.cpu().numpy(), output.features.cpu().numpy(), output.maps.cpu().numpy()

    def frame(self, picture: Image.Image, limit: int = 640) -> Image.Image:
        """Return the part of a picture that the model sees, in its true proportions, at most `limit` pixels wide."""
        framed = picture if self.data_config.resize == "squash" else to_square(self.data_config, picture)
        framed = framed.copy()
        framed.thumbnail((limit, limit), Image.Resampling.LANCZOS)
        return framed

    def _open(self, image: ImageLike) -> Image.Image:
        if isinstance(image, (str, Path)):
            return load_image(image, max_pixels=self.data_config.max_pixels)
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,), (4,)) or image.ndim < 2 or image.size == 0:
                raise ChiqpmError(
                    "an image array must be uint8 with shape (H, W), (H, W, 3) or, with transparency, (H, W, 4), "
                    f"received {image.dtype} {image.shape}"
                )
            image = Image.fromarray(image)
        if not isinstance(image, Image.Image):
            raise TypeError(f"an image is a path, a PIL image or a uint8 array, received {type(image).__name__}")
        return as_rgb(image)

    def _calibrated(self) -> ConformalPredictor:
        if self.predictor is None:
            raise ChiqpmError(
                "this classifier has no calibrated prediction sets yet; run `chiqpm calibrate RUN IMAGES` with images "
                "that it was not trained on"
            )
        return self.predictor

    def save(
        self, folder: str | Path, *, name: str | None = None, license: str | None = None, data: str | None = None
    ) -> None:
        """Write model, description, calibration and model card into a folder (safetensors, JSON, npz; no pickles).

        Args:
            folder: made if need be. A `README.md` that somebody wrote stays.
            name: the model's name for the card.
            license: licence of the weights for the card, as an SPDX identifier.
            data: a sentence on the images for the card.
        """
        folder = Path(folder)
        description = self.describe()
        measured = write_folder(folder, self.model, description, self.predictor, self.metrics)
        metrics = self.metrics if measured else None
        write_card(folder / CARD, description, self.predictor, metrics, name=name, license=license, data=data)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        revision: str | None = None,
        token: str | None = None,
        license: str | None = None,
        data: str | None = None,
    ) -> str:
        """Upload what `save` writes to the Hugging Face Hub; `chiqpm.load(repo_id)` reads it.

        Args:
            repo_id: `owner/name`; made if there is none.
            private: make a new repository private.
            revision: branch; None takes the main one.
            token: access token; None takes the one that is logged in.
            license: licence of the weights, as an SPDX identifier; None says that none was stated.
            data: a sentence on the images: whose, of what, where from.

        Returns:
            Address of the commit.

        Raises:
            ChiqpmError: a name of another form, or the hub refuses.
            ConnectionError: the hub can't be reached.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save(folder, name=repo_id, license=license, data=data)
            return push(Path(folder), repo_id, private=private, revision=revision, token=token)

    @classmethod
    def from_pretrained(cls, repo_id: str | Path, *, revision: str | None = None, device: str = "auto") -> Classifier:
        """Load a classifier from the hub or a folder, as `chiqpm.load` does."""
        return load(repo_id, revision=revision, device=device)

    def fingerprint(self) -> str:
        """Return a SHA-256 of the weights and the calibration: what a number was measured with, or a file made by."""
        return fingerprint(self.model, self.predictor)

    def describe(self) -> Description:
        """Return all that is saved of the classifier but its weights and its calibration."""
        return Description(
            backbone=self.backbone_config,
            data=self.data_config,
            model=HeadOptions(
                pooled_share=self.model.pooled_share,
                dropout=self.model.dropout.p,
                dropout_place=self.model.dropout_place,
                rectify=self.model.rectify,
            ),
            classes=self.class_names,
            features=self.feature_names,
            active_mean=tuple(self.active_mean_K.tolist()),
            coverage=self.coverage,
        )


def load(path: str | Path, *, revision: str | None = None, device: str = "auto") -> Classifier:
    """Load a classifier from a folder or from the Hugging Face Hub; nothing in its files is run.

    Args:
        path: a run directory, a folder that `Classifier.save` wrote, or the name of a model on the hub, `owner/name`.
            A folder of that name comes first.
        revision: branch, tag or commit on the hub; None takes the main branch.
        device: "auto", "cpu", "cuda", "mps" ...

    A `features.yaml` in the folder gives names to features.

    Returns:
        The classifier; on the same kind of device its predictions are those of the saved one, bit for bit.

    Raises:
        FileNotFoundError: no such folder, no finished model in it, nothing of that name on the hub, or no connection.
        ChiqpmError: a file is damaged, of a newer format, or doesn't belong to the others; file and key are named.
    """
    folder = locate(path, revision=revision)
    # Tensors of the inference mode could be neither trained nor changed later.
    with torch.inference_mode(mode=False):
        saved = read_folder(folder)
        model = place(saved.model, find_device(device))
    described, named = saved.description, folder / FEATURE_NAMES
    return Classifier(
        model,
        backbone=described.backbone,
        data=described.data,
        class_names=described.classes,
        active_mean_K=np.array(described.active_mean),
        predictor=saved.predictor,
        coverage=described.coverage,
        feature_names=read_feature_names(named, len(saved.model.mean_K)) if named.exists() else described.features,
        metrics=saved.metrics,
    )


def _is_one(images: Any) -> TypeGuard[ImageLike]:
    return isinstance(images, (str, Path, Image.Image)) or (isinstance(images, np.ndarray) and images.ndim < 4)
