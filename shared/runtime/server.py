"""
The server of a function: a request gets a thread once it has arrived.

functions-framework serves by gunicorn's threads, each of which reads its request from the socket
for as long as the client likes: some fifty clients that send a byte now and then hold every thread,
and no other client is answered. This worker reads in one loop, as a proxy that buffers does:

- A head has to come within HEAD_SECONDS, a body within BODY_SECONDS; then the client gets 408.
- A request whose body is late is asked about at once. What the function refuses for its head (no
  key, no such path, too large) is answered, and the body is never read. A function that reads the
  body says by that that it needs it, and gets the request again when it is whole.
- Of too many connections, that which has waited longest for its client is closed.
- What a client does not take of its response at once, the loop sends. A thread waits only where a
  response is longer than KEPT_BYTES. A response that is not read ends after SEND_SECONDS.
- What waits for clients, bodies and responses, is KEPT_BYTES_OF_ALL at most: beyond that, the
  connection that holds most is closed.

Call serve_whole_requests() while main.py is imported; it decides nothing if no server follows.
"""

from __future__ import annotations

import errno
import heapq
import json
import re
import resource
import select
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from io import BytesIO
from itertools import count
from typing import Any, BinaryIO

import gunicorn.config
from gunicorn import http
from gunicorn.http.body import Body
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

HEAD_SECONDS = 10.0
BODY_SECONDS = 20.0
SEND_SECONDS = 30.0
MAX_HEAD_BYTES = 64 * 1024
# Cloud Run's own limit of a request: https://cloud.google.com/run/quotas#request_limits
MAX_BODY_BYTES = 32 * 2**20
# What is kept of a response that its client does not read; all files of the page are smaller.
KEPT_BYTES = 2 * 2**20
KEPT_BYTES_OF_ALL = 128 * 2**20
# Most clients send head and body in two packets: a body that is a moment late is not asked about.
_LOOK_SECONDS = 0.05
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 256 * 1024
_READ_BYTES = 64 * 1024
_FILE_BYTES = 1024 * 1024
# Of a chunk's size with its extensions, and of the trailers.
_MAX_CHUNK_LINE_BYTES = 8190
_BODY_AWAITED = object()
# A body's end among bytes that no parser will take.
_MALFORMED = -1

_LENGTH = re.compile(
    rb"^content-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r$", re.IGNORECASE | re.MULTILINE
)
_ENCODING = re.compile(rb"^transfer-encoding[ \t]*:", re.IGNORECASE | re.MULTILINE)
_EXPECTATION = re.compile(rb"^expect[ \t]*:", re.IGNORECASE | re.MULTILINE)

_max_body_bytes = MAX_BODY_BYTES


def serve_whole_requests(*, max_body_bytes: int = MAX_BODY_BYTES) -> None:
    """
    Make the framework's gunicorn use this worker.

    Args:
        max_body_bytes: What is kept of a body while the rest is awaited; a larger one is refused.
    """
    global _max_body_bytes
    _max_body_bytes = max_body_bytes
    # functions-framework sets gunicorn's options itself and leaves these at their defaults.
    gunicorn.config.WorkerClass.default = f"{__name__}.WholeRequestWorker"
    # From a proxy on this machine gunicorn takes SCRIPT_NAME, cut off from the path: any client
    # could send it, and reach by /x/metrics what the proxy keeps back as /metrics.
    gunicorn.config.ForwarderHeaders.default = ""


class BodyPending(BaseException):
    """
    The function reads a body that has not arrived completely.

    No Exception, so that no handler of errors takes it for one on its way back to the server.
    """


class _Body:
    """Where the body of a request ends."""

    def __init__(self, head: bytes) -> None:
        lengths = _LENGTH.findall(head)
        self.chunked = bool(_ENCODING.search(head))
        # The parser refuses a head with two lengths, whatever follows.
        self.length = int(lengths[0]) if len(lengths) == 1 else 0
        self._next_chunk = 0

    def find_end(self, received: bytearray, start: int) -> int | None:
        """Return where the body that begins at *start* ends; None while it has not come whole."""
        if not self.chunked:
            return start + self.length if len(received) >= start + self.length else None
        place = max(self._next_chunk, start)
        while True:
            line_end = received.find(b"\r\n", place)
            if line_end < 0:
                return _MALFORMED if len(received) - place > _MAX_CHUNK_LINE_BYTES else None
            try:
                size = int(bytes(received[place:line_end]).partition(b";")[0], 16)
            except ValueError:
                return _MALFORMED
            data = line_end + 2
            if size == 0:
                if received[data : data + 2] == b"\r\n":
                    return data + 2
                trailers_end = received.find(b"\r\n\r\n", data)
                if trailers_end < 0 and len(received) - data > _MAX_CHUNK_LINE_BYTES:
                    return _MALFORMED
                return None if trailers_end < 0 else trailers_end + 4
            if size < 0 or len(received) < data + size + 2:
                return _MALFORMED if size < 0 else None
            self._next_chunk = place = data + size + 2


class _Source:
    """What a parser reads a request from: the bytes that are there, as from a socket."""

    def __init__(self, data: bytes, *, whole: bool) -> None:
        self._data = data
        self._place = 0
        self.whole = whole

    @property
    def exhausted(self) -> bool:
        return self._place == len(self._data)

    def recv(self, size: int) -> bytes:
        piece = self._data[self._place : self._place + size]
        self._place += len(piece)
        if not piece and not self.whole:
            raise BodyPending
        return piece


class _Answer:
    """
    The socket, as a function writes its response to it.

    The client gets at once what it takes; the loop sends the rest.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.rest = bytearray()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        """Send *data*, or keep it; wait for the client while too much is kept."""
        self.rest += data
        self.flush()
        if len(self.rest) <= KEPT_BYTES:
            return
        deadline = time.monotonic() + SEND_SECONDS
        writable = select.poll()
        writable.register(self._sock, select.POLLOUT)
        while len(self.rest) > KEPT_BYTES:
            if not writable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError("the client does not read its response")
            self.flush()

    def sendfile(self, file: BinaryIO, *, offset: int, count: int) -> None:
        """Send *count* bytes of *file*; the system's own call would wait for the client."""
        file.seek(offset)
        while count and (piece := file.read(min(count, _FILE_BYTES))):
            self.sendall(piece)
            count -= len(piece)

    def flush(self) -> None:
        """Send what the client takes now."""
        self._sock.setblocking(False)
        with suppress(BlockingIOError):
            while self.rest:
                with memoryview(self.rest) as kept:
                    sent = self._sock.send(kept)
                del self.rest[:sent]


class _Connection(TConn):  # type: ignore[misc]  # gunicorn ships no annotations
    """A client, the bytes it has sent, and what the server waits for."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # The parser is made for each request, not by gunicorn.
        self.initialized = self.data_ready = True
        self.received = bytearray()
        self.deadline = 0.0
        self.ticket = 0
        self.drained: int | None = None
        self.begin_request()

    def begin_request(self) -> None:
        self.begun = False
        self.head_end = 0
        self.body: _Body | None = None
        self.body_deadline = 0.0
        self.expects_continue = False
        self.source: _Source | None = None
        self.answer: _Answer | None = None
        self.kept_after_answer = False
        self.answered = False

    def find_head(self) -> bool:
        """Find the end of the head; return whether it has arrived."""
        while self.received[:2] == b"\r\n":
            # https://www.rfc-editor.org/rfc/rfc9112#section-2.2-6
            del self.received[:2]
        found = self.received.find(b"\r\n\r\n")
        if found < 0:
            return False
        self.head_end = found + 4
        head = bytes(self.received[: self.head_end])
        self.body = _Body(head)
        self.expects_continue = bool(_EXPECTATION.search(head))
        self.body_deadline = time.monotonic() + BODY_SECONDS
        return True

    def find_end(self) -> int | None:
        """Return where the request ends; None while it has not come whole."""
        assert self.body is not None  # noqa: S101 - a request without a head has no end
        end = self.body.find_end(self.received, self.head_end)
        return len(self.received) if end == _MALFORMED else end

    @property
    def unread_bytes(self) -> int:
        """How much of the response the client has not read."""
        return 0 if self.answer is None else len(self.answer.rest)

    @property
    def too_large(self) -> bool:
        """Whether the body is more than may be kept; the function counts a chunked one itself."""
        assert self.body is not None  # noqa: S101 - a request without a head has no body
        if self.body.chunked:
            # Sizes and ends of chunks come on top.
            return len(self.received) - self.head_end > 2 * _max_body_bytes
        return self.body.length > _max_body_bytes


class WholeRequestWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no annotations
    """gunicorn's worker of threads, which get requests instead of connections."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # The process has other descriptors, and accept() beyond the limit ends the worker.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if most != resource.RLIM_INFINITY:
            self.worker_connections = min(self.cfg.worker_connections, most // 2)
        # In the order in which their wait began.
        self._waiting: dict[_Connection, None] = {}
        self._timers: list[tuple[float, int, _Connection, int, Callable[[_Connection], None]]] = []
        self._numbers = count()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection and wait for its first request."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._close_longest_waiting()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._close_longest_waiting()
        connection = _Connection(self.cfg, client, address, listener.getsockname())
        self._wait(connection, until=time.monotonic() + HEAD_SECONDS)

    def handle(self, conn: _Connection) -> object:
        """Serve the request that has arrived; return whether to keep the connection."""
        try:
            return super().handle(conn)
        except BodyPending:
            # After an answer it is the rest that gunicorn would read past.
            return False if conn.answered else _BODY_AWAITED

    def handle_request(self, req: Any, conn: _Connection) -> object:
        """Let the function answer."""
        assert conn.source is not None  # noqa: S101 - it was made with the parser
        # It would be sent before the function decides.
        req._expected_100_continue = False
        if not conn.source.whole:
            req.force_close()
        elif conn.body is not None and conn.body.chunked:
            # What is wrong with chunks is the client's fault; where the function met it, it would
            # answer 500.
            req.body = Body(BytesIO(req.body.read()))
        plain = conn.sock
        conn.sock = conn.answer = _Answer(plain)
        try:
            keep = super().handle_request(req, conn)
        except BaseException:
            # Broken off in the middle: the rest would not make it whole.
            conn.answer = None
            raise
        finally:
            conn.sock = plain
            conn.sock.settimeout(SEND_SECONDS)
        conn.answered = True
        return keep

    def finish_request(self, conn: _Connection, fs: Future[object]) -> None:
        """Continue with a connection after its request was served, or needs its body first."""
        result = False if fs.cancelled() or fs.exception() is not None else fs.result()
        if result is _BODY_AWAITED:
            self._await_body(conn)
        elif conn.unread_bytes:
            conn.kept_after_answer = bool(result)
            self._wait_to_send(conn)
            self._bound_kept_bytes()
        else:
            self._go_on(conn, keep=bool(result))

    def _go_on(self, conn: _Connection, *, keep: bool) -> None:
        """Continue with a connection whose response is sent."""
        if keep and self._took_all(conn):
            del conn.received[: conn.find_end()]
            conn.begin_request()
            self._wait(conn, until=time.monotonic() + self._idle_seconds())
            if conn.received:
                self._begin(conn)
                self._advance(conn)
        else:
            self._linger(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events until the next deadline."""
        if self._timers:
            timeout = min(timeout, max(0.0, self._timers[0][0] - time.monotonic()))
        super().wait_for_and_dispatch_events(timeout)

    def murder_pending(self) -> None:
        """Run the actions that are due."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, connection, ticket, action = heapq.heappop(self._timers)
            if connection.ticket == ticket:
                action(connection)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close all waiting connections at the end."""
        if force:
            for connection in list(self._waiting):
                self._close(connection)

    def _cap_keepalive(self, deadline: float) -> None:
        # Called when the worker is to stop: a request that has begun may still become whole.
        for connection in self._waiting:
            if not connection.begun:
                self._at(min(connection.deadline, deadline), connection, self._expire)

    def _wait(self, connection: _Connection, *, until: float) -> None:
        connection.sock.setblocking(False)
        self._waiting[connection] = None
        self._set_deadline(connection, until)
        self.poller.register(
            connection.sock, selectors.EVENT_READ, partial(self._on_readable, connection)
        )

    def _wait_to_send(self, connection: _Connection) -> None:
        connection.sock.setblocking(False)
        self._waiting[connection] = None
        self._set_deadline(connection, time.monotonic() + SEND_SECONDS)
        self.poller.register(
            connection.sock, selectors.EVENT_WRITE, partial(self._on_writable, connection)
        )

    def _on_writable(self, connection: _Connection, _sock: object) -> None:
        if connection not in self._waiting or connection.answer is None:
            return
        try:
            connection.answer.flush()
        except OSError:
            self._close(connection)
            return
        if connection.unread_bytes:
            self._set_deadline(connection, time.monotonic() + SEND_SECONDS)
        else:
            self._stop_waiting(connection)
            self._go_on(connection, keep=connection.kept_after_answer)

    def _bound_kept_bytes(self) -> None:
        """Close the connections that hold most until all hold what they may together."""
        kept = {one: len(one.received) + one.unread_bytes for one in self._waiting}
        surplus = sum(kept.values()) - KEPT_BYTES_OF_ALL
        for connection in sorted(kept, key=lambda one: -kept[one]):
            if surplus <= 0:
                return
            surplus -= kept[connection]
            self._close(connection)

    def _set_deadline(self, connection: _Connection, until: float) -> None:
        connection.ticket += 1
        connection.deadline = until
        self._at(until, connection, self._expire)

    def _at(
        self, when: float, connection: _Connection, action: Callable[[_Connection], None]
    ) -> None:
        """Run *action* at *when*, unless the connection waits for something else by then."""
        heapq.heappush(
            self._timers, (when, next(self._numbers), connection, connection.ticket, action)
        )

    def _stop_waiting(self, connection: _Connection) -> None:
        connection.ticket += 1
        if connection in self._waiting:
            del self._waiting[connection]
            self.poller.unregister(connection.sock)

    def _idle_seconds(self) -> float:
        keepalive = float(self.cfg.keepalive)
        return keepalive if self.alive else min(keepalive, STOP_KEEPALIVE_LINGER)

    def _on_readable(self, connection: _Connection, _sock: object) -> None:
        if connection not in self._waiting:
            # Closed for another's sake since the loop looked.
            return
        try:
            data = connection.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
        elif connection.drained is not None:
            connection.drained += len(data)
            if connection.drained > _LINGER_BYTES:
                self._close(connection)
        else:
            connection.received += data
            if len(connection.received) > MAX_HEAD_BYTES:
                self._bound_kept_bytes()
                if connection not in self._waiting:
                    return
            self._begin(connection)
            self._advance(connection)

    def _begin(self, connection: _Connection) -> None:
        """Give the head its time, once: empty lines before it begin it too, and are not kept."""
        if not connection.begun:
            connection.begun = True
            self._set_deadline(connection, time.monotonic() + HEAD_SECONDS)

    def _advance(self, connection: _Connection) -> None:
        """Serve the request if it has arrived completely."""
        head_is_new = not connection.head_end
        if head_is_new and not connection.find_head():
            if len(connection.received) > MAX_HEAD_BYTES:
                self._refuse(connection, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        if connection.find_end() is not None:
            self._serve(connection)
        elif head_is_new:
            self._set_deadline(connection, connection.body_deadline)
            wait = 0.0 if connection.expects_continue else _LOOK_SECONDS
            self._at(time.monotonic() + wait, connection, self._serve)
        elif connection.source is not None and connection.too_large:
            self._refuse(connection, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def _serve(self, connection: _Connection) -> None:
        """Hand the request, as far as it has arrived, to a thread."""
        self._stop_waiting(connection)
        end = connection.find_end()
        connection.source = _Source(bytes(connection.received[:end]), whole=end is not None)
        connection.parser = http.get_parser(self.cfg, connection.source, connection.client)
        self.enqueue_req(connection)

    def _await_body(self, connection: _Connection) -> None:
        if connection.too_large:
            self._refuse(connection, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        if connection.expects_continue:
            connection.expects_continue = False
            self._send(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
        self._wait(connection, until=connection.body_deadline)
        self._advance(connection)

    def _took_all(self, connection: _Connection) -> bool:
        """Whether the parser found the end of the request where this worker did."""
        source, unreader = connection.source, connection.parser.unreader
        return bool(
            source is not None and source.whole and source.exhausted and not unreader.buf.getvalue()
        )

    def _expire(self, connection: _Connection) -> None:
        if connection.begun and connection.drained is None and not connection.unread_bytes:
            self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT)
        else:
            self._close(connection)

    def _close_longest_waiting(self) -> None:
        longest = next(iter(self._waiting), None)
        if longest is not None:
            self._close(longest)

    def _refuse(self, connection: _Connection, status: HTTPStatus) -> None:
        """Refuse on behalf of the function, which has not seen the request."""
        body = json.dumps(
            {
                "type": "about:blank",
                "title": status.phrase,
                "status": status,
                "code": status.name.lower(),
                "detail": status.description or f"{status.phrase}.",
            }
        )
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            "Content-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            "Connection: close\r\n\r\n"
        )
        self._send(connection, (head + body).encode())
        self._linger(connection)

    def _send(self, connection: _Connection, data: bytes) -> None:
        try:
            connection.sock.setblocking(False)
            connection.sock.send(data)
        except OSError:
            # The client is gone or does not read; the connection ends by itself.
            return

    def _linger(self, connection: _Connection) -> None:
        """Close once the client has read its answer: a close with unread data would cut it off."""
        self._stop_waiting(connection)
        connection.received.clear()
        connection.drained = 0
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)
            return
        self._wait(connection, until=time.monotonic() + _LINGER_SECONDS)

    def _close(self, connection: _Connection) -> None:
        self._stop_waiting(connection)
        self.nr_conns -= 1
        # A timer may know the connection for a while.
        connection.received.clear()
        connection.source = connection.answer = None
        connection.close()
