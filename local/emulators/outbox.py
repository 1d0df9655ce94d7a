"""Publish a bucket's notifications with Google's own client, at least once each."""

from __future__ import annotations

import logging
import threading

import grpc
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.types import PubsubMessage

from local.emulators.objects import Notice, ObjectStore

logger = logging.getLogger(__name__)

BATCH_SIZE = 100
PUBLISH_TIMEOUT_SECONDS = 10.0
RETRY_SECONDS = 1.0


class Outbox:
    """A thread that publishes what the store has for it; None as *pubsub_host* keeps it all."""

    def __init__(self, *, pubsub_host: str | None) -> None:
        self._pubsub_host = pubsub_host
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._failing: set[str] = set()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        self._changed.set()

    def start(self, store: ObjectStore) -> None:
        if self._pubsub_host is None:
            logger.warning("PUBSUB_EMULATOR_HOST is not set: notifications are kept, not published")
            return
        self._thread = threading.Thread(
            target=self._run, args=(store, self._pubsub_host), name="outbox"
        )
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, store: ObjectStore, pubsub_host: str) -> None:
        channel = grpc.insecure_channel(
            pubsub_host,
            # The default waits up to two minutes before it looks for a server again.
            options=[
                ("grpc.max_reconnect_backoff_ms", int(RETRY_SECONDS * 1000)),
                ("grpc.enable_http_proxy", 0),
            ],
        )
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        while not self._stopped.is_set():
            self._changed.clear()
            try:
                all_published = self._publish_all(store, publisher)
            except Exception:
                # A full disk, say: whatever it is, the notifications after it must still come.
                logger.exception("cannot publish notifications, trying on")
                all_published = False
            # What failed is tried again soon, and a new notification at once.
            self._changed.wait(None if all_published else RETRY_SECONDS)
        channel.close()

    def _publish_all(self, store: ObjectStore, publisher: PublisherClient) -> bool:
        """Go through the outbox once; return False if something could not be published."""
        failed: set[str] = set()
        after = 0
        while notices := store.unpublished(after=after, limit=BATCH_SIZE):
            after = notices[-1].id
            by_topic: dict[str, list[Notice]] = {}
            for notice in notices:
                by_topic.setdefault(notice.topic, []).append(notice)
            for topic, batch in by_topic.items():
                if self._stopped.is_set():
                    return True
                if topic not in failed and not self._publish(publisher, topic, batch):
                    failed.add(topic)
                elif topic not in failed:
                    store.mark_published(batch)
        return not failed

    def _publish(self, publisher: PublisherClient, topic: str, notices: list[Notice]) -> bool:
        messages = [
            PubsubMessage(data=notice.body, attributes=notice.attributes) for notice in notices
        ]
        try:
            publisher.publish(
                topic=topic, messages=messages, retry=None, timeout=PUBLISH_TIMEOUT_SECONDS
            )
        except InvalidArgument as error:
            if len(notices) > 1:
                return all(self._publish(publisher, topic, [notice]) for notice in notices)
            logger.error("%s refuses a notification for good, dropped: %s", topic, error)
        except GoogleAPICallError as error:
            if topic not in self._failing:
                logger.warning(
                    "cannot publish to %s, trying on: %s", topic, str(error).splitlines()[0]
                )
            self._failing.add(topic)
            return False
        if topic in self._failing:
            logger.info("publishing to %s again", topic)
            self._failing.discard(topic)
        return True
