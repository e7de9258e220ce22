"""The features and classes of a run that was read, as far as its files and images allow."""

from __future__ import annotations

import numpy as np

from chiqpm.data import Attributes, find_attributes, read_attributes
from chiqpm.inspection.record import RunRecord
from chiqpm.run_explanation import RunExplanation, explain_observed, observe, read_observations

_LOOKED_AT = 400


def explain_record(record: RunRecord, *, top: int = 12) -> RunExplanation | None:
    """Explain features and classes.

    What was observed during the training is taken up, with or without the images. A run that kept nothing (of an
    earlier version, or whose model has changed) costs a pass over some of its training images.

    Args:
        record: the run.
        top: how many of the most activating images are kept for each feature.

    Returns:
        The explanation; None where nothing was observed and the images are gone.
    """
    classifier, table = record.classifier, record.table
    observations = read_observations(record.folder, classifier.model)
    rows = np.zeros(0, dtype=np.int64) if table is None else table.indices("train")
    if observations is None:
        if table is None or not record.images_present:
            return None
        each = max(2, _LOOKED_AT // len(classifier.class_names))
        labels_N = table.labels_N[rows]
        first = [np.flatnonzero(labels_N == label)[:each] for label in np.unique(labels_N)]
        rows = rows[np.sort(np.concatenate(first))]
        observations = observe(classifier, table, rows)

    return explain_observed(
        classifier,
        observations,
        root=record.folder if table is None else table.root,
        paths=None if table is None else [table.paths[row] for row in rows.tolist()],
        attributes=_attributes(record),
        top=top,
    )


def _attributes(record: RunRecord) -> Attributes | None:
    if record.table is None or not record.table.root.is_dir():
        return None
    try:
        file = find_attributes(record.table.root, None if record.config is None else record.config.data.attributes)
    except FileNotFoundError:
        return None
    return None if file is None else read_attributes(file, record.table.classes)
