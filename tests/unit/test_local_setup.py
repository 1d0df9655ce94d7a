"""The set-up that `make run` and Compose share, by the real clients on the stand-ins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import psycopg
import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import Subscription
from psycopg.conninfo import make_conninfo

from local.roles import ensure_login
from local.setup import Settings, set_up, subscriptions
from tests.support.emulators import running_pubsub, running_storage

SETTINGS = Settings(
    google_cloud_project="test-project",
    documents_bucket="documents",
    ingest_url="http://127.0.0.1:1",
    embed_worker_url="http://127.0.0.1:2",
    dead_letter_url="http://127.0.0.1:3",
    database_url=None,
)


def test_each_message_has_ten_tries_and_then_a_dead_letter() -> None:
    """The two working subscriptions pass on what fails; the one for dead letters does not."""
    object_events, chunk_jobs, dead_letters = subscriptions(SETTINGS)
    for working in (object_events, chunk_jobs):
        assert working.ack_deadline_seconds == 600
        assert working.retry_policy.minimum_backoff.seconds == 10
        assert working.retry_policy.maximum_backoff.seconds == 600
        assert working.dead_letter_policy.max_delivery_attempts == 10
        assert working.dead_letter_policy.dead_letter_topic == dead_letters.topic
    assert not dead_letters.dead_letter_policy.dead_letter_topic


@pytest.fixture
def pubsub_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run both stand-ins and point the clients at them."""
    with (
        running_pubsub(tmp_path / "pubsub.sqlite") as pubsub,
        running_storage(tmp_path / "storage", pubsub_host=pubsub.host) as storage,
    ):
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.host)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        yield pubsub.host


def found_subscriptions(pubsub_host: str) -> dict[str, Subscription]:
    with (
        grpc.insecure_channel(pubsub_host) as channel,
        pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)) as client,
    ):
        listed = client.list_subscriptions(project="projects/test-project")
        return {found.name.rpartition("/")[2]: found for found in listed}


def test_a_second_set_up_changes_what_differs_and_doubles_nothing(pubsub_host: str) -> None:
    """Ports move between two runs; the subscription follows, and one notification stays one."""
    first = list(set_up(SETTINGS))
    moved = SETTINGS.model_copy(update={"ingest_url": "http://127.0.0.1:9"})
    assert len(list(set_up(moved))) == len(first)
    endpoints = {
        name: found.push_config.push_endpoint
        for name, found in found_subscriptions(pubsub_host).items()
    }
    assert endpoints == {
        "object-events-ingest": "http://127.0.0.1:9",
        "chunk-jobs-embed": "http://127.0.0.1:2",
        "dead-letters-record": "http://127.0.0.1:3",
    }


def test_no_subscription_expires(pubsub_host: str) -> None:
    """One without messages for a month is still there."""
    list(set_up(SETTINGS))
    found = found_subscriptions(pubsub_host).values()
    assert [bool(one.expiration_policy.ttl) for one in found] == [False] * 3


def test_a_login_has_the_rights_of_its_group_alone(database_url: str) -> None:
    """The query login reads the views and no grants; setting it up again changes its password."""
    for password in ("first", "second"):
        login = make_conninfo(database_url, user="login_of_query", password=password)
        ensure_login(database_url, login, group="kaydang_query")
        with psycopg.connect(login) as connection:
            assert connection.execute("SELECT count(*) FROM live_chunks").fetchone() == (0,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT count(*) FROM collection_grants")
