"""
Deliver a push subscription's messages to its HTTP endpoint.

https://cloud.google.com/pubsub/docs/push
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import logging
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from local.emulators.broker import (
    PUSH_LEASE_MARGIN_SECONDS,
    Broker,
    Delivery,
    LiveSubscription,
    PubsubMessage,
    format_time,
)

logger = logging.getLogger(__name__)

# https://cloud.google.com/pubsub/docs/push#receive_push
ACKNOWLEDGING_STATUSES = frozenset({102, 200, 201, 202, 204})

CONNECT_TIMEOUT_SECONDS = 5.0
# gunicorn closes an idle connection after 2 s (its keepalive setting): one that is younger
# than this is not about to be closed under a request.
REUSE_CONNECTION_SECONDS = 1.0
MAX_DRAINED_BYTES = 65_536
# While the endpoint does not answer, one message at a time is tried after a short pause.
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
AFTER_ERROR_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Outcome:
    delivery: Delivery
    problem: str
    status: int | None = None
    # Nothing listens: the message was not sent at all.
    unreachable: bool = False
    # The connection broke before an answer came.
    broken: bool = False

    @property
    def acknowledged(self) -> bool:
        return self.status in ACKNOWLEDGING_STATUSES


class Pusher:
    """Pushes one subscription, at most *max_in_flight* messages at a time."""

    def __init__(self, *, broker: Broker, live: LiveSubscription, max_in_flight: int) -> None:
        self._broker = broker
        self._live = live
        self._max_in_flight = max_in_flight
        self._threads = ThreadPoolExecutor(max_in_flight, thread_name_prefix="push")
        self._connections = _Connections()
        self._in_flight = 0
        self._finished: list[_Outcome] = []
        self._failed_in_a_row = 0
        self._paused_until = 0.0
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop at once; what was in flight is pushed again by the next server."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._connections.abort_all()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            changed = self._live.changed
            try:
                with self._broker.transaction():
                    self._settle()
                    deliveries = self._broker.claim(
                        self._live, limit=self._free_slots(), lease_seconds=self._lease_seconds()
                    )
            except sqlite3.Error:
                # A full disk, say. What could not be settled is pushed again after its lease.
                logger.exception("%s: cannot go on, trying again", self._live.resource.name)
                await asyncio.sleep(AFTER_ERROR_SECONDS)
                continue
            for delivery in deliveries:
                self._start(delivery, loop)
            wait_seconds = self._wait_seconds()
            timer = (
                None if wait_seconds is None else loop.call_later(wait_seconds, self._live.notify)
            )
            await changed.wait()
            if timer is not None:
                timer.cancel()

    def _free_slots(self) -> int:
        if time.monotonic() < self._paused_until:
            return 0
        window = 1 if self._failed_in_a_row else self._max_in_flight
        return window - self._in_flight

    def _lease_seconds(self) -> float:
        return float(self._live.resource.ack_deadline_seconds + PUSH_LEASE_MARGIN_SECONDS)

    def _wait_seconds(self) -> float | None:
        """Return when to look again unless something happens first; None: only then."""
        pause = self._paused_until - time.monotonic()
        if pause > 0:
            return pause
        return self._broker.next_due(self._live) if self._free_slots() > 0 else None

    def _start(self, delivery: Delivery, loop: asyncio.AbstractEventLoop) -> None:
        self._in_flight += 1
        endpoint = self._live.resource.push_config.push_endpoint
        timeout_seconds = float(self._live.resource.ack_deadline_seconds)
        body = _wrap(
            delivery,
            subscription=self._live.resource.name,
            with_attempt=self._live.max_attempts is not None,
        )
        future = loop.run_in_executor(
            self._threads, self._connections.post, endpoint, body, timeout_seconds, delivery
        )
        # The socket's own timeout restarts with each byte; this one does not.
        deadline = loop.call_later(timeout_seconds, self._connections.abort, delivery.id)

        def finish(done: asyncio.Future[_Outcome]) -> None:
            deadline.cancel()
            if done.cancelled():
                return
            self._in_flight -= 1
            self._finished.append(done.result())
            self._live.notify()

        future.add_done_callback(finish)

    def _settle(self) -> None:
        finished, self._finished = self._finished, []
        if not finished:
            return
        self._broker.acknowledge(
            self._live, [outcome.delivery.id for outcome in finished if outcome.acknowledged]
        )
        # Unlike in the cloud, where an endpoint is always there, what could not be sent costs no
        # attempt and no back-off: a function that is started again goes on at once.
        unsent = [_lease(outcome) for outcome in finished if outcome.unreachable]
        if unsent:
            self._broker.take_back(self._live, unsent)
        refused = [
            _lease(outcome)
            for outcome in finished
            if not outcome.acknowledged and not outcome.unreachable
        ]
        if refused:
            self._broker.extend(self._live, refused, seconds=0)
        for outcome in finished:
            self._watch(outcome)

    def _watch(self, outcome: _Outcome) -> None:
        """Log a failure, and slow down while nothing answers."""
        name = self._live.resource.name
        endpoint = self._live.resource.push_config.push_endpoint
        if outcome.unreachable or outcome.broken:
            if self._failed_in_a_row == 0:
                logger.warning("%s: %s does not answer (%s)", name, endpoint, outcome.problem)
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**self._failed_in_a_row)
            self._paused_until = time.monotonic() + pause
            self._failed_in_a_row = min(self._failed_in_a_row + 1, 10)
            return
        if self._failed_in_a_row:
            logger.info("%s: %s answers again", name, endpoint)
        self._failed_in_a_row = 0
        self._paused_until = 0.0
        if not outcome.acknowledged:
            logger.warning(
                "%s: attempt %d was refused: %s", name, outcome.delivery.attempt, outcome.problem
            )


def _lease(outcome: _Outcome) -> tuple[int, int]:
    return outcome.delivery.id, outcome.delivery.attempt


class _Connections:
    """Kept-alive HTTP connections, one a thread."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._busy: dict[int, http.client.HTTPConnection] = {}

    def post(
        self, endpoint: str, body: bytes, timeout_seconds: float, delivery: Delivery
    ) -> _Outcome:
        """Push one message; every way to fail is an outcome, not an exception."""
        started = time.monotonic()
        url = urlsplit(endpoint)
        try:
            connection = self._connect(url, timeout_seconds)
        except (OSError, ValueError, http.client.HTTPException) as error:
            return _Outcome(delivery, f"{type(error).__name__}: {error}", unreachable=True)
        self._busy[delivery.id] = connection
        try:
            status = self._exchange(connection, url, body)
        except (OSError, http.client.HTTPException) as error:
            self._local.connection = None
            if time.monotonic() - started >= timeout_seconds:
                return _Outcome(delivery, f"no answer within {timeout_seconds:.0f} s")
            return _Outcome(delivery, f"{type(error).__name__}: {error}", broken=True)
        finally:
            self._busy.pop(delivery.id, None)
        return _Outcome(delivery, f"HTTP {status}", status=status)

    def abort(self, delivery_id: int) -> None:
        """Make the thread that pushes *delivery_id* give up now."""
        connection = self._busy.get(delivery_id)
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def abort_all(self) -> None:
        for delivery_id in list(self._busy):
            self.abort(delivery_id)

    def _connect(self, url: SplitResult, timeout_seconds: float) -> http.client.HTTPConnection:
        origin = (url.scheme, url.netloc)
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            fresh = time.monotonic() - self._local.last_used < REUSE_CONNECTION_SECONDS
            if self._local.origin == origin and fresh and connection.sock is not None:
                connection.sock.settimeout(timeout_seconds)
                return connection
            connection.close()
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=CONNECT_TIMEOUT_SECONDS)
        connection.connect()
        connection.sock.settimeout(timeout_seconds)
        self._local.connection, self._local.origin = connection, origin
        return connection

    def _exchange(
        self, connection: http.client.HTTPConnection, url: SplitResult, body: bytes
    ) -> int:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("POST", path, body=body, headers=_HEADERS)
        response = connection.getresponse()
        response.read(MAX_DRAINED_BYTES)
        if not response.isclosed() or response.status < 200:
            connection.close()
        self._local.last_used = time.monotonic()
        return response.status


_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": "CloudPubSub-Google",
}


def _wrap(delivery: Delivery, *, subscription: str, with_attempt: bool) -> bytes:
    """
    Return the body of a push request.

    https://cloud.google.com/pubsub/docs/push#receive_push
    """
    stored = PubsubMessage.FromString(delivery.message)
    published = format_time(stored.publish_time)
    message: dict[str, Any] = {
        "messageId": stored.message_id,
        "message_id": stored.message_id,
        "publishTime": published,
        "publish_time": published,
    }
    if stored.data:
        message["data"] = base64.b64encode(stored.data).decode()
    if stored.attributes:
        message["attributes"] = dict(stored.attributes)
    envelope: dict[str, Any] = {"message": message, "subscription": subscription}
    if with_attempt:
        envelope["deliveryAttempt"] = delivery.attempt
    return json.dumps(envelope).encode()
