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


@pytest.mark.parametrize("body", ["", "oops", "[]", "null", '{"message": 3}'])
def test_request_is_refused_when_it_is_no_push(client: FlaskClient, body: str) -> None:
    """Nobody but a stranger sends that."""
    assert client.post("/", data=body, content_type="application/json").status_code == 400
