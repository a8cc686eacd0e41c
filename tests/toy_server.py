"""A real HTTP server on this machine that speaks just enough of OpenAI's chat completions, and misbehaves on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """`hold_s`: silence before anything is sent; `drip_s`: silence before each of the bytes of the body; `cut`: so many
    bytes at its end are never sent."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hold_s: float = 0.0
    drip_s: float = 0.0
    cut: int = 0


@dataclass(frozen=True)
class Request:
    path: str
    key: str
    body: dict[str, Any]


Answer = Callable[[Request, int], Reply]
"""(a request, how many came before it) -> the reply."""


def said(content: str | None, finish_reason: str = "stop", **more: Any) -> Reply:
    message = {"role": "assistant", "content": content, **more}
    usage = {"prompt_tokens": 10, "completion_tokens": 3}
    return Reply({"choices": [{"message": message, "finish_reason": finish_reason}], "usage": usage})


def refused(status: int, message: str, **headers: str) -> Reply:
    return Reply(
        {"error": {"message": message}}, status, {key.replace("_", "-"): told for key, told in headers.items()}
    )


def in_turn(*replies: Reply) -> Answer:
    """One after the other, the last for ever."""
    return lambda request, number: replies[min(number, len(replies) - 1)]


class ToyServer:
    """`num_open`: requests that wait for their reply; `most_open`: the most there ever were."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.url = ""
        self.lock = threading.Lock()
        self.closed = threading.Event()
        self.num_open = self.most_open = 0


@contextmanager
def toy_server(answer: Answer) -> Iterator[ToyServer]:
    server = ToyServer(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length) or b"{}")
            request = Request(self.path, self.headers.get("Authorization", ""), body)
            with server.lock:
                number = len(server.requests)
                server.requests.append(request)
                server.num_open += 1
                server.most_open = max(server.most_open, server.num_open)
            reply = server.answer(request, number)
            server.closed.wait(reply.hold_s)
            with server.lock:
                server.num_open -= 1
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked has hung up
                self.send(reply)

        def send(self, reply: Reply) -> None:
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for byte in content[: len(content) - reply.cut] if reply.drip_s else ():
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                server.closed.wait(reply.drip_s)
            if not reply.drip_s:
                self.wfile.write(content[: len(content) - reply.cut])
            self.close_connection = True

        def log_message(self, *args: Any) -> None:
            """The tests say what they want to know themselves."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        server.url = f"http://127.0.0.1:{listening.server_port}/v1"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closed.set()
            listening.shutdown()
            thread.join()
