"""
Google's own Pub/Sub client finds the same behaviour in our emulator as in Google's.

Where Google's emulator differs from the service the test says so and expects the difference, so
that a change of it is noticed.
"""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    GoogleAPICallError,
    InvalidArgument,
    NotFound,
)
from google.cloud import pubsub_v1
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import PublisherClient as GapicPublisherClient
from google.pubsub_v1.types import (
    DeadLetterPolicy,
    PushConfig,
    RetryPolicy,
    StreamingPullRequest,
)
from google.pubsub_v1.types import PubsubMessage as GapicMessage

from local.emulators.broker import Broker, PubsubMessage, Subscription, Topic
from local.processes import free_port
from tests.support.emulators import (
    ROOT,
    Endpoint,
    Request,
    google_emulator_command,
    google_emulator_is_required,
    running_endpoint,
    running_google_pubsub,
    running_pubsub,
    wait_until,
)

PROJECT = "projects/conformance"
QUICK_RETRY = RetryPolicy(
    minimum_backoff=Duration(nanos=100_000_000), maximum_backoff=Duration(nanos=200_000_000)
)
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Service:
    """A running emulator and clients of it."""

    is_google: bool
    publisher: Any
    subscriber: Any

    def topic(self) -> str:
        name = f"{PROJECT}/topics/topic-{next(_numbers)}"
        self.publisher.create_topic(name=name)
        return name

    def subscription(self, topic: str, **settings: Any) -> str:
        name = f"{PROJECT}/subscriptions/subscription-{next(_numbers)}"
        self.subscriber.create_subscription(request={"name": name, "topic": topic, **settings})
        return name

    def publish(self, topic: str, data: bytes = b"data", **attributes: str) -> str:
        return str(self.publisher.publish(topic, data, **attributes).result(timeout=10))

    def pull(self, subscription: str, count: int = 1, *, seconds: float = 10) -> list[Any]:
        """Return *count* received messages, or fewer if no more came within *seconds*."""
        received: list[Any] = []
        give_up = time.monotonic() + seconds
        while len(received) < count and (remaining := give_up - time.monotonic()) > 0:
            try:
                response = self.subscriber.pull(
                    request={"subscription": subscription, "max_messages": count - len(received)},
                    timeout=max(remaining, 0.1),
                    retry=None,
                )
            except DeadlineExceeded:
                break
            received += response.received_messages
        return received

    def acknowledge(self, subscription: str, received: Sequence[Any]) -> None:
        ack_ids = [message.ack_id for message in received]
        self.subscriber.acknowledge(request={"subscription": subscription, "ack_ids": ack_ids})

    def refuse(self, subscription: str, received: Sequence[Any]) -> None:
        self.extend(subscription, received, seconds=0)

    def extend(self, subscription: str, received: Sequence[Any], *, seconds: int) -> None:
        self.subscriber.modify_ack_deadline(
            request={
                "subscription": subscription,
                "ack_ids": [message.ack_id for message in received],
                "ack_deadline_seconds": seconds,
            }
        )


@contextmanager
def connected(host: str, *, is_google: bool = False) -> Iterator[Service]:
    """Give clients that found the emulator as every client does, by PUBSUB_EMULATOR_HOST."""
    ordered = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", host)
        publisher = pubsub_v1.PublisherClient(publisher_options=ordered)
        subscriber = pubsub_v1.SubscriberClient()
    try:
        yield Service(is_google, publisher, subscriber)
    finally:
        publisher.stop()
        publisher.transport.close()
        subscriber.close()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Our emulator."""
    state = tmp_path_factory.mktemp("ours") / "pubsub.sqlite"
    with running_pubsub(state) as emulator, connected(emulator.host) as service:
        yield service


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Google's emulator; where there is none its tests are left out, or fail if it must be."""
    command = google_emulator_command()
    if isinstance(command, str):
        if google_emulator_is_required():
            pytest.fail(command)
        pytest.skip(command)
    with (
        running_google_pubsub(command, tmp_path_factory.mktemp("google")) as emulator,
        connected(emulator.host, is_google=True) as service,
    ):
        yield service


@pytest.fixture(params=["ours", "google"])
def service(request: pytest.FixtureRequest) -> Service:
    """Each test that asks for this runs on both."""
    service: Service = request.getfixturevalue(request.param)
    return service


def envelope(request: Request) -> dict[str, Any]:
    return dict(json.loads(request.body))


def pushed_data(endpoint: Endpoint) -> list[bytes]:
    return [
        base64.b64decode(envelope(request)["message"]["data"])
        for request in list(endpoint.requests)
    ]


# Topics and subscriptions


def test_create_topic_when_it_exists(service: Service) -> None:
    """A topic is made once."""
    topic = service.topic()
    with pytest.raises(AlreadyExists):
        service.publisher.create_topic(name=topic)


def test_get_topic_when_missing(service: Service) -> None:
    """A topic that nobody made is not found."""
    with pytest.raises(NotFound):
        service.publisher.get_topic(topic=f"{PROJECT}/topics/missing")


def test_create_topic_when_name_is_invalid(service: Service) -> None:
    """The id of a topic begins with a letter."""
    with pytest.raises(InvalidArgument):
        service.publisher.create_topic(name=f"{PROJECT}/topics/1")


def test_list_topics_in_pages(service: Service) -> None:
    """All topics of a project are listed, and no others, whatever the page size."""
    project = f"projects/listing-{next(_numbers)}"
    names = [f"{project}/topics/topic-{number}" for number in range(5)]
    for name in names:
        service.publisher.create_topic(name=name)
    listed = service.publisher.list_topics(request={"project": project, "page_size": 2})
    assert sorted(topic.name for topic in listed) == names


def test_update_topic_labels(service: Service) -> None:
    """
    Labels can be set later.

    Google's emulator refuses to update them.
    """
    name = service.topic()
    topic = {"name": name, "labels": {"team": "search"}}
    mask = FieldMask(paths=["labels"])
    if service.is_google:
        with pytest.raises(InvalidArgument):
            service.publisher.update_topic(topic=topic, update_mask=mask)
        return
    service.publisher.update_topic(topic=topic, update_mask=mask)
    assert dict(service.publisher.get_topic(topic=name).labels) == {"team": "search"}


def test_delete_topic_keeps_subscription(service: Service) -> None:
    """A subscription outlives its topic and names it _deleted-topic_."""
    topic = service.topic()
    subscription = service.subscription(topic)
    service.publisher.delete_topic(topic=topic)
    kept = service.subscriber.get_subscription(subscription=subscription)
    assert kept.topic == "_deleted-topic_"


def test_create_subscription_has_defaults(service: Service) -> None:
    """Without settings: 10 s to acknowledge, kept for 7 days, pulled, no dead letters."""
    subscription = service.subscription(service.topic())
    created = service.subscriber.get_subscription(subscription=subscription)
    assert created.ack_deadline_seconds == 10
    assert created.message_retention_duration == timedelta(days=7)
    assert created.push_config.push_endpoint == ""
    assert created.dead_letter_policy.dead_letter_topic == ""


def test_create_subscription_keeps_settings(service: Service) -> None:
    """What local.setup sets comes back as it was set."""
    dead_letters = service.topic()
    subscription = service.subscription(
        service.topic(),
        push_config=PushConfig(push_endpoint="http://127.0.0.1:9/never"),
        ack_deadline_seconds=600,
        retry_policy=RetryPolicy(
            minimum_backoff=Duration(seconds=10), maximum_backoff=Duration(seconds=600)
        ),
        dead_letter_policy=DeadLetterPolicy(
            dead_letter_topic=dead_letters, max_delivery_attempts=10
        ),
    )
    kept = service.subscriber.get_subscription(subscription=subscription)
    assert kept.push_config.push_endpoint == "http://127.0.0.1:9/never"
    assert kept.ack_deadline_seconds == 600
    assert kept.retry_policy.minimum_backoff == timedelta(seconds=10)
    assert kept.retry_policy.maximum_backoff == timedelta(seconds=600)
    assert kept.dead_letter_policy.dead_letter_topic == dead_letters
    assert kept.dead_letter_policy.max_delivery_attempts == 10


def test_create_subscription_when_it_exists(service: Service) -> None:
    """A subscription is made once."""
    topic = service.topic()
    subscription = service.subscription(topic)
    with pytest.raises(AlreadyExists):
        service.subscriber.create_subscription(name=subscription, topic=topic)


def test_create_subscription_when_topic_is_missing(service: Service) -> None:
    """A subscription needs a topic."""
    with pytest.raises(NotFound):
        service.subscription(f"{PROJECT}/topics/missing")


@pytest.mark.parametrize("seconds", [-1, 601])
def test_create_subscription_when_ack_deadline_is_out_of_bounds(
    service: Service, seconds: int
) -> None:
    """An ack deadline is at most 600 s."""
    with pytest.raises(InvalidArgument):
        service.subscription(service.topic(), ack_deadline_seconds=seconds)


def test_update_subscription_changes_masked_fields_only(service: Service) -> None:
    """What the mask does not name stays."""
    subscription = service.subscription(service.topic(), ack_deadline_seconds=20)
    service.subscriber.update_subscription(
        subscription={
            "name": subscription,
            "ack_deadline_seconds": 30,
            "retry_policy": QUICK_RETRY,
        },
        update_mask=FieldMask(paths=["retry_policy"]),
    )
    updated = service.subscriber.get_subscription(subscription=subscription)
    assert updated.ack_deadline_seconds == 20
    assert updated.retry_policy.minimum_backoff == timedelta(milliseconds=100)


def test_list_subscriptions_of_project_and_topic(service: Service) -> None:
    """Subscriptions are found by project and by topic."""
    topic = service.topic()
    names = sorted(service.subscription(topic) for _ in range(3))
    other = service.subscription(service.topic())
    by_topic = service.publisher.list_topic_subscriptions(request={"topic": topic, "page_size": 2})
    by_project = service.subscriber.list_subscriptions(project=PROJECT)
    assert sorted(by_topic) == names
    assert {*names, other} <= {subscription.name for subscription in by_project}


def test_delete_subscription(service: Service) -> None:
    """A deleted subscription is gone, and its name free."""
    topic = service.topic()
    subscription = service.subscription(topic)
    service.subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(NotFound):
        service.subscriber.get_subscription(subscription=subscription)
    service.subscriber.create_subscription(name=subscription, topic=topic)


# Publishing and pulling


def test_pull_returns_what_was_published(service: Service) -> None:
    """A message keeps data, attributes and ordering key, and gets an id and a time."""
    topic = service.topic()
    subscription = service.subscription(topic)
    before = datetime.now(UTC)
    message_id = service.publisher.publish(
        topic, b"\x00\xff", ordering_key="order", key="v\u00e4lue"
    ).result(timeout=10)
    (received,) = service.pull(subscription)
    assert received.message.data == b"\x00\xff"
    assert dict(received.message.attributes) == {"key": "v\u00e4lue"}
    assert received.message.ordering_key == "order"
    assert received.message.message_id == message_id
    assert abs(received.message.publish_time - before) < timedelta(seconds=5)
    assert received.delivery_attempt == 0


def test_publish_reaches_each_subscription(service: Service) -> None:
    """Subscriptions of a topic are independent of each other."""
    topic = service.topic()
    first, second = service.subscription(topic), service.subscription(topic)
    service.publish(topic)
    service.acknowledge(first, service.pull(first))
    assert len(service.pull(second)) == 1


def test_publish_before_subscription_exists(service: Service) -> None:
    """A subscription gets what is published after it was made."""
    topic = service.topic()
    service.publish(topic, b"early")
    subscription = service.subscription(topic)
    service.publish(topic, b"late")
    assert [message.message.data for message in service.pull(subscription)] == [b"late"]


def test_publish_to_missing_topic(service: Service) -> None:
    """The publisher hears that there is no such topic."""
    with pytest.raises(NotFound):
        service.publish(f"{PROJECT}/topics/missing")


def test_publish_an_empty_message(service: Service) -> None:
    """A message has data or attributes."""
    with pytest.raises(InvalidArgument):
        service.publish(service.topic(), b"")


def test_publish_trace_context(service: Service) -> None:
    """The attribute by which Google's clients hand on a trace is kept."""
    topic = service.topic()
    subscription = service.subscription(topic)
    service.publish(topic, googclient_traceparent="00-0a-0b-01")
    (received,) = service.pull(subscription)
    assert dict(received.message.attributes) == {"googclient_traceparent": "00-0a-0b-01"}


def test_publish_attributes_only(service: Service) -> None:
    """A message without data is one if it has an attribute."""
    topic = service.topic()
    subscription = service.subscription(topic)
    service.publish(topic, b"", key="value")
    assert dict(service.pull(subscription)[0].message.attributes) == {"key": "value"}


def test_pull_when_empty(service: Service) -> None:
    """A pull that must not wait answers with nothing."""
    subscription = service.subscription(service.topic())
    with pytest.warns(DeprecationWarning, match="return_immediately"):
        response = service.subscriber.pull(
            subscription=subscription, max_messages=1, return_immediately=True
        )
    assert list(response.received_messages) == []


def test_pull_waits_for_a_message(service: Service) -> None:
    """A pull that is open when a message comes returns it."""
    topic = service.topic()
    subscription = service.subscription(topic)
    timer = threading.Timer(0.2, service.publish, [topic])
    timer.start()
    assert len(service.pull(subscription)) == 1
    timer.join()


def test_acknowledge_removes_the_message(service: Service) -> None:
    """What was acknowledged does not come again, even when its deadline had been cut short."""
    topic = service.topic()
    subscription = service.subscription(topic)
    service.publish(topic)
    received = service.pull(subscription)
    service.acknowledge(subscription, received)
    service.refuse(subscription, received)
    assert service.pull(subscription, seconds=0.5) == []


def test_refuse_brings_the_message_back(service: Service) -> None:
    """A deadline of 0 is a refusal: the same message comes again, under another ack id."""
    topic = service.topic()
    subscription = service.subscription(topic)
    message_id = service.publish(topic)
    first = service.pull(subscription)
    service.refuse(subscription, first)
    (again,) = service.pull(subscription)
    assert again.message.message_id == message_id
    assert again.ack_id != first[0].ack_id


def test_message_comes_back_when_its_deadline_passes(service: Service) -> None:
    """A message that nobody acknowledges in time is delivered again, and not before."""
    topic = service.topic()
    subscription = service.subscription(topic)
    service.publish(topic)
    received = service.pull(subscription)
    service.extend(subscription, received, seconds=2)
    assert service.pull(subscription, seconds=0.5) == []
    assert len(service.pull(subscription)) == 1


def test_refuse_waits_as_the_retry_policy_says(service: Service) -> None:
    """
    With a retry policy a refused message rests first.

    Google's emulator applies the policy to pushes only.
    """
    topic = service.topic()
    policy = RetryPolicy(minimum_backoff=Duration(seconds=1), maximum_backoff=Duration(seconds=2))
    subscription = service.subscription(topic, retry_policy=policy)
    service.publish(topic)
    received = service.pull(subscription)
    refused = time.monotonic()
    service.refuse(subscription, received)
    assert len(service.pull(subscription)) == 1
    rested_seconds = time.monotonic() - refused
    assert rested_seconds < 5
    assert (rested_seconds > 0.8) == (not service.is_google)


def test_dead_letter_when_attempts_are_used_up(service: Service) -> None:
    """After max_delivery_attempts a message goes to the dead letter topic, with its story."""
    topic, dead_letters = service.topic(), service.topic()
    graveyard = service.subscription(dead_letters)
    subscription = service.subscription(
        topic,
        dead_letter_policy=DeadLetterPolicy(
            dead_letter_topic=dead_letters, max_delivery_attempts=5
        ),
    )
    service.publish(topic, b"poison", key="value")
    attempts = []
    for _ in range(5):
        received = service.pull(subscription)
        attempts += [message.delivery_attempt for message in received]
        service.refuse(subscription, received)
    with draining(service, subscription):
        (dead,) = service.pull(graveyard)
    assert attempts == [1, 2, 3, 4, 5]
    assert dead.message.data == b"poison"
    attributes = dict(dead.message.attributes)
    assert attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert attributes == {
        "key": "value",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": subscription.rpartition("/")[2],
        "CloudPubSubDeadLetterSourceSubscriptionProject": "conformance",
    }


# Streaming pull


def test_streaming_pull_delivers_everything_once(service: Service) -> None:
    """A subscriber with callbacks gets all messages, and acknowledged ones do not come again."""
    topic = service.topic()
    subscription = service.subscription(topic)
    received: list[bytes] = []

    def take(message: Any) -> None:
        received.append(message.data)
        message.ack()

    with streaming(service, subscription, take):
        futures = [service.publisher.publish(topic, str(n).encode()) for n in range(300)]
        for future in futures:
            future.result(timeout=10)
        wait_until(lambda: len(set(received)) == 300)
    assert service.pull(subscription, seconds=0.5) == []


def test_streaming_pull_when_refused(service: Service) -> None:
    """A callback that refuses gets the message again."""
    topic = service.topic()
    subscription = service.subscription(topic)
    tries: list[str] = []

    def refuse_once(message: Any) -> None:
        tries.append(message.message_id)
        if len(tries) == 1:
            message.nack()
        else:
            message.ack()

    with streaming(service, subscription, refuse_once):
        service.publish(topic)
        wait_until(lambda: len(tries) == 2)
    assert tries[0] == tries[1]


def test_streaming_pull_respects_flow_control(ours: Service) -> None:
    """
    No more messages are with the subscriber than it asked for: the others are for others.

    Google's emulator sends everything to the first stream.
    """
    topic = ours.topic()
    subscription = ours.subscription(topic)
    release = threading.Event()
    held: list[Any] = []

    def hold(message: Any) -> None:
        held.append(message)
        release.wait(10)
        message.ack()

    for number in range(6):
        ours.publish(topic, str(number).encode())
    with streaming(ours, subscription, hold, pubsub_v1.types.FlowControl(max_messages=2)):
        wait_until(lambda: len(held) == 2)
        elsewhere = ours.pull(subscription, 4)
        assert len(elsewhere) == 4
        assert len(held) == 2
        ours.refuse(subscription, elsewhere)
        release.set()
        wait_until(lambda: len(held) == 6)


# Pushing


def test_push_sends_the_wrapped_form(service: Service) -> None:
    """A push is a POST of the documented JSON."""
    topic = service.topic()
    with running_endpoint(lambda _: 204) as endpoint:
        subscription = pushed(service, topic, endpoint)
        message_id = service.publisher.publish(topic, b"data", key="value").result(timeout=10)
        wait_until(lambda: endpoint.requests)
    (request,) = endpoint.requests
    message = envelope(request)["message"]
    published = message["publishTime"]
    expected = {
        "data": base64.b64encode(b"data").decode(),
        "attributes": {"key": "value"},
        "messageId": message_id,
        "message_id": message_id,
        "publishTime": published,
        "publish_time": published,
    }
    assert envelope(request) == {"message": expected, "subscription": subscription}
    assert datetime.fromisoformat(published).tzinfo is not None
    assert request.headers["content-type"] == "application/json"
    assert request.path == "/push?from=test"


def test_push_when_message_has_no_attributes(service: Service) -> None:
    """
    Attributes are left out when the message has none.

    Google's emulator sends an empty object.
    """
    topic = service.topic()
    with running_endpoint(lambda _: 204) as endpoint:
        pushed(service, topic, endpoint)
        service.publish(topic)
        wait_until(lambda: endpoint.requests)
    message = envelope(endpoint.requests[0])["message"]
    assert message.get("attributes") == ({} if service.is_google else None)


def test_push_of_five_megabytes(service: Service) -> None:
    """A message may be larger than gRPC's usual limit of 4 MB."""
    topic = service.topic()
    data = bytes(5_000_000)
    with running_endpoint(lambda _: 204) as endpoint:
        pushed(service, topic, endpoint)
        service.publish(topic, data)
        wait_until(lambda: endpoint.requests)
    assert pushed_data(endpoint) == [data]


@pytest.mark.parametrize("status", [102, 200, 201, 202, 204])
def test_push_when_status_acknowledges(service: Service, status: int) -> None:
    """
    102, 200, 201, 202 and 204 acknowledge.

    Google's emulator pushes again a second after 202.
    """
    topic = service.topic()
    with running_endpoint(lambda _: status) as endpoint:
        pushed(service, topic, endpoint)
        service.publish(topic)
        wait_until(lambda: endpoint.requests)
        unacknowledged = service.is_google and status == 202
        repeated = happens(
            lambda: len(endpoint.requests) > 1, within_seconds=5 if unacknowledged else 0.4
        )
    assert repeated == unacknowledged


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
def test_push_when_status_refuses(service: Service, status: int) -> None:
    """Any other status is a refusal: the message is pushed again."""
    topic = service.topic()
    statuses = iter([status])
    with running_endpoint(lambda _: next(statuses, 204)) as endpoint:
        pushed(service, topic, endpoint)
        message_id = service.publish(topic)
        wait_until(lambda: len(endpoint.requests) == 2)
    sent = [envelope(request)["message"]["messageId"] for request in endpoint.requests]
    assert sent == [message_id, message_id]


def test_push_backs_off_exponentially(service: Service) -> None:
    """The pause between attempts doubles from the policy's minimum up to its maximum."""
    topic = service.topic()
    policy = RetryPolicy(
        minimum_backoff=Duration(nanos=300_000_000), maximum_backoff=Duration(seconds=1)
    )
    with running_endpoint(lambda _: 500) as endpoint:
        pushed(service, topic, endpoint, retry_policy=policy)
        service.publish(topic)
        wait_until(lambda: len(endpoint.requests) == 3)
    arrived = [request.arrived for request in endpoint.requests]
    first, second = (later - earlier for earlier, later in itertools.pairwise(arrived))
    assert 0.25 < first < 3
    assert 0.55 < second < 5


def test_push_delivers_many_at_a_time(service: Service) -> None:
    """Messages are pushed side by side, each once when it is acknowledged."""
    topic = service.topic()
    with running_endpoint(lambda _: 204) as endpoint:
        pushed(service, topic, endpoint)
        futures = [service.publisher.publish(topic, str(n).encode()) for n in range(200)]
        for future in futures:
            future.result(timeout=10)
        wait_until(lambda: len(endpoint.requests) >= 200, seconds=20)
        data = pushed_data(endpoint)
    assert sorted(data, key=int) == [str(n).encode() for n in range(200)]


def test_pull_from_push_subscription(ours: Service) -> None:
    """A subscription is pushed or pulled, not both."""
    with running_endpoint(lambda _: 204) as endpoint:
        subscription = pushed(ours, ours.topic(), endpoint)
        with pytest.raises(FailedPrecondition):
            ours.subscriber.pull(subscription=subscription, max_messages=1)


def test_modify_push_config_moves_the_endpoint(service: Service) -> None:
    """A subscription can be sent elsewhere, and be pulled from again."""
    topic = service.topic()
    with running_endpoint(lambda _: 204) as first, running_endpoint(lambda _: 204) as second:
        subscription = pushed(service, topic, first)
        service.publish(topic, b"1")
        wait_until(lambda: first.requests)
        service.subscriber.modify_push_config(
            subscription=subscription, push_config=PushConfig(push_endpoint=second.url)
        )
        service.publish(topic, b"2")
        wait_until(lambda: second.requests)
        service.subscriber.modify_push_config(subscription=subscription, push_config=PushConfig())
        service.publish(topic, b"3")
        (received,) = service.pull(subscription)
    assert pushed_data(first) == [b"1"]
    assert pushed_data(second) == [b"2"]
    assert received.message.data == b"3"


def test_delete_subscription_ends_pushing(service: Service) -> None:
    """Nothing is pushed for a subscription that is gone."""
    topic = service.topic()
    with running_endpoint(lambda _: 500) as endpoint:
        subscription = pushed(service, topic, endpoint)
        service.publish(topic)
        wait_until(lambda: endpoint.requests)
        service.subscriber.delete_subscription(subscription=subscription)
        wait_until(lambda: endpoint.busy == 0)
        count = len(endpoint.requests)
        again = happens(lambda: len(endpoint.requests) > count + 1, within_seconds=0.7)
    assert not again


# Ours alone: durability, limits, operation


def test_push_counts_attempts_and_gives_up(ours: Service) -> None:
    """
    deliveryAttempt counts up to max_delivery_attempts; then the dead letter is pushed.

    Google's emulator forwards dead letters too, but sends no deliveryAttempt.
    """
    topic, dead_letters = ours.topic(), ours.topic()
    with running_endpoint(lambda _: 500) as endpoint, running_endpoint(lambda _: 204) as graveyard:
        pushed(ours, dead_letters, graveyard)
        pushed(
            ours,
            topic,
            endpoint,
            dead_letter_policy=DeadLetterPolicy(
                dead_letter_topic=dead_letters, max_delivery_attempts=5
            ),
        )
        ours.publish(topic, b"poison")
        wait_until(lambda: graveyard.requests, seconds=20)
    attempts = [envelope(request)["deliveryAttempt"] for request in endpoint.requests]
    assert attempts == [1, 2, 3, 4, 5]
    attributes = envelope(graveyard.requests[0])["message"]["attributes"]
    assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert pushed_data(graveyard) == [b"poison"]


def test_push_keeps_to_its_limit(tmp_path: Path) -> None:
    """No more messages are in flight to an endpoint than --max-in-flight says."""
    release = threading.Event()
    with (
        running_pubsub(tmp_path / "state.sqlite", max_in_flight=3) as emulator,
        connected(emulator.host) as service,
        running_endpoint(lambda _: 204 if release.wait(10) else 500) as endpoint,
    ):
        topic = service.topic()
        pushed(service, topic, endpoint)
        for _ in range(10):
            service.publish(topic)
        wait_until(lambda: len(endpoint.requests) == 3)
        release.set()
        wait_until(lambda: len(endpoint.requests) == 10)
    assert endpoint.most_at_once == 3


def test_push_when_answer_is_late(ours: Service) -> None:
    """An endpoint that takes longer than the ack deadline is pushed to again."""
    topic = ours.topic()
    done = threading.Event()

    def hang_once(_: Request) -> int:
        if len(endpoint.requests) == 1:
            done.wait(30)
        return 204

    with running_endpoint(hang_once) as endpoint:
        pushed(ours, topic, endpoint, ack_deadline_seconds=10)
        ours.publish(topic)
        wait_until(lambda: len(endpoint.requests) == 2, seconds=20)
        done.set()
    first, second = endpoint.requests
    assert 10 <= second.arrived - first.arrived < 13


def test_push_when_endpoint_comes_back(ours: Service) -> None:
    """
    While nothing listens messages wait, without back-off, and none of their attempts is used up.

    In the service a message that cannot be sent is one attempt less; but a function in the cloud
    is never not listening, while one on this machine is whenever it is started again.
    """
    topic, dead_letters = ours.topic(), ours.topic()
    port = free_port()
    ours.subscription(
        topic,
        push_config=PushConfig(push_endpoint=f"http://127.0.0.1:{port}/push"),
        dead_letter_policy=DeadLetterPolicy(
            dead_letter_topic=dead_letters, max_delivery_attempts=5
        ),
        retry_policy=RetryPolicy(
            minimum_backoff=Duration(seconds=100), maximum_backoff=Duration(seconds=600)
        ),
    )
    for number in range(100):
        ours.publish(topic, str(number).encode())
    with running_endpoint(lambda _: 204, port=port) as endpoint:
        wait_until(lambda: len(endpoint.requests) == 100)
    assert {envelope(request)["deliveryAttempt"] for request in endpoint.requests} == {1}
    assert len(set(pushed_data(endpoint))) == 100


def test_kill_loses_nothing_published(tmp_path: Path) -> None:
    """What was confirmed is there after kill -9; what was acknowledged is not."""
    state = tmp_path / "state.sqlite"
    with running_pubsub(state) as emulator, connected(emulator.host) as service:
        topic = service.topic()
        subscription = service.subscription(topic)
        published = {service.publish(topic, str(number).encode()) for number in range(50)}
        acknowledged = service.pull(subscription, 20)
        service.acknowledge(subscription, acknowledged)
        emulator.kill()
    with running_pubsub(state) as emulator, connected(emulator.host) as service:
        left = service.pull(subscription, 30)
        assert service.pull(subscription, seconds=0.5) == []
    gone = {message.message.message_id for message in acknowledged}
    assert {message.message.message_id for message in left} == published - gone


def test_kill_while_publishing_loses_nothing_confirmed(tmp_path: Path) -> None:
    """Killed in the middle of a stream of publishes, every confirmed message is kept."""
    state = tmp_path / "state.sqlite"
    confirmed: list[str] = []
    with running_pubsub(state) as emulator, connected(emulator.host) as service:
        topic = service.topic()
        subscription = service.subscription(topic)

        def publish_on() -> None:
            with suppress(GoogleAPICallError):
                while True:
                    confirmed.extend(publish_now(service, topic, timeout_seconds=1))

        thread = threading.Thread(target=publish_on)
        thread.start()
        wait_until(lambda: len(confirmed) > 100)
        emulator.kill()
        thread.join()
    with running_pubsub(state) as emulator, connected(emulator.host) as service:
        kept = service.pull(subscription, len(confirmed))
    assert set(confirmed) <= {message.message.message_id for message in kept}


def test_kill_while_pushing_pushes_again_at_once(tmp_path: Path) -> None:
    """A push that was in flight is repeated by the next server, not after its ack deadline."""
    state = tmp_path / "state.sqlite"
    hang = threading.Event()
    with running_endpoint(lambda _: 204 if hang.wait(20) else 500) as endpoint:
        with running_pubsub(state) as emulator, connected(emulator.host) as service:
            topic = service.topic()
            pushed(service, topic, endpoint, ack_deadline_seconds=600)
            service.publish(topic)
            wait_until(lambda: len(endpoint.requests) == 1)
            emulator.kill()
        with running_pubsub(state):
            wait_until(lambda: len(endpoint.requests) == 2)
            hang.set()


def test_sigterm_stops_promptly(tmp_path: Path) -> None:
    """Neither a hanging push nor an open stream holds up the end."""
    hang = threading.Event()

    def requests(subscription: str) -> Iterator[StreamingPullRequest]:
        yield StreamingPullRequest(subscription=subscription, stream_ack_deadline_seconds=10)
        hang.wait(20)

    with (
        running_endpoint(lambda _: 204 if hang.wait(20) else 500) as endpoint,
        running_pubsub(tmp_path / "state.sqlite") as emulator,
        connected(emulator.host) as service,
    ):
        topic = service.topic()
        pushed(service, topic, endpoint, ack_deadline_seconds=600)
        subscription = service.subscription(topic)
        service.publish(topic)
        stream = service.subscriber.streaming_pull(requests=requests(subscription))
        assert len(next(stream).received_messages) == 1
        wait_until(lambda: endpoint.requests)
        seconds = emulator.stop()
        hang.set()
    assert seconds < 3
    assert emulator.process.returncode == 0


def test_port_when_taken(tmp_path: Path) -> None:
    """A taken port is one line that names the variable to set."""
    with running_pubsub(tmp_path / "first.sqlite") as emulator:
        command = ["-m", "local.emulators.pubsub", "--port", str(emulator.port)]
        second = subprocess.run(
            [sys.executable, *command, "--state", str(tmp_path / "second.sqlite")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert second.returncode != 0
    assert "PUBSUB_PORT" in second.stderr
    assert "Traceback" not in second.stderr


def test_expire_drops_what_is_past_its_retention(tmp_path: Path) -> None:
    """An unacknowledged message is dropped after the subscription's retention."""
    now = 1_000_000.0
    broker = Broker(tmp_path / "state.sqlite", clock=lambda: now)
    broker.create_topic(Topic(name=f"{PROJECT}/topics/retained"))
    live = broker.create_subscription(
        Subscription(
            name=f"{PROJECT}/subscriptions/retained",
            topic=f"{PROJECT}/topics/retained",
            message_retention_duration=Duration(seconds=600),
        )
    )
    broker.publish(f"{PROJECT}/topics/retained", [PubsubMessage(data=b"data")])
    now += 599
    assert broker.expire() == 0
    now += 2
    assert broker.expire() == 1
    assert broker.claim(live, limit=1) == []
    broker.close()


def pushed(service: Service, topic: str, endpoint: Endpoint, **settings: Any) -> str:
    """Make a subscription that pushes to *endpoint* and tries again quickly."""
    settings.setdefault("retry_policy", QUICK_RETRY)
    return service.subscription(
        topic, push_config=PushConfig(push_endpoint=endpoint.url), **settings
    )


def publish_now(service: Service, topic: str, *, timeout_seconds: float) -> list[str]:
    """Publish one message without the client's own batches and retries."""
    response = GapicPublisherClient.publish(
        service.publisher,
        topic=topic,
        messages=[GapicMessage(data=b"data")],
        timeout=timeout_seconds,
        retry=None,
    )
    return list(response.message_ids)


def happens(condition: Callable[[], bool], *, within_seconds: float) -> bool:
    try:
        wait_until(condition, seconds=within_seconds)
    except TimeoutError:
        return False
    return True


@contextmanager
def streaming(
    service: Service,
    subscription: str,
    callback: Callable[[Any], None],
    flow_control: Any = (),
) -> Iterator[None]:
    future = service.subscriber.subscribe(subscription, callback, flow_control=flow_control)
    try:
        yield
    finally:
        future.cancel()
        # A stream whose server is gone ends with whatever gRPC made of that, or not soon.
        with suppress(Exception):
            future.result(timeout=1)


@contextmanager
def draining(service: Service, subscription: str) -> Iterator[None]:
    """Keep a pull open: a dead letter is forwarded when somebody asks for messages."""
    stop = threading.Event()

    def pull() -> None:
        while not stop.is_set():
            service.pull(subscription, seconds=0.3)

    thread = threading.Thread(target=pull)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
