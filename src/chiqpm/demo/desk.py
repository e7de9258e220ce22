"""What the page shows, as HTML: no Gradio in here, and no state but what every user shares and nobody changes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from chiqpm.conformal import required_images
from chiqpm.data import load_image
from chiqpm.explain import Explanation, Feature, FeatureEvidence
from chiqpm.gallery import read_examples
from chiqpm.inspection import Examined, RunRecord, examine, explain_examined
from chiqpm.inspection.comparison import compare_in_picture
from chiqpm.inspection.downloads import Format, explanation_file
from chiqpm.inspection.global_view import explain_record
from chiqpm.markup.cards import PictureReader, feature_card
from chiqpm.markup.environment import environment
from chiqpm.markup.pictures import data_url, heat_picture, map_words, panel
from chiqpm.markup.tree import class_mark, heat_pictures, tree_steps
from chiqpm.run_explanation import RunExplanation

MAX_PIXELS = 50_000_000
_NEAREST = 8


@dataclass(frozen=True)
class View:
    """What one user looks at; nothing of it changes, a new picture makes a new view.

    Attributes:
        examined: what the model said about the picture.
        pictures: URLs of the heat maps of the prediction's features.
        panel_HW3: the picture under heat maps.
    """

    examined: Examined
    pictures: tuple[str, ...]
    panel_HW3: np.ndarray


class Desk:
    """Answers the page's questions about one run.

    Args:
        record: the run.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.classifier = record.classifier
        self._templates = environment("chiqpm.demo")
        self._pictures = PictureReader(record)
        self._weight_CK = record.classifier.model.weight_CK.cpu().numpy().astype(np.int64)
        self._lock = threading.Lock()
        self._explained: tuple[RunExplanation | None] | None = None

    @property
    def calibrated(self) -> bool:
        """Whether there are prediction sets."""
        return self.classifier.predictor is not None

    @cached_property
    def examples(self) -> Mapping[int, Any]:
        """A small picture of each class, where the run kept them."""
        return read_examples(self.record.folder)

    def look(self, path: Path) -> View:
        """Run the model over a picture file, once.

        Raises:
            UnreadableImageError: it isn't a picture, it is damaged, or it is too large.
            FileNotFoundError: it is gone.
        """
        limit = min(MAX_PIXELS, self.classifier.data_config.max_pixels)
        examined = examine(self.classifier, load_image(path, max_pixels=limit))
        surface = panel(examined.picture)
        explanation = explain_examined(self.classifier, examined, self.classifier.coverage)
        return View(examined, heat_pictures(explanation, surface), surface)

    def explain(self, view: View, coverage: float) -> Explanation:
        """Explain a picture at a coverage, without looking at it again."""
        return explain_examined(self.classifier, view.examined, coverage)

    def result(self, view: View, coverage: float) -> str:
        """Return sentence, set and tree of a picture."""
        explanation = self.explain(view, coverage)
        predictor, needed = self.classifier.predictor, required_images(coverage)
        return self._render(
            "result.html",
            needed=0 if predictor is None or predictor.num_calibration >= needed else needed,
            calibration_images=0 if predictor is None else predictor.num_calibration,
            explanation=explanation,
            calibrated=self.calibrated,
            folder=self.record.folder,
            steps=tree_steps(explanation, view.pictures),
            leaf=class_mark(explanation, explanation.predicted),
            members=[class_mark(explanation, index) for index in explanation.set_classes],
        )

    def comparison(self, view: View, index: int) -> str:
        """Return what separates the prediction from another class, seen on the picture."""
        predicted = int(view.examined.logits_C.argmax())
        if index == predicted or not 0 <= index < len(self.classifier.class_names):
            return ""
        found = compare_in_picture(self.classifier, view.examined, predicted, index)

        def shots(features: tuple[FeatureEvidence, ...]) -> list[tuple[FeatureEvidence, str, str]]:
            return [(f, heat_picture(view.panel_HW3, f.index, f.map_HW, f.strength), map_words(f)) for f in features]

        return self._render(
            "comparison.html",
            found=found,
            sides=[
                (found.contrast.name_a, self._thumbnail(predicted), shots(found.only_a)),
                (found.contrast.name_b, self._thumbnail(index), shots(found.only_b)),
            ],
            shared=shots(found.shared),
        )

    def download(self, view: View, coverage: float, form: Format) -> bytes:
        """Return the explanation as the bytes of a file."""
        return explanation_file(self.explain(view, coverage), view.examined, form, examples=self.examples)

    def problem(self, reason: str) -> str:
        """Return a message that says what went wrong."""
        return self._render("problem.html", reason=reason)

    def welcome(self) -> str:
        """Return what stands where the result will be."""
        return self._render(
            "welcome.html", calibrated=self.calibrated, folder=self.record.folder, names=self.classifier.class_names
        )

    def features(self) -> str:
        """Return the list of all features."""
        explained = self.explained()
        untrusted = {} if explained is None else {u.index: u.warnings for u in explained.model.untrusted}
        return self._render("features.html", features=self._features(), untrusted=untrusted)

    def feature(self, index: int) -> str:
        """Return all about one feature; "" for an index that doesn't exist."""
        explained = self.explained()
        if not 0 <= index < self._weight_CK.shape[1]:
            return ""
        users = [(c, self.classifier.class_names[c]) for c in np.flatnonzero(self._weight_CK[:, index]).tolist()]
        return self._render(
            "feature.html",
            feature=self._features()[index],
            card=None if explained is None else feature_card(explained.features[index], self._pictures),
            users=[(name, self._thumbnail(c)) for c, name in users],
        )

    def about_class(self, index: int) -> str:
        """Return a class's features and the classes nearest to it; "" for an index that doesn't exist."""
        names = self.classifier.class_names
        if not 0 <= index < len(names):
            return ""
        shared_C = self._weight_CK @ self._weight_CK[index]
        shared_C[index] = -1
        nearest = np.argsort(-shared_C, kind="stable")[:_NEAREST]
        features = self._features()
        return self._render(
            "class.html",
            name=names[index],
            thumbnail=self._thumbnail(index),
            features=[features[k] for k in np.flatnonzero(self._weight_CK[index]).tolist()],
            nearest=[
                (
                    names[c],
                    self._thumbnail(c),
                    int(shared_C[c]),
                    [features[k] for k in np.flatnonzero(self._weight_CK[c] > self._weight_CK[index]).tolist()],
                )
                for c in nearest.tolist()
                if shared_C[c] > 0
            ],
        )

    def explained(self) -> RunExplanation | None:
        """Return the features and classes explained; the first call computes it."""
        with self._lock:
            if self._explained is None:
                self._explained = (explain_record(self.record),)
        return self._explained[0]

    def _features(self) -> list[Feature]:
        names = self.classifier.feature_names or ("",) * self._weight_CK.shape[1]
        return [Feature(k, name) for k, name in enumerate(names)]

    def _thumbnail(self, index: int) -> str:
        picture = self.examples.get(index)
        return "" if picture is None else data_url(picture, side=96)

    def _render(self, template: str, /, **values: Any) -> str:
        return str(Markup(self._templates.get_template(template).render(**values)))
