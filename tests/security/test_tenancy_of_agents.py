"""Closed collections and documents through the doors of agents, by their official clients."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import openai
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import SecretStr

from functions.query.settings import QuerySettings
from local.roles import make_login
from shared.embedding.embedder import Embedder
from shared.runtime.identity import SigningKeys, TokenVerifier
from shared.settings import GOOGLE_ISSUERS, DatabaseSettings
from shared.store import open_pool
from tests.conftest import create_database, drop_database, open_connection
from tests.security.identities import AUDIENCE, local_issuer
from tests.security.tenancy import make_tenants
from tests.support.asking import make_client
from tests.support.serving import serving

QUESTION = "What is the code of the gate?"
# Who asks, by a key or the claims of a token, and what he may read.
CALLERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "tenant1": ({}, {"commons", "tenant1"}),
    "tenant2": ({}, {"commons", "tenant2"}),
    "mixed": ({}, {"commons", "mixed"}),
    "stranger": ({}, {"commons"}),
    "person": ({"email": "person0@a.example"}, {"commons", "letters0"}),
    "lawyer": ({"email": "l@b.example", "groups": ["lawyers"]}, {"commons", "mixed"}),
    "unverified": ({"email": "person1@a.example", "email_verified": False}, {"commons"}),
}
KEYS = [name for name, (claims, _) in CALLERS.items() if not claims]


@dataclass(frozen=True, slots=True)
class Service:
    """A service over tenants, the credentials of its callers, and an id of each collection."""

    url: str
    credentials: dict[str, str]
    ids: dict[str, UUID]


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture(scope="module")
def service(
    postgres_url: str, template_database: str, model_dir: Path, embedder: Embedder
) -> Iterator[Service]:
    """Serve the tenants by a login of the query role, with few connections for all callers."""
    database_url = create_database(postgres_url, template=template_database)
    with open_connection(make_login(database_url, group="kaydang_worker")) as connection:
        tenants = make_tenants(connection, embedder)
    with ExitStack() as stack:
        stack.callback(drop_database, postgres_url, database_url)
        issuer = stack.enter_context(local_issuer())
        tokens = TokenVerifier(
            SigningKeys(issuer.url), audiences=[AUDIENCE], issuers=GOOGLE_ISSUERS
        )
        query_url = make_login(database_url, group="kaydang_query")
        login = DatabaseSettings(database_url=SecretStr(query_url), database_pool_size=2)
        fields: dict[str, Any] = {
            "database_url": database_url,
            "model_dir": model_dir,
            "api_keys": [
                f"{name}={hashlib.sha256(f'{name}-key'.encode()).hexdigest()}" for name in KEYS
            ],
            "query_audience": [AUDIENCE],
            "query_claims": ["groups"],
        }
        client = make_client(
            QuerySettings(**fields),
            pool=stack.enter_context(open_pool(login)),
            embedder=embedder,
            tokens=tokens,
        )
        yield Service(
            stack.enter_context(serving(client.application)),
            {
                name: issuer.sign(**claims) if claims else f"{name}-key"
                for name, (claims, _) in CALLERS.items()
            },
            {collection: ids[0] for collection, ids in tenants.documents.items()},
        )


def foreign(text: str, known: set[str], ids: dict[str, UUID]) -> set[str]:
    """Return the collections that *text* names and its reader may not know."""
    return {name for name in set(ids) - known if re.search(rf"\b{name}\b", text)}


async def look_at_everything(client: Client, service: Service, known: set[str]) -> int:
    """Use every tool as one caller, and return how many rows came back."""
    rows = 0

    async def use(tool: str, **arguments: Any) -> Any:
        nonlocal rows
        result = await client.call_tool(tool, arguments)
        text = " ".join(getattr(part, "text", "") for part in result.content)
        assert foreign(f"{text} {result.structured_content}", known, service.ids) == set()
        assert not result.is_error, text
        rows += 1
        return result.structured_content

    found = await use("search", query=QUESTION, limit=50)
    assert {each["collection"] for each in found["results"]} == known
    rows += len(found["results"])
    seen: set[str] = set()
    cursor = None
    while True:
        page = await use("list_documents", limit=4, **({"cursor": cursor} if cursor else {}))
        assert page["total"] == 3 * len(known)
        seen |= {each["collection"] for each in page["documents"]}
        rows += len(page["documents"])
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == known
    assert isinstance(await use("ask", question=QUESTION), dict)
    nowhere = await client.call_tool("fetch", {"id": str(uuid4())})
    for collection, document_id in service.ids.items():
        # A caller may name what he guesses: its answer is that of what is not there.
        wanted = {"collection": collection}
        narrowed = await client.call_tool("search", {"query": QUESTION, "filter": wanted})
        assert narrowed.structured_content is not None
        assert bool(narrowed.structured_content["results"]) == (collection in known)
        for name in (str(document_id), f"{document_id}:3"):
            fetched = await client.call_tool("fetch", {"id": name})
            assert fetched.is_error == (collection not in known)
            if fetched.is_error:
                assert fetched.content == nowhere.content
    return rows


def test_tools_when_callers_are_interleaved(service: Service) -> None:
    """Seven callers at once over two connections: each sees his rows, and no row of another."""

    async def converse(name: str) -> int:
        headers = {"Authorization": f"Bearer {service.credentials[name]}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            transport = streamable_http_client(f"{service.url}/mcp", http_client=http)
            async with Client(transport) as client:
                return await look_at_everything(client, service, CALLERS[name][1])

    async def run() -> list[int]:
        return await asyncio.gather(*(converse(name) for name in CALLERS))

    assert min(asyncio.run(run())) >= 10


@pytest.mark.parametrize("name", CALLERS)
def test_chat_when_callers_differ(service: Service, name: str) -> None:
    """Models, answers, citations and streams hold nothing of others."""
    known = CALLERS[name][1]
    messages: Any = [{"role": "user", "content": QUESTION}]
    with openai.OpenAI(
        base_url=f"{service.url}/v1", api_key=service.credentials[name], max_retries=0
    ) as client:
        models = [model.id for model in client.models.list()]
        assert models == ["kaydangpt", *(f"kaydangpt/{each}" for each in sorted(known))]
        for collection in service.ids:
            model = f"kaydangpt/{collection}"
            completion = client.chat.completions.create(model=model, messages=messages)
            answer = completion.model_dump_json().replace(model, "")
            assert foreign(answer, known, service.ids) == set()
            assert (completion.model_extra or {})["kaydangpt"]["grounded"] == (collection in known)
            if collection not in known:
                with pytest.raises(openai.NotFoundError):
                    client.models.retrieve(model)
        chunks = client.chat.completions.create(
            model="kaydangpt", messages=messages, stream=True, extra_body={"limit": 100}
        )
        streamed = " ".join(chunk.model_dump_json() for chunk in chunks)
        assert foreign(streamed, known, service.ids) == set()
