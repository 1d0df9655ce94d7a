"""Inject one fault into a running system, and hold what follows against the invariants."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg
from google.api_core.exceptions import GoogleAPICallError, RetryError

from tests.faults.registry import Fault
from tests.faults.rig import Impossible, Rig
from tests.faults.traffic import Reader, Writer

_MEMORY_BYTES = 900 * 2**20


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How one fault went.

    Attributes:
        impossible: Why it could not be injected here; empty if it was.
        violations: What did not hold in the end, and the wrong answers.
        heal_seconds: From the end of the fault and of the stream until all held.
        operations: Uploads, overwrites and deletes meanwhile.
        questions: Asked meanwhile.
        refused: Questions that got 429, 502, 503 or 504 and nothing else.
        unanswered: Questions that got no answer at all.
    """

    fault: Fault
    impossible: str = ""
    violations: tuple[str, ...] = ()
    heal_seconds: float = 0.0
    operations: int = 0
    questions: int = 0
    refused: int = 0
    unanswered: int = 0
    wrong: int = 0
    slowest_ms: int = 0
    most_memory: int = 0

    @property
    def survived(self) -> bool:
        """Whether nothing was lost, nothing wrong and all healed in time."""
        return not self.violations and not self.impossible


def inject(
    rig: Rig,
    fault: Fault,
    *,
    flow_seconds: float,
    pause_seconds: float = 0.2,
    heal_within_seconds: float = 60.0,
) -> Outcome:
    """
    Inject *fault* into a stream of changes and questions, and wait until everything has healed.

    Args:
        flow_seconds: How long the stream flows before the fault and after it.
        heal_within_seconds: After the fault and the stream have ended.
    """
    rig.prefix = fault.name
    ledger = rig.ledger
    seen_before = len(ledger.wrong)
    rig.writer = Writer(rig.system.bucket, ledger, prefix=fault.name, pause=pause_seconds)
    reader = Reader(rig.system.query_url, ledger)
    rig.writer.start()
    reader.start()
    impossible = ""
    broken: list[str] = []
    try:
        try:
            rig.go_on(flow_seconds)
            fault.inject(rig)
            rig.go_on(flow_seconds)
        except Impossible as error:
            impossible = str(error)
        except Exception as error:
            # Whatever it is: the row says it, and the other faults are still injected.
            broken.append(f"the fault could not be injected to its end: {error!r}")
        broken += [f"{name} ended by itself" for name in rig.ended()]
        rig.mend()
        rig.writer.stop()
        over = time.monotonic()
        left = _wait_until_whole(rig, heal_within_seconds)
        healed = time.monotonic()
    finally:
        rig.writer.stop()
        reader.stop()
    if rig.writer.failure is not None:
        left.append(f"the stream of changes broke: {rig.writer.failure!r}")
    left += _ask_for_all(rig, reader)
    memory = rig.memory()
    left += [
        f"{name} holds {used >> 20} MB" for name, used in memory.items() if used > _MEMORY_BYTES
    ]
    wrong = ledger.wrong[seen_before:]
    counts = reader.counts
    return Outcome(
        fault=fault,
        impossible=impossible,
        violations=(*broken, *left, *wrong),
        heal_seconds=healed - over,
        operations=rig.writer.operations,
        questions=counts["answered"] + counts["refused"] + counts["unanswered"] + len(wrong),
        refused=counts["refused"],
        unanswered=counts["unanswered"],
        wrong=len(wrong),
        slowest_ms=counts["slowest"],
        most_memory=max(memory.values()),
    )


def _wait_until_whole(rig: Rig, seconds: float) -> list[str]:
    """Wait until index and bucket agree; return what does not in the end."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with rig.sql() as connection:
                left = rig.invariants.violations(connection)
        except (psycopg.Error, GoogleAPICallError, RetryError, OSError) as error:
            left = [f"nothing can be compared: {error!r}"]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def _ask_for_all(rig: Rig, reader: Reader) -> list[str]:
    """Ask for every document of this fault once more, as a user would."""
    return [
        f"{name}: no answer after all has healed"
        for name in rig.writer.names
        if name in rig.ledger.names() and not reader.ask_for_document(name)
    ]
