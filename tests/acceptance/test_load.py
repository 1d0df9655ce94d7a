"""The short form of `make load`: no errors, connections within the pools, overload refused."""

from __future__ import annotations

import random
import threading

from benchmarks.load import ask_at_once, ask_until, count_connections
from benchmarks.running import make_text, sentences
from local.system import System

QUESTIONS = ["What is a loop?", "How is a class made?", "Which exceptions are there?"]
# Ingest, embed worker, dead letters, query, sweeper, reconciler; each has DATABASE_POOL_SIZE 4.
BUDGET = 6 * 4


def test_questions_when_documents_are_indexed(system: System) -> None:
    """No question fails while documents are indexed, and the pools are not outgrown."""
    known, chance = sentences(), random.Random(3)
    over = threading.Event()
    join = ask_until(over, system.query_url, QUESTIONS, clients=6)
    connections = []
    try:
        for number in range(3):
            system.upload(f"load/{number}.txt", make_text(chance, known, chunks=3))
        for number in range(3):
            assert system.wait_for(f"load/{number}.txt", timeout_seconds=120)["state"] == "ready"
            connections.append(count_connections(system.owner_url))
    finally:
        over.set()
        asked = join()
    assert [one for one in asked if not one.was_answered] == []
    assert max(connections) <= BUDGET


def test_overload_when_many_ask_at_once(system: System) -> None:
    """Each of many is answered, or refused and told when to come again; none waits for ever."""
    asked = ask_at_once(system.query_url, QUESTIONS, clients=120)
    assert [one for one in asked if not (one.was_answered or one.was_refused)] == []
    assert sum(one.was_answered for one in asked) >= 40
    assert system.get("/healthz") == {"status": "ok"}
