"""Logs are one JSON object a line, as Cloud Logging reads them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from shared.runtime.logs import begin_trace, get_logger, set_up_logs
from shared.settings import LogSettings


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    begin_trace(None, project="")


def test_line_carries_severity_message_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """What Cloud Logging turns into severity, text and a link to the request."""
    set_up_logs(LogSettings(log_format="json"))
    begin_trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", project="p")
    get_logger("test").warning("document failed", build=7)
    logging.getLogger("library").error("old style %s", "line\nbreak")
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ours["severity"], ours["message"], ours["build"]) == ("WARNING", "document failed", 7)
    trace = "projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736"
    assert ours["logging.googleapis.com/trace"] == trace
    assert (theirs["severity"], theirs["message"]) == ("ERROR", "old style line\nbreak")


@pytest.mark.parametrize(
    "header", [None, "", "nonsense", "00-short-1-01", "00-" + "/" * 32 + "-1-1"]
)
def test_invalid_trace_is_left_out(header: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """A forged header cannot write into our log lines."""
    set_up_logs(LogSettings(log_format="json"))
    begin_trace(header, project="p")
    get_logger("test").info("x")
    assert "trace" not in capsys.readouterr().err
