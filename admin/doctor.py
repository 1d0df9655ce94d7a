"""
Examine a whole deployment, and say what is wrong in words that an operator can act on.

Each check examines one thing and yields findings; one that cannot look says why, and the others go
on. Only the probe changes anything: it uploads one document and deletes it.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from pydantic import Field, SecretStr

from admin.database import applied_migrations, has_tables, inspect
from admin.migrate import read_migrations
from admin.subscriptions import Subscription, SubscriptionReader
from shared import store
from shared.bucket import BucketReader, DocumentBucket
from shared.embedding.tokenizer import (
    READER_FOLDER,
    has_reader,
    read_description,
    read_model_info,
)
from shared.errors import (
    GenerationUnavailable,
    KaydangError,
    Misconfigured,
    ModelUnavailable,
    NotPermitted,
)
from shared.settings import (
    DatabaseSettings,
    DocumentEventSettings,
    EventSettings,
    GeminiSettings,
    LogSettings,
)

# What infra/terraform and local.setup set: https://cloud.google.com/pubsub/docs/push#receive_push
_ACK_DEADLINE_SECONDS = 600
_OLD_SECONDS = 600
_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.25
_FUNCTIONS = ("ingest", "embed_worker", "record_dead_letter", "query")

State = Literal["ok", "hint", "not permitted", "left out", "fault"]


class Settings(DatabaseSettings, EventSettings, DocumentEventSettings, GeminiSettings, LogSettings):
    """
    Where everything is; QUERY_URL and QUERY_TOKEN are those of the query function.

    QUERY_TOKEN goes out as a bearer token: an identity token where Cloud Run asks for one (gcloud
    auth print-identity-token), or a key of API_KEYS.
    """

    google_cloud_project: str = Field(min_length=1)
    model_dir: Path | None = None
    query_url: str = ""
    query_token: SecretStr = SecretStr("")


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What one check found.

    Attributes:
        check: What was looked at.
        state: Only a "fault" makes the deployment unfit; a "hint" is advice.
        message: The fact, and for anything but "ok" what to do about it.
    """

    check: str
    state: State
    message: str


def examine(settings: Settings, *, gemini: bool, probe_seconds: float | None) -> Iterator[Finding]:
    """
    Yield the findings about a deployment, as they come.

    Args:
        gemini: Also ask Gemini for one token.
        probe_seconds: How long a probe may take in all; None leaves it out.
    """
    yield from _look("database", lambda: _check_database(settings))
    yield from _look("bucket", lambda: _check_bucket(settings))
    reader = SubscriptionReader(settings.google_cloud_project)
    for topic, suffix, function in (
        (settings.object_events_topic, "ingest", "ingest"),
        (settings.chunk_jobs_topic, "embed", "embed_worker"),
        (settings.dead_letters_topic, "record", "record_dead_letter"),
    ):
        yield from _look(
            f"topic {topic}",
            lambda topic=topic, suffix=suffix, function=function: _check_topic(  # type: ignore[misc]
                topic, reader, settings, name=f"{topic}-{suffix}", function=function
            ),
        )
    if settings.announces_documents:
        yield from _look(
            f"topic {settings.document_events_topic}",
            lambda: iter([_find_topic(settings.document_events_topic, reader)]),
        )
    yield from _look("query", lambda: _check_query(settings))
    if gemini:
        yield from _look("gemini", lambda: _check_gemini(settings))
    if probe_seconds is not None:
        yield from _look("probe", lambda: _probe(settings, timeout_seconds=probe_seconds))


def _look(check: str, find: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from find()
    except NotPermitted as error:
        yield Finding(
            check,
            "not permitted",
            f"This account lacks {error}, so this was not checked. Use an account that has it,"
            " such as a project's viewer.",
        )
    except KaydangError as error:
        yield Finding(check, "fault", f"{type(error).__name__}: {error}")


def _check_database(settings: Settings) -> Iterator[Finding]:
    address = urlsplit(settings.database_url.get_secret_value())
    where = address.hostname or "the socket of DATABASE_URL"
    try:
        if not has_tables(settings):
            yield Finding("migrations", "fault", "There are no tables yet: run kaydangpt migrate.")
            return
        with store.open_pool(settings) as pool, store.connect(pool) as connection:
            yield Finding("database", "ok", f"It answers at {where}.")
            applied = applied_migrations(connection)
            yield _compare_migrations(applied)
            if applied is not None and _missing(applied):
                return  # what the other checks ask for may not be there
            yield from _check_rights_and_room(connection, settings)
            yield from _check_model(connection, settings)
            yield from _check_backlog(connection)
    except KaydangError as error:
        yield Finding(
            "database",
            "fault",
            f"At {where}: {error}",
        )


def _missing(applied: dict[int, str]) -> list[str]:
    return [migration.name for migration in read_migrations() if migration.number not in applied]


def _compare_migrations(applied: dict[int, str] | None) -> Finding:
    if applied is None:
        return Finding(
            "migrations",
            "not permitted",
            "This login may not read the table migrations. Run kaydangpt migrate as the tables'"
            " owner to see whether any is missing.",
        )
    ours = {migration.number: migration for migration in read_migrations()}
    changed = [
        migration.name
        for number, migration in ours.items()
        if not migration.was_applied_as(applied.get(number, migration.checksum))
    ]
    if missing := _missing(applied):
        return Finding(
            "migrations",
            "fault",
            f"The tables are from an older release. Not applied: {', '.join(missing)}. Run"
            " kaydangpt migrate.",
        )
    if changed:
        return Finding(
            "migrations",
            "fault",
            f"Applied with other contents than in this release: {', '.join(changed)}. Use the"
            " release that created the tables, or restore the files.",
        )
    if newer := sorted(applied.keys() - ours.keys()):
        return Finding(
            "migrations",
            "hint",
            f"The tables are from a newer release than this one (migration {newer[-1]} is applied,"
            f" {max(ours)} is the last one here).",
        )
    return Finding("migrations", "ok", f"All {len(ours)} are applied.")


def _check_rights_and_room(connection: store.Connection, settings: Settings) -> Iterator[Finding]:
    found = inspect(connection)
    if "kaydang_worker" in found.roles:
        yield Finding("rights", "ok", f"{found.login} has the rights of {', '.join(found.roles)}.")
    else:
        yield Finding(
            "rights",
            "fault",
            f"{found.login} is not a member of kaydang_worker: grant it with DATABASE_ROLE_MEMBERS"
            " and kaydangpt migrate.",
        )
    needed = len(_FUNCTIONS) * settings.database_pool_size
    use = f"{found.connections} of {found.max_connections} connections are in use"
    if found.connections > 0.9 * found.max_connections:
        yield Finding(
            "connections",
            "fault",
            f"{use}: lower DATABASE_POOL_SIZE or the number of instances, or raise"
            " max_connections.",
        )
    elif needed > found.max_connections:
        yield Finding(
            "connections",
            "fault",
            f"One instance of each function may open {needed} (DATABASE_POOL_SIZE"
            f" {settings.database_pool_size} each), but the server allows {found.max_connections}.",
        )
    else:
        yield Finding(
            "connections",
            "ok",
            f"{use}; there is room for {found.max_connections // settings.database_pool_size}"
            " instances of all functions together.",
        )
    if found.index_useful and not found.indexed:
        yield Finding(
            "vector index",
            "hint",
            f"{found.vectors} vectors are compared one by one. Run kaydangpt index.",
        )
    else:
        how = "by an index" if found.indexed else "one by one, exactly"
        yield Finding("vector index", "ok", f"{found.vectors} vectors are searched {how}.")
    if found.expired_leases:
        yield Finding(
            "leases",
            "hint",
            f"{found.expired_leases} leases expired because a worker died or is too slow."
            " The next sweep publishes them again (kaydangpt sweep).",
        )


def _check_model(connection: store.Connection, settings: Settings) -> Iterator[Finding]:
    model = store.serving_model(connection)
    if model is None:
        yield Finding("model", "fault", store.NO_MODEL)
        return
    if settings.model_dir is None:
        yield Finding(
            "model",
            "left out",
            f"The database answers with {model.name}. MODEL_DIR is not set here, so it was not"
            " compared.",
        )
        return
    try:
        info = read_model_info(settings.model_dir)
    except Misconfigured as error:
        yield Finding("model", "fault", f"MODEL_DIR: {error}")
        return
    if info.digest == model.digest:
        yield Finding("model", "ok", f"{model.name}, in MODEL_DIR and in the database.")
        yield from _check_reader(settings.model_dir)
    else:
        yield Finding(
            "model",
            "fault",
            f"MODEL_DIR holds {info.name} ({info.digest[:12]}), but the database answers with"
            f" {model.name} ({model.digest[:12]}). Set MODEL_DIR to the export of the latter, or"
            " change the model: kaydangpt model --help.",
        )


def _check_reader(model_dir: Path) -> Iterator[Finding]:
    if not has_reader(model_dir):
        return
    try:
        read_description(model_dir / READER_FOLDER)
    except ModelUnavailable:
        yield Finding(
            "reader",
            "hint",
            f"{model_dir / READER_FOLDER} is missing or damaged: answers without Gemini are chosen"
            " without the reader, and fewer are right. Write it again: python -m infra.model.export"
            f" --force --output {model_dir}",
        )


def _check_backlog(connection: store.Connection) -> Iterator[Finding]:
    backlog = store.read_backlog(connection)
    if backlog.oldest_build_seconds > _OLD_SECONDS:
        yield Finding(
            "backlog",
            "fault",
            f"{backlog.builds_waiting} documents are waiting to be parsed, the oldest for"
            f" {backlog.oldest_build_seconds / 60:.0f} minutes. Check that ingest runs and"
            " that a schedule runs kaydangpt sweep; ingest's log says what fails.",
        )
    if backlog.oldest_batch_seconds > _OLD_SECONDS:
        yield Finding(
            "backlog",
            "fault",
            f"{backlog.batches_waiting} batches are waiting to be embedded, the oldest for"
            f" {backlog.oldest_batch_seconds / 60:.0f} minutes. Check that embed_worker runs"
            " and that a schedule runs kaydangpt sweep; embed_worker's log says what fails.",
        )
    if max(backlog.oldest_build_seconds, backlog.oldest_batch_seconds) <= _OLD_SECONDS:
        yield Finding(
            "backlog",
            "ok",
            f"{backlog.builds_waiting} documents to parse, {backlog.batches_waiting} batches to"
            " embed, none of them old.",
        )
    if backlog.dead_letters:
        yield Finding(
            "dead letters",
            "fault",
            f"{backlog.dead_letters} dead letters have not been replayed. Fix the cause,"
            " then run kaydangpt dead-letters replay.",
        )
    if failed := backlog.documents.get("failed", 0):
        yield Finding(
            "documents",
            "hint",
            f"{failed} failed. Run kaydangpt status --failed to see why.",
        )


def _check_bucket(settings: Settings) -> Iterator[Finding]:
    name = settings.documents_bucket
    reader = BucketReader(name, project=settings.google_cloud_project)
    versioned = reader.is_versioned()
    if versioned is None:
        yield Finding(
            "bucket",
            "fault",
            f"There is no bucket {name}: is DOCUMENTS_BUCKET right? infra/terraform or"
            " python -m local.setup creates it.",
        )
        return
    if versioned:
        yield Finding("bucket", "ok", f"{name} exists and keeps older generations.")
    else:
        yield Finding(
            "bucket",
            "hint",
            f"{name} is not versioned: objects overwritten or deleted by mistake cannot be"
            " recovered.",
        )
    yield from _look("notification", lambda: _check_notification(reader, settings))


def _check_notification(reader: BucketReader, settings: Settings) -> Iterator[Finding]:
    topic = f"{settings.google_cloud_project}/{settings.object_events_topic}"
    there = reader.notifications()
    to_us = [notification for notification in there if notification.topic == topic]
    repair = "terraform apply (or python -m local.setup), then kaydangpt reconcile"
    if not to_us:
        told = ", ".join(sorted({notification.topic for notification in there})) or "no topic"
        yield Finding(
            "notification",
            "fault",
            f"The bucket does not notify {topic} (it notifies {told}), so no upload is"
            f" noticed: {repair}.",
        )
        return
    wanted = {"OBJECT_FINALIZE", "OBJECT_DELETE"}
    heard = {event for one in to_us for event in (one.events or wanted) if not one.prefix}
    if missing := wanted - heard:
        yield Finding(
            "notification",
            "fault",
            f"The bucket does not notify {topic} of {', '.join(sorted(missing))} for all names:"
            f" {repair}.",
        )
    else:
        yield Finding("notification", "ok", f"The bucket notifies {topic} of its objects.")


def _check_topic(
    topic: str, reader: SubscriptionReader, settings: Settings, *, name: str, function: str
) -> Iterator[Finding]:
    finding = _find_topic(topic, reader)
    yield finding
    if finding.state != "ok":
        return
    yield from _look(
        f"subscription {name}",
        lambda: _check_subscription(name, reader, settings, topic=topic, function=function),
    )


def _find_topic(topic: str, reader: SubscriptionReader) -> Finding:
    if reader.has_topic(topic):
        return Finding(f"topic {topic}", "ok", "It exists.")
    return Finding(
        f"topic {topic}", "fault", "It does not exist: terraform apply, or python -m local.setup."
    )


def _check_subscription(
    name: str, reader: SubscriptionReader, settings: Settings, *, topic: str, function: str
) -> Iterator[Finding]:
    check = f"subscription {name}"
    found = reader.find(name)
    if found is None:
        yield Finding(
            check,
            "fault",
            f"It does not exist, so messages to {topic} are lost:"
            " terraform apply (or python -m local.setup), then kaydangpt reconcile"
            " and sweep.",
        )
        return
    faults = list(_faults_of(found, settings, topic=topic, function=function))
    for fault in faults:
        yield Finding(check, "fault", fault)
    if not faults:
        yield Finding(check, "ok", f"It pushes to {found.endpoint}.")
    if found.expires_after_seconds:
        days = found.expires_after_seconds // 86_400
        yield Finding(
            check,
            "hint",
            f"It is deleted after {days} days without a message: set it never to expire.",
        )
    if found.endpoint:
        yield _check_endpoint(found.endpoint, function=function)


def _faults_of(
    found: Subscription, settings: Settings, *, topic: str, function: str
) -> Iterator[str]:
    if found.topic != topic:
        yield f"Its topic is {found.topic}, not {topic}: delete it and set it up again."
    if not found.endpoint:
        yield f"It has no push endpoint: set the address of {function}."
    if found.ack_deadline_seconds < _ACK_DEADLINE_SECONDS:
        yield (
            f"Its acknowledgement deadline is {found.ack_deadline_seconds} s: {function} works"
            f" longer, and gets the same message again meanwhile. Set {_ACK_DEADLINE_SECONDS}."
        )
    if topic != settings.dead_letters_topic and found.dead_letters != settings.dead_letters_topic:
        yield (
            f"Its dead letters do not go to {settings.dead_letters_topic}: a message that cannot"
            " be handled is retried forever."
        )


def _check_endpoint(endpoint: str, *, function: str) -> Finding:
    """Look whether *function* accepts connections: it takes events, so it cannot be asked more."""
    address = urlsplit(endpoint)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_TIMEOUT_SECONDS).close()
    except OSError as error:
        return Finding(
            function,
            "fault",
            f"Nothing answers at {endpoint} ({type(error).__name__}): is {function} running, and is"
            " that its address?",
        )
    return Finding(function, "ok", f"It accepts connections at {endpoint}.")


def _headers(settings: Settings) -> dict[str, str]:
    token = settings.query_token.get_secret_value()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _ask(settings: Settings, method: str, path: str, **options: Any) -> requests.Response:
    """
    Ask the query function.

    Raises:
        NotPermitted: It asks for a token.
        Misconfigured: It is not there.
    """
    url = settings.query_url.rstrip("/") + path
    try:
        response = requests.request(
            method, url, headers=_headers(settings), timeout=60, allow_redirects=False, **options
        )
    except requests.RequestException as error:
        raise Misconfigured(
            f"Nothing answers at {url} ({type(error).__name__}): is the query function running, and"
            " is QUERY_URL right?"
        ) from error
    if response.status_code in (401, 403):
        raise NotPermitted(
            f"what {url} asks for (status {response.status_code}; give an identity token or a key"
            " in QUERY_TOKEN)"
        )
    return response


def _check_query(settings: Settings) -> Iterator[Finding]:
    if not settings.query_url:
        yield Finding("query", "left out", "QUERY_URL is not set here.")
        return
    response = _ask(settings, "GET", "/readyz")
    if response.ok:
        yield Finding("query", "ok", f"It is ready at {settings.query_url}.")
    else:
        yield Finding(
            "query",
            "fault",
            f"It is not ready (status {response.status_code}): {_detail(response)}",
        )


def _detail(response: requests.Response) -> str:
    with suppress(ValueError, AttributeError):
        return str(response.json().get("detail", ""))[:500]
    return "no query function answers like this: is QUERY_URL right?"


def _check_gemini(settings: Settings) -> Iterator[Finding]:
    if not settings.gemini_configured:
        yield Finding(
            "gemini",
            "left out",
            "Neither GEMINI_API_KEY nor GOOGLE_GENAI_USE_VERTEXAI is set: answers are extractive.",
        )
        return
    # Its import takes longer than all other checks together.
    from shared.gemini.client import GeminiClient
    from shared.gemini.requests import GenerationRequest

    client = GeminiClient(settings, attempts=1)
    request = GenerationRequest(text="Say yes.", max_output_tokens=1)
    try:
        list(client.stream(request, timeout_seconds=settings.gemini_timeout_seconds, whole=True))
    except GenerationUnavailable as error:
        # Cut off after its one token, it has answered.
        if error.code not in ("cut_off", "empty"):
            yield Finding("gemini", "fault", f"{error.code}: {error}")
            return
    finally:
        client.close()
    yield Finding("gemini", "ok", f"{settings.gemini_model} answers.")


def _probe(settings: Settings, *, timeout_seconds: float) -> Iterator[Finding]:
    """Upload a document, ask about it, delete it, and see that it is gone."""
    if not settings.query_url:
        yield Finding("probe", "left out", "QUERY_URL is not set here.")
        return
    bucket = DocumentBucket(settings.documents_bucket, project=settings.google_cloud_project)
    code = secrets.token_hex(4).upper()
    name = f"kaydang-doctor/{code}.txt"
    text = f"The doctor's probe carries the number {code}-17.\n"
    deadline = time.monotonic() + timeout_seconds
    bucket.upload(name, text.encode(), content_type="text/plain")
    try:
        trouble = _wait(lambda: _indexed(settings, name), deadline=deadline)
        if trouble:
            yield Finding("probe", "fault", trouble)
            return
        yield Finding("probe", "ok", "An uploaded document was indexed.")
        yield _ask_for(code, name, settings)
    finally:
        bucket.delete(name)
    trouble = _wait(lambda: _gone(settings, name), deadline=deadline)
    if trouble:
        yield Finding("probe", "fault", trouble)
    else:
        yield Finding("probe", "ok", "The document was deleted and no longer answers.")


def _wait(look: Callable[[], str], *, deadline: float) -> str:
    """Return "" as soon as *look* does, or its last result when the time is over."""
    while True:
        trouble = look()
        if not trouble or time.monotonic() > deadline:
            return trouble
        time.sleep(_POLL_SECONDS)


def _find_probe(settings: Settings, name: str) -> dict[str, Any] | None:
    response = _ask(settings, "GET", "/documents", params={"prefix": name})
    if not response.ok:
        raise Misconfigured(f"GET /documents: status {response.status_code}: {_detail(response)}")
    found: list[dict[str, Any]] = response.json()["documents"]
    return found[0] if found else None


def _indexed(settings: Settings, name: str) -> str:
    document = _find_probe(settings, name)
    if document is None:
        return (
            "The upload did not reach the index in time: ingest got no event for it. Look at the"
            " notification, the subscription of the object events, and the log of ingest."
        )
    if document["state"] == "failed":
        reason = document["reason"]
        return f"The document failed: {reason['code']}: {reason['message']}"
    if document["state"] == "queued":
        return "The document was not parsed in time: look at the log of ingest."
    if document["state"] != "ready":
        return (
            "The document was not embedded in time: look at the subscription of the chunk jobs and"
            " the log of embed_worker."
        )
    return ""


def _ask_for(code: str, name: str, settings: Settings) -> Finding:
    question = {"question": f"Which number does the doctor's probe {code} carry?"}
    response = _ask(settings, "POST", "/query", json=question)
    if not response.ok:
        return Finding(
            "probe",
            "fault",
            f"The question about it failed (status {response.status_code}): {_detail(response)}",
        )
    answer = response.json()
    if any(one["name"] == name and one["verified"] for one in answer["citations"]):
        return Finding("probe", "ok", "A question about it was answered with a verified citation.")
    found = any(passage["name"] == name for passage in answer["passages"])
    return Finding(
        "probe",
        "fault",
        "The answer did not cite it, although it was found: look at the answer's model and failure."
        if found
        else "It is ready but was not found. May this caller read its collection?",
    )


def _gone(settings: Settings, name: str) -> str:
    document = _find_probe(settings, name)
    if document is None or (
        document["state"] == "deleted" and document["answering_generation"] is None
    ):
        return ""
    return (
        "The deleted document still answers: ingest got no event for its deletion in time. Look"
        " at the notification (OBJECT_DELETE), and run kaydangpt reconcile."
    )
