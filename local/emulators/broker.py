"""
Keep topics, subscriptions and undelivered messages in one SQLite file.

Nothing here knows gRPC or HTTP, and nothing is concurrent: the server calls it from one
event loop. Every method that changes something has committed when it returns, so a killed
process loses nothing that it has confirmed. (SQLite's WAL with synchronous=NORMAL: safe
against a killed process; a power cut may lose the last moments.)
"""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types

logger = logging.getLogger(__name__)

# The raw protobuf classes: proto-plus wrappers cost several times as much per message.
Topic: Any = types.Topic.pb()
Subscription: Any = types.Subscription.pb()
PubsubMessage: Any = types.PubsubMessage.pb()

# What the documentation of Subscription.topic says.
DELETED_TOPIC = "_deleted-topic_"

# https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#subscription
DEFAULT_ACK_DEADLINE_SECONDS = 10
MAX_ACK_DEADLINE_SECONDS = 600
DEFAULT_RETENTION_SECONDS = 7 * 24 * 3600
MIN_RETENTION_SECONDS = 600
MAX_RETENTION_SECONDS = 31 * 24 * 3600
DEFAULT_EXPIRATION_SECONDS = 31 * 24 * 3600
DEFAULT_MAX_DELIVERY_ATTEMPTS = 5
DEFAULT_MINIMUM_BACKOFF_SECONDS = 10
DEFAULT_MAXIMUM_BACKOFF_SECONDS = 600
# https://cloud.google.com/pubsub/docs/push#push_backoff: without a retry policy.
PUSH_MINIMUM_BACKOFF_SECONDS = 0.1
PUSH_MAXIMUM_BACKOFF_SECONDS = 60.0

# https://cloud.google.com/pubsub/quotas#resource_limits
MAX_MESSAGES_PER_PUBLISH = 1000
MAX_PUBLISH_BYTES = 10_000_000
MAX_ATTRIBUTES = 100
MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 1024

# A push that outlives its own timeout must not be claimed a second time meanwhile.
PUSH_LEASE_MARGIN_SECONDS = 15

# https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
_NAME = re.compile(
    r"projects/[^/]+/(?P<kind>topics|subscriptions)/(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}"
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, resource BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS subscriptions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    resource BLOB NOT NULL
);
-- A message once for each subscription that has not acknowledged it yet. available_at
-- (seconds since 1970) is when it may be handed out: a lease and a back-off both move it.
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    message BLOB NOT NULL,
    published REAL NOT NULL,
    available_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    leased INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS deliveries_by_time ON deliveries (subscription_id, available_at, id);
"""


class BrokerError(Exception):
    """A request that the service refuses."""


class NotFound(BrokerError):
    """There is no such topic or subscription."""


class AlreadyExists(BrokerError):
    """The name is taken."""


class InvalidArgument(BrokerError):
    """The request breaks a rule of the API."""


class FailedPrecondition(BrokerError):
    """The subscription is not of the kind that the request needs."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to hand out a message."""

    id: int
    attempt: int
    message: bytes

    @property
    def ack_id(self) -> str:
        return f"{self.id}-{self.attempt}"


class LiveSubscription:
    """A subscription, with what a running server needs to know about it."""

    def __init__(self, subscription_id: int, resource: Any) -> None:
        self.id = subscription_id
        self.changed = asyncio.Event()
        self.replace(resource)

    def replace(self, resource: Any) -> None:
        self.resource = resource

    @property
    def is_push(self) -> bool:
        return bool(self.resource.push_config.push_endpoint)

    @property
    def max_attempts(self) -> int | None:
        policy = self.resource.dead_letter_policy
        return policy.max_delivery_attempts if policy.dead_letter_topic else None

    def notify(self) -> None:
        """Wake everyone who waits for a message, once."""
        waited_for, self.changed = self.changed, asyncio.Event()
        waited_for.set()

    def backoff_seconds(self, attempt: int) -> float:
        """Return how long a message rests after *attempt* (1, 2, ...) failed."""
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return 0.0
        if self.resource.HasField("retry_policy"):
            shortest = self.resource.retry_policy.minimum_backoff.ToNanoseconds() / 1e9
            longest = self.resource.retry_policy.maximum_backoff.ToNanoseconds() / 1e9
        elif self.is_push:
            shortest, longest = PUSH_MINIMUM_BACKOFF_SECONDS, PUSH_MAXIMUM_BACKOFF_SECONDS
        else:
            return 0.0
        return float(min(longest, shortest * 2.0 ** min(attempt - 1, 60)))


class Broker:
    """Topics, subscriptions and messages, by the rules of Pub/Sub."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
            + _SCHEMA
        )
        self._forget_ordering()
        self._depth = 0
        self._last_message_id = 0
        self._topics: dict[str, Any] = {
            name: Topic.FromString(resource)
            for name, resource in self._database.execute("SELECT name, resource FROM topics")
        }
        self._subscriptions: dict[str, LiveSubscription] = {
            name: LiveSubscription(subscription_id, Subscription.FromString(resource))
            for subscription_id, name, resource in self._database.execute(
                "SELECT id, name, resource FROM subscriptions"
            )
        }
        self._release_pushes()

    def close(self) -> None:
        self._database.close()

    # Topics

    def create_topic(self, topic: Any) -> Any:
        _check_name(topic.name, "topics")
        if topic.name in self._topics:
            raise AlreadyExists(f"Topic already exists: {topic.name}")
        self._store_topic(topic)
        return topic

    def get_topic(self, name: str) -> Any:
        _check_name(name, "topics")
        try:
            return self._topics[name]
        except KeyError:
            raise NotFound(f"Topic not found: {name}") from None

    def list_topics(self, project: str) -> list[Any]:
        return [
            topic for name, topic in sorted(self._topics.items()) if name.startswith(f"{project}/")
        ]

    def update_topic(self, topic: Any, mask: FieldMask) -> Any:
        updated = Topic()
        updated.CopyFrom(self.get_topic(topic.name))
        _merge(topic, updated, mask)
        self._store_topic(updated)
        return updated

    def delete_topic(self, name: str) -> None:
        """Delete a topic; its subscriptions stay and keep what they have."""
        self.get_topic(name)
        with self.transaction():
            self._database.execute("DELETE FROM topics WHERE name = ?", (name,))
            for live in self._subscribed(name):
                live.resource.topic = DELETED_TOPIC
                self._store_subscription(live)
        del self._topics[name]

    def list_topic_subscriptions(self, topic: str) -> list[str]:
        self.get_topic(topic)
        return sorted(live.resource.name for live in self._subscribed(topic))

    # Subscriptions

    def create_subscription(self, subscription: Any) -> LiveSubscription:
        _check_name(subscription.name, "subscriptions")
        if subscription.name in self._subscriptions:
            raise AlreadyExists(f"Subscription already exists: {subscription.name}")
        self.get_topic(subscription.topic)
        _complete(subscription)
        with self.transaction():
            cursor = self._database.execute(
                "INSERT INTO subscriptions (name, resource) VALUES (?, ?)",
                (subscription.name, subscription.SerializeToString()),
            )
        live = LiveSubscription(int(cursor.lastrowid or 0), subscription)
        self._subscriptions[subscription.name] = live
        return live

    def subscription(self, name: str) -> LiveSubscription:
        _check_name(name, "subscriptions")
        try:
            return self._subscriptions[name]
        except KeyError:
            raise NotFound(f"Subscription does not exist: {name}") from None

    def all_subscriptions(self) -> list[LiveSubscription]:
        return list(self._subscriptions.values())

    def list_subscriptions(self, project: str) -> list[Any]:
        return [
            live.resource
            for name, live in sorted(self._subscriptions.items())
            if name.startswith(f"{project}/")
        ]

    def update_subscription(self, subscription: Any, mask: FieldMask) -> LiveSubscription:
        live = self.subscription(subscription.name)
        if fixed := {"name", "topic", "filter", "enable_message_ordering"} & set(mask.paths):
            raise InvalidArgument(f"{', '.join(sorted(fixed))} of a subscription cannot be changed")
        updated = Subscription()
        updated.CopyFrom(live.resource)
        _merge(subscription, updated, mask)
        _complete(updated)
        live.replace(updated)
        self._store_subscription(live)
        live.notify()
        return live

    def modify_push_config(self, name: str, push_config: Any) -> LiveSubscription:
        subscription = Subscription(name=name, push_config=push_config)
        return self.update_subscription(subscription, FieldMask(paths=["push_config"]))

    def detach_subscription(self, name: str) -> None:
        live = self.subscription(name)
        live.resource.detached = True
        with self.transaction():
            self._store_subscription(live)
            self._database.execute("DELETE FROM deliveries WHERE subscription_id = ?", (live.id,))
        live.notify()

    def delete_subscription(self, name: str) -> None:
        live = self.subscription(name)
        self._database.execute("DELETE FROM subscriptions WHERE id = ?", (live.id,))
        del self._subscriptions[name]
        live.notify()

    # Messages

    def _forget_ordering(self) -> None:
        """Drop the column that earlier releases kept: their state folders stay usable."""
        columns = self._database.execute("SELECT name FROM pragma_table_info('deliveries')")
        if ("ordering_key",) in columns.fetchall():
            self._database.execute("DROP INDEX IF EXISTS deliveries_by_key")
            self._database.execute("ALTER TABLE deliveries DROP COLUMN ordering_key")

    def publish(self, topic: str, messages: Sequence[Any]) -> list[str]:
        """
        Store *messages* for each subscription of *topic* and return their ids.

        Raises:
            NotFound: There is no such topic.
            InvalidArgument: A message is empty or too large.
        """
        self.get_topic(topic)
        _check_messages(messages)
        subscribed = self._subscribed(topic)
        now = self._clock()
        rows: list[tuple[int, bytes, float, float]] = []
        ids: list[str] = []
        for message in messages:
            # Microseconds since 1970 are 16 digits, as the service's ids are, and go on
            # rising across a restart without being stored.
            self._last_message_id = max(self._last_message_id + 1, int(now * 1e6))
            message.message_id = str(self._last_message_id)
            message.publish_time.FromNanoseconds(int(now * 1e6) * 1000)
            ids.append(message.message_id)
            body = message.SerializeToString()
            rows.extend((live.id, body, now, now) for live in subscribed)
        with self.transaction():
            self._database.executemany(
                "INSERT INTO deliveries"
                " (subscription_id, message, published, available_at)"
                " VALUES (?, ?, ?, ?)",
                rows,
            )
        for live in subscribed:
            live.notify()
        return ids

    def claim(
        self, live: LiveSubscription, *, limit: int, lease_seconds: float | None = None
    ) -> list[Delivery]:
        """
        Lease at most *limit* messages that are due, oldest first, and count the attempt.

        What has used up its attempts goes to the dead letter topic instead. *lease_seconds*
        None means the subscription's ack deadline.
        """
        if limit <= 0 or live.resource.detached:
            return []
        if lease_seconds is None:
            lease_seconds = live.resource.ack_deadline_seconds
        now = self._clock()
        claimed: list[Delivery] = []
        with self.transaction():
            due = self._database.execute(
                "SELECT id, message, attempts FROM deliveries"
                " WHERE subscription_id = ? AND available_at <= ?"
                " ORDER BY available_at, id LIMIT ?",
                (live.id, now, limit),
            ).fetchall()
            leases: list[tuple[int, float, int]] = []
            for delivery_id, message, attempts in due:
                if live.max_attempts is not None and attempts >= live.max_attempts:
                    self._forward_dead_letter(live, delivery_id, message, attempts)
                    continue
                attempt = attempts + 1
                claimed.append(Delivery(delivery_id, attempt, message))
                available_at = now + lease_seconds + live.backoff_seconds(attempt)
                leases.append((attempt, available_at, delivery_id))
            self._database.executemany(
                "UPDATE deliveries SET attempts = ?, available_at = ?, leased = 1 WHERE id = ?",
                leases,
            )
        return claimed

    def next_due(self, live: LiveSubscription) -> float | None:
        """Return in how many seconds a message may be handed out; None if there is none."""
        (available_at,) = self._database.execute(
            "SELECT min(available_at) FROM deliveries WHERE subscription_id = ?", (live.id,)
        ).fetchone()
        return None if available_at is None else max(0.0, available_at - self._clock())

    def acknowledge(self, live: LiveSubscription, delivery_ids: Iterable[int]) -> None:
        with self.transaction():
            self._database.executemany(
                "DELETE FROM deliveries WHERE id = ? AND subscription_id = ?",
                [(delivery_id, live.id) for delivery_id in delivery_ids],
            )

    def extend(
        self, live: LiveSubscription, leases: Iterable[tuple[int, int]], *, seconds: float
    ) -> None:
        """
        Move the ack deadline of *leases* (delivery id, attempt); 0 seconds is a refusal.

        A lease that another attempt has followed is left alone.
        """
        now = self._clock()
        with self.transaction():
            self._database.executemany(
                "UPDATE deliveries SET available_at = ?, leased = ?"
                " WHERE id = ? AND subscription_id = ? AND attempts = ?",
                [
                    (
                        now + seconds + live.backoff_seconds(attempt),
                        int(seconds > 0),
                        delivery_id,
                        live.id,
                        attempt,
                    )
                    for delivery_id, attempt in leases
                ],
            )
        if seconds == 0:
            live.notify()

    def take_back(self, live: LiveSubscription, leases: Iterable[tuple[int, int]]) -> None:
        """Undo the claim of *leases* (delivery id, attempt), which no subscriber received."""
        with self.transaction():
            self._database.executemany(
                "UPDATE deliveries SET attempts = attempts - 1, available_at = ?, leased = 0"
                " WHERE id = ? AND subscription_id = ? AND attempts = ?",
                [(self._clock(), delivery_id, live.id, attempt) for delivery_id, attempt in leases],
            )
        live.notify()

    def expire(self) -> int:
        """Drop what is older than its subscription's retention; return how many."""
        now = self._clock()
        dropped = 0
        with self.transaction():
            for live in self._subscriptions.values():
                retention = live.resource.message_retention_duration.ToNanoseconds() / 1e9
                dropped += self._database.execute(
                    "DELETE FROM deliveries WHERE subscription_id = ? AND published < ?",
                    (live.id, now - retention),
                ).rowcount
        if dropped:
            logger.warning("dropped %d messages older than their retention", dropped)
        return dropped

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit on leaving the outermost block; an exception rolls everything back."""
        if self._depth == 0:
            self._database.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._database.execute("ROLLBACK")
            raise
        self._depth -= 1
        if self._depth == 0:
            self._database.execute("COMMIT")

    def _subscribed(self, topic: str) -> list[LiveSubscription]:
        return [
            live
            for live in self._subscriptions.values()
            if live.resource.topic == topic and not live.resource.detached
        ]

    def _store_topic(self, topic: Any) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO topics (name, resource) VALUES (?, ?)",
            (topic.name, topic.SerializeToString()),
        )
        self._topics[topic.name] = topic

    def _store_subscription(self, live: LiveSubscription) -> None:
        self._database.execute(
            "UPDATE subscriptions SET resource = ? WHERE id = ?",
            (live.resource.SerializeToString(), live.id),
        )

    def _forward_dead_letter(
        self, live: LiveSubscription, delivery_id: int, body: bytes, attempts: int
    ) -> None:
        policy = live.resource.dead_letter_policy
        if policy.dead_letter_topic not in self._topics:
            logger.error(
                "%s: the dead letter topic %s does not exist; the message is kept",
                live.resource.name,
                policy.dead_letter_topic,
            )
            self._database.execute(
                "UPDATE deliveries SET available_at = ?, leased = 0 WHERE id = ?",
                (self._clock() + DEFAULT_MAXIMUM_BACKOFF_SECONDS, delivery_id),
            )
            return
        original = PubsubMessage.FromString(body)
        _, project, _, name = live.resource.name.split("/")
        # https://cloud.google.com/pubsub/docs/handling-failures#dead_letter_topic
        forwarded = PubsubMessage(
            data=original.data,
            attributes={
                **original.attributes,
                "CloudPubSubDeadLetterSourceDeliveryCount": str(attempts),
                "CloudPubSubDeadLetterSourceSubscription": name,
                "CloudPubSubDeadLetterSourceSubscriptionProject": project,
                "CloudPubSubDeadLetterSourceTopicPublishTime": format_time(original.publish_time),
            },
        )
        logger.warning(
            "%s: message %s goes to %s after %d attempts",
            live.resource.name,
            original.message_id,
            policy.dead_letter_topic,
            attempts,
        )
        self.publish(policy.dead_letter_topic, [forwarded])
        self._database.execute("DELETE FROM deliveries WHERE id = ?", (delivery_id,))

    def _release_pushes(self) -> None:
        """Make what a killed server was pushing due again: no acknowledgement can arrive."""
        with self.transaction():
            self._database.executemany(
                "UPDATE deliveries SET leased = 0, available_at = ?"
                " WHERE subscription_id = ? AND leased = 1",
                [(self._clock(), live.id) for live in self._subscriptions.values() if live.is_push],
            )


def format_time(timestamp: Any) -> str:
    """Return a protobuf Timestamp as Pub/Sub writes it: RFC 3339 with milliseconds."""
    moment = datetime.fromtimestamp(timestamp.ToMicroseconds() / 1e6, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_ack_id(ack_id: str) -> tuple[int, int]:
    """
    Return (delivery id, attempt).

    Raises:
        InvalidArgument: The text is no ack id of ours.
    """
    delivery_id, _, attempt = ack_id.partition("-")
    if not (delivery_id.isdecimal() and attempt.isdecimal()):
        raise InvalidArgument(f"You have passed an invalid ack ID to the service: {ack_id}")
    return int(delivery_id), int(attempt)


def _check_name(name: str, kind: str) -> None:
    match = _NAME.fullmatch(name)
    if match is None or match["kind"] != kind:
        raise InvalidArgument(f"Invalid name: {name!r}; expected projects/PROJECT/{kind}/ID")


def _merge(source: Any, target: Any, mask: FieldMask) -> None:
    if not mask.paths:
        raise InvalidArgument("The update_mask must name at least one field")
    if not mask.IsValidForDescriptor(target.DESCRIPTOR):
        raise InvalidArgument(f"The update_mask names unknown fields: {', '.join(mask.paths)}")
    mask.MergeMessage(source, target, replace_message_field=True, replace_repeated_field=True)


def _complete(subscription: Any) -> None:
    """Fill in the service's defaults and check the bounds."""
    subscription.state = types.Subscription.State.ACTIVE
    subscription.ack_deadline_seconds = (
        subscription.ack_deadline_seconds or DEFAULT_ACK_DEADLINE_SECONDS
    )
    _check_bounds(
        "ack_deadline_seconds",
        subscription.ack_deadline_seconds,
        DEFAULT_ACK_DEADLINE_SECONDS,
        MAX_ACK_DEADLINE_SECONDS,
    )
    if not subscription.HasField("message_retention_duration"):
        subscription.message_retention_duration.CopyFrom(
            Duration(seconds=DEFAULT_RETENTION_SECONDS)
        )
    _check_bounds(
        "message_retention_duration",
        subscription.message_retention_duration.seconds,
        MIN_RETENTION_SECONDS,
        MAX_RETENTION_SECONDS,
    )
    if not subscription.HasField("expiration_policy"):
        subscription.expiration_policy.ttl.seconds = DEFAULT_EXPIRATION_SECONDS
    if subscription.HasField("retry_policy"):
        _complete_retry_policy(subscription.retry_policy)
    if subscription.HasField("dead_letter_policy"):
        policy = subscription.dead_letter_policy
        _check_name(policy.dead_letter_topic, "topics")
        policy.max_delivery_attempts = policy.max_delivery_attempts or DEFAULT_MAX_DELIVERY_ATTEMPTS
        _check_bounds("max_delivery_attempts", policy.max_delivery_attempts, 5, 100)
    endpoint = subscription.push_config.push_endpoint
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        raise InvalidArgument(f"Invalid push endpoint: {endpoint!r}; expected http(s)://HOST/PATH")
    for unsupported in ("bigquery_config", "cloud_storage_config"):
        if subscription.HasField(unsupported):
            raise InvalidArgument(f"The emulator does not support {unsupported}")
    if subscription.push_config.HasField("no_wrapper"):
        raise InvalidArgument("The emulator does not support push_config.no_wrapper")
    for unsupported in ("filter", "enable_message_ordering", "enable_exactly_once_delivery"):
        if getattr(subscription, unsupported):
            raise InvalidArgument(f"The emulator does not support {unsupported}")


def _complete_retry_policy(policy: Any) -> None:
    if not policy.HasField("minimum_backoff"):
        policy.minimum_backoff.CopyFrom(Duration(seconds=DEFAULT_MINIMUM_BACKOFF_SECONDS))
    if not policy.HasField("maximum_backoff"):
        policy.maximum_backoff.CopyFrom(Duration(seconds=DEFAULT_MAXIMUM_BACKOFF_SECONDS))
    for name, backoff in (
        ("minimum_backoff", policy.minimum_backoff),
        ("maximum_backoff", policy.maximum_backoff),
    ):
        _check_bounds(name, backoff.seconds, 0, DEFAULT_MAXIMUM_BACKOFF_SECONDS)
    if policy.minimum_backoff.ToNanoseconds() > policy.maximum_backoff.ToNanoseconds():
        raise InvalidArgument("minimum_backoff is longer than maximum_backoff")


def _check_bounds(name: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise InvalidArgument(f"Invalid {name}: {value}; expected {lowest} to {highest}")


def _check_messages(messages: Sequence[Any]) -> None:
    if not messages:
        raise InvalidArgument("The value for messages is too small: at least one is needed")
    if len(messages) > MAX_MESSAGES_PER_PUBLISH:
        raise InvalidArgument(f"More than {MAX_MESSAGES_PER_PUBLISH} messages in one request")
    total_bytes = 0
    for message in messages:
        total_bytes += message.ByteSize()
        if not message.data and not message.attributes:
            raise InvalidArgument("A message needs data or at least one attribute")
        if len(message.attributes) > MAX_ATTRIBUTES:
            raise InvalidArgument(f"A message has more than {MAX_ATTRIBUTES} attributes")
        for key, value in message.attributes.items():
            # The clients of Google themselves add googclient_traceparent.
            reserved = key.startswith("goog") and not key.startswith("googclient_")
            if not 1 <= len(key.encode()) <= MAX_KEY_BYTES or reserved:
                raise InvalidArgument(f"Invalid attribute key: {key[:50]!r}")
            if len(value.encode()) > MAX_VALUE_BYTES:
                raise InvalidArgument(
                    f"The attribute {key!r} is longer than {MAX_VALUE_BYTES} bytes"
                )
    if total_bytes > MAX_PUBLISH_BYTES:
        raise InvalidArgument(f"The messages are larger than {MAX_PUBLISH_BYTES} bytes together")
