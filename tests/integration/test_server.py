"""The server of a function: slow, odd and many clients, and what becomes of the others."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
# Two threads, and little patience. /refused answers without reading the body, as a guard does.
_FUNCTION = """
import flask, functions_framework
from shared.runtime import server
server.HEAD_SECONDS, server.BODY_SECONDS, server.SEND_SECONDS = 0.7, 1.0, 0.7
server.KEPT_BYTES_OF_ALL = 2_500_000
server.serve_whole_requests(max_body_bytes=100_000)

def answer(environ, start_response):
    if environ["PATH_INFO"] == "/refused":
        status, body = "401 Unauthorized", b"no key"
    elif environ["PATH_INFO"] == "/caught":
        try:
            status, body = "200 OK", environ["wsgi.input"].read()
        except Exception:
            status, body = "500 Internal Server Error", b"as Flask does"
    elif environ["PATH_INFO"] == "/large":
        status, body = "200 OK", b"x" * 20_000_000
    elif environ["PATH_INFO"] == "/page":
        status, body = "200 OK", b"x" * 1_900_000
    else:
        data = environ["wsgi.input"].read()
        status, body = "200 OK", b"%d %s" % (len(data), data[-5:])
    start_response(status, [("Content-Length", str(len(body)))])
    return [body]

@functions_framework.http
def function(request):
    raise AssertionError

flask.current_app.wsgi_app = answer
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve as functions-framework does; yield the port."""
    source = tmp_path_factory.mktemp("function") / "main.py"
    source.write_text(_FUNCTION)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = int(listener.getsockname()[1])
    command = [sys.executable, "-m", "functions_framework", "--source", str(source)]
    command += ["--target", "function", "--host", "127.0.0.1", "--port", str(number)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "THREADS": "2"}
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            deadline = time.monotonic() + 20
            while not _answers(number):
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.05)
            yield number
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def _answers(port: int) -> bool:
    try:
        return ask(port)[0] == 200
    except OSError:
        return False


def ask(port: int, path: str = "/", body: bytes = b"") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request("POST", path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def connect(port: int, beginning: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    client.sendall(beginning)
    return client


def exchange(port: int, *pieces: bytes, pause_seconds: float = 0.01) -> bytes:
    """Send *pieces* one after the other; return all that comes back until the server closes."""
    with connect(port, b"") as client:
        for piece in pieces:
            client.sendall(piece)
            time.sleep(pause_seconds)  # a packet each
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)


HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
REFUSED = b"POST /refused HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
SLOW = {
    "nothing": b"",
    "head": b"GET / HTTP/1.1\r\nHost: a\r\n",
    "body": POST + b"Content-Length: 2000\r\n\r\n{",
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "expectation": POST + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
}


@pytest.mark.parametrize("what", SLOW)
def test_others_are_answered_when_clients_are_slow(what: str, port: int) -> None:
    """Fifty of them take none of the two threads, and are ended."""
    with ExitStack() as held:
        clients = [held.enter_context(connect(port, SLOW[what])) for _ in range(50)]
        assert ask(port, body=b"hello") == (200, b"5 hello")
        replies = [read_all(client) for client in clients]
    expected = b"" if what == "nothing" else b"408 Request Timeout"
    assert [expected in reply for reply in replies] == [True] * 50
    if what == "nothing":
        assert set(replies) == {b""}


@pytest.mark.parametrize(("beginning", "drip"), [(SLOW["body"], b" "), (b"", b"\r\n")])
def test_drip_does_not_lengthen_the_time(beginning: bytes, drip: bytes, port: int) -> None:
    """A byte now and then is not progress."""
    began = time.monotonic()
    with connect(port, beginning) as client:
        client.settimeout(0.1)
        reply = b""
        while b"408" not in reply:
            assert time.monotonic() - began < 10, "the server goes on waiting"
            client.sendall(drip)
            try:
                reply += client.recv(4096)
            except TimeoutError:
                continue


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 90000\r\n\r\n{",
        b"Content-Length: 900000000\r\n\r\n{",
        b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n{",
        b"Content-Length: 90000\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_refusal_needs_no_body(framing: bytes, port: int) -> None:
    """What is refused for its head is answered while the body is still to come."""
    reply = exchange(port, REFUSED + framing)
    assert reply.startswith(b"HTTP/1.1 401 ")
    assert reply.endswith(b"no key")
    assert b"Connection: close" in reply


def test_refusal_reaches_who_is_still_sending(port: int) -> None:
    """The answer is not cut off by the bytes that nobody reads."""
    with connect(
        port, b"POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n"
    ) as client:
        for _ in range(9):
            client.sendall(b"x" * 10_000)
            time.sleep(0.02)
        assert read_all(client).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("size", [0, 1, 999, 99_999])
def test_body_in_pieces(size: int, port: int) -> None:
    """A body that comes late, in pieces or in chunks is whole when it is read."""
    body = (b"0123456789" * 10_000)[:size]
    expected = b"%d %s" % (size, body[-5:])
    head = HEAD + b"Content-Length: %d\r\n\r\n" % size
    assert exchange(port, head, body[:7], body[7:]).endswith(expected)
    chunks = b"".join(
        b"%x;name=value\r\n%s\r\n" % (len(part), part)
        for part in (body[at : at + 40_000] for at in range(0, size, 40_000))
    )
    ends = [b"0\r\n\r\n", b"0\r\nX-Sum: 1\r\n\r\n"]
    for end in ends:
        message = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + end
        assert exchange(port, message).endswith(expected)
        # Late enough for the function to be asked about it before it is whole.
        late = exchange(port, message[:-1], message[-1:], pause_seconds=0.1)
        assert late.endswith(expected)


def test_request_in_single_bytes(port: int) -> None:
    """Packets end anywhere."""
    message = HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    pieces = [message[at : at + 1] for at in range(len(message))]
    with connect(port, b"") as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        assert read_all(client).endswith(b"3 abc")


def test_expectation_is_met_when_the_body_is_needed(port: int) -> None:
    """Who asks before sending is told to go on, once."""
    with connect(port, HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n") as client:
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        reply = read_all(client)
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert reply.endswith(b"5 hello")


def test_connection_is_kept(port: int) -> None:
    """One connection serves one request after the other, also those that came together."""
    request = POST + b"Content-Length: 5\r\n\r\n"
    with connect(port, request + b"first" + request + b"secon") as client:
        reply = b""
        while b"5 secon" not in reply:
            reply += client.recv(65536)
        client.sendall(request)
        client.sendall(b"third")
        while b"5 third" not in reply:
            reply += client.recv(65536)
    assert reply.count(b"HTTP/1.1 200 ") == 3
    assert reply.index(b"5 first") < reply.index(b"5 secon")


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (HEAD + b"Content-Length: 100001\r\n\r\n{", b"413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n40000\r\n" + b"x" * 201_000, b"413"),
        (HEAD + b"A: " + b"x" * 70_000, b"431"),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello", b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"x" * 20_000, b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 5, 5\r\n\r\nhello", b"400"),
        (HEAD + b"Content-Length : 5\r\n\r\nhello", b"400"),
        (HEAD + b"A: b\nContent-Length: 5\r\n\r\nhello", b"400"),
        (HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", b"400"),
        (HEAD + b"Host: b\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_request_that_cannot_be_read(message: bytes, status: bytes, port: int) -> None:
    """It is refused, and the connection ends with it."""
    assert exchange(port, message).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    "chunks",
    [
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5;" + b"a" * 70_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent Length: 9\r\n\r\n",
    ],
)
def test_chunks_that_cannot_be_read(chunks: bytes, port: int) -> None:
    """The client is told, whatever the function makes of errors."""
    head = HEAD.replace(b" / ", b" /caught ") + b"Transfer-Encoding: chunked\r\n\r\n"
    assert exchange(port, head + chunks).startswith(b"HTTP/1.1 400 ")


def test_path_is_what_the_client_asked_for(port: int) -> None:
    """A proxy that keeps back /refused must not be passed by way of another path."""
    reply = exchange(
        port,
        HEAD.replace(b" / ", b" /x/refused ")
        + b"SCRIPT_NAME: /x\r\nContent-Length: 5\r\n\r\nhello",
    )
    assert reply.endswith(b"5 hello")


def test_others_are_answered_when_answers_are_not_read(port: int) -> None:
    """Who asks for much and reads nothing gives the thread back."""
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(connect(port, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert ask(port, body=b"hello") == (200, b"5 hello")


def test_others_are_answered_when_pages_are_not_read(port: int) -> None:
    """No thread waits for those who ask for a page, over and over, and read none."""
    page = b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
    with ExitStack() as held:
        for _ in range(150):
            held.enter_context(unwilling(port, 5 * page))
        assert ask(port, body=b"hello") == (200, b"5 hello")


def test_memory_when_many_bodies_are_late(port: int) -> None:
    """Beyond what may be kept, a connection ends at once; those that are left get their time."""
    late = POST + b"Content-Length: 99999\r\n\r\n" + b"x" * 90_000
    with ExitStack() as held:
        clients = [held.enter_context(connect(port, late)) for _ in range(40)]
        replies = [read_all(client)[:12] for client in clients]
    assert set(replies) == {b"", b"HTTP/1.1 408"}
    assert replies.count(b"HTTP/1.1 408") <= 28


def test_page_comes_whole_when_read_slowly(port: int) -> None:
    """A slow line gets it all, and the answer to the request behind it."""
    page = b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
    with unwilling(port, page + HEAD + b"Content-Length: 5\r\n\r\nhello") as client:
        parts = []
        while part := client.recv(65536):
            parts.append(part)
            time.sleep(0.002)  # slower than it comes
    received = b"".join(parts)
    assert received.count(b"x") == 1_900_000
    assert received.endswith(b"5 hello")


def unwilling(port: int, beginning: bytes) -> socket.socket:
    """Return a client that the system takes little for before it is read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(5)
    client.connect(("127.0.0.1", port))
    client.sendall(beginning)
    return client


def test_others_are_answered_when_connections_are_many(port: int) -> None:
    """Beyond what the server holds, the longest silent one makes place."""
    with ExitStack() as held:
        clients = []
        for _ in range(1100):
            clients.append(held.enter_context(connect(port, b"GET / HTTP/1.1\r\n")))
            if len(clients) > 400:
                # This process has a limit of its own.
                clients.pop(0).close()
        assert ask(port, body=b"hello") == (200, b"5 hello")
