"""An explanation as the bytes of a file."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, Literal

from chiqpm.explain import Explanation
from chiqpm.inspection.examined import Examined

Format = Literal["png", "svg", "json"]
MIME_TYPES: dict[Format, str] = {"png": "image/png", "svg": "image/svg+xml", "json": "application/json"}


def explanation_file(
    explanation: Explanation, examined: Examined, form: Format, *, examples: Mapping[int, Any] | None = None
) -> bytes:
    """Return an explanation as PNG, SVG or JSON.

    Args:
        explanation: what to write.
        examined: the picture that it explains.
        form: "png", "svg", or "json" (with the raw maps).
        examples: class index -> a picture of that class, for the figure.
    """
    if form == "json":
        return json.dumps(explanation.to_dict(), ensure_ascii=False, allow_nan=False).encode("utf-8")
    from chiqpm.explain.drawing import draw_explanation

    figure = draw_explanation(explanation, examined.picture, examples=examples)
    content = io.BytesIO()
    title, text = f"Why {explanation.predicted_name}?", explanation.text()
    metadata = {"Title": title, "Description": text, **({"Date": None} if form == "svg" else {})}
    figure.savefig(content, format=form, metadata=metadata)
    return content.getvalue()
