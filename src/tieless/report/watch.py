"""Live page of a study, served to this machine alone: read-only, by a token in its address, without anything from outside."""

from __future__ import annotations

import hmac
import http.server
import secrets
import socketserver
import threading
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from tieless.errors import StudyError, TielessError
from tieless.report import chart, claim_words, words
from tieless.report.html import environment
from tieless.report.live import MOST_SHOWN, look

HOST = "127.0.0.1"
_PART = 5.0
"""Number of times that the pause after a look is longer than the look, which takes long in a large study."""
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; img-src data:; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class Watch(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Server of the live page of one study.

    Args:
        folder: Folder of the study.
        port: Port on this machine; 0 for any that is free.
    Raises:
        StudyError: there is no study in the folder, or the port is taken.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder = Path(folder)
        self._lock = threading.Lock()
        self._part, self._next = "", 0.0
        self.token = secrets.token_urlsafe(24)
        self.nonce = secrets.token_urlsafe(16)
        look(self._folder)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise StudyError(
                f"Cannot serve on port {port} of {HOST}: {error.strerror}. Choose another --port."
            ) from error

    @property
    def hosts(self) -> tuple[str, ...]:
        """Values of the Host header of a browser that was given the address. Others come by a name that leads here."""
        return f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"

    @property
    def address(self) -> str:
        """Address of the page."""
        return f"http://{self.hosts[0]}/{self.token}/"

    @cached_property
    def page(self) -> str:
        """Page around the part that changes."""
        return environment().get_template("live.html.j2").render(nonce=self.nonce, part=self.part())

    def part(self) -> str:
        """Part of the page that changes, as it is now, or was a moment ago where to look takes long."""
        with self._lock:
            began = time.monotonic()
            if began >= self._next:
                self._part = self._render()
                ended = time.monotonic()
                self._next = ended + _PART * (ended - began)
            return self._part

    def _render(self) -> str:
        template = environment().get_template("live_part.html.j2")
        shared: dict[str, Any] = {"chart": chart, "claim_words": claim_words, "words": words, "most": MOST_SHOWN}
        try:
            return template.render(live=look(self._folder), error=None, **shared)
        except TielessError as error:
            return template.render(live=None, error=str(error), **shared)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Watch  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version, sys_version = "tieless", ""
    timeout = 30

    def do_GET(self) -> None:
        watch = self.server
        if self.headers.get("Host", "") not in watch.hosts:
            self._send(403, "text/plain", "Open the address that 'tieless study watch' has printed.\n")
            return
        _, token, *rest = self.path.split("/")
        if not hmac.compare_digest(token.encode(), watch.token.encode()) or rest not in ([""], ["part"]):
            self._send(404, "text/plain", "Not found.\n")
        elif rest == ["part"]:
            self._send(200, "text/html", watch.part())
        else:
            self._send(200, "text/html", watch.page)

    def _send(self, status: int, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Content-Security-Policy", _POLICY.format(nonce=self.server.nonce)),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Write no log: the page is for one reader."""
