"""
Make what the event path needs: topics, push subscriptions, bucket, notification, login roles.

    python -m local.setup

It can be repeated: what exists is kept, what differs (a port, a deadline) is changed. It uses the
unchanged Google clients with whatever STORAGE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST name, so
that `make run` and Compose are set up alike. In the cloud Terraform does this work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import psycopg
from google.api_core.exceptions import AlreadyExists, GoogleAPICallError, NotFound
from google.api_core.retry import Retry, if_transient_error
from google.cloud import pubsub_v1, storage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1.types import (
    DeadLetterPolicy,
    ExpirationPolicy,
    PushConfig,
    RetryPolicy,
    Subscription,
)
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from local.roles import ensure_login
from shared.errors import Misconfigured
from shared.settings import DocumentEventSettings, EventSettings, load

# The same numbers as infra/terraform sets, but for the attempts: no full instance answers 429 here.
ACK_DEADLINE = timedelta(seconds=600)
SHORTEST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(seconds=600)
DELIVERY_ATTEMPTS = 10

_UPDATED_FIELDS = ("push_config", "ack_deadline_seconds", "retry_policy", "dead_letter_policy")
# A server that was started a moment ago may not answer yet.
_PATIENT = Retry(predicate=if_transient_error, initial=0.1, maximum=2, timeout=60)


class Settings(EventSettings, DocumentEventSettings):
    """Addresses and names; each given database URL gets a login role."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    ingest_url: str = "http://127.0.0.1:8081"
    embed_worker_url: str = "http://127.0.0.1:8082"
    dead_letter_url: str = "http://127.0.0.1:8083"

    database_url: SecretStr | None = None
    worker_database_url: SecretStr | None = None
    query_database_url: SecretStr | None = None


def main() -> None:
    """Set everything up, or end with the reason why not."""
    try:
        settings = load(Settings)
        for line in set_up(settings):
            print(line, flush=True)
    except (Misconfigured, GoogleAPICallError, psycopg.Error) as error:
        sys.exit(f"local.setup: {error}")


def set_up(settings: Settings) -> Iterator[str]:
    """Make what is missing, change what differs; yield a line for each thing."""
    if settings.database_url is not None:
        owner = settings.database_url.get_secret_value()
        for login, group in (
            (settings.worker_database_url, "kaydang_worker"),
            (settings.query_database_url, "kaydang_query"),
        ):
            if login is not None:
                ensure_login(owner, login.get_secret_value(), group=group)
                yield f"login role of {group}"
    publisher = pubsub_v1.PublisherClient()
    subscriber = pubsub_v1.SubscriberClient()
    with subscriber:
        for topic in (
            settings.object_events_topic,
            settings.chunk_jobs_topic,
            settings.dead_letters_topic,
            # It has no subscription of ours.
            *filter(None, [settings.document_events_topic]),
        ):
            with suppress(AlreadyExists):
                publisher.create_topic(
                    name=publisher.topic_path(settings.google_cloud_project, topic), retry=_PATIENT
                )
            yield f"topic {topic}"
        for wanted in subscriptions(settings):
            _ensure_subscription(subscriber, wanted)
            name = wanted.name.rsplit("/", 1)[-1]
            yield f"subscription {name} -> {wanted.push_config.push_endpoint}"
    publisher.transport.close()
    yield from _ensure_bucket(settings)


def subscriptions(settings: Settings) -> list[Subscription]:
    """Return the three push subscriptions as they should be."""
    project = settings.google_cloud_project

    def subscription(name: str, *, topic: str, url: str, dead_letters: bool) -> Subscription:
        return Subscription(
            name=f"projects/{project}/subscriptions/{name}",
            topic=f"projects/{project}/topics/{topic}",
            push_config=PushConfig(push_endpoint=url),
            ack_deadline_seconds=int(ACK_DEADLINE.total_seconds()),
            # Without a time to live it never expires, however long no document arrives.
            expiration_policy=ExpirationPolicy(),
            retry_policy=RetryPolicy(
                minimum_backoff=Duration(seconds=int(SHORTEST_BACKOFF.total_seconds())),
                maximum_backoff=Duration(seconds=int(LONGEST_BACKOFF.total_seconds())),
            ),
            dead_letter_policy=DeadLetterPolicy(
                dead_letter_topic=f"projects/{project}/topics/{settings.dead_letters_topic}",
                max_delivery_attempts=DELIVERY_ATTEMPTS,
            )
            if dead_letters
            else None,
        )

    return [
        subscription(
            f"{settings.object_events_topic}-ingest",
            topic=settings.object_events_topic,
            url=settings.ingest_url,
            dead_letters=True,
        ),
        subscription(
            f"{settings.chunk_jobs_topic}-embed",
            topic=settings.chunk_jobs_topic,
            url=settings.embed_worker_url,
            dead_letters=True,
        ),
        subscription(
            f"{settings.dead_letters_topic}-record",
            topic=settings.dead_letters_topic,
            url=settings.dead_letter_url,
            dead_letters=False,
        ),
    ]


def _ensure_subscription(subscriber: pubsub_v1.SubscriberClient, wanted: Subscription) -> None:
    try:
        found = subscriber.get_subscription(subscription=wanted.name, retry=_PATIENT)
    except NotFound:
        subscriber.create_subscription(request=wanted, retry=_PATIENT)
        return
    if found.topic != wanted.topic:  # its topic was deleted, which cannot be repaired
        subscriber.delete_subscription(subscription=wanted.name, retry=_PATIENT)
        subscriber.create_subscription(request=wanted, retry=_PATIENT)
        return
    different = [name for name in _UPDATED_FIELDS if getattr(found, name) != getattr(wanted, name)]
    if different:
        subscriber.update_subscription(
            subscription=wanted, update_mask=FieldMask(paths=different), retry=_PATIENT
        )


def _ensure_bucket(settings: Settings) -> Iterator[str]:
    client = storage.Client(project=settings.google_cloud_project)
    bucket = client.lookup_bucket(settings.documents_bucket)
    if bucket is None:
        bucket = client.create_bucket(settings.documents_bucket)
    yield f"bucket {bucket.name}"
    try:
        known = {
            (notification.topic_project, notification.topic_name)
            for notification in bucket.list_notifications()
        }
        if (settings.google_cloud_project, settings.object_events_topic) not in known:
            bucket.notification(
                settings.object_events_topic,
                topic_project=settings.google_cloud_project,
                payload_format="JSON_API_V1",
            ).create()
        yield f"notification to {settings.object_events_topic}"
    except NotFound:
        # fake-gcs-server has no notifications; its -event.pubsub-topic option does their work.
        yield "no notification: this storage server publishes by its own options"


if __name__ == "__main__":
    main()
