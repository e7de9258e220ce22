"""Pictures of what a run's model is made of: its class tree, its nearest pairs, a page for every feature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from chiqpm.classifier import Classifier, load
from chiqpm.data import ImageTable
from chiqpm.errors import ChiqpmError
from chiqpm.explain import FeatureExplanation
from chiqpm.explain.drawing import draw_feature, draw_model, draw_pairs, save_figure
from chiqpm.files import write_json, write_text
from chiqpm.gallery import read_examples
from chiqpm.run_explanation import explain_run, open_run_table

_SHOWN = 6


def draw_features(
    run: Path,
    out: Path | None = None,
    *,
    features: Sequence[int] | None = None,
    data_folder: Path | None = None,
    device: str = "auto",
    width: float = 10.0,
    quiet: bool = True,
) -> list[Path]:
    """Draw a run's class tree and nearest pairs and pages of its features, and write the same as JSON and text.

    Args:
        run: the run directory.
        out: a folder, made if need be; None takes `features` in the run directory.
        features: indices of the features that get a page; None gives all of them one.
        data_folder: the folder of images, where it has moved since the run.
        device: where to compute.
        width: width of the pages in inches; below 6.5 in one column, for phones.
        quiet: show no progress bar.

    Returns:
        The files: `model.png`, `pairs.png`, `feature-000.png` ..., `features.json`, `features.txt`.

    Raises:
        ChiqpmError: a feature that the model doesn't have.
        FileNotFoundError: the run isn't finished, or its images are gone.
    """
    classifier = load(run, device=device)
    count = len(classifier.active_mean_K)
    wanted = range(count) if features is None else features
    unknown = [index for index in wanted if not 0 <= index < count]
    if unknown:
        raise ChiqpmError(f"there is no feature {unknown[0]}; the features are 0 to {count - 1}")
    explained = explain_run(run, data_folder=data_folder, device=device, quiet=quiet)
    table = open_run_table(run, data_folder)
    out = run / "features" if out is None else out
    out.mkdir(parents=True, exist_ok=True)
    model, examples = explained.model, read_examples(run)
    files = [out / "model.png", out / "pairs.png"]
    save_figure(draw_model(model, width=width), files[0], title="Classes and their features", description=model.text())
    figure = draw_pairs(model, examples=examples, width=width)
    save_figure(figure, files[1], title="Nearest pairs of classes", description=model.text())
    rows = {path: row for row, path in enumerate(table.paths)}
    for index in wanted:
        feature = explained.features[index]
        file = out / f"feature-{index:03d}.png"
        figure = draw_feature(feature, _pictures(classifier, table, rows, feature), width=width)
        save_figure(figure, file, title=feature.words, description=feature.text())
        files.append(file)
    text = "\n\n".join([model.text(), *(explained.features[index].text() for index in wanted)])
    write_text(out / "features.txt", text + "\n")
    write_json(out / "features.json", explained.to_dict())
    return [*files, out / "features.json", out / "features.txt"]


def _pictures(
    classifier: Classifier, table: ImageTable, rows: dict[str, int], feature: FeatureExplanation
) -> dict[int, Image.Image]:
    limit = classifier.data_config.max_pixels
    shown = feature.representatives(_SHOWN)
    return {t: classifier.frame(table.load(rows[feature.top[t].path], max_pixels=limit)) for t in shown}
