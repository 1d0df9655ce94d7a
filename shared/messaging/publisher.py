"""Messages to our own topics, by the google-cloud-pubsub client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.api_core.retry import Retry
from google.cloud import pubsub_v1

from shared.errors import PublishFailed
from shared.messaging.events import write_document_event, write_job, write_notification
from shared.runtime.tracing import message_attributes, span
from shared.settings import DocumentEventSettings, EventSettings
from shared.values import DocumentEvent, EmbedJob, FillJob, ObjectEvent, ObjectVersion

# Below the push's ack deadline and the platform's 30 s of grace at shutdown.
_TIMEOUT_SECONDS = 20.0


class _Topics:
    """
    A client for the topics of one project; threads may share it.

    It is made lazily, after the server forked: gRPC's threads do not survive a fork.
    """

    def __init__(self, project: str) -> None:
        self._client = pubsub_v1.PublisherClient(
            batch_settings=pubsub_v1.types.BatchSettings(max_messages=500, max_latency=0.01)
        )
        self._project = project

    def publish(self, topic: str, messages: Sequence[tuple[bytes, dict[str, str]]]) -> None:
        if not messages:
            return
        path = self._client.topic_path(self._project, topic)
        try:
            with span("publish", {"topic": topic, "messages": len(messages)}, kind="producer"):
                trace = message_attributes()
                futures = [
                    self._client.publish(
                        path,
                        data,
                        retry=Retry(deadline=_TIMEOUT_SECONDS),
                        timeout=_TIMEOUT_SECONDS,
                        **{**attributes, **trace},
                    )
                    for data, attributes in messages
                ]
                for future in futures:
                    future.result(timeout=_TIMEOUT_SECONDS)
        except (GoogleAPICallError, RetryError, FutureTimeoutError) as error:
            raise PublishFailed(f"{topic}: {type(error).__name__}") from error


class Publisher:
    """Publishes to the topics of the event path; threads may share it."""

    def __init__(self, settings: EventSettings) -> None:
        self._topics = _Topics(settings.google_cloud_project)
        self._settings = settings

    def publish_jobs(self, jobs: Iterable[EmbedJob | FillJob]) -> None:
        """
        Publish embed jobs, and wait until Pub/Sub has them.

        Raises:
            PublishFailed: Some may not have been taken; publishing all again is harmless.
        """
        self._topics.publish(
            self._settings.chunk_jobs_topic,
            [(write_job(job), {}) for job in jobs],
        )

    def publish_events(self, events: Iterable[ObjectEvent]) -> None:
        """
        Publish object events as Storage would, and wait until Pub/Sub has them.

        Raises:
            PublishFailed: Some may not have been taken; publishing all again is harmless.
        """
        self._topics.publish(
            self._settings.object_events_topic, [write_notification(event) for event in events]
        )

    def publish_finalized(self, versions: Iterable[ObjectVersion]) -> None:
        """Publish a finalize event of each of *versions*."""
        self.publish_events(ObjectEvent(kind="finalized", object=item) for item in versions)

    def republish(self, data: bytes, attributes: dict[str, str]) -> None:
        """
        Publish a dead letter to the topic that it came from.

        Raises:
            PublishFailed: It may not have been taken.
        """
        topic = (
            self._settings.object_events_topic
            if "eventType" in attributes
            else self._settings.chunk_jobs_topic
        )
        self._topics.publish(topic, [(data, attributes)])


class DocumentEventPublisher:
    """Publishes events of documents; threads may share it."""

    def __init__(self, settings: DocumentEventSettings) -> None:
        self._topics = _Topics(settings.google_cloud_project)
        self._topic = settings.document_events_topic

    def publish(self, events: Sequence[DocumentEvent]) -> None:
        """
        Publish *events*, and wait until Pub/Sub has them.

        Raises:
            PublishFailed: Some may not have been taken; publishing all again is harmless.
        """
        self._topics.publish(self._topic, [write_document_event(event) for event in events])
