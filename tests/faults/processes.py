"""Faults of processes: killed, stopped, suspended."""

from __future__ import annotations

import signal

from tests.faults.registry import fault
from tests.faults.rig import WORKERS, Rig

_GROUP = "Processes"


@fault(_GROUP, quick=True)
def kill_worker(rig: Rig) -> None:
    """kill -9 of one of two embed workers with a batch in its hands."""
    rig.wait_for_work()
    rig.kill("embed_worker")
    rig.go_on(1)
    rig.start("embed_worker")


@fault(_GROUP)
def kill_all_workers(rig: Rig) -> None:
    """kill -9 of all embed workers at once."""
    rig.wait_for_work()
    rig.kill(*WORKERS)
    rig.go_on(2)
    rig.start(*WORKERS)


@fault(_GROUP, quick=True)
def kill_ingest(rig: Rig) -> None:
    """kill -9 of ingest and its parser in the middle of a document."""
    rig.kill("ingest")
    rig.go_on(1)
    rig.start("ingest")


@fault(_GROUP)
def kill_query(rig: Rig) -> None:
    """kill -9 of the query function under questions."""
    rig.kill("query")
    rig.go_on(1)
    rig.start("query")


@fault(_GROUP, quick=True)
def kill_broker(rig: Rig) -> None:
    """kill -9 of Pub/Sub with messages in flight."""
    rig.wait_for_work()
    rig.kill("pubsub")
    rig.go_on(1)
    rig.start("pubsub")


@fault(_GROUP, quick=True)
def kill_storage(rig: Rig) -> None:
    """kill -9 of Cloud Storage in the middle of uploads and downloads."""
    rig.kill("storage")
    rig.go_on(1)
    rig.start("storage")


@fault(_GROUP)
def suspend_worker(rig: Rig) -> None:
    """SIGSTOP of a worker beyond its lease of 5 s, then SIGCONT: it wakes up with old work."""
    rig.wait_for_work()
    rig.signal("embed_worker", signal.SIGSTOP)
    rig.go_on(8)
    rig.signal("embed_worker", signal.SIGCONT)


@fault(_GROUP)
def suspend_ingest(rig: Rig) -> None:
    """SIGSTOP of ingest beyond its lease of 5 s, then SIGCONT."""
    rig.signal("ingest", signal.SIGSTOP)
    rig.go_on(8)
    rig.signal("ingest", signal.SIGCONT)


@fault(_GROUP)
def terminate_worker(rig: Rig) -> None:
    """SIGTERM to a worker with a batch in flight, as when Cloud Run takes an instance away."""
    rig.wait_for_work()
    rig.terminate("embed_worker")
    rig.start("embed_worker")
