"""A service that answers REST as it is told to: for commands whose subject is the answer."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

JSON = "application/json"
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    authorization: str | None


@dataclass
class FakeService:
    """Answers by (method, path); several answers to one are given in turn, the last for ever."""

    url: str = ""
    answers: dict[tuple[str, str], list[tuple[int, Any]]] = field(
        default_factory=dict[tuple[str, str], list[tuple[int, Any]]]
    )
    asked: list[Asked] = field(default_factory=list[Asked])

    def on(self, method: str, path: str, *bodies: Any, status: int = 200) -> None:
        """Answer these bodies."""
        self.answers[method, path] = [(status, body) for body in bodies]

    def answer(self, asked: Asked) -> tuple[int, Any]:
        """The next answer; a 404 problem for what nobody taught it."""
        self.asked.append(asked)
        known = self.answers.get((asked.method, asked.path))
        if not known:
            return 404, {"type": "amends:not-found", "detail": f"nothing at {asked.path}"}
        return known.pop(0) if len(known) > 1 else known[0]


@contextmanager
def fake_service() -> Generator[FakeService]:
    """Serve on a free port of the loopback."""
    service = FakeService()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            asked = Asked(
                method=self.command,
                path=parts.path,
                query=dict(parse_qsl(parts.query)),
                body=json.loads(self.rfile.read(length)) if length else None,
                authorization=self.headers.get("authorization"),
            )
            status, body = service.answer(asked)
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", PROBLEM if status >= 400 else JSON)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - names that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
