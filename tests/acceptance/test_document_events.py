"""Others hear what becomes of a document: by a subscription of their own, on a running system."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import jsonschema
import psycopg
import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from local.system import PROJECT, ROOT, System, wait_until
from shared.store.outbox import write_ended

API = ROOT / "docs/api.md"
SCHEMA = json.loads((ROOT / "docs/document-event.schema.json").read_text())

Hear = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def heard(system: System) -> Iterator[Hear]:
    """Subscribe; return what says the events of one name, by their sequence, without repeats."""
    channel = grpc.insecure_channel(system.environment["PUBSUB_EMULATOR_HOST"])
    path = f"projects/{PROJECT}/subscriptions/listener-{uuid.uuid4().hex}"
    events: dict[str, dict[str, Any]] = {}

    def hear(message: pubsub_v1.subscriber.message.Message) -> None:
        event = json.loads(message.data)
        jsonschema.validate(event, SCHEMA)
        assert message.attributes["event_id"] == event["event_id"]
        events[event["event_id"]] = event
        message.ack()

    def told(name: str) -> list[dict[str, Any]]:
        found = [event for event in list(events.values()) if event["name"] == name]
        return sorted(found, key=lambda event: int(event["sequence"]))

    with pubsub_v1.SubscriberClient(
        transport=SubscriberGrpcTransport(channel=channel)
    ) as subscriber:
        subscriber.create_subscription(
            name=path,
            topic=f"projects/{PROJECT}/topics/{system.environment['DOCUMENT_EVENTS_TOPIC']}",
            ack_deadline_seconds=60,
        )
        listening = subscriber.subscribe(path, hear)
        yield told
        listening.cancel()
        listening.result()
        subscriber.delete_subscription(subscription=path)


def test_the_life_of_a_document_is_told(system: System, heard: Hear) -> None:
    """Ready, failed with its reason, ready again, gone: each once, each of its generation."""
    name = "told/report.txt"
    generations = []
    for text in ("The lamp is green.", "", "The lamp is blue."):
        generations.append(system.upload(name, text))
        system.wait_for(name, generation=generations[-1])
    system.bucket().blob(name).delete()
    wait_until(lambda: [e["state"] for e in heard(name)][-1:] == ["gone"], what="it is told gone")
    told = [
        (event["state"], event["generation"], event["answering_generation"])
        for event in heard(name)
    ]
    first, empty, last = generations
    assert told == [
        ("ready", first, first),
        ("failed", empty, None),
        ("ready", last, last),
        ("gone", last, None),
    ]
    failed = heard(name)[1]
    assert failed["reason"]["code"] == "empty"
    assert "upload" in failed["reason"]["message"].lower()
    assert failed["collection"] == "told"


def test_the_listener_of_the_guide_hears_of_a_document(system: System, tmp_path: Path) -> None:
    """The example in docs/api.md, as it is written."""
    blocks = re.findall(r"^```python\n(.*?)^```", API.read_text(), re.MULTILINE | re.DOTALL)
    (example,) = [block for block in blocks if "pubsub" in block]
    output = tmp_path / "output"
    with output.open("wb") as file:
        listener = subprocess.Popen(
            [sys.executable, "-u", "-c", example],
            env=os.environ | system.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:

        def heard() -> bool:
            system.upload("told/empty.txt", b"")
            return "failed told/empty.txt" in output.read_text()

        wait_until(heard, what="the listener prints it", pause=1)
    finally:
        listener.kill()
        listener.wait()


def test_what_a_crash_left_is_told_by_the_sweeper(system: System, heard: Hear) -> None:
    """A worker that died between its commit and Pub/Sub leaves the event to the next sweep."""
    name = "told/left.txt"
    system.wait_for(name, generation=system.upload(name, "The lamp is red."))
    wait_until(lambda: heard(name), what="it is ready")
    with psycopg.connect(system.environment["DATABASE_URL"], autocommit=True) as connection:
        row = connection.execute(
            "SELECT active_build FROM documents WHERE name = %s", [name]
        ).fetchone()
        assert row is not None
        write_ended(connection, row[0])  # all that such a worker had done
    wait_until(lambda: len(heard(name)) == 2, what="the sweeper tells it")
    with psycopg.connect(system.environment["DATABASE_URL"], autocommit=True) as connection:
        wait_until(
            lambda: connection.execute("SELECT count(*) FROM document_events").fetchone() == (0,),
            what="the outbox is empty",
        )
