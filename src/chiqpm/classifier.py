"""What a user holds: the model, its transform, its class names and its calibrated prediction sets, together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from chiqpm.backbone import build_backbone
from chiqpm.config import BackboneConfig, DataConfig
from chiqpm.conformal import ConformalPredictor
from chiqpm.data import as_rgb, load_image, to_square
from chiqpm.data.transforms import evaluation_transform
from chiqpm.devices import find_device, place
from chiqpm.errors import ChiqpmError
from chiqpm.explain import Explanation, explain_sample
from chiqpm.feature_names import FEATURE_NAMES, read_feature_names
from chiqpm.files import write_atomic, write_json
from chiqpm.inference import BATCH_SIZE
from chiqpm.model import CHiQPM, keep_features

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
WEIGHTS, DESCRIPTION, CALIBRATION = "model.safetensors", "classifier.json", "calibration.npz"
ImageLike = str | Path | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        label: name of the predicted class.
        prediction_set: names of the classes in the set, the prediction first; they contain the truth with at least
            the probability `coverage`, for images like those of the calibration.
        coverage: the probability that was asked for.
        explanation: the path through the features, the tree, the evidence with its maps.
        picture: the image as the model's maps lie over it.
    """

    label: str
    prediction_set: tuple[str, ...]
    coverage: float
    explanation: Explanation
    picture: Image.Image = field(repr=False, compare=False)

    def to_dict(self, *, maps: bool = False) -> dict[str, Any]:
        """Return plain values for JSON; the maps only when asked for."""
        return {
            "label": self.label,
            "prediction_set": list(self.prediction_set),
            "coverage": self.coverage,
            "sentence": self.explanation.sentence(),
            "explanation": self.explanation.to_dict(maps=maps),
        }

    def at(self, coverage: float) -> Prediction:
        """Return the prediction with its set at another coverage, without looking at the image again.

        Raises:
            ChiqpmError: the coverage lies outside (0, 1), or the sets of the classifier's score don't lie within each
                other.
        """
        return _prediction(self.explanation.at(coverage), self.picture)

    def figure(self, *, examples: Mapping[int, Any] | None = None) -> Figure:
        """Draw the explanation."""
        from chiqpm.explain.drawing import draw_explanation

        return draw_explanation(self.explanation, np.asarray(self.picture), examples=examples)

    def save_figure(self, path: str | Path, *, examples: Mapping[int, Any] | None = None) -> None:
        """Draw the explanation into a file with its text beside it; the ending chooses the format (png, svg, pdf)."""
        from chiqpm.explain.drawing import save_figure

        figure, title = self.figure(examples=examples), f"Why {self.label}?"
        save_figure(figure, path, title=title, description=self.explanation.text())


def _prediction(explanation: Explanation, picture: Image.Image) -> Prediction:
    members = tuple(explanation.class_names[index] for index in explanation.set_classes)
    return Prediction(explanation.predicted_name, members, explanation.coverage, explanation, picture)


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
    ) -> None:
        self.model = model.eval()
        self.backbone_config, self.data_config = backbone, data
        self.class_names = tuple(class_names)
        self.active_mean_K = np.asarray(active_mean_K, dtype=np.float64)
        self.predictor, self.coverage = predictor, coverage
        self.feature_names = None if feature_names is None else tuple(feature_names)
        self.transform = evaluation_transform(data, model.backbone.mean, model.backbone.std)  # type: ignore[arg-type]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.weight_CK.device

    def to(self, device: str | torch.device) -> Classifier:
        """Move the model; "auto" chooses the best device there is."""
        place(self.model, find_device(str(device)))
        return self

    @overload
    def predict(self, images: ImageLike, coverage: float | None = None) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, images: Sequence[ImageLike], coverage: float | None = None) -> list[Prediction]: ...

    def predict(
        self, images: ImageLike | Sequence[ImageLike], coverage: float | None = None
    ) -> Prediction | list[Prediction]:
        """Classify one image or several, each with its prediction set and its explanation.

        Args:
            images: a path, a PIL image or an array (H, W, 3) or (H, W) of uint8; or a sequence of them.
            coverage: probability, in (0, 1), with which the set contains the truth; None takes the classifier's own.

        Returns:
            One prediction for one image, a list for several.

        Raises:
            ChiqpmError: an image can't be read, the coverage is outside (0, 1), or the classifier isn't calibrated.
            FileNotFoundError: no such image.
        """
        if isinstance(images, (str, Path, Image.Image, np.ndarray)):
            return self.predict([images], coverage)[0]
        coverage = self.coverage if coverage is None else coverage
        predictor = self._calibrated()
        predictions: list[Prediction] = []
        for start in range(0, len(images), BATCH_SIZE):
            pictures = [self._open(image) for image in images[start : start + BATCH_SIZE]]
            predictions += self._predict_batch(pictures, coverage, predictor)
        return predictions

    def outputs(
        self, pictures: Sequence[Image.Image]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return logits (B, C), features (B, K) and maps (B, K, H, W) of upright RGB pictures, all in one batch."""
        batch = torch.stack([self.transform(picture) for picture in pictures])
        with torch.inference_mode():
            output = self.model(batch.to(self.device, memory_format=torch.channels_last))
        return output.logits.cpu().numpy(), output.features.cpu().numpy(), output.maps.cpu().numpy()

    def _predict_batch(
        self, pictures: list[Image.Image], coverage: float, predictor: ConformalPredictor
    ) -> list[Prediction]:
        logits, features, maps = self.outputs(pictures)
        sets = predictor.predict_set(logits, features, coverage=coverage)
        scores = predictor.scores(logits, features)
        nested = predictor.score.variants == 1
        p_values = predictor.p_values(logits, features) if nested else [None] * len(pictures)
        weight_CK = self.model.weight_CK.cpu().numpy()
        predictions = []
        for row, picture in enumerate(pictures):
            explanation = explain_sample(
                features[row],
                maps[row],
                logits[row],
                weight_CK,
                sets[row],
                active_mean_K=self.active_mean_K,
                class_names=self.class_names,
                coverage=coverage,
                feature_names=self.feature_names,
                scores_C=scores[row],
                p_values_C=p_values[row],
            )
            predictions.append(_prediction(explanation, self.frame(picture)))
        return predictions

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
            if image.dtype != np.uint8 or image.ndim not in (2, 3):
                raise ChiqpmError(
                    f"an image array must be uint8 with shape (H, W) or (H, W, 3), received {image.dtype} {image.shape}"
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

    def save(self, folder: str | Path) -> None:
        """Write model, description and calibration into a folder (safetensors, JSON, npz; no pickles)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(folder / WEIGHTS, self.model)
        write_json(folder / DESCRIPTION, self._describe())
        if self.predictor is not None:
            self.predictor.save(folder / CALIBRATION)

    def _describe(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "backbone": asdict(self.backbone_config),
            "data": asdict(self.data_config),
            "model": {
                "pooled_share": self.model.pooled_share,
                "dropout": self.model.dropout.p,
                "dropout_place": self.model.dropout_place,
                "rectify": self.model.rectify,
            },
            "classes": list(self.class_names),
            "features": None if self.feature_names is None else list(self.feature_names),
            "active_mean": self.active_mean_K.tolist(),
            "coverage": self.coverage,
        }


def write_weights(path: Path, model: nn.Module) -> None:
    """Write a module's parameters and buffers as safetensors, atomically."""
    content = save({name: value.contiguous().cpu() for name, value in model.state_dict().items()})
    write_atomic(path, lambda file: file.write(content))


def load(path: str | Path, *, device: str = "auto") -> Classifier:
    """Load a classifier from a run directory, or from a folder that `Classifier.save` wrote.

    Args:
        path: the folder.
        device: "auto", "cpu", "cuda", "mps" ...

    A `features.yaml` in the folder gives names to features.

    Returns:
        The classifier; on the same kind of device its predictions are those of the saved one, bit for bit.

    Raises:
        FileNotFoundError: no such folder, or no finished model in it.
        ChiqpmError: the files are damaged or of another version.
    """
    folder = Path(path)
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).exists():
            raise FileNotFoundError(
                f"{folder} holds no finished classifier ({name} is missing); make one with `chiqpm fit`"
            )
    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if described["format"] != FORMAT:
            raise ChiqpmError(
                f"{folder} was written in format {described['format']}, this version of chiqpm reads format {FORMAT}"
            )
        weights = load_file(folder / WEIGHTS)
        model = _build(described, weights)
        model.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError, json.JSONDecodeError, SafetensorError) as error:
        raise ChiqpmError(f"the classifier in {folder} is damaged: {error}") from error
    calibration, named = folder / CALIBRATION, folder / FEATURE_NAMES
    return Classifier(
        place(model, find_device(device)),
        backbone=BackboneConfig(**described["backbone"]),
        data=DataConfig(**described["data"]),
        class_names=described["classes"],
        active_mean_K=np.array(described["active_mean"]),
        predictor=ConformalPredictor.load(calibration) if calibration.exists() else None,
        coverage=described["coverage"],
        feature_names=read_feature_names(named, len(model.mean_K)) if named.exists() else described["features"],
    )


def _build(described: dict[str, Any], weights: dict[str, torch.Tensor]) -> CHiQPM:
    config = replace(BackboneConfig(**described["backbone"]), pretrained=False)
    backbone = build_backbone(config, image_size=described["data"]["image_size"])
    if config.head_channels is not None:
        keep_features(backbone, torch.arange(len(weights["mean_K"])))
    return CHiQPM(
        backbone,
        weights["selection_K"],
        weights["weight_CK"],
        weights["mean_K"],
        weights["std_K"],
        **described["model"],
    )
