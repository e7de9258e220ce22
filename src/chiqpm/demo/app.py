"""The page: which component calls which answer of the desk. Every user's view lives in their own session."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

import gradio as gr

from chiqpm.data import UnreadableImageError
from chiqpm.demo.desk import Desk, View
from chiqpm.inspection.downloads import MIME_TYPES, Format
from chiqpm.markup.environment import stylesheet

logger = logging.getLogger(__name__)

_PICK = """
element.addEventListener('click', event => {
  const button = event.target.closest('[data-class]');
  if (button) trigger('pick', {index: Number(button.dataset.class)});
});
"""
_SHOW = """
element.addEventListener('click', event => {
  const button = event.target.closest('[data-feature]');
  if (button) trigger('show', {index: Number(button.dataset.feature)});
});
"""
_REVEAL = "watch('value', () => { if (element.textContent.trim()) element.scrollIntoView({block: 'nearest'}); });"
_SAVE = "watch('value', () => { const link = element.querySelector('a'); if (link) link.click(); });"
_SESSION_SECONDS = 3600
_AT_ONCE = 8


def build_app(desk: Desk) -> Any:
    """Return the page of a run as a `gradio.Blocks`, not yet served."""
    coverage = desk.classifier.coverage
    with gr.Blocks(title="CHiQPM", analytics_enabled=False, delete_cache=(600, _SESSION_SECONDS)) as app:
        view = gr.State(None, time_to_live=_SESSION_SECONDS)
        gr.HTML(f'<h1 class="demo-title">{_title(desk)}</h1>')
        with gr.Tab("Picture"), gr.Row():
            with gr.Column(scale=2, min_width=300):
                picture = gr.Image(
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard", "webcam"],
                    label="Picture",
                    height=300,
                    buttons=[],
                    elem_id="picture",
                )
                slider = gr.Slider(
                    0.5,
                    0.99,
                    value=coverage,
                    step=0.005,
                    label="Coverage: how surely the set holds the truth",
                    interactive=desk.calibrated,
                    elem_id="coverage",
                    buttons=[],
                )
                with gr.Row():
                    buttons = {form: gr.Button(f"Save {form.upper()}", min_width=80) for form in MIME_TYPES}
                saved = gr.HTML("", js_on_load=_SAVE, apply_default_css=False, elem_id="saved")
                comparison = gr.HTML("", js_on_load=_REVEAL, apply_default_css=False, elem_id="comparison")
            with gr.Column(scale=3, min_width=300):
                result = gr.HTML(desk.welcome(), js_on_load=_PICK, apply_default_css=False, elem_id="result")
        with gr.Tab("Features") as feature_tab, gr.Row():
            with gr.Column(scale=2, min_width=300):
                features = gr.HTML("", js_on_load=_SHOW, apply_default_css=False, elem_id="features")
            with gr.Column(scale=3, min_width=300):
                feature = gr.HTML("", js_on_load=_REVEAL, apply_default_css=False, elem_id="feature")
        with gr.Tab("Classes"):
            choices = [(name, index) for index, name in enumerate(desk.classifier.class_names)]
            chosen = gr.Dropdown(choices, value=None, label="Class", elem_id="class", filterable=True)
            about = gr.HTML("", apply_default_css=False, elem_id="about")
        answers = _Answers(desk)
        direct: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        queued: dict[str, Any] = {
            "concurrency_limit": _AT_ONCE,
            "show_progress": "minimal",
            "api_visibility": "private",
        }
        picture.change(answers.look, [picture, slider], [view, result, comparison, saved], preprocess=False, **queued)
        slider.change(answers.move, [view, slider], [result], trigger_mode="always_last", **direct)
        result.pick(answers.compare, [view], [comparison], **direct)
        for form, button in buttons.items():
            button.click(answers.saver(form), [view, slider], [saved], **queued)
        feature_tab.select(answers.features, [], [features], **queued)
        features.show(answers.feature, [], [feature], **queued)
        chosen.change(answers.about, [chosen], [about], **queued)
    return app


def style() -> str:
    """Return the page's style sheet."""
    return stylesheet("chiqpm.markup", "base.css") + stylesheet("chiqpm.demo", "demo.css")


def _title(desk: Desk) -> str:
    from markupsafe import escape

    return f"CHiQPM: {escape(desk.record.folder.resolve().name)}"


class _Answers:
    """From what the page sends to what it shows."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def look(self, sent: dict[str, Any] | None, coverage: float) -> tuple[View | None, str, str, str]:
        if not sent or not sent.get("path"):
            return None, self._desk.welcome(), "", ""
        try:
            view = self._desk.look(Path(sent["path"]))
        except UnreadableImageError as error:
            return None, self._desk.problem(f"{error.reason[:1].upper()}{error.reason[1:]}."), "", ""
        except FileNotFoundError:
            return None, self._desk.problem("The file is gone; give it again."), "", ""
        return view, self._desk.result(view, coverage), "", ""

    def move(self, view: View | None, coverage: float) -> Any:
        return gr.skip() if view is None else self._desk.result(view, coverage)

    def compare(self, view: View | None, event: gr.EventData) -> str:
        return "" if view is None else self._desk.comparison(view, int(event.index))

    def saver(self, form: Format) -> Any:
        def save(view: View | None, coverage: float) -> str:
            if view is None:
                return ""
            content = base64.b64encode(self._desk.download(view, coverage, form)).decode("ascii")
            address = f"data:{MIME_TYPES[form]};base64,{content}"
            return f'<a class="chiqpm" download="explanation.{form}" href="{address}">Save explanation.{form} again</a>'

        return save

    def features(self) -> str:
        return self._desk.features()

    def feature(self, event: gr.EventData) -> str:
        return self._desk.feature(int(event.index))

    def about(self, index: int | None) -> str:
        return "" if index is None else self._desk.about_class(int(index))
