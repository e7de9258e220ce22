"""How does CHiQPM compare with other models that explain themselves, on the same data?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chiqpm import metrics
from chiqpm.classifier import load
from chiqpm.conformal import THR, ConformalPredictor, HierarchicalScore, clopper_pearson
from chiqpm.conformal.scores import Score
from chiqpm.data.birds import open_birds
from chiqpm.experiments.finished_run import FinishedRun
from chiqpm.experiments.keeping import kept
from chiqpm.experiments.outcome import Context, Outcome, Verdict
from chiqpm.experiments.peers.features import Part, Shared, look, shared_features
from chiqpm.experiments.peers.linear import fit_bottleneck, fit_last_layer, fit_sparse
from chiqpm.experiments.peers.prototypes import activations, fit_prototypes
from chiqpm.experiments.variants import Variant, train_variants

OURS, QPM = "CHiQPM", "QPM (rho 0)"
_QPM = {
    "assignment": {"pair_density": 0.0, "pivot_weight": 0.0},
    "finetune": {"rectify": False, "grounding_weight": 0.0},
}
COVERAGE = 0.95
_EXPLAINING = 5
"""Features that count as the explanation of a prediction: those that add most to its logit."""


@dataclass(frozen=True)
class Answered:
    """A peer's answers for one part of the images.

    Attributes:
        logits_NC: logits; None where nobody asks for them.
        features_NK: what its last layer sees.
        maps_NKHW: where each feature is; None for training images.
    """

    logits_NC: NDArray[Any] | None
    features_NK: NDArray[Any]
    maps_NKHW: NDArray[Any] | None


@dataclass(frozen=True)
class Peer:
    """A model to compare.

    Attributes:
        name: what it is called.
        weight_CK: weights of its last layer, from which compactness and explanations follow.
        train: its answers for the training images.
        calibration: for calibration images.
        test: for test images.
        score: nonconformity score of its sets.
    """

    name: str
    weight_CK: NDArray[Any]
    train: Answered
    calibration: Answered
    test: Answered
    score: Score


def run(context: Context) -> Outcome:
    """Train all peers on the same birds and the same frozen trunk, and measure them alike."""
    runs = train_variants(context, [Variant(OURS, {}), Variant(QPM, _QPM)])
    cached: list[Shared] = []

    def shared() -> Shared:
        if not cached:
            cached.append(shared_features(runs[OURS], quiet=context.quiet))
        return cached[0]

    makers: dict[str, Callable[[], Peer]] = {
        "dense black box": lambda: _dense(shared()),
        "sparse linear (l1, 5 per class)": lambda: _sparse(shared()),
        "concept bottleneck (true attributes)": lambda: _concepts(shared()),
        "prototypes": lambda: _prototypes(shared(), context),
        # QPM has no hierarchical sets, and its features are negative too.
        QPM: lambda: _sparse_network(QPM, runs[QPM], THR()),
        OURS: lambda: _sparse_network(OURS, runs[OURS], HierarchicalScore(runs[OURS].weight_CK)),
    }
    measured = {}
    for number, (name, make) in enumerate(makers.items()):
        made_from = {"run": runs[OURS].out.name, "reduced": context.reduced, "seed": context.seed, "name": name}
        measured[name] = kept(
            context.out / f"peer-{number}.json", made_from, partial(_made, make, shared, context.seed)
        )
    columns = {
        "accuracy": "accuracy",
        "features": "features",
        "per class": "per_class",
        "contrastiveness": "contrastiveness",
        "class independence": "class_independence",
        "peaks on part": "hit",
        "... another image's part": "other_image",
        "set size at .95": "set_size",
        "coverage": "coverage",
    }
    return Outcome(
        verdict=judge(measured),
        columns=["model", *columns],
        rows=[[name, *(values[key] for key in columns.values())] for name, values in measured.items()],
        values=measured,
        notes=[
            "One seed. All peers but QPM and CHiQPM are heads on the dense model's frozen features; QPM and CHiQPM are "
            "fine-tuned for six epochs more. The bottleneck is given the true attributes of every class, which nobody "
            "else sees. The prototypes are a small ProtoPNet of this package's own; its learning rate was chosen on "
            "calibration images: CaBRNet pins older versions of gradio, scikit-learn and more than this package works "
            "with, and was not tried. per class: weights of a class that aren't 0. "
            f"peaks on part: of the {_EXPLAINING} features that add most to the predicted class by being active; what "
            "speaks for a class by its absence has no place. Sets: branch for CHiQPM, THR for the others, "
            "some of whose sets are empty.",
            _losses(measured),
        ],
    )


def _made(make: Callable[[], Peer], shared: Callable[[], Shared], seed: int) -> dict[str, Any]:
    return _measure(make(), shared(), seed)


def judge(measured: dict[str, dict[str, Any]]) -> Verdict:
    """Say whether a peer with as few features per class has the better accuracy.

    Args:
        measured: peer -> what was measured.
    """
    ours = measured[OURS]
    compact = {name: values for name, values in measured.items() if values["per_class"] <= _EXPLAINING and name != OURS}
    ahead = [name for name, values in compact.items() if values["accuracy"] > ours["accuracy"]]
    rate = f"{ours['accuracy']:.3f} ({ours['accuracy_low']:.3f} to {ours['accuracy_high']:.3f})"
    evidence = f"Accuracy {rate}; " + "; ".join(
        f"{name} {values['accuracy']:.3f} with {values['per_class']:g} of {values['features']} features a class"
        for name, values in measured.items()
        if name != OURS
    )
    return Verdict(
        claim="No peer with as few features per class is more accurate.", holds=not ahead, evidence=f"{evidence}."
    )


def _losses(measured: dict[str, dict[str, Any]]) -> str:
    """Say in which columns another model has the better value."""
    ours = measured[OURS]
    better = {
        "accuracy": ("accuracy", 1),
        "contrastiveness": ("contrastiveness", 1),
        "class_independence": ("class independence", 1),
        "hit": ("peaks on part", 1),
        "set_size": ("set size", -1),
    }
    found = []
    for column, (words, sign) in better.items():
        known = {
            name: values[column] for name, values in measured.items() if None not in (values[column], ours[column])
        }
        ahead = [name for name, value in known.items() if sign * (value - ours[column]) > 1e-9]
        if ahead:
            found.append(f"{words}: {', '.join(ahead)}")
    return f"Where we lose: {'; '.join(found)}." if found else "No column is lost to another model."


def _measure(peer: Peer, shared: Shared, seed: int) -> dict[str, Any]:
    labels_N = shared.test.labels_N
    predicted_N = _known(peer.test.logits_NC).argmax(axis=1)
    rate = clopper_pearson(int((predicted_N == labels_N).sum()), len(labels_N))
    predictor = ConformalPredictor(peer.score)
    predictor.calibrate(_known(peer.calibration.logits_NC), shared.calibration.labels_N, peer.calibration.features_NK)
    sets = np.asarray(predictor.predict_set(_known(peer.test.logits_NC), peer.test.features_NK, coverage=COVERAGE))
    grounding = _grounding(peer, shared, predicted_N, seed)
    return {
        "accuracy": rate.value,
        "accuracy_low": rate.low,
        "accuracy_high": rate.high,
        "features": peer.weight_CK.shape[1],
        "per_class": round(float((peer.weight_CK != 0).sum(axis=1).mean()), 1),
        "contrastiveness": metrics.contrastiveness(peer.train.features_NK, seed),
        "class_independence": metrics.class_independence(peer.train.features_NK, shared.train.labels_N),
        "hit": grounding.hit,
        "other_image": grounding.other_image,
        "set_size": float(sets.sum(axis=1).mean()),
        "coverage": float(sets[np.arange(len(labels_N)), labels_N].mean()),
    }


def _grounding(peer: Peer, shared: Shared, predicted_N: NDArray[np.int64], seed: int) -> metrics.PartGrounding:
    """Part grounding of the features that add most to the prediction; its feature's part is chosen on calibration."""
    active = [
        explaining(peer, answered, _known(answered.logits_NC).argmax(axis=1))
        for answered in (peer.calibration, peer.test)
    ]
    peaks = [metrics.map_peaks(_known(answered.maps_NKHW)) for answered in (peer.calibration, peer.test)]
    parts_K = metrics.modal_parts(peaks[0], _known(shared.calibration.masks_NPHW), active[0])
    return metrics.part_grounding(
        peaks[1], _known(shared.test.masks_NPHW), active[1], parts_K, objects=shared.test.objects_NHW, seed=seed
    )


def explaining(peer: Peer, answered: Answered, predicted_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which features (N, K) add most to the predicted class by being active.

    Args:
        peer: gives the weights.
        answered: gives the features.
        predicted_N: predicted classes.
    """
    added_NK = np.maximum(peer.weight_CK[predicted_N], 0) * np.maximum(answered.features_NK, 0)
    count = min(_EXPLAINING, added_NK.shape[1])
    least_N = np.partition(added_NK, -count, axis=1)[:, -count]
    return np.asarray((added_NK >= least_N[:, None]) & (added_NK > 0))


def _known(array: NDArray[Any] | None) -> NDArray[Any]:
    assert array is not None
    return array


def _peer(name: str, weight_CK: NDArray[Any], answered: Sequence[Answered], score: Score) -> Peer:
    train, calibration, test = answered
    return Peer(name, weight_CK, train, calibration, test, score)


def _parts(shared: Shared) -> tuple[Part, Part, Part]:
    return shared.train, shared.calibration, shared.test


def _dense(shared: Shared) -> Peer:
    answered = [
        Answered(
            p.features_NF @ shared.weight_CF.T + shared.bias_C,
            p.features_NF,
            p.maps_NFHW.astype(np.float32) if p.masks_NPHW is not None else None,
        )
        for p in _parts(shared)
    ]
    return _peer("dense", shared.weight_CF, answered, THR())


def _sparse(shared: Shared) -> Peer:
    train = shared.train
    model = fit_sparse(train.features_NF, train.labels_N, len(shared.bias_C), per_class=_EXPLAINING)
    used_K = np.flatnonzero((model.weight_CF != 0).any(axis=0))
    answered = [
        Answered(
            model.logits(p.features_NF),
            model.standardised(p.features_NF)[:, used_K],
            p.maps_NFHW[:, used_K].astype(np.float32) if p.masks_NPHW is not None else None,
        )
        for p in _parts(shared)
    ]
    return _peer("sparse", model.weight_CF[:, used_K], answered, THR())


def _concepts(shared: Shared) -> Peer:
    train = shared.train
    model = fit_bottleneck(train.features_NF, train.labels_N, shared.attributes_CA)
    per_unit_AF = model.concepts.weight_CF / model.concepts.std_F
    answered = [
        Answered(
            model.logits(p.features_NF),
            model.activations(p.features_NF),
            np.einsum("af,nfhw->nahw", per_unit_AF, p.maps_NFHW.astype(np.float32), optimize=True)
            if p.masks_NPHW is not None
            else None,
        )
        for p in _parts(shared)
    ]
    return _peer("concepts", model.attributes_CA.astype(np.float64), answered, THR())


def _prototypes(shared: Shared, context: Context) -> Peer:
    train = shared.train
    epochs = 2 if context.reduced else 15
    model = fit_prototypes(
        train.maps_NFHW, train.labels_N, len(shared.bias_C), per_class=_EXPLAINING, epochs=epochs, seed=context.seed
    )
    seen = [activations(model, p.maps_NFHW) for p in _parts(shared)]
    last = fit_last_layer(seen[0][0], train.labels_N, model.owner_PC.numpy())
    answered = [
        Answered(last.logits(pooled), pooled, maps if p.masks_NPHW is not None else None)
        for p, (pooled, maps) in zip(_parts(shared), seen, strict=True)
    ]
    return _peer("prototypes", last.weight_CF / last.std_F, answered, THR())


def _sparse_network(name: str, found: FinishedRun, score: Score) -> Peer:
    """QPM or CHiQPM, on the same birds as all others."""
    classifier = load(found.out, device="cpu")
    _, calibration, test = open_birds(found.birds)
    answered = [Answered(None, found.training_features().features_NK, None)]
    for birds in (calibration, test):
        output = look(classifier.model, classifier.transform, birds)
        answered.append(Answered(*(torch.as_tensor(values).numpy() for values in output)))
    return _peer(name, found.weight_CK, answered, score)
