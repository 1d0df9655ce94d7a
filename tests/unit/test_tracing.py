"""Tracing while it is off, and what names the trace that an event belongs to."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import pytest

from shared.runtime.tracing import current_traceparent, message_attributes, object_metadata, span
from shared.runtime.tracing import read_traceparent as read

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OBJECT = {"name": "a.txt", "metadata": {"traceparent": TRACEPARENT}}


def pushed(body: bytes, **attributes: str) -> dict[str, Any]:
    data = base64.b64encode(body).decode()
    return {"message": {"data": data, "attributes": attributes}}


@pytest.mark.parametrize(
    "data",
    [
        pushed(b"{}", googclient_traceparent=TRACEPARENT),
        pushed(json.dumps(OBJECT).encode(), eventType="OBJECT_FINALIZE"),
        OBJECT,
    ],
    ids=["message", "notification", "eventarc"],
)
def test_traceparent_when_the_event_brings_one(data: object) -> None:
    """A message has it as an attribute, an object in its metadata."""
    assert read(data) == TRACEPARENT


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"message": 1},
        {"message": {"data": "%", "attributes": []}},
        {"message": {"data": 7}},
        pushed(b"[" * 100_000),
        pushed(b"\xff"),
        pushed(b'{"metadata": []}'),
        {"metadata": "traceparent"},
    ],
)
def test_traceparent_when_the_event_is_odd(data: object) -> None:
    """No event is refused for the sake of a trace."""
    assert read(data) == ""


def test_span_when_off() -> None:
    """A span that is not recorded hands on nothing."""
    with span("work", {"count": 1}, kind="consumer", parent=TRACEPARENT) as note:
        note({"more": 2})
        assert (current_traceparent(), message_attributes(), object_metadata()) == ("", {}, {})


def test_import_when_off() -> None:
    """Nothing of OpenTelemetry is imported by a process that records nothing."""
    code = (
        "import sys; from shared.runtime.tracing import span, message_attributes\n"
        "with span('work'): message_attributes()\n"
        "sys.exit(str([name for name in sys.modules if 'opentelemetry' in name] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
