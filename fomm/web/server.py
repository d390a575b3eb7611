"""Serves the page on this machine, with a guard in front of it."""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from fomm.animation.options import Compute
from fomm.errors import FommError, MissingExtraError
from fomm.model import Detector, Generator
from fomm.web.limits import Limits
from fomm.web.studio import Studio

LOCAL = "127.0.0.1"
_BODY = 1 << 20  # bytes of a request that is no upload
# Nothing is loaded from, or sent to, another host. The page's own scripts are partly written in the page.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'; form-action 'self'"
)
_FOREIGN = re.compile(  # parts of the page's head that name other hosts
    r"<(script|link|meta)\b[^>]*\b(src|href|content)=[\"']https?://[^>]*>(\s*</script>)?", re.I
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Server:
    """A page that is being served, at ``url``; a context manager that ends it and deletes its files."""

    def __init__(self, page: Any, studio: Studio, url: str, folder: tempfile.TemporaryDirectory[str]) -> None:
        self.url, self.studio = url, studio
        self._page, self._folder = page, folder

    def wait(self) -> None:
        """Wait until somebody interrupts."""
        threading.Event().wait()

    def close(self) -> None:
        """End it. Files that were uploaded or made are deleted."""
        self._page.close(verbose=False)
        self._folder.cleanup()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start_server(
    generator: Generator,
    kp_detector: Detector,
    *,
    host: str = LOCAL,
    port: int = 7860,
    share: bool = False,
    limits: Limits = Limits(),
    compute: Compute = Compute(),
) -> Server:
    """Serve the page, and return at once.

    Args:
        generator, kp_detector: as ``load_checkpoints`` gives them.
        host: the address of this machine on which it can be reached; by default by this machine alone.
        port: there.
        share: let Gradio make a public link that leads here.
        limits: what the page takes.
        compute: what computes, and how exactly.

    Raises:
        MissingExtraError: Gradio is not installed. FommError: the port is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported
    check_gradio()
    folder = tempfile.TemporaryDirectory(prefix="fomm-web-")
    os.environ["GRADIO_TEMP_DIR"] = str(Path(folder.name) / "files")  # read when the page is built
    from fomm.web.controls import CSS, make_theme
    from fomm.web.page import build_page

    requests = Path(folder.name) / "requests"
    requests.mkdir()
    studio = Studio(generator, kp_detector, requests, limits=limits, compute=compute)
    page = build_page(studio)
    hosts = (LOCAL, "localhost") if host == LOCAL and not share else None
    try:
        _, local, public = page.queue(max_size=limits.waiting, default_concurrency_limit=1).launch(
            server_name=host, server_port=port, share=share, prevent_thread_lock=True, quiet=True,
            inbrowser=False, show_error=True, footer_links=[], theme=make_theme(), css=CSS,
            allowed_paths=[], blocked_paths=[], max_file_size=limits.file_bytes, ssr_mode=False, pwa=False,
            mcp_server=False, enable_monitoring=False, strict_cors=True, state_session_capacity=100,
            app_kwargs={"middleware": [(Guard, (), {"hosts": hosts})]},
        )  # fmt: skip
    except OSError as reason:
        folder.cleanup()
        raise FommError(f"cannot serve the page on {host}, port {port}: {reason}") from reason
    return Server(page, studio, public or local, folder)


def check_gradio() -> None:
    """Raise MissingExtraError unless Gradio can be imported."""
    try:
        import gradio  # noqa: F401
    except ImportError as reason:
        raise MissingExtraError("fomm web needs Gradio: pip install 'fomm[web]'") from reason


class Guard:
    """Stands before the page's own server, and refuses what no page of ours sends.

    - A request that was sent to another name than ``hosts``: a foreign page that has its name point here.
    - A large request that is no upload, and one that asks for the download of an address.

    It also forbids the page to load anything from another host.
    """

    def __init__(self, app: App, hosts: tuple[str, ...] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").rpartition(":")[0]
        if self._hosts is not None and host not in self._hosts:
            return await _refuse(send, 403, "this page is for this machine alone")
        if scope["method"] == "POST" and not scope["path"].rstrip("/").endswith("/upload"):
            body = await _read_body(receive)
            if body is None:
                return await _refuse(send, 413, "the request is too large")
            if _names_address(body):
                return await _refuse(send, 400, "give a file, no address")
            receive = _replay(body, receive)
        await self._app(scope, receive, _Answer(send))


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body of a request; None: it is too large."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _BODY:
            return None
        if not message.get("more_body"):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a function that gives the body once more, and then what comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return waiting.pop() if waiting else await receive()

    return give


def _names_address(body: bytes) -> bool:
    """Return whether a request names a file by an address, which would be fetched."""
    try:
        waiting: list[Any] = [json.loads(body)]
    except (ValueError, RecursionError):
        return False
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and re.match(r"\s*[a-z][a-z0-9+.-]*://", path, re.I):
                return True
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return False


async def _refuse(send: Send, status: int, why: str) -> None:
    text = json.dumps({"detail": why, "error": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


class _Answer:
    """Passes an answer on; adds the policy, and takes foreign scripts and links out of the page."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None  # of a page, which is held until it is complete
        self._page = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"")
            message["headers"] = [
                *message["headers"],
                (b"content-security-policy", _POLICY.encode()),
                (b"referrer-policy", b"no-referrer"),
                (b"x-content-type-options", b"nosniff"),
            ]
            if kind.startswith(b"text/html"):
                self._start = message
                return
        elif self._start is not None:
            self._page += message.get("body", b"")
            if message.get("more_body"):
                return
            page = _FOREIGN.sub("", self._page.decode("utf-8", "replace")).encode()
            self._start["headers"] = [
                (name, str(len(page)).encode() if name == b"content-length" else value)
                for name, value in self._start["headers"]
            ]
            await self._send(self._start)
            message = {"type": "http.response.body", "body": page}
            self._start = None
        await self._send(message)
