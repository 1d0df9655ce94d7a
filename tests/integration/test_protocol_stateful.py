"""The protocol under everything that Pub/Sub, Storage, users and crashes can do to it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.protocol.harness import Letter, Task, Violation, World, temporary_database
from tests.protocol.mutants import MUTANTS, Mutant, catch
from tests.protocol.schedules import SCENARIOS, TEXTS, run_exhaustively

# PROTOCOL_EXAMPLES=2000 looks harder than a run of all tests has time for.
EXAMPLES = int(os.environ.get("PROTOCOL_EXAMPLES", "40"))
MOST_TASKS = 4

names = st.sampled_from(["a", "b/c"])
texts = st.sampled_from(TEXTS)
choices = st.integers(min_value=0, max_value=11)


@pytest.fixture(scope="module")
def protocol_url(postgres_url: str) -> Iterator[str]:
    """Make a database for this module, with a model that costs nothing."""
    with temporary_database(postgres_url, "test_protocol") as url:
        yield url


class Protocol(RuleBasedStateMachine):
    """Anything, in any order; World checks after every step what readers see."""

    world: World

    @initialize(versioned=st.booleans())
    def begin(self, *, versioned: bool) -> None:
        self.world.reset(versioned=versioned)

    @rule(name=names, text=texts)
    def upload(self, name: str, text: str) -> None:
        self.world.upload(name, text)

    @rule(name=names)
    def delete(self, name: str) -> None:
        self.world.delete(name)

    @precondition(lambda self: self.world.bucket.live)
    @rule(choice=choices)
    def forge_delete(self, choice: int) -> None:
        live = self.world.bucket.names()
        self.world.forge_delete(live[choice % len(live)])

    def letter(self, choice: int) -> Letter:
        return self.world.letters[choice % len(self.world.letters)]

    def task(self, choice: int) -> Task:
        return self.world.ready_tasks[choice % len(self.world.ready_tasks)]

    @precondition(lambda self: self.world.letters and len(self.world.tasks) < MOST_TASKS)
    @rule(choice=choices, steps=st.integers(min_value=0, max_value=25))
    def deliver(self, choice: int, steps: int) -> None:
        self.world.step(self.world.deliver(self.letter(choice)), times=steps)

    @precondition(lambda self: self.world.letters and len(self.world.tasks) < MOST_TASKS)
    @rule(choice=choices)
    def deliver_at_once(self, choice: int) -> None:
        self.world.finish(self.world.deliver(self.letter(choice)))

    @precondition(lambda self: self.world.letters)
    @rule(choice=choices)
    def duplicate(self, choice: int) -> None:
        self.world.duplicate(self.letter(choice))

    @precondition(lambda self: self.world.letters)
    @rule(choice=choices)
    def drop(self, choice: int) -> None:
        self.world.drop(self.letter(choice))

    @precondition(lambda self: self.world.letters)
    @rule(choice=choices)
    def give_up(self, choice: int) -> None:
        self.world.give_up(self.letter(choice))

    @precondition(lambda self: self.world.ready_tasks)
    @rule(choice=choices, steps=st.integers(min_value=1, max_value=12))
    def go_on(self, choice: int, steps: int) -> None:
        self.world.step(self.task(choice), times=steps)

    @precondition(lambda self: self.world.ready_tasks)
    @rule(choice=choices)
    def finish(self, choice: int) -> None:
        self.world.finish(self.task(choice))

    @precondition(lambda self: self.world.ready_tasks)
    @rule(choice=choices)
    def crash(self, choice: int) -> None:
        self.world.crash(self.task(choice))

    @precondition(lambda self: self.world.ready_tasks)
    @rule(choice=choices)
    def disconnect(self, choice: int) -> None:
        self.world.disconnect(self.task(choice))

    @precondition(lambda self: any(task.remote for task in self.world.ready_tasks))
    @rule()
    def refuse(self) -> None:
        self.world.fail(next(task for task in self.world.ready_tasks if task.remote))

    @rule()
    def expire_leases(self) -> None:
        self.world.expire_leases()

    @precondition(lambda self: len(self.world.tasks) < MOST_TASKS)
    @rule(steps=st.integers(min_value=0, max_value=12))
    def sweep(self, steps: int) -> None:
        self.world.step(self.world.sweep(), times=steps)

    @precondition(lambda self: len(self.world.tasks) < MOST_TASKS)
    @rule(steps=st.integers(min_value=0, max_value=12))
    def reconcile(self, steps: int) -> None:
        self.world.step(self.world.reconcile(), times=steps)

    @precondition(lambda self: len(self.world.tasks) < MOST_TASKS)
    @rule(name=names)
    def reindex(self, name: str) -> None:
        self.world.finish(self.world.reindex(name))

    @precondition(lambda self: len(self.world.tasks) < MOST_TASKS)
    @rule(name=names)
    def retry(self, name: str) -> None:
        self.world.finish(self.world.retry(name))

    def teardown(self) -> None:
        self.world.drain()


def run_machine(world: World, *, examples: int, shrink: bool = True) -> None:
    """Run the machine on *world*; the same examples every time unless asked for more of them."""

    class Machine(Protocol):
        pass

    Machine.world = world
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])]
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize="PROTOCOL_EXAMPLES" not in os.environ,
            database=None,
            phases=phases,
            verbosity=Verbosity.quiet,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
def test_protocol_holds_whatever_happens(protocol_url: str) -> None:
    """Readers see one whole generation or none, nothing comes back, everything comes to an end."""
    with World(protocol_url) as world:
        run_machine(world, examples=EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fault: first finalize", "two batches at once"])
def test_protocol_holds_wherever_one_task_stops(protocol_url: str, name: str) -> None:
    """A crash, an error or a pause before any single statement changes nothing in the end."""
    (scenario,) = [scenario for scenario in SCENARIOS if scenario.name == name]
    with World(protocol_url) as world:
        assert sum(1 for _ in run_exhaustively(world, scenario)) > 50


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutant",
    [mutant for mutant in MUTANTS if mutant.quick],
    ids=lambda mutant: mutant.name.replace(" ", "_"),
)
def test_broken_design_is_caught(protocol_url: str, mutant: Mutant) -> None:
    """The checks see what goes wrong (`make mutants` runs them all)."""
    assert catch(protocol_url, mutant, everywhere=False) is not None


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS[:3], ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_broken_design_is_caught_by_the_machine(protocol_url: str, mutant: Mutant) -> None:
    """Without the document's lock, the look at the object or the sweeper the machine fails."""
    with World(protocol_url, design=mutant.design) as world, pytest.raises(Violation):
        run_machine(world, examples=500, shrink=False)
