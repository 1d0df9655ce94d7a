"""Closed collections: what the interface shows to whom, and what the database holds to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import requests
from click.testing import CliRunner
from flask.testing import FlaskClient
from google.cloud import storage
from pydantic import SecretStr

from admin import cli as admin
from functions.query.answering.generation import Gemini
from functions.query.settings import QuerySettings
from shared import store
from shared.bucket import DocumentBucket
from shared.embedding.embedder import Embedder
from shared.errors import DatabaseUnavailable
from shared.runtime.identity import SigningKeys, TokenVerifier
from shared.settings import GOOGLE_ISSUERS, DatabaseSettings, load
from shared.store import Connection, Pool, open_pool, reading
from shared.values import Chunk, ObjectVersion
from tests.security.identities import AUDIENCE, Issuer, local_issuer
from tests.security.tenancy import interleave, make_tenants
from tests.support.asking import BUCKET, index_document, make_client, open_gemini
from tests.support.gemini_stand_in import gemini_stand_in

# The full run: python -m tests.security.tenancy
_QUERIES = int(os.environ.get("TENANCY_QUERIES", "2000"))

KEYS = {name: f"{name}-key" for name in ("finance", "legal", "chief", "stranger")}
FINANCE = {"Authorization": f"Bearer {KEYS['finance']}"}
QUESTION = {"question": "What is the code of the gate?", "limit": 20}
MakeClient = Callable[..., FlaskClient]


def digest(name: str) -> str:
    return hashlib.sha256(KEYS[name].encode()).hexdigest()


def key_of(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


@pytest.fixture(scope="session")
def embedder(model_dir: Any) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture
def ids(connection: Connection, embedder: Embedder) -> dict[str, UUID]:
    """Index a document in each of three collections; two of them are closed."""
    for collection in ("commons", "finance", "legal"):
        index_document(
            connection, embedder, f"{collection}/gate.txt", [f"The code of the {collection} gate."]
        )
    for collection in ("finance", "legal"):
        store.set_collection(connection, collection, closed=True)
    store.grant_collection(connection, principal="key:finance", collection="finance")
    store.grant_collection(connection, principal=f"key:{digest('legal')}", collection="legal")
    store.grant_collection(connection, principal="key:chief", collection="*")
    documents, _ = store.list_documents(connection)
    return {document.collection: document.id for document in documents}


@pytest.fixture
def client_with(
    database_url: str, model_dir: Any, pool: Pool, embedder: Embedder, ids: dict[str, UUID]
) -> MakeClient:
    def make(
        *,
        gemini: Gemini | None = None,
        tokens: TokenVerifier | None = None,
        make_uploads: Callable[[], DocumentBucket] | None = None,
        **settings: Any,
    ) -> FlaskClient:
        fields: dict[str, Any] = {"database_url": database_url, "model_dir": model_dir}
        return make_client(
            QuerySettings(**fields | settings),
            pool=pool,
            embedder=embedder,
            gemini=gemini,
            tokens=tokens,
            make_uploads=make_uploads,
        )

    return make


@pytest.fixture
def keyed(client_with: MakeClient) -> FlaskClient:
    """Return a client of a service with keys, one of them without a name."""
    return client_with(
        api_keys=[
            f"finance={digest('finance')}",
            digest("legal"),
            f"chief={digest('chief')}",
            digest("stranger"),
        ]
    )


def test_every_endpoint_when_collections_are_closed(
    keyed: FlaskClient, ids: dict[str, UUID]
) -> None:
    """A key shows what is open and what was granted to it, by its name or its digest."""
    for name, collections in {
        "finance": {"commons", "finance"},
        "legal": {"commons", "legal"},
        "stranger": {"commons"},
        "chief": {"commons", "finance", "legal"},
    }.items():
        check_every_endpoint(keyed, ids, headers=key_of(name), collections=collections)


def check_every_endpoint(
    client: FlaskClient, ids: dict[str, UUID], *, headers: dict[str, str], collections: set[str]
) -> None:
    for mode in ("fused", "vector", "text"):
        asked = QUESTION | {"mode": mode}
        for path in ("/retrieve", "/query"):
            passages = client.post(path, json=asked, headers=headers).get_json()["passages"]
            assert {passage["name"].split("/")[0] for passage in passages} == collections
    listed = client.get("/documents", headers=headers).get_json()["documents"]
    assert {document["collection"] for document in listed} == collections
    found = client.get("/documents?search=gate", headers=headers).get_json()
    assert {document["collection"] for document in found["documents"]} == collections
    assert found["total"] == len(collections)
    counted = client.get("/collections", headers=headers).get_json()["collections"]
    assert {each["name"] for each in counted} == collections
    facets = client.get("/facets", headers=headers).get_json()
    assert {each["value"] for each in facets["collection"]["values"]} == collections
    for collection, document_id in ids.items():
        status = 200 if collection in collections else 404
        for path in ("", "/text"):
            response = client.get(f"/documents/{document_id}{path}", headers=headers)
            assert response.status_code == status
        named = client.get(f"/documents?collection={collection}", headers=headers).get_json()
        assert bool(named["documents"]) == (collection in collections)
        filter_ = {"filter": {"collection": collection}}
        found = client.post("/retrieve", json=QUESTION | filter_, headers=headers).get_json()
        assert bool(found["passages"]) == (collection in collections)


def test_every_endpoint_when_the_key_is_none(keyed: FlaskClient, ids: dict[str, UUID]) -> None:
    """Without a key, or with a wrong one, nothing is shown at all."""
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": digest("finance")}):
        assert keyed.post("/query", json=QUESTION, headers=headers).status_code == 401
        assert keyed.post("/retrieve", json=QUESTION, headers=headers).status_code == 401
        for path in ("/documents", "/collections", "/facets"):
            assert keyed.get(path, headers=headers).status_code == 401
        assert keyed.get(f"/documents/{ids['commons']}", headers=headers).status_code == 401
        assert keyed.get(f"/documents/{ids['commons']}/text", headers=headers).status_code == 401


def test_every_endpoint_when_nobody_is_known(client_with: MakeClient, ids: dict[str, UUID]) -> None:
    """Where no keys are asked for, everybody is nobody, and sees what is open."""
    client = client_with()
    for headers in ({}, FINANCE, {"X-Forwarded-User": "chief"}):
        passages = client.post("/retrieve", json=QUESTION, headers=headers).get_json()["passages"]
        assert {passage["name"] for passage in passages} == {"commons/gate.txt"}
        assert client.get(f"/documents/{ids['finance']}", headers=headers).status_code == 404


def test_what_is_hidden_when_it_is_asked_for(keyed: FlaskClient, ids: dict[str, UUID]) -> None:
    """What a caller may not see is answered as what is not there, to the letter."""
    for path in ("", "/text"):
        hidden = keyed.get(f"/documents/{ids['legal']}{path}", headers=FINANCE)
        nowhere = keyed.get(f"/documents/{uuid4()}{path}", headers=FINANCE)
        assert hidden.get_data() == nowhere.get_data()


def test_answers_when_others_have_documents(
    client_with: MakeClient, connection: Connection, embedder: Embedder
) -> None:
    """Closed documents move no score and no trace of a caller who does not see them."""
    client = client_with()

    def ask(question: str) -> Any:
        asked = {"question": question, "trace": True}
        body = client.post("/query", json=asked).get_json()
        # Of an answer's own: when it was given.
        return {name: value for name, value in body.items() if name not in ("timings", "answer_id")}

    questions = ("What is the code of the gate?", "Where is the zeppelin?", "file zeppelin.txt")
    before = [ask(question) for question in questions]
    index_document(
        connection,
        embedder,
        "finance/zeppelin.txt",
        [f"The zeppelin of the gate has code {number}." for number in range(20)],
    )
    assert [ask(question) for question in questions] == before


def test_access_when_it_changes(
    keyed: FlaskClient, connection: Connection, ids: dict[str, UUID]
) -> None:
    """Granting, revoking, closing and opening hold from the next request on."""

    def sees(collection: str, name: str = "stranger") -> bool:
        response = keyed.get(f"/documents/{ids[collection]}", headers=key_of(name))
        return response.status_code == 200

    assert not sees("legal")
    store.grant_collection(connection, principal=f"key:{digest('stranger')}", collection="legal")
    assert sees("legal")
    store.revoke_collection(connection, principal=f"key:{digest('stranger')}")
    assert not sees("legal")
    store.set_collection(connection, "legal", closed=False)
    assert sees("legal")
    store.set_default(connection, closed=True)
    assert sees("legal")
    assert not sees("commons")
    assert sees("commons", "chief")
    assert sees("finance", "finance")
    connection.execute("DELETE FROM collection_default")
    assert not sees("commons")


def test_document_when_it_moves(
    keyed: FlaskClient, connection: Connection, ids: dict[str, UUID]
) -> None:
    """A new generation of a closed collection hides the document before it answers."""
    version = ObjectVersion(
        BUCKET, "commons/gate.txt", 2, metadata={"collection": "legal", "client": "secret"}
    )
    store.begin_build(connection, version, config_hash="test", lease_seconds=60, max_attempts=10)
    for name, status in (("finance", 404), ("legal", 200)):
        response = keyed.get(f"/documents/{ids['commons']}", headers=key_of(name))
        assert response.status_code == status
    found = keyed.post("/retrieve", json=QUESTION, headers=FINANCE).get_json()["passages"]
    assert {passage["name"] for passage in found} == {"finance/gate.txt"}


def test_cache_when_rights_differ(
    client_with: MakeClient, connection: Connection, query_url: str, ids: dict[str, UUID]
) -> None:
    """A kept answer is given to those alone who see the same; a change of access forgets it."""
    store.revoke_collection(connection, principal=f"key:{digest('legal')}")
    with gemini_stand_in() as stand_in, open_gemini(stand_in.url) as gemini:
        client = client_with(
            gemini=gemini,
            answer_cache_seconds=600,
            api_keys=[f"{name}={digest(name)}" for name in KEYS],
        )

        def cached(name: str) -> bool:
            body = client.post("/query", json=QUESTION, headers=key_of(name)).get_json()
            kept: bool = body["cached"]
            seen = {passage["name"].split("/")[0] for passage in body["passages"]}
            assert ("finance" in seen) == (name in ("finance", "chief"))
            return kept

        assert [cached(name) for name in ("chief", "finance", "stranger")] == [False] * 3
        assert [cached(name) for name in ("chief", "finance", "stranger")] == [True] * 3
        # Nothing was granted to either: they see the same.
        assert cached("legal")
        store.grant_collection(connection, principal="key:unrelated", collection="legal")
        assert not cached("stranger")
        assert cached("stranger")
        # A second row, which a reader without rights must not see.
        assert not cached("chief")
        with psycopg.connect(query_url) as reader:
            kept = reader.execute("SELECT answer::text FROM cached_answers").fetchall()
        assert len(kept) == 1
        assert "finance" not in kept[0][0]


def test_uploads_when_collections_are_closed(
    client_with: MakeClient,
    connection: Connection,
    embedder: Embedder,
    ids: dict[str, UUID],
    bucket: storage.Bucket,
) -> None:
    """Nobody writes where he cannot read, or deletes or renews what he does not see."""
    uploads = DocumentBucket(bucket.name, project="test")
    client = client_with(
        api_keys=[f"finance={digest('finance')}"],
        make_uploads=lambda: uploads,
        uploads_enabled=True,
        documents_bucket=BUCKET,
        google_cloud_project="demo-project",
    )
    for collection in ("finance", "legal"):
        blob = bucket.blob(f"{collection}/gate.txt")
        blob.upload_from_string(b"The code of the gate.")
        index_document(connection, embedder, blob.name, ["The gate."], generation=blob.generation)
    hidden = ObjectVersion(BUCKET, "commons/x.txt", 1, metadata={"collection": "legal"})
    store.begin_build(connection, hidden, config_hash="", lease_seconds=60, max_attempts=10)

    def objects() -> dict[str, int]:
        return {blob.name: blob.generation for blob in bucket.list_blobs()}

    before = objects()
    for name in ("legal/new.txt", "legal/gate.txt", "commons/x.txt"):
        upload = {"name": name, "size": 1, "content_type": "text/plain"}
        response = client.post("/documents", json=upload, headers=FINANCE)
        assert (response.status_code, response.get_json()["code"]) == (404, "unknown_collection")
        assert "upload_url" not in response.get_json()
    assert client.delete(f"/documents/{ids['legal']}", headers=FINANCE).status_code == 404
    renewed = client.post(f"/documents/{ids['legal']}/retry", headers=FINANCE)
    assert renewed.status_code == 404
    assert objects() == before

    upload = {"name": "finance/new.txt", "size": 1, "content_type": "text/plain"}
    response = client.post("/documents", json=upload, headers=FINANCE)
    assert response.status_code == 201
    session = response.get_json()
    sent = requests.put(session["upload_url"], data=b"x", headers=session["headers"], timeout=10)
    assert sent.status_code == 200
    assert client.delete(f"/documents/{ids['finance']}", headers=FINANCE).status_code == 202
    assert set(objects()) == {"finance/new.txt", "legal/gate.txt"}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with local_issuer() as serving:
        yield serving


def test_tokens_when_granted(
    client_with: MakeClient, issuer: Issuer, connection: Connection, ids: dict[str, UUID]
) -> None:
    """A mail address, a domain or a group of an identity token is granted collections as well."""
    tokens = TokenVerifier(SigningKeys(issuer.url), audiences=[AUDIENCE], issuers=GOOGLE_ISSUERS)
    client = client_with(tokens=tokens, query_audience=[AUDIENCE], query_claims=["groups"])
    for principal in ("email:ann@a.example", "domain:firm.example", "groups:lawyers"):
        store.grant_collection(connection, principal=principal, collection="legal")

    def sees(**claims: Any) -> set[str]:
        headers = {"Authorization": f"Bearer {issuer.sign(**claims)}"}
        body = client.get("/documents", headers=headers).get_json()
        return {document["collection"] for document in body["documents"]}

    assert sees(email="Ann@A.example") == {"commons", "legal"}
    assert sees(hd="firm.example") == {"commons", "legal"}
    assert sees(groups=["staff", "lawyers"]) == {"commons", "legal"}
    assert sees(email="ann@a.example", email_verified=False) == {"commons"}
    assert sees(groups=["lawyers,", {"lawyers": 1}, 7], roles="lawyers") == {"commons"}
    assert sees(groups="legal", email="key:chief") == {"commons"}


def test_tokens_when_wrong(client_with: MakeClient, issuer: Issuer) -> None:
    """What proves nothing is 401, who is not admitted 403, and without keys it is 503."""
    tokens = TokenVerifier(
        SigningKeys(issuer.url, pause_seconds=0.0), audiences=[AUDIENCE], issuers=GOOGLE_ISSUERS
    )
    client = client_with(
        tokens=tokens,
        query_audience=[AUDIENCE],
        query_callers=["domain:firm.example"],
        api_keys=[digest("finance")],
    )

    def status(token: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"}
        response = client.get("/documents", headers=headers)
        return response.status_code, response.get_json().get("code", "")

    assert status(issuer.sign(hd="firm.example")) == (200, "")
    assert status(KEYS["finance"]) == (200, "")
    assert status(issuer.sign()) == (403, "caller_not_admitted")
    assert status(issuer.sign(aud="other", hd="firm.example")) == (401, "token_missing_or_wrong")
    assert status("") == (401, "token_missing_or_wrong")
    removed = issuer.sign().rsplit(".", 1)[0] + ".SIGNATURE_REMOVED_BY_GOOGLE"
    response = client.get("/documents", headers={"Authorization": f"Bearer {removed}"})
    assert "X-Serverless-Authorization" in response.get_json()["detail"]
    issuer.status = 503
    assert status(issuer.sign(headers={"kid": "new"})) == (503, "keys_unavailable")


_RELATIONS = (
    "documents",
    "builds",
    "batches",
    "chunks",
    "embeddings",
    "texts",
    "live_chunks",
    "live_embeddings",
    "live_texts",
    "live_documents",
    "live_lexemes",
    "document_status",
)


def count_rows(connection: psycopg.Connection[Any], relation: str) -> int:
    columns = connection.execute(
        "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns"
        " WHERE table_name = %s AND has_column_privilege(%s, column_name, 'SELECT')",
        [relation, relation],
    ).fetchone()
    assert columns is not None
    statement = f"SELECT count(*) FROM (SELECT {columns[0]} FROM {relation}) AS rows"
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    count: int = row[0]
    return count


def test_rows_when_nobody_asks(
    query_url: str, connection: Connection, ids: dict[str, UUID]
) -> None:
    """Direct SQL of the query role, without a caller, finds no closed row in any relation."""
    store.set_default(connection, closed=True)
    everything = {relation: count_rows(connection, relation) for relation in _RELATIONS}
    assert all(everything.values())
    with psycopg.connect(query_url, autocommit=True) as reader:
        for setting in (None, "", "[]", '["key:stranger"]', '["*"]', '["commons"]'):
            if setting is not None:
                reader.execute("SELECT set_config('kaydang.principals', %s, false)", [setting])
            assert {name: count_rows(reader, name) for name in _RELATIONS} == dict.fromkeys(
                _RELATIONS, 0
            )
            found = reader.execute(
                "SELECT * FROM chunks_matching('gate', '{}/1000000000', 'gate')"
            ).fetchall()
            assert found == []
            counted = reader.execute(
                "SELECT count_chunks_with('gate', 100), count_chunks(100)"
            ).fetchone()
            assert counted == (0, 0)
        reader.execute("SELECT set_config('kaydang.principals', '[\"key:finance\"]', false)")
        assert count_rows(reader, "live_chunks") == 1
        for nonsense in ("finance", '{"key:finance": 1}', "[", "null"):
            reader.execute("SELECT set_config('kaydang.principals', %s, false)", [nonsense])
            with pytest.raises(psycopg.errors.DataError):
                count_rows(reader, "documents")


def test_rows_when_a_condition_tells(
    query_url: str, connection: Connection, ids: dict[str, UUID]
) -> None:
    """A condition that fails aloud is not run on rows that the reader may not see."""
    with psycopg.connect(query_url, autocommit=True) as reader:
        for statement in (
            "SELECT FROM chunks WHERE text::integer = 1",
            "SELECT FROM live_lexemes WHERE search::text::integer = 1",
            "SELECT FROM live_embeddings WHERE embedding::text::integer = 1",
            "SELECT FROM live_texts WHERE text::integer = 1",
            "SELECT FROM document_status WHERE name::integer = 1",
        ):
            store.set_default(connection, closed=True)
            reader.execute(statement.encode())
            store.set_default(connection, closed=False)
            with pytest.raises(psycopg.errors.DataError, match=r"common|\["):
                reader.execute(statement.encode())


def test_policies_when_listed(connection: Connection) -> None:
    """Each table that readers are given has forced policies; each view runs with their rights."""
    tables = connection.execute(
        """
        SELECT relname, relrowsecurity AND relforcerowsecurity
        FROM pg_class
        WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
            AND (has_table_privilege('kaydang_query', oid, 'SELECT')
                OR has_any_column_privilege('kaydang_query', oid, 'SELECT'))
        """
    ).fetchall()
    without = {name for name, forced in tables if not forced}
    # What is no tenant's: counters, statistics over all, the model.
    assert without == {
        "active_model",
        "index_state",
        "lexeme_statistics",
        "link_secret",
        "models",
        "rate_limits",
        "search_statistics",
        "token_usage",
    }
    views = connection.execute(
        """
        SELECT relname
        FROM pg_class
        WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace
            AND has_table_privilege('kaydang_query', oid, 'SELECT')
            AND coalesce(NOT 'security_invoker=true' = ANY (reloptions), true)
        """
    ).fetchall()
    assert views == []


def test_owner_when_it_is_no_superuser(connection: Connection, ids: dict[str, UUID]) -> None:
    """Forced policies let workers and an owner without any privilege of theirs see every row."""
    row = connection.execute(
        """
        SELECT count(*), bool_and(polroles @> ARRAY[relowner])
        FROM pg_policy
        JOIN pg_class ON pg_class.oid = polrelid
        WHERE polname = 'owner'
        """
    ).fetchone()
    assert row == (10, True)
    assert count_rows(connection, "live_chunks") == 3
    found = connection.execute("SELECT * FROM chunks_matching('gate', '{}/1000000000', 'x')")
    assert len(found.fetchall()) == 3


def test_caller_when_the_connection_goes_back(pool: Pool, ids: dict[str, UUID]) -> None:
    """Who borrows a connection next is nobody, also if the one before ended in an error."""
    with reading(pool, ["key:chief"]) as connection:
        assert count_rows(connection, "live_chunks") == 3
    with pytest.raises(DatabaseUnavailable), reading(pool, ["key:chief"]) as connection:
        connection.execute("SELECT no_such_column FROM documents")
    with pytest.raises(KeyError), reading(pool, ["key:chief"]):
        raise KeyError
    for _ in range(8):
        with store.connect(pool) as connection:
            assert count_rows(connection, "live_chunks") == 1


def test_values_when_they_are_statements(keyed: FlaskClient, ids: dict[str, UUID]) -> None:
    """No question, filter, name or key is ever a statement."""
    for text in (
        "'); SELECT set_config('kaydang.principals', '[\"key:chief\"]', false); --",
        "'; SET kaydang.principals = '[\"key:chief\"]'; RESET ROLE; --",
        "$$; SET ROLE postgres; --",
        '"key:chief"',
        "%(principals)s",
        "\\'; RESET ROLE; --",
    ):
        filters: list[dict[str, Any]] = [
            {"collection": text},
            {"prefix": text},
            {"metadata": {"key": text}},
            {},
        ]
        for filter_ in filters:
            asked = {"question": f"gate {text}", "filter": filter_, "limit": 20}
            passages = keyed.post("/retrieve", json=asked, headers=FINANCE).get_json()["passages"]
            assert not any(passage["name"].startswith("legal") for passage in passages)
        keyed.get("/documents", query_string={"prefix": text, "cursor": text}, headers=FINANCE)
        assert keyed.get("/documents", headers={"X-API-Key": text}).status_code == 401
        for _ in range(4):
            response = keyed.get(f"/documents/{ids['legal']}", headers=FINANCE)
            assert response.status_code == 404


def test_rows_when_queries_are_interleaved(
    query_url: str, connection: Connection, embedder: Embedder
) -> None:
    """Callers that share connections see their own rows, all of them and no others."""
    tenants = make_tenants(connection, embedder)
    settings = DatabaseSettings(database_url=SecretStr(query_url))
    with open_pool(settings) as shared_pool:
        result = interleave(
            shared_pool, tenants, queries=_QUERIES, dimension=embedder.info.dimension
        )
    assert result.queries == _QUERIES
    assert result.rows > 0
    assert (result.foreign, result.missing) == ([], [])
    kept = json.loads(json.dumps(result.as_json()))
    assert sum(kept["by_kind"].values()) == kept["queries"] == _QUERIES


def test_readers_when_a_document_names_them(
    client_with: MakeClient, connection: Connection, embedder: Embedder, ids: dict[str, UUID]
) -> None:
    """A document's readers see it beside those of its collection, from the next question on."""
    client = client_with(
        api_keys=[f"{name}={digest(name)}" for name in KEYS if name != "legal"] + [digest("legal")]
    )

    def seen(name: str) -> set[str]:
        key = key_of(name)
        passages = client.post("/retrieve", json=QUESTION, headers=key).get_json()["passages"]
        listed = client.get("/documents", headers=key).get_json()["documents"]
        assert {each["name"] for each in passages} == {each["name"] for each in listed}
        for collection, document_id in ids.items():
            there = client.get(f"/documents/{document_id}/text", headers=key).status_code == 200
            assert there == (f"{collection}/gate.txt" in {each["name"] for each in listed})
        return {each["collection"] for each in listed}

    def set_readers(collection: str, metageneration: int, metadata: dict[str, str]) -> None:
        name = f"{collection}/gate.txt"
        store.record_metadata(
            connection,
            ObjectVersion(BUCKET, name, 1, metageneration=metageneration, metadata=metadata),
        )

    assert seen("stranger") == {"commons"}
    set_readers("commons", 1, {"readers": "key:finance, Ann@A.example"})
    assert seen("stranger") == set()
    assert seen("finance") == {"commons", "finance"}
    assert seen("legal") == {"legal"}
    assert seen("chief") == {"commons", "finance", "legal"}
    set_readers("finance", 1, {"readers": "key:stranger"})
    assert seen("stranger") == {"finance"}
    assert seen("finance") == {"commons", "finance"}
    # What cannot be read as a principal is a reader that nobody is.
    set_readers("commons", 2, {"readers": ""})
    assert seen("finance") == {"finance"}
    set_readers("commons", 3, {})
    assert seen("stranger") == {"commons", "finance"}
    # A newer generation's readers hold before it answers.
    version = ObjectVersion(BUCKET, "commons/gate.txt", 2, metadata={"readers": "key:finance"})
    store.begin_build(connection, version, config_hash="test", lease_seconds=60, max_attempts=10)
    assert seen("stranger") == {"finance"}
    assert seen("finance") == {"commons", "finance"}


@pytest.mark.parametrize(
    ("readers", "principals"),
    [
        ("Ann@A.example", ["email:ann@a.example"]),
        ("user:Ann@a.example;serviceAccount:bot@p.iam", ["email:ann@a.example", "email:bot@p.iam"]),
        ("a.example, @B.example domain:C.example", [f"domain:{each}.example" for each in "abc"]),
        ("group:Lawyers, groups:x, key:k", ["groups:Lawyers", "groups:x", "key:k"]),
        ("nobody", ["nobody"]),
        (" , ", []),
    ],
)
def test_readers_when_written_in_other_ways(
    connection: Connection, readers: str, principals: list[str]
) -> None:
    """People, groups and domains are named as Google names them, or as grants do."""
    row = connection.execute(
        "SELECT readers_of(jsonb_build_object('readers', %s::text))", [readers]
    ).fetchone()
    assert row == (principals,)
    assert connection.execute("SELECT readers_of('{}')").fetchone() == (None,)


def test_embeddings_of_documents_with_readers_are_not_lent(
    connection: Connection, embedder: Embedder
) -> None:
    """How soon a document is ready tells nobody that another holds its text."""
    text = ["The vault opens at noon."]
    index_document(connection, embedder, "a.txt", text, metadata={"readers": "ann@a.example"})
    for name, batches in (("b.txt", 1), ("c.txt", 0)):
        lease = store.begin_build(
            connection,
            ObjectVersion(BUCKET, name, 1),
            config_hash="test",
            lease_seconds=60,
            max_attempts=10,
        ).lease
        assert lease is not None
        chunk = Chunk(0, text[0], "Title", "", 1, 0, len(text[0]), 10)
        jobs = store.stage_build(
            connection,
            lease,
            document=store.StagedDocument("Title", "en", "text/plain", 1, []),
            chunks=[(chunk, text[0])],
            text_segments=[(0, text[0])],
            search_config="english",
            batch_size=10,
        )
        assert len(jobs) == batches
        for job in jobs:
            batch = store.lease_batch(
                connection, job, model_id=1, lease_seconds=60, max_attempts=10
            )
            assert batch is not None
            store.finish_batch(connection, batch, embedder.embed_documents(batch.texts))


def test_explanations_when_compared_with_what_is_seen(
    connection: Connection, pool: Pool, embedder: Embedder, ids: dict[str, UUID]
) -> None:
    """The explanation says what row-level security does, for every caller and document."""
    for collection in ("commons", "finance", "legal"):
        index_document(
            connection,
            embedder,
            f"{collection}/letter.txt",
            ["A letter."],
            metadata={"readers": "ann@a.example, group:lawyers"},
        )
    for closed in (False, True):
        store.set_default(connection, closed=closed)
        documents, _ = store.list_documents(connection)
        for principals in (
            [],
            ["key:finance"],
            ["key:chief"],
            ["email:ann@a.example"],
            ["groups:lawyers", "key:finance"],
        ):
            with reading(pool, principals) as reader:
                seen = {document.id for document in store.list_documents(reader)[0]}
            for document in documents:
                reasons = store.explain_access(
                    connection, principals=principals, document_id=document.id
                )
                allowed = all(reason.allowed for reason in reasons)
                assert allowed == (document.id in seen), (principals, document.name, reasons)
    # Whom it explained is not who the connection's next user is.
    assert connection.execute("SELECT caller_principals()").fetchone() == ([],)


def test_admin_when_access_is_managed(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    connection: Connection,
    ids: dict[str, UUID],
) -> None:
    """Collections are closed, granted, listed, revoked and opened by commands."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    load.cache_clear()

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(admin.main, ["access", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    run("close", "commons")
    run("grant", "email:Ann@A.example", "commons")
    listed = json.loads(run("list", "--json"))
    assert listed["closed_by_default"] is False
    assert {
        "collection": "commons",
        "closed": True,
        "documents": 1,
        "principals": ["email:ann@a.example"],
    } in listed["collections"]
    assert "commons" in run("list")
    run("grant", "email:ann@a.example", "legal")
    run("revoke", "email:ann@a.example", "commons")
    run("revoke", "email:ann@a.example", "commons", code=1)
    run("revoke", "email:ann@a.example")
    run("revoke", "email:ann@a.example", code=1)
    run("open", "commons")
    run("close", "--default")
    assert json.loads(run("list", "--json"))["closed_by_default"] is True
    run("grant", "key:chief", "archive")
    with psycopg.connect(database_url, autocommit=True) as owner:
        # As after a restore of some tables only: what nothing opens is closed.
        owner.execute("DELETE FROM collection_default")
        listed = json.loads(run("list", "--json"))
        owner.execute("INSERT INTO collection_default (closed) VALUES (true)")
    assert listed["closed_by_default"] is True
    assert "archive" in {each["collection"] for each in listed["collections"] if each["closed"]}
    run("grant", "key:chief", "--all")
    assert "PRINCIPAL" in run("grant", "finance-key", "commons", code=2)
    run("close", code=2)
    store.grant_collection(connection, principal="email:ann@a.example", collection="finance")
    explained = run("explain", "Ann@A.example", "finance/gate.txt")
    assert "may read finance/gate.txt" in explained
    assert "granted" in explained
    assert "may not" in run("explain", "key:none", str(ids["finance"]), code=1)
    assert (
        json.loads(run("explain", "key:none", "legal/gate.txt", "--json", code=1))["allowed"]
        is False
    )
    run("explain", "nobody", "finance/gate.txt", code=2)
    assert "There is no document" in run("explain", "key:none", "nowhere.txt", code=1)
    load.cache_clear()
