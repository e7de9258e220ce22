"""A calibrated predictor as plain values, and as one npz file without pickles."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.conformal.scores import SCORES, Score
from chiqpm.errors import ChiqpmError
from chiqpm.files import read_npz, write_atomic

# 2: the score `branch` has another formula.
_FORMAT = 2


def to_state(score: Score, sorted_VM: NDArray[np.float64], num_classes: int | None) -> dict[str, Any]:
    """Return plain values, and under `arrays` those of the score's options and `calibration_scores_VM`."""
    options = score.options()
    arrays = {key: value for key, value in options.items() if isinstance(value, np.ndarray)}
    return {
        "format": _FORMAT,
        "score": score.name,
        "options": {key: value for key, value in options.items() if key not in arrays},
        "num_classes": num_classes,
        "arrays": {**arrays, "calibration_scores_VM": sorted_VM.copy()},
    }


def from_state(state: dict[str, Any]) -> tuple[Score, NDArray[np.float64], int]:
    """Return the score, its sorted calibration scores and the number of classes.

    Raises:
        ChiqpmError: something is missing, unknown or of another version.
    """
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise ChiqpmError(
            f"this is no state of a conformal predictor in format {_FORMAT} (found {found!r}); calibrate "
            "again with this version."
        )
    missing = {"score", "options", "num_classes", "arrays"} - state.keys()
    if missing or "calibration_scores_VM" not in state["arrays"]:
        lost = sorted(missing) or ["arrays['calibration_scores_VM']"]
        raise ChiqpmError(f"the state of the conformal predictor lacks {', '.join(lost)}; calibrate again.")
    for name, kind in {"score": str, "options": dict, "num_classes": int}.items():
        if type(state[name]) is not kind:
            raise ChiqpmError(
                f"the key {name!r} of the saved predictor must be {kind.__name__}, received {state[name]!r}; "
                "calibrate again."
            )
    if state["score"] not in SCORES:
        raise ChiqpmError(
            f"unknown score {state['score']!r} in the saved predictor; known are {', '.join(sorted(SCORES))}."
        )
    arrays = dict(state["arrays"])
    values = np.asarray(arrays.pop("calibration_scores_VM"))
    if values.dtype.kind not in "fiu":
        raise ChiqpmError(f"the saved calibration scores must be numbers, received {values.dtype}; calibrate again.")
    sorted_VM = values.astype(np.float64)
    try:
        score = SCORES[state["score"]](**state["options"], **arrays)
    except ChiqpmError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise ChiqpmError(f"the saved options of the score {state['score']!r} don't fit it: {error}.") from error
    if (
        sorted_VM.ndim != 2
        or sorted_VM.shape[0] != score.variants
        or sorted_VM.shape[1] < 1
        or np.isnan(sorted_VM).any()
        or np.isneginf(sorted_VM).any()
        or (score.variants == 1 and np.isinf(sorted_VM).any())
    ):
        raise ChiqpmError(
            f"the saved calibration scores have shape {sorted_VM.shape} where ({score.variants}, images) "
            "finite numbers are expected; calibrate again."
        )
    return score, np.sort(sorted_VM, axis=1), state["num_classes"]


def write(state: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a state as npz: its arrays, and the rest as JSON text in the entry `json`.

    The file appears only when it is complete.
    """
    header = json.dumps({key: value for key, value in state.items() if key != "arrays"})
    arrays = {"json": np.array(header), **state["arrays"]}
    write_atomic(Path(path), lambda file: np.savez(file, allow_pickle=False, **arrays))


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `write` wrote.

    Raises:
        FileNotFoundError: no such file.
        ChiqpmError: another kind of file.
    """
    try:
        arrays = read_npz(Path(path))
        state = json.loads(str(arrays.pop("json")))
        if not isinstance(state, dict):
            raise ChiqpmError(f"its entry 'json' must hold an object with keys, received {type(state).__name__}")
    except (ValueError, KeyError, RecursionError) as error:
        raise ChiqpmError(
            f"{path} is no saved conformal predictor ({error}); write it again with ConformalPredictor.save."
        ) from error
    return {**state, "arrays": arrays}
