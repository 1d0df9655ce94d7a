"""What a caller learns from an error: what to do, and nothing about how the service is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask, Response, request
from flask.testing import FlaskClient
from pydantic import SecretStr

from functions.query import main
from functions.query.settings import QuerySettings
from local.system import System
from shared.bucket import DocumentBucket
from shared.embedding.embedder import Embedder
from shared.errors import Misconfigured, RejectedByDatabase
from shared.settings import DatabaseSettings
from shared.store import Connection, Pool, open_pool
from tests.security.conftest import OPEN_TEXT
from tests.support.asking import index_document, make_client, open_gemini
from tests.support.gemini_stand_in import BAD_JSON, CUT, Scenario, gemini_stand_in

SECRET = "canary-9c41"
ASKED = {"question": "When was the bridge over the river opened?"}
_LEAKS = re.compile(
    rf"{SECRET}|Traceback|File \"|\.py\b|psycopg|postgres|SELECT\b|INSERT\b|relation \"|/work/"
    r"|/usr/|/tmp/|/opt/|/home/|127\.0\.0\.1|localhost|werkzeug|gunicorn|flask|pydantic|python|onnx"
    r"|0x[0-9a-f]{6}|google\.|googleapis|AIza",
    re.IGNORECASE,
)
MakeClient = Callable[..., FlaskClient]


@pytest.fixture
def client_with(
    database_url: str, model_dir: Path, pool: Pool, connection: Connection, embedder: Embedder
) -> MakeClient:
    """Return a function that makes a client in which something is broken."""
    index_document(connection, embedder, "a.txt", [OPEN_TEXT])
    settings = QuerySettings.model_validate({"database_url": database_url, "model_dir": model_dir})

    def make(**broken: Any) -> FlaskClient:
        return make_client(settings, **{"pool": pool, "embedder": embedder, **broken})

    return make


def check(answer: Any, *statuses: int) -> None:
    """Check status and text of an error, its headers too."""
    body = answer.get_data(as_text=True)
    assert answer.status_code in statuses, body
    assert not _LEAKS.search(body), body
    assert answer.content_type in ("application/problem+json", "text/event-stream")
    assert not {"Server", "X-Powered-By", "Via"} & set(answer.headers.keys())


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError(f"SELECT {SECRET} FROM chunks at /work/main/shared/store.py"), 500),
        (KeyError(SECRET), 500),
        (RejectedByDatabase(f'relation "{SECRET}" does not exist'), 500),
        (Misconfigured(f"/models/{SECRET} is missing: set MODEL_DIR"), 503),
        (MemoryError(SECRET), 500),
        (UnicodeEncodeError("utf-8", f"{SECRET}\ud800", 0, 1, SECRET), 500),
        (RecursionError(SECRET), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_body_when_something_unforeseen_happens(
    client_with: MakeClient, error: Exception, status: int
) -> None:
    """The words of an error of ours or of a library stay in the log."""
    client = client_with(search=failing(error))
    check(client.post("/query", json=ASKED), status)
    check(client.post("/query", json=ASKED, headers={"Accept": "text/event-stream"}), status)
    check(client.post("/retrieve", json=ASKED), status)


def test_body_when_the_database_is_away(
    database_url: str, model_dir: Path, embedder: Embedder
) -> None:
    """Neither its address nor its user or password is told."""
    url = f"postgresql://{SECRET}:{SECRET}@127.0.0.1:1/{SECRET}?connect_timeout=1"
    fields = {"database_url": url, "model_dir": model_dir}
    with open_pool(DatabaseSettings(database_url=SecretStr(url))) as pool:
        client = make_client(QuerySettings.model_validate(fields), pool=pool, embedder=embedder)
        check(client.post("/query", json=ASKED), 503)
        check(client.get("/documents"), 503)
        check(client.get("/readyz"), 503)


def test_body_when_storage_is_away(
    client_with: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address and the name of the bucket's error are not told."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    client = client_with(
        make_uploads=lambda: DocumentBucket(SECRET, project=SECRET, retry_seconds=0.1)
    )
    check(client.post("/documents", json={"name": "a.txt", "size": 1}), 503)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(status=400, body={"error": {"code": 400, "message": f"key AIza{SECRET} invalid"}}),
        Scenario(status=403, body={"error": {"code": 403, "message": f"project {SECRET} denied"}}),
        Scenario(status=500, body={"error": {"code": 500, "message": f"stack {SECRET}"}}),
        Scenario(raw=f"data: {SECRET}\r\n\r\n"),
        BAD_JSON,
        CUT,
    ],
    ids=["400", "403", "500", "raw", "bad_json", "cut"],
)
def test_body_when_the_model_is_away(client_with: MakeClient, scenario: Scenario) -> None:
    """What Gemini said of the key, the project and itself stays in the log."""
    with (
        gemini_stand_in() as stand_in,
        open_gemini(
            stand_in.url, gemini_api_key=f"AIza{SECRET}", google_cloud_project=SECRET
        ) as gemini,
    ):
        stand_in.plan(scenario)
        client = client_with(gemini=gemini)
        check(client.post("/query", json=ASKED), 502, 504)
        streamed = client.post("/query", json=ASKED, headers={"Accept": "text/event-stream"})
        check(streamed, 200)
        assert "event: error" in streamed.get_data(as_text=True)


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("POST", "/query", {"data": b"{", "content_type": "application/json"}),
        ("POST", "/query", {"data": b"[" * 100_000, "content_type": "application/json"}),
        ("POST", "/query", {"data": b"\xff\xfe", "content_type": "application/json"}),
        ("POST", "/query", {"data": b"a=b", "content_type": "text/plain"}),
        ("POST", "/query", {"data": b"{}", "content_type": "application/json; charset=utf-7"}),
        ("POST", "/query", {"json": {"question": {"a": 1}}}),
        ("POST", "/query", {"json": {"question": "\ud800"}}),
        ("POST", "/query", {"json": {"question": "a", "limit": 10**400}}),
        ("POST", "/query", {"json": {"question": "a", "__class__": "x"}}),
        ("POST", "/query", {"json": {"question": "a" * 300_000}}),
        ("GET", "/documents", {"query_string": {"limit": "NaN"}}),
        ("GET", "/documents", {"query_string": "prefix=%ff%fe&cursor=%00"}),
        ("GET", "/documents/not-an-id", {}),
        ("GET", "/documents/not-an-id/text", {"query_string": {"char_start": "-1"}}),
        ("GET", "/no/such/path", {}),
        ("GET", "/web/no-such-file.js", {}),
        ("GET", "/.git/config", {}),
        ("GET", "/.env", {}),
        ("PUT", "/query", {"data": b"x"}),
        ("TRACE", "/query", {}),
        ("PROPFIND", "/documents", {}),
    ],
)
def test_body_when_the_input_is_bad(
    client_with: MakeClient, method: str, path: str, options: dict[str, Any]
) -> None:
    """Bad input is the caller's fault, told in the service's own words."""
    check(client_with().open(path, method=method, **options), 400, 404, 405, 413, 415)


def test_body_when_settings_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that cannot start tells callers so; which variable is wrong is for its log."""
    monkeypatch.setattr(main, "_start", failing(Misconfigured(f"MODEL_DIR: {SECRET}")))
    with Flask(__name__).test_request_context("/query", method="POST", json=ASKED):
        answer = main.query(request)
    assert isinstance(answer, Response)
    check(answer, 503)
    assert "MODEL_DIR" not in answer.get_data(as_text=True)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


@pytest.mark.parametrize("path", ["/", "/no/such/path", "/documents/x", "/healthz", "/web/app.js"])
def test_headers_when_served_as_in_production(
    system: System, session: requests.Session, path: str
) -> None:
    """The server in front of the application names no version either."""
    answer = session.get(system.query_url + path, timeout=30)
    assert not re.search(r"\d", answer.headers.get("Server", ""))
    assert "X-Powered-By" not in answer.headers
    assert "Traceback" not in answer.text
