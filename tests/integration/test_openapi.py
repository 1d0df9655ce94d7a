"""The OpenAPI document is true: the routes are those of the code, and requests made of it hold."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import InvalidArgument, Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok

from functions.query.settings import QuerySettings
from shared.embedding.embedder import Embedder
from shared.store import Connection, Pool
from tests.support.asking import index_document, make_client

# Cases of each operation; SCHEMATHESIS_EXAMPLES=300 makes more than two thousand of all.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "15"))
UNDOCUMENTED = {
    "/",
    "/web/{name}",
    "/openapi.json",
    "/favicon.ico",
    "/robots.txt",
    # Described by their own standards.
    "/mcp",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
}


@pytest.fixture
def app(
    database_url: str,
    model_dir: Path,
    pool: Pool,
    connection: Connection,
) -> Flask:
    embedder = Embedder(model_dir, threads=1)
    fields = {"database_url": database_url, "model_dir": model_dir}
    index_document(connection, embedder, "a.txt", ["The first passage.", "The second passage."])
    client: FlaskClient = make_client(
        QuerySettings.model_validate(fields), pool=pool, embedder=embedder
    )
    client.application.config["MAX_CONTENT_LENGTH"] = 2**25
    return client.application


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    text = app.test_client().get("/openapi.json").get_data(as_text=True)
    value: dict[str, Any] = json.loads(text)
    return value


def test_document_when_compared_with_routes(app: Flask, document: dict[str, Any]) -> None:
    """Every route is described, and everything described is a route."""
    described = {
        (path, method) for path, operations in document["paths"].items() for method in operations
    }
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert described == {(path, method) for path, method in served if path not in UNDOCUMENTED}
    assert document["openapi"].startswith("3.1")


def test_operations_when_named(document: dict[str, Any]) -> None:
    """Generators make names of operation ids and schemas: short words, without the path in them."""
    names = [
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
    ]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+){1,3}", name)] == []
    schemas = document["components"]["schemas"]
    assert [name for name in schemas if name.endswith(("Out", "In"))] == []


def test_document_when_references_are_followed(document: dict[str, Any]) -> None:
    """Every reference leads to a schema, and every schema is used."""
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert referred == set(document["components"]["schemas"])


def shallow(asked: Any, depth: int = 2) -> Any:
    """Return a filter within the bounds that no schema can say: how deep, and how many in all."""
    if not isinstance(asked, dict):
        return asked
    inner = {
        name: [shallow(each, depth - 1) for each in asked[name][:2]] if depth else []
        for name in ("and", "or")
        if isinstance(asked.get(name), list)
    }
    return asked | inner


def texts_looked_for(document: dict[str, Any]) -> dict[str, bool]:
    """Return the parameters of addresses that take any text, and whether they may come again."""
    return {
        each["name"]: '"array"' in json.dumps(each["schema"])
        for operations in document["paths"].values()
        for operation in operations.values()
        for each in operation.get("parameters", [])
        if each["in"] == "query"
        and '"string"' in json.dumps(each["schema"])
        and '"enum"' not in json.dumps(each["schema"])
    }


def becomes_text(value: Any, may_repeat: bool | None) -> bool:
    """Return whether a wrong *value* is a right one in an address, where all things are text."""
    if may_repeat is None:
        return isinstance(value, dict)
    texts = value if may_repeat and isinstance(value, list) else [value]
    return not all(isinstance(text, str) for text in texts)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_requests_when_made_of_the_document(
    app: Flask, document: dict[str, Any], mode: GenerationMode
) -> None:
    """Whatever the document allows or forbids, the answer is one that it describes."""
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    looked_for = texts_looked_for(document)
    cases = 0

    def call(case: Case[Any]) -> None:
        nonlocal cases
        if mode is GenerationMode.NEGATIVE and any(
            becomes_text(value, looked_for.get(name)) for name, value in (case.query or {}).items()
        ):
            return
        cases += 1
        if mode is GenerationMode.POSITIVE and case.query:
            # No schema says which cursors there are.
            case.query.pop("cursor", None)
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            case.body |= (
                {"filter": shallow(case.body.get("filter"))} if "filter" in case.body else {}
            )
        case.call_and_validate()

    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        strategy = result.ok().as_strategy(generation_mode=mode)
        bounded = settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize="CI" in os.environ,
            suppress_health_check=list(HealthCheck),
        )
        try:
            bounded(given(case=strategy)(call))()
        except (InvalidArgument, Unsatisfiable):
            # Nothing can be wrong about GET /healthz, nor within bounds that a mutation closed.
            assert mode is GenerationMode.NEGATIVE
    print(f"{cases} cases ({mode.value})")
