"""The whole page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from markupsafe import Markup

from chiqpm.errors import ChiqpmError
from chiqpm.files import write_text
from chiqpm.inspection import Finding, RunRecord, TreeErrors, findings, read_record, tree_errors
from chiqpm.inspection.global_view import explain_record
from chiqpm.inspection.meanings import certificate_sentence
from chiqpm.markup.cards import FeatureCard, PictureReader, feature_card
from chiqpm.markup.charts import bar_chart
from chiqpm.markup.environment import environment, stylesheet
from chiqpm.markup.feature_charts import class_tree_chart
from chiqpm.report import facts
from chiqpm.report.coverage import CoverageSection, coverage_section
from chiqpm.report.examples import TITLES, examples
from chiqpm.report.faithfulness import faithfulness_section
from chiqpm.report.pairs import pair_rows
from chiqpm.run_explanation import RunExplanation

_MOST_CLASSES = 60


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Attributes:
        examples: explained images of every kind: right, uncertain, wrong.
        features: features that are shown, those of most classes first.
        pairs: nearest pairs of classes that are shown.
        faithfulness_images: test images on which faithfulness is measured, about a second each; 0 leaves it out.

    Raises:
        ChiqpmError: a negative number.
    """

    examples: int = 3
    features: int = 100
    pairs: int = 6
    faithfulness_images: int = 8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ChiqpmError(f"{name} of a report must be 0 or more, received {value}")


def write_report(
    run: str | Path,
    out: str | Path | None = None,
    *,
    data_folder: str | Path | None = None,
    options: ReportOptions | None = None,
    device: str = "auto",
) -> Path:
    """Write the report of a run.

    Args:
        run: the run directory.
        out: the HTML file; None takes `report.html` in the run directory.
        data_folder: the folder of images, where it has moved since the run.
        options: what it shows.
        device: where to compute.

    Returns:
        The file.

    Raises:
        FileNotFoundError: the run isn't finished (the command that finishes it is named), or the folder of `out` or the
            images don't exist.
        ChiqpmError: a file of the run is damaged.
    """
    file = Path(run) / "report.html" if out is None else Path(out)
    if out is not None and not file.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {file.parent} for the report")
    record = read_record(run, data_folder=data_folder, device=device)
    write_text(file, report_html(record, options or ReportOptions()))
    return file


def report_html(record: RunRecord, options: ReportOptions) -> str:
    """Return the page as text."""
    coverage = coverage_section(record)
    errors = _errors(record)
    explained = explain_record(record)
    template = environment("chiqpm.report").get_template("report.html")
    return template.render(
        title=f"CHiQPM report: {record.folder.resolve().name}",
        style=stylesheet("chiqpm.markup", "base.css") + stylesheet("chiqpm.report", "report.css"),
        made=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        record=record,
        names=record.classifier.class_names,
        facts=facts.facts(record),
        accuracies=facts.accuracies(record),
        metric_rows=facts.metric_rows(record),
        seconds=facts.seconds(record),
        coverage=coverage,
        scores=record.metrics.get("coverage", {}),
        score_in_use=record.metrics.get("calibration_score"),
        errors=errors,
        errors_chart=_errors_chart(errors),
        certificate=_certificate(record),
        grounding=record.values.get("grounding"),
        faithfulness=faithfulness_section(record, options.faithfulness_images),
        examples=examples(record, each=options.examples),
        example_titles=TITLES,
        explained=explained,
        matrix=None if explained is None else class_tree_chart(explained.model),
        pairs=[] if explained is None else pair_rows(record, explained.model, most=options.pairs),
        cards=[] if explained is None else _cards(record, explained, options.features),
        most_classes=_MOST_CLASSES,
        findings=_findings(record, coverage, explained),
        reproduction=facts.reproduction(record),
    )


def _cards(record: RunRecord, explained: RunExplanation, most: int) -> list[FeatureCard]:
    ordered = sorted(explained.features, key=lambda feature: (-len(feature.classes), feature.index))
    pictures = PictureReader(record)
    return [feature_card(feature, pictures) for feature in ordered[:most]]


def _errors(record: RunRecord) -> TreeErrors | None:
    test = record.answers.get("test")
    if test is None:
        return None
    weight_CK = record.classifier.model.weight_CK.cpu().numpy()
    return tree_errors(test.features_NK, test.logits_NC, test.labels_N, weight_CK)


def _errors_chart(errors: TreeErrors | None) -> Markup | None:
    if errors is None or not errors.wrong:
        return None
    return bar_chart(
        [str(level) for level in range(len(errors.levels))],
        [count / errors.wrong for count in errors.levels],
        x_label="leading features shared with the truth",
        y_label="share of wrong predictions",
        reference=errors.chance,
        reference_label="a class drawn at random",
    )


def _certificate(record: RunRecord) -> dict[str, Any] | None:
    values, features = record.metrics.get("assignment"), record.metrics.get("features")
    if values is None or features is None:
        return None
    return {**values, "sentence": certificate_sentence(values, features)}


def _findings(record: RunRecord, coverage: CoverageSection | None, explained: RunExplanation | None) -> list[Finding]:
    found: list[Finding] = []
    if coverage is not None:
        found += findings.calibration_findings(coverage.num_calibration, coverage.target)
        found += findings.coverage_findings(coverage.diagnostics, record.classifier.class_names)
    if "test" in record.answers:
        dense = record.metrics.get("accuracy", {}).get("dense")
        found += findings.accuracy_findings(dense, record.answers["test"])
    if record.train is not None:
        found += findings.feature_findings(record.train)
    if explained is not None:
        found += findings.trust_findings(explained.model)
    found += findings.split_findings(record.values.get("duplicates", []))
    return sorted(found, key=lambda finding: not finding.serious)
