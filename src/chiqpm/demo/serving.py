"""The page served from this machine, and nothing left behind."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chiqpm.errors import ChiqpmError
from chiqpm.inspection import RunRecord, read_record

logger = logging.getLogger(__name__)


def serve(
    run: str | Path,
    *,
    data_folder: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    max_megabytes: int = 20,
    device: str = "auto",
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve the page of a run until interrupted.

    No request leaves the machine, and nothing is written but a temporary folder, which is removed at the end.

    Args:
        run: the run directory.
        data_folder: the folder of images, where it has moved since the run.
        host: address to listen on.
        port: port; 0 takes a free one.
        max_megabytes: largest picture file that is accepted.
        device: where to compute.
        announce: called with the address once the page can be opened.

    Raises:
        ChiqpmError: Gradio is missing (says how to install it), the port is taken, or a limit can't be used.
        FileNotFoundError: the run isn't finished.
    """
    if not 0 <= port <= 65535 or max_megabytes < 1:
        raise ChiqpmError(
            f"the port must lie in 0..65535 and pictures be allowed 1 MB or more; received {port} and {max_megabytes}"
        )
    _check_free(host, port)
    record = read_record(run, data_folder=data_folder, device=device)
    if not _is_loopback(host):
        logger.warning(
            "warning: the page listens on %s: whoever reaches this machine can use it, and nothing protects it", host
        )
    with _private_folder(), _terminable():
        gradio_app, theme, style = _build(record)
        _, address, _ = gradio_app.launch(
            server_name=host,
            server_port=port or None,
            max_file_size=max_megabytes * 1_000_000,
            theme=theme,
            css=style,
            quiet=True,
            share=False,
            inbrowser=False,
            prevent_thread_lock=True,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            footer_links=[],
        )
        try:
            if announce is not None:
                announce(address)
            threading.Event().wait()
        except KeyboardInterrupt:
            logger.info("the demo has ended")
        finally:
            gradio_app.close(verbose=False)


def _build(record: RunRecord) -> tuple[Any, Any, str]:
    try:
        import gradio
    except ImportError:
        raise ChiqpmError("the web demo needs Gradio; install it with `pip install 'chiqpm[demo]'`") from None
    from chiqpm.demo.app import build_app, style
    from chiqpm.demo.desk import Desk

    # The default theme asks a server for its fonts.
    theme = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    # Its own greys are too pale to be read by everyone.
    theme = theme.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
    )
    return build_app(Desk(record)), theme, style()


def _check_free(host: str, port: int) -> None:
    """Raise ChiqpmError where nothing can listen, before the model is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ChiqpmError(
            f"can't listen on {host}:{port} ({error}); choose another port with --port, or a free one with --port 0"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _private_folder() -> Iterator[None]:
    """Have Gradio write into a temporary folder that is removed, and send nothing home."""
    with tempfile.TemporaryDirectory(prefix="chiqpm-demo-") as folder:
        wanted = {
            "GRADIO_TEMP_DIR": folder,
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the serving as Ctrl+C does, so that the folder is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
