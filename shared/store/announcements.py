"""What happened to documents, published: right after the flip, and by the sweeper for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shared.errors import KaydangError, describe
from shared.runtime.logs import get_logger
from shared.store.connection import Pool, connect
from shared.store.outbox import claim_events, delete_events
from shared.values import DocumentEvent

Publish = Callable[[Sequence[DocumentEvent]], None]

_BATCH_SIZE = 200
_MOST_BATCHES = 50

_log = get_logger("document_events")


def publish_waiting(pool: Pool, publish: Publish) -> int:
    """
    Publish the events that wait, oldest first, and return how many: 10,000 at most.

    Raises:
        PublishFailed: Pub/Sub did not take them; they are tried again after a minute.
        DatabaseUnavailable: As connect().
    """
    published = 0
    for _ in range(_MOST_BATCHES):
        with connect(pool) as connection:
            events = claim_events(connection, limit=_BATCH_SIZE)
        if not events:
            break
        publish(events)
        with connect(pool) as connection:
            delete_events(connection, events)
        published += len(events)
    return published


def announce(pool: Pool, publish: Publish | None) -> None:
    """
    Publish the events that wait, if they are published at all.

    A failure is logged and fails nothing else: the work is done, and the sweeper publishes what is
    left.
    """
    if publish is None:
        return
    try:
        publish_waiting(pool, publish)
    except KaydangError as error:
        _log.warning("document events wait for the sweeper", error=describe(error))
