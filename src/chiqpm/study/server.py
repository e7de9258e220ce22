"""A small local server: hands out the page and reader numbers, and keeps every reader's answers as a CSV file.

Each reader has a file of their own, which is replaced as a whole after every answer. Readers can't disturb each other,
several servers may share a folder, and a crash leaves the last whole state.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import secrets
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from chiqpm.errors import ChiqpmError
from chiqpm.study.answers import Answer, check_row, write_answers
from chiqpm.study.key import ANSWERS, PAGE, StudyKey, read_key

logger = logging.getLogger(__name__)

_LARGEST_BODY = 2_000_000
_SECRET = ".server-secret"
_MOST_READERS = 100_000


class StudyServer(ThreadingHTTPServer):
    """Serves one study.

    Args:
        folder: of the study, as `chiqpm study RUN` made it; answers go into its folder `answers`.
        host: address to listen at; the default can be reached from this machine only.
        port: 0 takes any free one.

    Raises:
        FileNotFoundError: the folder holds no study.
        OSError: the port is taken, or the folder can't be written.
    """

    daemon_threads = True

    def __init__(self, folder: str | Path, *, host: str = "127.0.0.1", port: int = 8420) -> None:
        self.folder = Path(folder)
        self.key: StudyKey = read_key(self.folder)
        self.page = (self.folder / PAGE).read_bytes()
        self.answers = self.folder / ANSWERS
        self.answers.mkdir(exist_ok=True)
        self._secret = _secret(self.answers / _SECRET)
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Address of the page."""
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/"

    def admit(self) -> tuple[int, str]:
        """Give the next free reader number and a token that allows to write this reader's answers."""
        for number in range(1, _MOST_READERS + 1):
            try:
                with self.file_of(number).open("x", encoding="utf-8"):
                    pass
            except FileExistsError:
                continue
            write_answers(self.file_of(number), [])
            return number, self.token_of(number)
        raise ChiqpmError(f"the study has {_MOST_READERS} readers already")

    def token_of(self, number: int) -> str:
        """Token of a reader: nobody can guess it without the server's secret."""
        return hmac.new(self._secret, f"{self.key.study}/{number}".encode(), hashlib.sha256).hexdigest()

    def file_of(self, number: int) -> Path:
        """Answer file of a reader."""
        return self.answers / f"reader-{number:05d}.csv"

    def keep(self, message: Any) -> None:
        """Replace a reader's answers by those of a message.

        Raises:
            ChiqpmError: the message isn't allowed.
        """
        if not isinstance(message, dict) or set(message) != {"reader", "token", "rows"}:
            raise ChiqpmError("a message needs reader, token and rows")
        number, rows = message["reader"], message["rows"]
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= _MOST_READERS:
            raise ChiqpmError("reader must be a number that this server gave")
        if not hmac.compare_digest(str(message["token"]), self.token_of(number)):
            raise ChiqpmError("the token does not belong to this reader")
        if not isinstance(rows, list):
            raise ChiqpmError("rows must be a list")
        answers = [self._checked(row, number, place) for place, row in enumerate(rows, start=1)]
        write_answers(self.file_of(number), answers)

    def _checked(self, row: Any, number: int, place: int) -> Answer:
        answer = check_row(row, f"row {place}")
        if answer.study != self.key.study:
            raise ChiqpmError(f"row {place}: the answers belong to another study; reload the page")
        if answer.kind in ("trial", "practice") and answer.item not in self.key.items:
            raise ChiqpmError(f"row {place}: unknown image {answer.item!r}")
        return replace(answer, reader=str(number), simulated=0)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request; knows three addresses and no files."""

    server: StudyServer
    server_version, sys_version = "chiqpm-study", ""
    timeout = 30

    def do_GET(self) -> None:
        """Send the page."""
        if self.path.split("?")[0] not in ("/", "/index.html"):
            self._send(HTTPStatus.NOT_FOUND, b"there is only /", "text/plain")
            return
        self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        """Admit a reader, or keep answers."""
        try:
            message = self._message()
            if self.path == "/reader":
                number, token = self.server.admit()
                self._send_json(HTTPStatus.OK, {"reader": number, "token": token})
            elif self.path == "/answers":
                self.server.keep(message)
                self._send_json(HTTPStatus.OK, {"kept": len(message["rows"])})
            else:
                self._send_json(HTTPStatus.NOT_FOUND, {"error": "there are only /reader and /answers"})
        except ChiqpmError as error:
            self._send_json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except OSError as error:
            logger.warning("answers could not be written: %s", error)
            self._send_json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "the answers could not be written"})

    def _message(self) -> Any:
        # Other sites can send forms from a reader's browser, but neither this type nor this origin.
        if self.headers.get_content_type() != "application/json":
            raise ChiqpmError("the message must be application/json")
        origin, host = self.headers.get("Origin"), self.headers.get("Host", "")
        if origin is not None and origin.partition("://")[2] != host:
            raise ChiqpmError("the message comes from another page")
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            raise ChiqpmError(f"the message needs a length of at most {_LARGEST_BODY} bytes")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise ChiqpmError("the message is no JSON") from None

    def _send_json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing about readers but in debugging; addresses are never kept."""
        logger.debug("%s", format % args)


def _secret(file: Path) -> bytes:
    """Return the folder's secret; the first server makes it, whole at once."""
    if not file.exists():
        whole = file.with_name(f"{file.name}-{secrets.token_hex(8)}")
        whole.touch(mode=0o600)
        whole.write_text(secrets.token_hex(32), encoding="ascii")
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(whole)
        whole.unlink()
    content = file.read_text(encoding="ascii").strip()
    if len(content) != 64:
        raise ChiqpmError(f"{file} is damaged; delete it (readers who are answering must begin again)")
    return content.encode()
