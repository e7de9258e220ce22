"""Linear peers on the dense model's features: sparse by the l1 norm, and a concept bottleneck on true attributes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """`logits = x weightᵀ + bias` on standardised features x.

    Attributes:
        mean_F: of the training features.
        std_F: their standard deviations.
        weight_CF: weights.
        bias_C: biases.
    """

    mean_F: Floats
    std_F: Floats
    weight_CF: Floats
    bias_C: Floats

    def standardised(self, features_NF: NDArray[np.float32]) -> Floats:
        """Return x."""
        return np.asarray((features_NF - self.mean_F) / self.std_F)

    def logits(self, features_NF: NDArray[np.float32]) -> Floats:
        """Return the logits (N, C)."""
        return np.asarray(self.standardised(features_NF) @ self.weight_CF.T + self.bias_C)


def fit_sparse(
    features_NF: NDArray[np.float32], labels_N: NDArray[np.int64], num_classes: int, *, per_class: int
) -> Linear:
    """Fit a linear classifier whose classes use `per_class` features each.

    The penalty of an l1-regularised multinomial regression is chosen by bisection so that classes have `per_class`
    weights on average; the largest ones of each class are kept and fitted again without the penalty (as the debiasing
    of Wong, Santurkar and Madry, 2021, "Leveraging sparse linear layers for debuggable deep networks", does).
    """
    mean_F, std_F = features_NF.mean(axis=0, dtype=np.float64), features_NF.std(axis=0, dtype=np.float64)
    std_F = np.maximum(std_F, 1e-6)
    x_NF = (features_NF - mean_F) / std_F
    low, high = 1e-4, 1.0
    weight_CF = np.zeros((num_classes, x_NF.shape[1]))
    for _ in range(12):
        penalty = math.sqrt(low * high)
        weight_CF, _ = _descend(x_NF, labels_N, num_classes, penalty=penalty, steps=200)
        if (weight_CF != 0).sum() > per_class * num_classes:
            low = penalty
        else:
            high = penalty
    weight_CF, _ = _descend(x_NF, labels_N, num_classes, penalty=low, steps=400)
    order = np.argsort(-np.abs(weight_CF), axis=1)[:, :per_class]
    support_CF = np.zeros_like(weight_CF)
    np.put_along_axis(support_CF, order, 1.0, axis=1)
    weight_CF, bias_C = _descend(x_NF, labels_N, num_classes, penalty=0.0, steps=400, support=support_CF)
    return Linear(mean_F, std_F, weight_CF, bias_C)


def fit_last_layer(
    similarity_NP: NDArray[np.float32], labels_N: NDArray[np.int64], owner_PC: NDArray[Any], *, penalty: float = 1e-4
) -> Linear:
    """Fit a ProtoPNet's last layer: a class's weights of other classes' prototypes are penalised by the l1 norm.

    Args:
        similarity_NP: largest similarity of each prototype.
        labels_N: true classes.
        owner_PC: 1 where the prototype is the class's own.
        penalty: weight of the norm; the default is the published one.
    """
    mean_P = similarity_NP.mean(axis=0, dtype=np.float64)
    std_P = np.maximum(similarity_NP.std(axis=0, dtype=np.float64), 1e-6)
    penalty_CP = penalty * (1.0 - owner_PC.T)
    x_NP = (similarity_NP - mean_P) / std_P
    weight_CP, bias_C = _descend(x_NP, labels_N, owner_PC.shape[1], penalty=penalty_CP, steps=400)
    return Linear(mean_P, std_P, weight_CP, bias_C)


def _descend(
    x_NF: Floats,
    labels_N: NDArray[np.int64],
    num_classes: int,
    *,
    penalty: float | Floats,
    steps: int,
    support: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Minimise cross-entropy and penalty by accelerated proximal gradient (FISTA; Beck and Teboulle, 2009)."""
    count = len(labels_N)
    target_NC = np.eye(num_classes)[labels_N]
    inputs = np.concatenate([x_NF, np.ones((count, 1))], axis=1)
    # The Hessian of the mean cross-entropy is at most half the largest squared singular value.
    vector: Floats = np.asarray(np.random.default_rng(0).normal(size=inputs.shape[1]))
    for _ in range(20):
        vector = inputs.T @ (inputs @ vector)
        vector = vector / np.linalg.norm(vector)
    step = 1.0 / (0.5 * float(np.linalg.norm(inputs @ vector) ** 2) / count + 1e-3)
    now = np.zeros((num_classes, inputs.shape[1]))
    ahead: Floats = now
    momentum = 1.0
    for _ in range(steps):
        gradient = (softmax(inputs @ ahead.T, axis=1) - target_NC).T @ inputs / count + 1e-3 * ahead
        moved = ahead - step * gradient
        if np.any(penalty):
            moved[:, :-1] = np.sign(moved[:, :-1]) * np.maximum(np.abs(moved[:, :-1]) - step * penalty, 0.0)
        if support is not None:
            moved[:, :-1] *= support
        larger = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / larger * (moved - now)
        now, momentum = moved, larger
    return now[:, :-1], now[:, -1]


@dataclass(frozen=True)
class Bottleneck:
    """A concept bottleneck trained independently: features -> attributes, attributes -> class (Koh et al., 2020).

    Attributes:
        concepts: the regressions of the attributes; their `weight_CF` is (A, F).
        attributes_CA: attributes of each class.
    """

    concepts: Linear
    attributes_CA: NDArray[np.bool_]

    def activations(self, features_NF: NDArray[np.float32]) -> Floats:
        """Return the probability of each attribute (N, A)."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.concepts.logits(features_NF), -30, 30))))

    def logits(self, features_NF: NDArray[np.float32]) -> Floats:
        """Return the log-probability of each class's attributes (N, C)."""
        present_NA = np.clip(self.activations(features_NF), 1e-6, 1 - 1e-6)
        likelihood = np.log(present_NA) @ self.attributes_CA.T + np.log1p(-present_NA) @ (~self.attributes_CA).T
        return np.asarray(log_softmax(likelihood, axis=1))


def fit_bottleneck(
    features_NF: NDArray[np.float32], labels_N: NDArray[np.int64], attributes_CA: NDArray[np.bool_]
) -> Bottleneck:
    """Fit one logistic regression for each attribute that some classes have and others don't."""
    varies_A = attributes_CA.any(axis=0) & ~attributes_CA.all(axis=0)
    attributes_CA = attributes_CA[:, varies_A]
    mean_F = features_NF.mean(axis=0, dtype=np.float64)
    std_F = np.maximum(features_NF.std(axis=0, dtype=np.float64), 1e-6)
    x_NF = (features_NF - mean_F) / std_F
    models = [
        LogisticRegression(C=0.1, max_iter=300).fit(x_NF, attributes_CA[labels_N, column])
        for column in range(attributes_CA.shape[1])
    ]
    weight_AF = np.concatenate([model.coef_ for model in models])
    bias_A = np.concatenate([model.intercept_ for model in models])
    return Bottleneck(Linear(mean_F, std_F, weight_AF, bias_A), attributes_CA)
