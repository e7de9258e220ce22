"""Answers: of a batch as arrays, of one image as something to read, draw and send."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chiqpm.conformal import ConformalPredictor, Tree
from chiqpm.explain import Explanation
from chiqpm.explain.sample import assemble, check_distinct, entering_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = 1
"""Version of what `Prediction.to_dict` returns; docs/predictions.md describes it."""


@dataclass(frozen=True, eq=False)
class Legend:
    """What turns a classifier's numbers into names.

    Attributes:
        class_names: C names.
        feature_names: K names, "" where a feature has none.
        active_mean_K: mean of every feature where it is active.
        weight_CK: binary assignment.
    """

    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    active_mean_K: NDArray[np.float64]
    weight_CK: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class BatchPrediction:
    """The answers for a batch of B images as arrays; an explanation is put together when it is asked for.

    Attributes:
        legend: names of classes and features.
        predictor: made the sets.
        coverage: the probability that was asked for.
        logits_BC: logits.
        features_BK: activations of the kept features.
        sets_BC: membership in the prediction sets.
        scores_BC: nonconformity of every class.
        predicted_B: predicted classes, the lowest index on ties.
        path_Bn: each prediction's features, the strongest first.
        maps_BnHW: their maps.
        shared_BC: how many leading features each class shares with the prediction.
        leaving_BC: the feature with which it leaves the prediction's path; -1 for the prediction itself.
    """

    legend: Legend = field(repr=False)
    predictor: ConformalPredictor = field(repr=False)
    coverage: float
    logits_BC: NDArray[np.float32] = field(repr=False)
    features_BK: NDArray[np.float32] = field(repr=False)
    sets_BC: NDArray[np.bool_] = field(repr=False)
    scores_BC: NDArray[np.float32] = field(repr=False)
    predicted_B: NDArray[np.int64]
    path_Bn: NDArray[np.int64] = field(repr=False)
    maps_BnHW: NDArray[np.float32] = field(repr=False)
    shared_BC: NDArray[np.int64] = field(repr=False)
    leaving_BC: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.predicted_B)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the predicted classes."""
        return tuple(self.legend.class_names[c] for c in self.predicted_B.tolist())

    @cached_property
    def softmax_B(self) -> NDArray[np.float64]:  # noqa: N802 - axis letters
        """Softmax of the predicted class: a score in (0, 1], not a calibrated probability."""
        logits = self.logits_BC.astype(np.float64)
        return np.asarray(1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1))

    @cached_property
    def depth_B(self) -> NDArray[np.int64]:  # noqa: N802 - axis letters
        """How many leading features of the path all classes of the set share; n for a set of the prediction alone."""
        features_per_class = self.path_Bn.shape[1]
        depth_B: NDArray[np.int64] = np.where(self.sets_BC, self.shared_BC, features_per_class).min(axis=1)
        return depth_B

    @cached_property
    def p_values_BC(self) -> NDArray[np.float64] | None:  # noqa: N802 - axis letters
        """Conformal p-values; None where the sets of different coverages don't lie within each other."""
        if self.predictor.score.variants > 1:
            return None
        return self.predictor.p_values_of(self.scores_BC)

    def members(self, row: int) -> tuple[int, ...]:
        """Return the classes of a set in the order in which they enter it as the coverage grows."""
        order_C = entering_order(
            int(self.predicted_B[row]),
            self.shared_BC[row],
            self.features_BK[row][self.leaving_BC[row]],
            self.scores_BC[row].astype(float),
        )
        return tuple(order_C[self.sets_BC[row][order_C]].tolist())

    def explanation(self, row: int) -> Explanation:
        """Put the explanation of one image together.

        Raises:
            IndexError: no such row.
            ChiqpmError: another class uses the same features as the prediction.
        """
        predicted = int(self.predicted_B[row])
        check_distinct(self.leaving_BC[row], predicted, self.legend.class_names)
        return assemble(
            predicted=predicted,
            path_n=self.path_Bn[row],
            maps_nHW=self.maps_BnHW[row],
            features_K=self.features_BK[row],
            weight_CK=self.legend.weight_CK,
            shared_C=self.shared_BC[row],
            leaving_C=self.leaving_BC[row],
            set_C=self.sets_BC[row],
            scores_C=self.scores_BC[row].astype(float),
            p_values_C=None if self.p_values_BC is None else self.p_values_BC[row],
            active_mean_K=self.legend.active_mean_K,
            class_names=self.legend.class_names,
            coverage=self.coverage,
            feature_names=self.legend.feature_names,
        )


class PendingBatch:
    """The answers for a batch that is being computed.

    Args:
        finish: waits for the computation and returns the answers.
    """

    def __init__(self, finish: Callable[[], BatchPrediction]) -> None:
        self._finish: Callable[[], BatchPrediction] | None = finish
        self._found: BatchPrediction | None = None

    def result(self) -> BatchPrediction:
        """Return the answers, once they are there; the same ones every time."""
        finish = self._finish
        if finish is not None:
            # In this order, as another thread may ask meanwhile. What was waited for is kept no longer than that.
            self._found = finish()
            self._finish = None
        assert self._found is not None
        return self._found


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one image.

    Attributes:
        label: name of the predicted class.
        prediction_set: names of the classes in the set, the prediction first; they contain the truth with at least
            the probability `coverage`, for images like those of the calibration.
        coverage: the probability that was asked for.
        picture: the image as the model's maps lie over it.
        batch: the arrays that the answer comes from.
        row: its place in them.
    """

    label: str
    prediction_set: tuple[str, ...]
    coverage: float
    picture: Image.Image = field(repr=False)
    batch: BatchPrediction = field(repr=False)
    row: int = field(repr=False)

    @cached_property
    def explanation(self) -> Explanation:
        """The path through the features, the tree, the evidence with its maps."""
        found = self.batch.explanation(self.row)
        return found if found.coverage == self.coverage else found.at(self.coverage)

    def at(self, coverage: float) -> Prediction:
        """Return the prediction with its set at another coverage, without looking at the image again.

        Raises:
            ChiqpmError: the coverage lies outside (0, 1), or the sets of the classifier's score don't lie within each
                other.
        """
        moved = self.explanation.at(coverage)
        members = tuple(moved.class_names[index] for index in moved.set_classes)
        return replace(self, prediction_set=members, coverage=moved.coverage)

    def to_dict(self, *, maps: bool = False) -> dict[str, Any]:
        """Return plain values for JSON, as docs/predictions.md describes them; the maps only when asked for."""
        return {
            "schema": SCHEMA,
            "label": self.label,
            "prediction_set": list(self.prediction_set),
            "coverage": self.coverage,
            "softmax": float(self.batch.softmax_B[self.row]),
            "sentence": self.explanation.sentence(),
            "explanation": self.explanation.to_dict(maps=maps),
        }

    def figure(self, *, examples: Mapping[int, Any] | None = None, width: float = 10.0) -> Figure:
        """Draw the explanation on a page of some width in inches; below 6.5 it has one column, for phones."""
        from chiqpm.explain.drawing import draw_explanation

        return draw_explanation(self.explanation, np.asarray(self.picture), examples=examples, width=width)

    def save_figure(self, path: str | Path, *, examples: Mapping[int, Any] | None = None, width: float = 10.0) -> None:
        """Draw the explanation into a file with its text beside it; the ending chooses the format (png, svg, pdf)."""
        from chiqpm.explain.drawing import save_figure

        figure, title = self.figure(examples=examples, width=width), f"Why {self.label}?"
        save_figure(figure, path, title=title, description=self.explanation.text())


def predictions_of(batch: BatchPrediction, pictures: Sequence[Image.Image]) -> list[Prediction]:
    """Return the answer for each image of a batch.

    Args:
        batch: answers for B images.
        pictures: the B images as the model's maps lie over them.
    """
    found = []
    for row, (label, picture) in enumerate(zip(batch.labels, pictures, strict=True)):
        members = tuple(batch.legend.class_names[c] for c in batch.members(row))
        found.append(Prediction(label, members, batch.coverage, picture, batch, row))
    return found


def answer_batch(
    legend: Legend,
    predictor: ConformalPredictor,
    coverage: float,
    *,
    logits_BC: NDArray[np.float32],
    features_BK: NDArray[np.float32],
    sets_BC: NDArray[np.bool_],
    scores_BC: NDArray[np.float32],
    path_Bn: NDArray[np.int64],
    maps_BnHW: NDArray[np.float32],
    found: Tree,
) -> BatchPrediction:
    """Keep everything together; the arguments are those of `BatchPrediction`, and the tree of the images."""
    return BatchPrediction(
        legend=legend,
        predictor=predictor,
        coverage=coverage,
        logits_BC=logits_BC,
        features_BK=features_BK,
        sets_BC=sets_BC,
        scores_BC=scores_BC,
        predicted_B=np.asarray(found.predicted_B),
        path_Bn=path_Bn,
        maps_BnHW=maps_BnHW,
        shared_BC=np.asarray(found.shared_BC),
        leaving_BC=np.asarray(found.leaving_BC),
    )
