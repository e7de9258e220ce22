"""The section on faithfulness: do the explanations show what the model uses?"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from chiqpm.experiments.faithfulness import measure_faithfulness
from chiqpm.inspection.record import RunRecord
from chiqpm.markup.charts import curves_chart
from chiqpm.metrics import PerturbationCurve

_NAMES = {"map": "by the maps", "random": "at random", "centre": "from the centre"}


@dataclass(frozen=True)
class FaithfulnessSection:
    """What was measured, in words and as curves.

    Attributes:
        images: how many test images.
        sentences: one for each measurement, with its control.
        deletion: probability as the image is taken away.
        insertion: probability as it is shown.
        randomisation: similarity of maps as the model forgets.
    """

    images: int
    sentences: tuple[str, ...]
    deletion: Markup
    insertion: Markup
    randomisation: Markup


def faithfulness_section(record: RunRecord, images: int) -> FaithfulnessSection | None:
    """Measure; None without images, or where it isn't wanted.

    Args:
        record: the run.
        images: how many test images; 0 for none.
    """
    if images < 1 or not record.images_present or record.table is None or record.config is None:
        return None
    device = str(record.classifier.device)
    found = measure_faithfulness(record.folder, data_folder=record.table.root, device=device, images=images)
    forgetting = [(0.0, 1.0), *((depth.share, depth.similarity) for depth in found.randomisation.depths)]
    return FaithfulnessSection(
        images=found.images,
        sentences=found.sentences(),
        deletion=_curves(found.perturbation.deletion, "share of the image taken away"),
        insertion=_curves(found.perturbation.insertion, "share of the image shown"),
        randomisation=curves_chart(
            {
                "similarity": forgetting,
                "unrelated maps": [(x, found.randomisation.unrelated) for x, _ in forgetting],
            },
            x_label="share of layers shuffled",
            y_label="similarity of maps",
        ),
    )


def _curves(curves: dict[str, PerturbationCurve], x_label: str) -> Markup:
    return curves_chart(
        {
            words: list(zip(curves[name].fractions, curves[name].means, strict=True))
            for name, words in _NAMES.items()
            if name in curves
        },
        x_label=x_label,
        y_label="probability",
    )
