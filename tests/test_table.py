"""The table of a run's numbers."""

from __future__ import annotations

from chiqpm.cli.table import metrics_table

COVERAGE = {"path": {"0.9": {"coverage": 0.93, "mean_size": 1.2, "empty_rate": 0.0}}}
FLAT = {"thr": {"0.9": {"coverage": 0.9, "mean_size": 0.9, "empty_rate": 0.1, "coherence": {"pair_pooled": 0.5}}}}


def test_a_whole_run_is_laid_out():
    peaks = {"hit": 0.9, "other_image": 0.4, "random_image": 0.1}
    pivots = {"flip_rate": 0.8, "control_flip_rate": 0.1, "faithful": 0.7, "control_faithful": 0.2}
    text = metrics_table(
        {
            "images": {"train": 5, "test": 2},
            "classes": 3,
            "synthetic": True,
            "accuracy": {"dense": 0.5, "sparse": 0.25, "ratio": 0.5},
            "features": {"kept": 50, "per_class": 5},
            "assignment": {"pairs_satisfied": 1, "pairs_forced": 2, "objective": 7.0, "gap": 0.05},
            "interpretability": {"contrastiveness": 0.9, "sid@5": 0.8},
            "grounding": {"peaks": peaks, "pivots": pivots},
            "calibration_score": "path",
            "coverage": {**COVERAGE, **FLAT},
        }
    )
    for words in (
        "3 classes; synthetic images: 5 train, 2 test",
        "1 of 2",
        "no other is more than 5.0% better",
        "other image 0.400",
        "another part's attribute 0.100",
        "path (in use): coverage",
        "empty sets",
        "coherence",
    ):
        assert words in text
    assert max(len(line) for line in text.splitlines()) <= 110


def test_a_measurement_on_other_images_has_less():
    accuracy = {"dense": None, "sparse": 0.25, "ratio": None}
    text = metrics_table({"images": {"test": 2}, "classes": 3, "accuracy": accuracy, "coverage": COVERAGE})
    assert "dense" not in text
    assert "Assignment" not in text
    assert "target 0.9" in text
