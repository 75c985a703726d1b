"""A web server on the loopback that misbehaves on demand."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """Answers with the next of the server's answers, or else as an honest server does."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        answers = self.server.answers
        (answers.pop(0) if answers else whole)(self)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    @property
    def content(self) -> bytes | None:
        return self.server.files.get(self.path)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.files: dict[str, bytes] = {}
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str | None]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=300)


def whole(request: Request, *, ranges: bool = True, upto: float = 1.0) -> None:
    """What was asked for; of it, only the first ``upto``, under the length of all."""
    content = request.content
    if content is None:
        request.send_error(404)
        return
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "") if ranges else None
    first = int(asked[1]) if asked else 0
    if asked and first >= len(content):
        request.send_response(416)
        request.send_header("Content-Range", f"bytes */{len(content)}")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    request.send_response(206 if asked else 200)
    if asked:
        request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
    request.send_header("Content-Length", str(len(content) - first))
    request.end_headers()
    request.wfile.write(content[first : first + int(upto * (len(content) - first))])


def truncated(request: Request) -> None:
    """Half of what was asked for, and an early end."""
    whole(request, upto=0.5)


def without_ranges(request: Request) -> None:
    whole(request, ranges=False)


def stalled(request: Request) -> None:
    """Half of what was asked for, and then nothing."""
    whole(request, upto=0.5)
    request.wfile.flush()
    request.server.released.wait(30)


def page(request: Request) -> None:
    """A web page in place of the file, with the best of intentions."""
    text = b"<!DOCTYPE html><html>Please log in</html>"
    request.send_response(200)
    request.send_header("Content-Length", str(len(text)))
    request.end_headers()
    request.wfile.write(text)


def redirect(to: str) -> Answer:
    def answer(request: Request) -> None:
        request.send_response(302)
        request.send_header("Location", to)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer
