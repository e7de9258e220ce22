"""A run as a web page on this machine (needs Gradio: `pip install 'chiqpm[demo]'`)."""

from __future__ import annotations

from chiqpm.demo.serving import serve

__all__ = ["serve"]
