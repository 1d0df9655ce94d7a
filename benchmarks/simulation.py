"""
A discrete-event model of the whole system: messages, instances that start and fill, cores shared.

Pure: it takes service times, a deployment and a load, and returns what would happen. Work is in
core-seconds; the tasks on a machine share its cores in proportion to the cores that each could use.
What is not in it: network time, disk, garbage collection, variance of service times beyond that of
the documents' sizes.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from infra.cost import PRICES

_NEVER = math.inf


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """
    What one piece of work takes, in core-seconds unless it says otherwise.

    Attributes:
        message: Of the web server and the framework, for each push and each question.
        embed_width: How many cores an embedding uses at most.
        generate_wait: Seconds for which an answer waits for Gemini; no work here.
    """

    message: float
    download: float
    parse: float
    parse_a_chunk: float
    stage: float
    stage_a_chunk: float
    lease: float
    embed_a_chunk: float
    embed_width: float
    finish: float
    finish_a_chunk: float
    question_embed: float
    question_search: float
    question_answer: float
    generate_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Service:
    """
    How a function is deployed.

    Attributes:
        wait_seconds: How long a request waits for a free place before it is refused (429).
    """

    concurrency: int
    max_instances: int
    cores: float = 2.0
    memory_gib: float = 2.0
    min_instances: int = 0
    cold_start_seconds: float = 2.0
    pool_size: int = 4
    wait_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """
    All that is deployed.

    Attributes:
        database_cores: None: everything runs on one machine of *machine_cores*.
        window: Pushes of a subscription under way at most.
        slows_down: Whether Pub/Sub pushes less after refusals, as its page says it does.
    """

    ingest: Service
    worker: Service
    query: Service
    database_cores: float | None
    machine_cores: float = 2.0
    chunks_a_batch: int = 64
    window: int = 1000
    slows_down: bool = True
    ack_deadline_seconds: float = 600.0
    shortest_backoff_seconds: float = 10.0
    longest_backoff_seconds: float = 600.0
    max_attempts: int = 100


@dataclass(frozen=True, slots=True)
class Indexed:
    """What became of the documents."""

    drain_seconds: float
    latencies: list[float]
    most_waiting_chunks: int
    messages: int
    deliveries: int
    dead_letters: int
    busy_seconds: dict[str, float]
    most_instances: dict[str, int]


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of the questions."""

    latencies: list[float]
    refused: int
    seconds: float
    busy_seconds: float
    most_instances: int
    database_busy: float


@dataclass(frozen=True, slots=True)
class _Phase:
    """Work on a machine, holding something of the instance; without width only time passes."""

    work: float
    width: float = 1.0
    at_database: bool = False
    holds: str = ""


class _Clock:
    """The events to come, in their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, moment: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), action))

    def run(self) -> None:
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()


class _Machine:
    """Cores that are shared by what runs on them."""

    def __init__(self, clock: _Clock, cores: float) -> None:
        self._clock = clock
        self._cores = cores
        self._running: dict[int, list[float]] = {}
        self._finished: dict[int, Callable[[], None]] = {}
        self._order = count()
        self._since = 0.0
        self._version = 0
        self.busy = 0.0

    def work(self, amount: float, width: float, then: Callable[[], None]) -> None:
        self._advance()
        key = next(self._order)
        self._running[key] = [amount, width]
        self._finished[key] = then
        self._plan()

    def _share(self) -> float:
        wanted = sum(width for _, width in self._running.values())
        return min(1.0, self._cores / wanted) if wanted else 1.0

    def _advance(self) -> None:
        passed = self._clock.now - self._since
        self._since = self._clock.now
        share = self._share()
        for item in self._running.values():
            done = passed * item[1] * share
            item[0] -= done
            self.busy += done

    def _plan(self) -> None:
        self._version += 1
        if not self._running:
            return
        share = self._share()
        soonest = min(left / (width * share) for left, width in self._running.values())
        version = self._version
        self._clock.at(self._clock.now + max(soonest, 0.0), lambda: self._look(version))

    def _look(self, version: int) -> None:
        if version != self._version:
            return
        self._advance()
        # What is due now by all but the rounding of floating point is done.
        done = [key for key, (left, _) in self._running.items() if left <= 1e-9]
        for key in done:
            del self._running[key]
        then = [self._finished.pop(key) for key in done]
        self._plan()
        for action in then:
            action()


class _Instance:
    """One instance of a service: its places, and what its requests hold one after the other."""

    def __init__(self, machine: _Machine, held: dict[str, int]) -> None:
        self.machine = machine
        self.requests = 0
        self.busy_since = 0.0
        self._free = held
        self._queues: dict[str, deque[Callable[[], None]]] = {name: deque() for name in held}

    def hold(self, name: str, then: Callable[[], None]) -> None:
        if not name:
            then()
        elif self._free[name]:
            self._free[name] -= 1
            then()
        else:
            self._queues[name].append(then)

    def let_go(self, name: str) -> None:
        if not name:
            return
        if self._queues[name]:
            self._queues[name].popleft()()
        else:
            self._free[name] += 1


@dataclass(slots=True)
class _Request:
    phases: list[_Phase]
    done: Callable[[], None]
    refused: Callable[[], None]
    waiting: bool = True


class _Station:
    """A service: starts instances as they are needed, and lets requests wait for a place."""

    def __init__(
        self, clock: _Clock, service: Service, database: _Machine, machine: _Machine | None
    ) -> None:
        self._clock = clock
        self._service = service
        self._database = database
        self._machine = machine
        self._instances: list[_Instance] = []
        self._starting = 0
        self._waiting: deque[_Request] = deque()
        self.busy_seconds = 0.0
        self.most_instances = service.min_instances
        for _ in range(service.min_instances):
            self._instances.append(self._make())

    def _make(self) -> _Instance:
        machine = self._machine or _Machine(self._clock, self._service.cores)
        return _Instance(machine, {"model": 1, "connection": self._service.pool_size})

    def take(
        self, phases: list[_Phase], done: Callable[[], None], refused: Callable[[], None]
    ) -> None:
        request = _Request(phases, done, refused)
        self._waiting.append(request)
        self._fill()
        if request.waiting:
            self._start_more()
            if self._service.wait_seconds < _NEVER:
                self._clock.at(
                    self._clock.now + self._service.wait_seconds, lambda: self._give_up(request)
                )

    def _give_up(self, request: _Request) -> None:
        if request.waiting:
            request.waiting = False
            self._waiting.remove(request)
            request.refused()

    def _start_more(self) -> None:
        service = self._service
        places = self._starting * service.concurrency
        there = len(self._instances) + self._starting
        while places < len(self._waiting) and there < service.max_instances:
            self._starting += 1
            there += 1
            places += service.concurrency
            self.most_instances = max(self.most_instances, there)
            self._clock.at(self._clock.now + service.cold_start_seconds, self._started)

    def _started(self) -> None:
        self._starting -= 1
        self._instances.append(self._make())
        self._fill()

    def _fill(self) -> None:
        while self._waiting:
            free = [i for i in self._instances if i.requests < self._service.concurrency]
            if not free:
                return
            request = self._waiting.popleft()
            request.waiting = False
            self._begin(min(free, key=lambda instance: instance.requests), request)

    def _begin(self, instance: _Instance, request: _Request) -> None:
        if not instance.requests:
            instance.busy_since = self._clock.now
        instance.requests += 1

        def go(number: int, held: str) -> None:
            phase = request.phases[number] if number < len(request.phases) else None
            wanted = phase.holds if phase else ""
            if wanted == held:
                enter(number, held)
            else:
                instance.let_go(held)
                instance.hold(wanted, lambda: enter(number, wanted))

        def enter(number: int, held: str) -> None:
            if number == len(request.phases):
                instance.requests -= 1
                if not instance.requests:
                    self.busy_seconds += self._clock.now - instance.busy_since
                self._fill()
                request.done()
                return
            phase = request.phases[number]
            if not phase.width:
                self._clock.at(self._clock.now + phase.work, lambda: go(number + 1, held))
                return
            machine = self._database if phase.at_database else instance.machine
            machine.work(phase.work, phase.width, lambda: go(number + 1, held))

        go(0, "")


@dataclass(slots=True)
class _Message:
    phases: list[_Phase]
    acknowledged: Callable[[], None]
    attempts: int = 0
    over: bool = False
    held: bool = False


@dataclass(slots=True)
class _Subscription:
    """Push: a window of deliveries, back-off after a refusal, dead letters after the last."""

    clock: _Clock
    station: _Station
    deployment: Deployment
    ready: deque[_Message] = field(default_factory=deque)
    under_way: int = 0
    window: float = 1.0
    messages: int = 0
    deliveries: int = 0
    dead_letters: int = 0

    def publish(self, phases: list[_Phase], acknowledged: Callable[[], None]) -> None:
        self.messages += 1
        self.ready.append(_Message(phases, acknowledged))
        self.push()

    def push(self) -> None:
        while self.ready and self.under_way < self.window:
            self._deliver(self.ready.popleft())

    def _deliver(self, message: _Message) -> None:
        message.attempts += 1
        message.held = True
        attempt = message.attempts
        self.under_way += 1
        self.deliveries += 1
        self.station.take(
            message.phases,
            lambda: self._done(message),
            lambda: self._refused(message),
        )
        deadline = self.clock.now + self.deployment.ack_deadline_seconds
        self.clock.at(deadline, lambda: self._late(message, attempt))

    def _done(self, message: _Message) -> None:
        self.under_way -= 1
        # Slow start: the window opens with each acknowledgement and halves with each refusal.
        # https://cloud.google.com/pubsub/docs/push#delivery_rate
        self.window = min(self.deployment.window, self.window + 1)
        message.held = False
        if not message.over:
            message.over = True
            message.acknowledged()
        self.push()

    def _refused(self, message: _Message) -> None:
        message.held = False
        self.under_way -= 1
        if self.deployment.slows_down:
            self.window = max(1.0, self.window / 2)
        if message.attempts >= self.deployment.max_attempts:
            message.over = True
            self.dead_letters += 1
        else:
            self._again(message)
        self.push()

    def _late(self, message: _Message, attempt: int) -> None:
        # It is worked on still, and now comes a second time.
        if message.held and message.attempts == attempt < self.deployment.max_attempts:
            self._again(message)

    def _again(self, message: _Message) -> None:
        deployment = self.deployment
        backoff = min(
            deployment.longest_backoff_seconds,
            deployment.shortest_backoff_seconds * 2.0 ** (message.attempts - 1),
        )

        def come_again() -> None:
            self.ready.append(message)
            self.push()

        self.clock.at(self.clock.now + backoff, come_again)


def _machines(clock: _Clock, deployment: Deployment) -> tuple[_Machine, _Machine | None]:
    """Return the database's machine, and the one that all share where there is only one."""
    if deployment.database_cores is None:
        machine = _Machine(clock, deployment.machine_cores)
        return machine, machine
    return _Machine(clock, deployment.database_cores), None


def simulate_indexing(
    arrivals: Sequence[tuple[float, int]], *, times: ServiceTimes, deployment: Deployment
) -> Indexed:
    """
    Return what becomes of documents.

    Args:
        arrivals: (second of the upload, chunks) of each document.
    """
    clock = _Clock()
    database, shared = _machines(clock, deployment)
    ingest = _Station(clock, deployment.ingest, database, shared)
    worker = _Station(clock, deployment.worker, database, shared)
    uploads = _Subscription(clock, ingest, deployment)
    jobs = _Subscription(clock, worker, deployment)
    latencies: list[float] = []
    waiting = most_waiting = 0
    last = 0.0

    def upload(moment: float, chunks: int) -> None:
        phases = [
            _Phase(times.message + times.download),
            _Phase(times.parse + times.parse_a_chunk * chunks),
            _Phase(
                times.stage + times.stage_a_chunk * chunks, at_database=True, holds="connection"
            ),
        ]
        uploads.publish(phases, lambda: staged(moment, chunks))

    def staged(moment: float, chunks: int) -> None:
        nonlocal waiting, most_waiting
        size = deployment.chunks_a_batch
        batches = [min(size, chunks - start) for start in range(0, chunks, size)]
        left = len(batches)
        waiting += chunks
        most_waiting = max(most_waiting, waiting)

        def embedded(batch: int) -> None:
            nonlocal left, waiting, last
            left -= 1
            waiting -= batch
            if not left:
                latencies.append(clock.now - moment)
                last = clock.now

        for batch in batches:
            phases = [
                _Phase(times.message),
                _Phase(times.lease, at_database=True, holds="connection"),
                _Phase(times.embed_a_chunk * batch, times.embed_width, holds="model"),
                _Phase(
                    times.finish + times.finish_a_chunk * batch,
                    at_database=True,
                    holds="connection",
                ),
            ]
            jobs.publish(phases, lambda batch=batch: embedded(batch))  # type: ignore[misc]

    for moment, chunks in arrivals:
        clock.at(moment, lambda moment=moment, chunks=chunks: upload(moment, chunks))  # type: ignore[misc]
    clock.run()
    return Indexed(
        drain_seconds=last - min((moment for moment, _ in arrivals), default=0.0),
        latencies=sorted(latencies),
        most_waiting_chunks=most_waiting,
        messages=uploads.messages + jobs.messages,
        deliveries=uploads.deliveries + jobs.deliveries,
        dead_letters=uploads.dead_letters + jobs.dead_letters,
        busy_seconds={"ingest": ingest.busy_seconds, "embed-worker": worker.busy_seconds},
        most_instances={"ingest": ingest.most_instances, "embed-worker": worker.most_instances},
    )


def _question(times: ServiceTimes) -> list[_Phase]:
    return [
        _Phase(times.message),
        # A connection is borrowed after this, as functions/query/answering/pipeline.py does.
        _Phase(times.question_embed),
        _Phase(times.question_search, at_database=True, holds="connection"),
        _Phase(times.generate_wait, 0.0),
        _Phase(times.question_answer),
    ]


def simulate_questions(
    *,
    times: ServiceTimes,
    deployment: Deployment,
    seconds: float,
    questions_a_second: float = 0.0,
    clients: int = 0,
    seed: int = 1,
) -> Answered:
    """
    Return what becomes of questions that come at random, or of clients who ask without a pause.

    Args:
        questions_a_second: Of a Poisson process; 0 if *clients* ask.
        clients: Each asks again as soon as it is answered, or two seconds after a refusal.
    """
    clock = _Clock()
    database, shared = _machines(clock, deployment)
    station = _Station(clock, deployment.query, database, shared)
    chance = random.Random(seed)
    latencies: list[float] = []
    refused = 0

    def ask(then: Callable[[], None]) -> None:
        asked = clock.now

        def answered() -> None:
            latencies.append(clock.now - asked)
            then()

        def refuse() -> None:
            nonlocal refused
            refused += 1
            clock.at(clock.now + 2.0, then)

        station.take(_question(times), answered, refuse)

    def go_on() -> None:
        if clock.now < seconds:
            ask(go_on)

    for _ in range(clients):
        clock.at(0.0, go_on)
    moment = 0.0
    while questions_a_second:
        moment += chance.expovariate(questions_a_second)
        if moment >= seconds:
            break
        clock.at(moment, lambda: ask(lambda: None))
    clock.run()
    return Answered(
        latencies=sorted(latencies),
        refused=refused,
        seconds=seconds,
        busy_seconds=station.busy_seconds,
        most_instances=station.most_instances,
        database_busy=database.busy / seconds,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* of the sorted *values* lie; nan where there are none."""
    if not values:
        return math.nan
    return values[min(len(values) - 1, int(share * len(values)))]


# A message is billed when it is published and when it is delivered, at 1,000 bytes or more.
_MESSAGE_BYTES = 2 * 1_000


def cost_of_indexing(indexed: Indexed, deployment: Deployment) -> dict[str, float]:
    """Return US dollars by what they are paid for; the database's month is not in it."""
    services = {"ingest": deployment.ingest, "embed-worker": deployment.worker}
    instances = sum(
        seconds
        * (
            services[name].cores * PRICES["run vCPU"].dollars
            + services[name].memory_gib * PRICES["run memory"].dollars
        )
        for name, seconds in indexed.busy_seconds.items()
    )
    return {
        "instances": instances,
        "requests": indexed.deliveries * PRICES["run request"].dollars,
        "messages": indexed.deliveries * _MESSAGE_BYTES * PRICES["pubsub"].dollars,
    }


def cost_of_questions(
    answered: Answered,
    deployment: Deployment,
    *,
    tokens_in: int = 0,
    tokens_out: int = 0,
) -> dict[str, float]:
    """Return US dollars of a thousand answers by what they are paid for, without the database."""
    query = deployment.query
    a_thousand = 1_000 / max(1, len(answered.latencies))
    instances = answered.busy_seconds * (
        query.cores * PRICES["run vCPU"].dollars + query.memory_gib * PRICES["run memory"].dollars
    )
    tokens = tokens_in * PRICES["gemini in"].dollars + tokens_out * PRICES["gemini out"].dollars
    return {
        "instances": instances * a_thousand,
        "requests": 1_000 * PRICES["run request"].dollars,
        "tokens": 1_000 * tokens,
    }
