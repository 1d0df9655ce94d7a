"""Comments in a stream that has nothing to say: proxies end connections that are silent."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextvars import copy_context

# https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes
KEEP_ALIVE_SECONDS = 15.0
_COMMENT = ": keep-alive\n\n"
_LOOK_SECONDS = 0.5


def keep_alive(
    events: Iterator[str], *, seconds: float = KEEP_ALIVE_SECONDS
) -> Generator[str, None, None]:
    """
    Yield *events*, and a comment whenever none has come for so long.

    They are made in a thread of their own. It ends at the next event when this iterator is closed,
    which closes *events*.
    """
    made: queue.Queue[Callable[[], str | None]] = queue.Queue(maxsize=1)
    closed = threading.Event()

    def hand_over(take: Callable[[], str | None]) -> None:
        while not closed.is_set():
            try:
                made.put(take, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return

    def make() -> None:
        try:
            for event in events:
                hand_over(lambda event=event: event)  # type: ignore[misc]  # bound as it is now
                if closed.is_set():
                    return
            hand_over(lambda: None)
        except BaseException as error:
            failure = error

            def fail() -> str | None:
                raise failure

            hand_over(fail)
        finally:
            if close := getattr(events, "close", None):
                close()

    threading.Thread(target=copy_context().run, args=(make,), name="events", daemon=True).start()
    try:
        while True:
            try:
                event = made.get(timeout=seconds)()
            except queue.Empty:
                yield _COMMENT
                continue
            if event is None:
                return
            yield event
    finally:
        closed.set()
