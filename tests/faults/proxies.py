"""
What stands between the parts and can be told to misbehave: a TCP proxy and an HTTP proxy.

A TCP proxy carries what nobody looks into (Postgres, gRPC); an HTTP proxy knows requests, so that
a rule may refuse, delay, repeat, drop or damage a single one.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER without a wait: closing sends RST
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host", "content-length"})


class TcpProxy:
    """
    Carries connections to *target*; every wait ends when it stops.

    Attributes:
        target: The port on this machine that new connections go to.
        mode: "refuse" closes each new connection at once.
        cut_after_bytes: A connection is cut when it has carried so many bytes to the target.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.mode: Literal["pass", "refuse"] = "pass"
        self.cut_after_bytes: int | None = None
        self._live: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections that there are, as a network does."""
        with self._lock:
            live, self._live = self._live, set()
        for connection in live:
            _reset(connection)

    def refuse(self) -> None:
        """Break all connections and take no new ones."""
        self.mode = "refuse"
        self.cut()

    def carry(self, target: int | None = None) -> None:
        """Carry again, to another port if one is given."""
        self.target = target or self.target
        self.cut_after_bytes = None
        self.mode = "pass"

    def stop(self) -> None:
        """End all connections."""
        self.mode = "refuse"
        # Closing alone does not wake the thread that accepts.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "refuse":
                _reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            with self._lock:
                self._live |= {client, server}
            for source, sink, counted in ((client, server, True), (server, client, False)):
                threading.Thread(
                    target=self._pump, args=(source, sink, counted), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        carried = 0
        with suppress(OSError):
            while data := source.recv(65_536):
                carried += len(data)
                limit = self.cut_after_bytes
                if counted and limit is not None and carried > limit:
                    break
                sink.sendall(data)
        with self._lock:
            self._live -= {source, sink}
        for side in (source, sink):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # Wakes the thread that reads from it; then nothing more is sent but the reset.
        connection.shutdown(socket.SHUT_RD)
    connection.close()


@dataclass(frozen=True, slots=True)
class Request:
    """What came, whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """
    What goes back.

    Attributes:
        sent_bytes: So many bytes of the body are sent, then the connection breaks.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    sent_bytes: int | None = None


RESET = Reply(status=0)

Forward = Callable[[Request], Reply]
Rule = Callable[[Request, Forward], Reply]


def forward_only(request: Request, forward: Forward) -> Reply:
    """Change nothing."""
    return forward(request)


class HttpProxy:
    """
    Forwards each request to one of *upstreams* in turn, as *rule* has it.

    Attributes:
        upstreams: Ports; one that does not answer is passed over, as a load balancer does.
        requests: How many have come.
        refused: How many got an answer of 400 or more.
    """

    def __init__(self, *upstreams: int) -> None:
        self.upstreams = list(upstreams)
        self.rule: Rule = forward_only
        self.requests = 0
        self.refused = 0
        self._turn = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._make_handler())
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Return http://HOST:PORT."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def ruled(self, rule: Rule) -> Iterator[None]:
        """Follow *rule* for the time of the block."""
        self.rule = rule
        try:
            yield
        finally:
            self.rule = forward_only

    def forward(self, request: Request) -> Reply:
        """Pass *request* on and return what came back; 503 where nobody takes it."""
        with self._lock:
            self._turn += 1
            turn = self._turn % len(self.upstreams)
            ports = self.upstreams[turn:] + self.upstreams[:turn]
        for port in ports:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
            try:
                connection.connect()
            except OSError:
                continue
            try:
                headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
                connection.request(request.method, request.path, request.body or None, headers)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                return RESET  # it died with the request: the caller learns no more than that
            finally:
                connection.close()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
            return Reply(answer.status, kept, body)
        return Reply(503)

    def stop(self) -> None:
        """Take no more requests."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, dict(self.headers.items()), body)
                with proxy._lock:
                    proxy.requests += 1
                reply = proxy.rule(request, proxy.forward)
                with proxy._lock:
                    proxy.refused += reply.status >= 400
                with suppress(OSError):
                    self._send(reply)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass_on

            def _send(self, reply: Reply) -> None:
                if reply is RESET:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    self.close_connection = True
                    return
                self.send_response_only(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.status >= 200 and reply.status != 204:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body[: reply.sent_bytes])
                if reply.sent_bytes is not None:
                    self.close_connection = True

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        return Handler


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news here."""
