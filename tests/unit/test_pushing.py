"""Pushes as Pub/Sub sends them, through functions-framework."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from functions_framework import create_app

SOURCE = """
import functions_framework

from shared.runtime.push_authentication import accept_pushes_without_data

accept_pushes_without_data()


@functions_framework.cloud_event
def take(event):
    message = event.data["message"]
    assert (message["data"], message["attributes"]) == ("", {"kind": "embed"})
"""


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    """Return a client of a function that expects attributes and no data."""
    source = tmp_path / "main.py"
    source.write_text(SOURCE)
    app = create_app("take", str(source), "cloudevent")  # type: ignore[no-untyped-call]
    return app.test_client()  # type: ignore[no-any-return]  # the framework has no annotations


def test_message_reaches_the_function_when_it_has_no_data(client: FlaskClient) -> None:
    """Attributes alone are a message."""
    push = {
        "message": {"messageId": "1", "attributes": {"kind": "embed"}},
        "subscription": "projects/p/subscriptions/s",
    }
    assert client.post("/", json=push).status_code == 200


@pytest.mark.parametrize(
    "body", ["", "oops", "[]", "null", '{"message": 3}', '{"message": ' + "[" * 100_000]
)
def test_request_is_refused_when_it_is_no_push(client: FlaskClient, body: str) -> None:
    """Nobody but a stranger sends that."""
    assert client.post("/", data=body, content_type="application/json").status_code == 400


PROBED = """
import os

import functions_framework

from shared.errors import DatabaseUnavailable
from shared.runtime.push_authentication import admit_pushes, answer_probes
from shared.settings import PushSettings


def check():
    if "away" in os.environ.get("TEST_DATABASE", ""):
        raise DatabaseUnavailable("no connection")


answer_probes(check)
admit_pushes(PushSettings(push_audience="kaydang", push_service_account="push@example.com"))


@functions_framework.cloud_event
def take(event):
    pass
"""


@pytest.fixture
def probed(tmp_path: Path) -> FlaskClient:
    """Return a client of a function that answers probes and takes signed pushes alone."""
    source = tmp_path / "main.py"
    source.write_text(PROBED)
    app = create_app("take", str(source), "cloudevent")  # type: ignore[no-untyped-call]
    return app.test_client()  # type: ignore[no-any-return]


def test_probe_needs_no_token_and_pushes_do(probed: FlaskClient) -> None:
    """Cloud Run's probe carries none; everything else is refused without one."""
    assert probed.get("/readyz").status_code == 200
    assert probed.post("/readyz", json={}).status_code == 401
    assert probed.get("/").status_code == 401


def test_probe_when_the_database_is_away(
    probed: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The instance gets no message until its database answers."""
    monkeypatch.setenv("TEST_DATABASE", "away")
    assert probed.get("/readyz").status_code == 503
    monkeypatch.delenv("TEST_DATABASE")
    assert probed.get("/readyz").status_code == 200
