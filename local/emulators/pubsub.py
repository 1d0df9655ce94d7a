"""
Serve the google.pubsub.v1 gRPC API on this machine, for the unchanged client libraries.

    python -m local.emulators.pubsub --port 8085 --state .local/pubsub.sqlite

Point a client at it with PUBSUB_EMULATOR_HOST=127.0.0.1:8085.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click
import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from local.emulators.broker import (
    AlreadyExists,
    Broker,
    BrokerError,
    Delivery,
    FailedPrecondition,
    InvalidArgument,
    LiveSubscription,
    NotFound,
    PubsubMessage,
    parse_ack_id,
)
from local.emulators.pushing import Pusher
from local.emulators.state import hold_state

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
# grpc ships no annotations: this is a grpc.aio.ServicerContext.
Context: TypeAlias = Any

# https://cloud.google.com/pubsub/quotas#resource_limits: a publish request of 10 MB, and as
# much again for what surrounds it.
MAX_REQUEST_BYTES = 20_000_000
# A pull that finds nothing answers empty after this long, or shortly before the client's
# deadline if that is sooner.
MAX_PULL_WAIT_SECONDS = 20.0
PULL_ANSWER_MARGIN_SECONDS = 0.5
MAX_STREAM_BATCH = 200
EXPIRE_EVERY_SECONDS = 30.0
DEFAULT_PAGE_SIZE = 100

_STATUS_CODES = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
}

PublishResponse: Any = types.PublishResponse.pb()
ReceivedMessage: Any = types.ReceivedMessage.pb()
PullResponse: Any = types.PullResponse.pb()
StreamingPullResponse: Any = types.StreamingPullResponse.pb()
ListTopicsResponse: Any = types.ListTopicsResponse.pb()
ListSubscriptionsResponse: Any = types.ListSubscriptionsResponse.pb()
ListTopicSubscriptionsResponse: Any = types.ListTopicSubscriptionsResponse.pb()
ListTopicSnapshotsResponse: Any = types.ListTopicSnapshotsResponse.pb()
ListSnapshotsResponse: Any = types.ListSnapshotsResponse.pb()
DetachSubscriptionResponse: Any = types.DetachSubscriptionResponse.pb()
SeekResponse: Any = types.SeekResponse.pb()


class _Stream:
    """An open streaming pull and the messages that its client still holds."""

    def __init__(self, first_request: Any) -> None:
        self.ack_deadline_seconds: int = first_request.stream_ack_deadline_seconds
        self._max_messages: int = first_request.max_outstanding_messages
        self._max_bytes: int = first_request.max_outstanding_bytes
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self.ended = False

    def room(self) -> int:
        """Return how many messages more the client wants; zero or less in its settings is all."""
        if self._max_bytes > 0 and self._bytes >= self._max_bytes:
            return 0
        if self._max_messages > 0:
            return min(MAX_STREAM_BATCH, self._max_messages - len(self._sizes))
        return MAX_STREAM_BATCH

    def add(self, delivery: Delivery) -> None:
        self._sizes[delivery.id] = len(delivery.message)
        self._bytes += len(delivery.message)

    def discard(self, delivery_id: int) -> bool:
        size = self._sizes.pop(delivery_id, None)
        self._bytes -= size or 0
        return size is not None


class Server:
    """The Publisher and Subscriber services over one Broker."""

    def __init__(self, *, broker: Broker, max_in_flight: int) -> None:
        self._broker = broker
        self._max_in_flight = max_in_flight
        self._pushers: dict[int, Pusher] = {}
        self._streams: dict[int, set[_Stream]] = {}

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        publisher = {
            "CreateTopic": _unary(types.Topic, self._create_topic),
            "UpdateTopic": _unary(types.UpdateTopicRequest, self._update_topic),
            "Publish": _unary(types.PublishRequest, self._publish),
            "GetTopic": _unary(types.GetTopicRequest, self._get_topic),
            "ListTopics": _unary(types.ListTopicsRequest, self._list_topics),
            "ListTopicSubscriptions": _unary(
                types.ListTopicSubscriptionsRequest, self._list_topic_subscriptions
            ),
            "DeleteTopic": _unary(types.DeleteTopicRequest, self._delete_topic),
            "DetachSubscription": _unary(
                types.DetachSubscriptionRequest, self._detach_subscription
            ),
        }
        subscriber = {
            "CreateSubscription": _unary(types.Subscription, self._create_subscription),
            "GetSubscription": _unary(types.GetSubscriptionRequest, self._get_subscription),
            "UpdateSubscription": _unary(
                types.UpdateSubscriptionRequest, self._update_subscription
            ),
            "ListSubscriptions": _unary(types.ListSubscriptionsRequest, self._list_subscriptions),
            "DeleteSubscription": _unary(
                types.DeleteSubscriptionRequest, self._delete_subscription
            ),
            "ModifyAckDeadline": _unary(types.ModifyAckDeadlineRequest, self._modify_ack_deadline),
            "Acknowledge": _unary(types.AcknowledgeRequest, self._acknowledge),
            "Pull": _unary(types.PullRequest, self._pull),
            "StreamingPull": grpc.stream_stream_rpc_method_handler(
                self._streaming_pull,
                request_deserializer=types.StreamingPullRequest.pb().FromString,
                response_serializer=_serialize,
            ),
            "ModifyPushConfig": _unary(types.ModifyPushConfigRequest, self._modify_push_config),
        }
        return [
            grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publisher),
            grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscriber),
        ]

    async def start_pushing(self) -> None:
        for live in self._broker.all_subscriptions():
            await self._adjust_pusher(live)

    async def stop_pushing(self) -> None:
        for pusher in self._pushers.values():
            await pusher.close()
        self._pushers.clear()

    async def _adjust_pusher(self, live: LiveSubscription) -> None:
        """Start or stop pushing, as the subscription now says."""
        wanted = live.is_push and not live.resource.detached
        if wanted and live.id not in self._pushers:
            self._pushers[live.id] = Pusher(
                broker=self._broker, live=live, max_in_flight=self._max_in_flight
            )
        elif not wanted and live.id in self._pushers:
            await self._pushers.pop(live.id).close()

    # Publisher

    async def _create_topic(self, request: Any, _: Context) -> Any:
        return self._broker.create_topic(request)

    async def _update_topic(self, request: Any, _: Context) -> Any:
        return self._broker.update_topic(request.topic, request.update_mask)

    async def _publish(self, request: Any, _: Context) -> Any:
        return PublishResponse(message_ids=self._broker.publish(request.topic, request.messages))

    async def _get_topic(self, request: Any, _: Context) -> Any:
        return self._broker.get_topic(request.topic)

    async def _list_topics(self, request: Any, _: Context) -> Any:
        topics, token = _page(
            self._broker.list_topics(request.project), request, lambda topic: str(topic.name)
        )
        return ListTopicsResponse(topics=topics, next_page_token=token)

    async def _list_topic_subscriptions(self, request: Any, _: Context) -> Any:
        names, token = _page(self._broker.list_topic_subscriptions(request.topic), request, str)
        return ListTopicSubscriptionsResponse(subscriptions=names, next_page_token=token)

    async def _delete_topic(self, request: Any, _: Context) -> Any:
        self._broker.delete_topic(request.topic)
        return Empty()

    async def _detach_subscription(self, request: Any, _: Context) -> Any:
        self._broker.detach_subscription(request.subscription)
        await self._adjust_pusher(self._broker.subscription(request.subscription))
        return DetachSubscriptionResponse()

    # Subscriber

    async def _create_subscription(self, request: Any, _: Context) -> Any:
        live = self._broker.create_subscription(request)
        await self._adjust_pusher(live)
        logger.info(
            "subscription %s of %s %s",
            live.resource.name,
            live.resource.topic,
            f"pushes to {live.resource.push_config.push_endpoint}" if live.is_push else "is pulled",
        )
        return live.resource

    async def _get_subscription(self, request: Any, _: Context) -> Any:
        return self._broker.subscription(request.subscription).resource

    async def _update_subscription(self, request: Any, _: Context) -> Any:
        live = self._broker.update_subscription(request.subscription, request.update_mask)
        await self._adjust_pusher(live)
        return live.resource

    async def _list_subscriptions(self, request: Any, _: Context) -> Any:
        subscriptions, token = _page(
            self._broker.list_subscriptions(request.project),
            request,
            lambda subscription: str(subscription.name),
        )
        return ListSubscriptionsResponse(subscriptions=subscriptions, next_page_token=token)

    async def _delete_subscription(self, request: Any, _: Context) -> Any:
        live = self._broker.subscription(request.subscription)
        if pusher := self._pushers.pop(live.id, None):
            await pusher.close()
        self._broker.delete_subscription(request.subscription)
        return Empty()

    async def _modify_push_config(self, request: Any, _: Context) -> Any:
        live = self._broker.modify_push_config(request.subscription, request.push_config)
        await self._adjust_pusher(live)
        return Empty()

    async def _acknowledge(self, request: Any, _: Context) -> Any:
        self._release(self._broker.subscription(request.subscription), request.ack_ids)
        return Empty()

    async def _modify_ack_deadline(self, request: Any, _: Context) -> Any:
        live = self._broker.subscription(request.subscription)
        self._extend(live, request.ack_ids, request.ack_deadline_seconds)
        return Empty()

    async def _pull(self, request: Any, context: Context) -> Any:
        live = self._pulled(request.subscription)
        if request.max_messages <= 0:
            raise InvalidArgument("max_messages must be 1 or more")
        wait_seconds = 0.0
        if not request.return_immediately:
            remaining = context.time_remaining()
            wait_seconds = min(
                MAX_PULL_WAIT_SECONDS,
                MAX_PULL_WAIT_SECONDS
                if remaining is None
                else max(0.0, remaining - PULL_ANSWER_MARGIN_SECONDS),
            )
        loop = asyncio.get_running_loop()
        give_up = loop.time() + wait_seconds
        while True:
            changed = live.changed
            deliveries = self._broker.claim(live, limit=request.max_messages)
            remaining_seconds = give_up - loop.time()
            if deliveries or remaining_seconds <= 0:
                return PullResponse(
                    received_messages=[_received(live, delivery) for delivery in deliveries]
                )
            await _wait(changed, self._broker.next_due(live), at_most=remaining_seconds)

    async def _streaming_pull(
        self, requests: AsyncIterator[Any], context: Context
    ) -> AsyncIterator[Any]:
        first = await anext(requests, None)
        try:
            if first is None:
                raise InvalidArgument("The first request must name the subscription")
            live = self._pulled(first.subscription)
            stream = _Stream(first)
        except BrokerError as error:
            await context.abort(_STATUS_CODES[type(error)], str(error))
            raise AssertionError from error  # abort raises
        self._streams.setdefault(live.id, set()).add(stream)
        reader = asyncio.get_running_loop().create_task(self._read_stream(live, stream, requests))
        try:
            while not stream.ended:
                changed = live.changed
                if live.resource.detached or not self._exists(live):
                    await context.abort(grpc.StatusCode.NOT_FOUND, "The subscription is gone")
                deliveries = self._broker.claim(
                    live, limit=stream.room(), lease_seconds=stream.ack_deadline_seconds or None
                )
                for delivery in deliveries:
                    stream.add(delivery)
                if deliveries:
                    yield StreamingPullResponse(
                        received_messages=[_received(live, delivery) for delivery in deliveries]
                    )
                    continue
                await _wait(changed, self._broker.next_due(live) if stream.room() > 0 else None)
        finally:
            reader.cancel()
            self._streams[live.id].discard(stream)

    async def _read_stream(
        self, live: LiveSubscription, stream: _Stream, requests: AsyncIterator[Any]
    ) -> None:
        async for request in requests:
            if request.stream_ack_deadline_seconds:
                stream.ack_deadline_seconds = request.stream_ack_deadline_seconds
            if request.ack_ids:
                self._release(live, request.ack_ids)
            for ack_id, seconds in zip(
                request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=False
            ):
                self._extend(live, [ack_id], seconds)
        stream.ended = True
        live.notify()

    def _pulled(self, name: str) -> LiveSubscription:
        live = self._broker.subscription(name)
        if live.is_push:
            raise FailedPrecondition(f"{name} is a push subscription")
        if live.resource.detached:
            raise FailedPrecondition(f"{name} is detached from its topic")
        return live

    def _exists(self, live: LiveSubscription) -> bool:
        try:
            return self._broker.subscription(live.resource.name) is live
        except NotFound:
            return False

    def _release(self, live: LiveSubscription, ack_ids: Sequence[str]) -> None:
        delivery_ids = [parse_ack_id(ack_id)[0] for ack_id in ack_ids]
        self._broker.acknowledge(live, delivery_ids)
        self._forget(live, delivery_ids)

    def _extend(self, live: LiveSubscription, ack_ids: Sequence[str], seconds: int) -> None:
        if not 0 <= seconds <= 600:
            raise InvalidArgument(f"Invalid ack_deadline_seconds: {seconds}; expected 0 to 600")
        leases = [parse_ack_id(ack_id) for ack_id in ack_ids]
        self._broker.extend(live, leases, seconds=seconds)
        if seconds == 0:
            self._forget(live, [delivery_id for delivery_id, _ in leases])

    def _forget(self, live: LiveSubscription, delivery_ids: Sequence[int]) -> None:
        """Make room in the streams that held these messages."""
        freed = False
        for stream in self._streams.get(live.id, ()):
            for delivery_id in delivery_ids:
                freed = stream.discard(delivery_id) or freed
        if freed:
            live.notify()


def _unary(
    request_type: Any, behaviour: Callable[[Any, Context], Awaitable[Any]]
) -> grpc.RpcMethodHandler:
    async def call(request: Any, context: Context) -> Any:
        try:
            return await behaviour(request, context)
        except BrokerError as error:
            await context.abort(_STATUS_CODES[type(error)], str(error))

    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=request_type.pb().FromString,
        response_serializer=_serialize,
    )


def _serialize(message: Any) -> bytes:
    body: bytes = message.SerializeToString()
    return body


def _received(live: LiveSubscription, delivery: Delivery) -> Any:
    return ReceivedMessage(
        ack_id=delivery.ack_id,
        message=PubsubMessage.FromString(delivery.message),
        delivery_attempt=delivery.attempt if live.max_attempts is not None else 0,
    )


async def _wait(
    changed: asyncio.Event, due_seconds: float | None, *, at_most: float | None = None
) -> None:
    """Return when *changed* is set, a message is due, or *at_most* seconds have passed."""
    waits = [seconds for seconds in (due_seconds, at_most) if seconds is not None]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(waits, default=None)):
            await changed.wait()


def _page(
    items: list[Item], request: Any, name_of: Callable[[Item], str]
) -> tuple[list[Item], str]:
    """Return one page of *items* (sorted by name) and the token of the next, '' at the end."""
    following = [item for item in items if name_of(item) > request.page_token]
    page = following[: request.page_size or DEFAULT_PAGE_SIZE]
    return page, name_of(page[-1]) if len(following) > len(page) else ""


async def serve(*, host: str, port: int, state: Path, max_in_flight: int) -> None:
    """
    Serve until SIGINT or SIGTERM.

    Raises:
        click.ClickException: The port is taken.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stopped.set)
    grpc_server = grpc.aio.server(
        options=[
            # Without this a second server would share the port and take half of the calls.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
            ("grpc.max_send_message_length", -1),
            # Clients ping an idle stream more often than gRPC tolerates by default.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
    )
    try:
        bound_port = grpc_server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise click.ClickException(
            f"cannot listen on {host}:{port}: is it taken? Set PUBSUB_PORT to a free port."
        ) from error
    hold_state(state)
    broker = Broker(state)
    server = Server(broker=broker, max_in_flight=max_in_flight)
    grpc_server.add_generic_rpc_handlers(server.handlers())
    await server.start_pushing()
    await grpc_server.start()
    expiring = loop.create_task(_expire_regularly(broker))
    click.echo(f"Pub/Sub emulator listening on {host}:{bound_port}")
    await stopped.wait()
    expiring.cancel()
    await server.stop_pushing()
    await grpc_server.stop(grace=0)
    broker.close()


async def _expire_regularly(broker: Broker) -> None:
    while True:
        broker.expire()
        await asyncio.sleep(EXPIRE_EVERY_SECONDS)


@click.command(help=(__doc__ or "").strip().splitlines()[0])
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8085,
    show_default=True,
    envvar="PUBSUB_PORT",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--state",
    default=Path(".local/pubsub.sqlite"),
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="SQLite file with topics, subscriptions and messages.",
)
@click.option(
    "--max-in-flight",
    default=16,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Pushes at a time for each subscription.",
)
def main(*, host: str, port: int, state: Path, max_in_flight: int) -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s pubsub %(levelname)s %(message)s"
    )
    asyncio.run(serve(host=host, port=port, state=state, max_in_flight=max_in_flight))


if __name__ == "__main__":
    main()
