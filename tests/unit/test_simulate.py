"""The model of the system: what can be worked out by hand comes out of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.simulation import (
    Deployment,
    Service,
    ServiceTimes,
    cost_of_indexing,
    cost_of_questions,
    percentile,
    simulate_indexing,
    simulate_questions,
)

TIMES = ServiceTimes(
    message=0.0,
    download=0.0,
    parse=1.0,
    parse_a_chunk=0.0,
    stage=0.0,
    stage_a_chunk=0.0,
    lease=0.0,
    embed_a_chunk=0.1,
    embed_width=2.0,
    finish=0.0,
    finish_a_chunk=0.0,
    question_embed=0.01,
    question_search=0.02,
    question_answer=0.01,
)
SERVICE = Service(concurrency=1, max_instances=1, cold_start_seconds=0.0, wait_seconds=1e9)
CLOUD = Deployment(
    ingest=SERVICE,
    worker=SERVICE,
    query=replace(SERVICE, min_instances=1),
    database_cores=4.0,
    chunks_a_batch=10,
)


def test_drain_when_one_document_arrives() -> None:
    """A document takes the sum of its phases: parsing, then two cores embed its chunks."""
    indexed = simulate_indexing([(0.0, 10)], times=TIMES, deployment=CLOUD)
    assert indexed.drain_seconds == pytest.approx(1.0 + 10 * 0.1 / 2)
    assert (indexed.messages, indexed.deliveries) == (2, 2)


def test_drain_when_stages_overlap() -> None:
    """The slowest stage decides: parsing of the next goes on while the last one embeds."""
    indexed = simulate_indexing([(0.0, 10)] * 20, times=TIMES, deployment=CLOUD)
    assert indexed.drain_seconds == pytest.approx(20 * 1.0 + 0.5)
    assert len(indexed.latencies) == 20


def test_drain_when_one_machine_does_all() -> None:
    """On one machine the work of all stages shares its cores."""
    local = replace(
        CLOUD,
        database_cores=None,
        machine_cores=2.0,
        ingest=replace(SERVICE, concurrency=2),
        worker=replace(SERVICE, concurrency=2),
    )
    indexed = simulate_indexing([(0.0, 10)] * 20, times=TIMES, deployment=local)
    work = 20 * (1.0 + 10 * 0.1)
    assert work / 2 <= indexed.drain_seconds <= 1.15 * work / 2


def test_drain_when_instances_double() -> None:
    """Twice the instances halve the time of a long backlog."""
    times = replace(TIMES, parse=0.0)
    arrivals = [(0.0, 10)] * 400
    one, two = (
        simulate_indexing(
            arrivals,
            times=times,
            deployment=replace(CLOUD, worker=replace(SERVICE, max_instances=instances)),
        )
        for instances in (4, 8)
    )
    assert two.drain_seconds == pytest.approx(one.drain_seconds / 2, rel=0.1)
    assert two.most_instances["embed-worker"] == 8


def test_deliveries_when_places_are_short() -> None:
    """What is refused is delivered again after its back-off; nothing is lost."""
    short = replace(CLOUD, worker=replace(SERVICE, wait_seconds=2.0), window=16)
    indexed = simulate_indexing(
        [(0.0, 100)] * 5, times=replace(TIMES, embed_a_chunk=0.2), deployment=short
    )
    assert indexed.deliveries > indexed.messages
    assert indexed.dead_letters + len(indexed.latencies) >= 5


def test_dead_letters_when_nothing_has_room() -> None:
    """A message that is refused ten times is given up."""
    none = replace(
        CLOUD, worker=replace(SERVICE, max_instances=0, wait_seconds=0.0), max_attempts=10
    )
    indexed = simulate_indexing([(0.0, 10)], times=TIMES, deployment=none)
    assert (indexed.dead_letters, indexed.latencies) == (1, [])
    assert indexed.deliveries == 1 + 10


def test_cold_start_when_the_first_message_comes() -> None:
    """A service at zero instances answers after its start."""
    cold = replace(CLOUD, ingest=replace(SERVICE, cold_start_seconds=3.0))
    warm = simulate_indexing([(0.0, 10)], times=TIMES, deployment=CLOUD)
    late = simulate_indexing([(0.0, 10)], times=TIMES, deployment=cold)
    assert late.drain_seconds == pytest.approx(warm.drain_seconds + 3.0)


def test_latency_when_questions_are_rare() -> None:
    """Without others a question takes its own work."""
    answered = simulate_questions(
        times=TIMES, deployment=CLOUD, seconds=1_000, questions_a_second=0.05
    )
    # The embedding has the width of one core here; search and answer as well.
    assert percentile(answered.latencies, 0.5) == pytest.approx(0.04)
    assert answered.refused == 0


def test_throughput_when_clients_ask_without_a_pause() -> None:
    """The machine's cores bound how many are answered; clients beyond only wait longer."""
    local = replace(
        CLOUD, database_cores=None, query=replace(SERVICE, min_instances=1, concurrency=40)
    )
    few, many = (
        simulate_questions(times=TIMES, deployment=local, seconds=60, clients=clients)
        for clients in (8, 32)
    )
    for answered in (few, many):
        assert len(answered.latencies) / answered.seconds == pytest.approx(2 / 0.04, rel=0.05)
    assert percentile(many.latencies, 0.5) == pytest.approx(
        4 * percentile(few.latencies, 0.5), rel=0.1
    )


def test_throughput_when_one_connection_serves_many_questions() -> None:
    """A connection is held for the search alone: other questions are embedded meanwhile."""
    query = replace(SERVICE, min_instances=1, concurrency=8, pool_size=1)
    answered = simulate_questions(
        times=TIMES, deployment=replace(CLOUD, query=query), seconds=60, clients=8
    )
    assert len(answered.latencies) / answered.seconds == pytest.approx(1 / 0.02, rel=0.05)


def test_refusals_when_questions_outrun_the_instances() -> None:
    """What finds no place in time is refused, not kept for ever."""
    short = replace(CLOUD, query=replace(SERVICE, min_instances=1, wait_seconds=1.0))
    answered = simulate_questions(times=TIMES, deployment=short, seconds=60, questions_a_second=100)
    assert answered.refused > 0
    assert answered.latencies[-1] <= 1.0 + 0.04 + 1e-6


def test_cost_when_work_is_known() -> None:
    """A second of an instance costs its processors and its memory."""
    indexed = simulate_indexing([(0.0, 10)] * 10, times=TIMES, deployment=CLOUD)
    cost = cost_of_indexing(indexed, CLOUD)
    busy = sum(indexed.busy_seconds.values())
    assert busy == pytest.approx(10 * (1.0 + 0.5))
    assert cost["instances"] == pytest.approx(busy * 2 * (0.000024 + 0.0000025))
    answered = simulate_questions(times=TIMES, deployment=CLOUD, seconds=100, questions_a_second=1)
    asking = cost_of_questions(answered, CLOUD, tokens_in=4_000, tokens_out=300)
    assert asking["tokens"] == pytest.approx(1_000 * (4_000 * 0.30 + 300 * 2.50) / 1e6)
