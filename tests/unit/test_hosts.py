"""Which hosts a service answers for, and whose pages may change something."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import Headers, MIMEAccept

from functions.query.http.callers import is_foreign_page
from functions.query.http.replies import wants_events
from shared.runtime.hosts import is_allowed_host

LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8080", True),
        ("LOCALHOST:1", True),
        ("[::1]:8080", True),
        ("evil.example", False),
        ("evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("evil@localhost", False),
        ("localhost:port", False),
        ("localhost/", False),
        ("[::1", False),
        ("[::1].evil.example", False),
        ("a[::1]", False),
        ("", False),
        (None, False),
    ],
)
def test_host_when_loopback_is_allowed(host: str | None, allowed: bool) -> None:
    """This machine's own names pass, with any port, and no name that looks like them."""
    assert is_allowed_host(host, LOOPBACK) is allowed
    assert is_allowed_host(host, [])


def test_host_when_a_domain_is_allowed() -> None:
    """A leading dot stands for the name and every name under it."""
    hosts = ["wild.example", "a.wild.example:443", "notwild.example", "wild.example.evil"]
    passed = [host for host in hosts if is_allowed_host(host, [".wild.example"])]
    assert passed == hosts[:2]


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({"Origin": "http://127.0.0.1:8080"}, False),
        ({"Origin": "https://app.example"}, False),
        ({"Origin": "https://ask.example", "Sec-Fetch-Site": "same-origin"}, False),
        ({"Origin": "http://evil.example"}, True),
        ({"Origin": "http://127.0.0.1:8081"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}, True),
    ],
)
def test_page_of_another_origin(headers: dict[str, str], foreign: bool) -> None:
    """Programs send no origin; pages have to be of this service or allowed."""
    sent = Headers({"Host": "127.0.0.1:8080", **headers})
    assert is_foreign_page(sent, ["https://app.example"]) is foreign


@pytest.mark.parametrize(
    ("accepted", "events"),
    [
        ([("text/event-stream", 1)], True),
        ([("text/event-stream; charset=utf-8", 1)], True),
        ([("TEXT/EVENT-STREAM", 1)], True),
        ([("text/event-stream", 0.9), ("application/json", 0.5)], True),
        ([("text/event-stream;a=b", 0.5), ("application/json", 0.9)], False),
        ([("application/json", 1), ("text/event-stream", 0)], False),
        ([("*/*", 1)], False),
        ([], False),
    ],
)
def test_form_of_an_answer(accepted: list[tuple[str, float]], events: bool) -> None:
    """Parameters and case of a type say nothing; its quality does."""
    assert wants_events(MIMEAccept(accepted)) is events
