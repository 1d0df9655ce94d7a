"""Reads the configuration of topics and push subscriptions with google-cloud-pubsub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from google.api_core.exceptions import GoogleAPICallError, NotFound, PermissionDenied, RetryError
from google.auth.exceptions import GoogleAuthError
from google.cloud import pubsub_v1

from shared.errors import NotPermitted, PublishFailed

_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Subscription:
    """
    A subscription of a topic.

    Attributes:
        topic: The topic's last name; "_deleted-topic_" where it was deleted.
        endpoint: Where it pushes to; "" if it is pulled from.
        dead_letters: The topic of its dead letters, by its last name; "" if there is none.
        expires_after_seconds: Without activity; 0 for never.
    """

    name: str
    topic: str
    endpoint: str
    ack_deadline_seconds: int
    dead_letters: str
    expires_after_seconds: int


class SubscriptionReader:
    """Reads the topics and subscriptions of one project."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._publisher = pubsub_v1.PublisherClient()
        self._subscriber = pubsub_v1.SubscriberClient()

    def has_topic(self, name: str) -> bool:
        """
        Return whether there is a topic of this name.

        Raises:
            NotPermitted: This account may not look.
            PublishFailed: Pub/Sub did not answer.
        """
        with _translated_errors("pubsub.topics.get"):
            try:
                self._publisher.get_topic(
                    topic=self._publisher.topic_path(self._project, name), timeout=_TIMEOUT_SECONDS
                )
            except NotFound:
                return False
        return True

    def find(self, name: str) -> Subscription | None:
        """
        Return a subscription, None if there is none of this name.

        Raises:
            NotPermitted: This account may not look.
            PublishFailed: Pub/Sub did not answer.
        """
        with _translated_errors("pubsub.subscriptions.get"):
            try:
                found = self._subscriber.get_subscription(
                    subscription=self._subscriber.subscription_path(self._project, name),
                    timeout=_TIMEOUT_SECONDS,
                )
            except NotFound:
                return None
        return Subscription(
            name=name,
            topic=found.topic.rpartition("/")[2],
            endpoint=found.push_config.push_endpoint,
            ack_deadline_seconds=found.ack_deadline_seconds,
            dead_letters=found.dead_letter_policy.dead_letter_topic.rpartition("/")[2],
            expires_after_seconds=int(found.expiration_policy.ttl.total_seconds())
            if found.expiration_policy.ttl
            else 0,
        )


@contextmanager
def _translated_errors(permission: str) -> Iterator[None]:
    try:
        yield
    except PermissionDenied as error:
        raise NotPermitted(permission) from error
    except (GoogleAPICallError, RetryError, GoogleAuthError) as error:
        raise PublishFailed(type(error).__name__) from error
