"""Dead letters: kept for the operator, and their documents marked failed."""

from __future__ import annotations

from shared import store
from shared.errors import Malformed
from shared.messaging.events import Message, read_job, read_notification
from shared.runtime.logs import get_logger
from shared.values import EmbedJob

_log = get_logger("embed_worker")


def keep_dead_letter(message: Message, pool: store.Pool, *, announce: store.Publish | None) -> None:
    """
    Keep a dead letter for the operator, and mark its document failed.

    Args:
        announce: Publishes events of documents; None if none are published.

    Raises:
        Transient: Another try may help.
    """
    with store.connect(pool) as connection:
        store.record_dead_letter(
            connection,
            message_id=message.message_id,
            subscription=message.attributes.get(
                # https://cloud.google.com/pubsub/docs/handling-failures#track-delivery-attempts
                "CloudPubSubDeadLetterSourceSubscription",
                message.subscription,
            ),
            data=message.data,
            attributes=message.attributes,
        )
        _log.error("dead letter", message_id=message.message_id)
        _mark_failed(connection, message, announce=announce is not None)
    store.announce(pool, announce)


def _mark_failed(connection: store.Connection, message: Message, *, announce: bool) -> None:
    try:
        if "eventType" in message.attributes:
            event = read_notification(message)
            # A lost delete is no failure of a document: the reconciler handles it.
            if event is not None and event.kind != "deleted":
                store.record_dead_object(connection, event.object, announce=announce)
        else:
            job = read_job(message)
            # A lost fill is no failure of a document: `model fill` finds it again.
            if isinstance(job, EmbedJob):
                store.record_dead_job(connection, job, announce=announce)
    except Malformed as error:
        _log.error("dead letter names no document", reason=error.message)
