"""The protocol under everything that Pub/Sub, Storage, users and crashes can do to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.protocol.harness import Design, Letter, Violation, World, temporary_database
from tests.protocol.mutants import MUTANTS, Mutant, catch
from tests.protocol.schedules import SCENARIOS, TEXTS, Interruption, run_exhaustively

# PROTOCOL_EXAMPLES=2000 looks harder than a run of all tests has time for.
EXAMPLES = int(os.environ.get("PROTOCOL_EXAMPLES", "25"))
MOST_TASKS = 4
# Seeds with which the machine comes upon a broken design soon; any does in the end.
SEEDS = {
    "no lock on the document": 45,
    "delete without a look at the object": 5,
    "no sweeper": 2,
}

T = TypeVar("T")

ACTIONS = ["delete", "forge_delete", "forge_metadata", "touch", "reindex", "retry"]

names = st.sampled_from(["a", "b/c"])
texts = st.sampled_from(TEXTS)
choices = st.integers(min_value=0, max_value=11)


@pytest.fixture(scope="module")
def protocol_url(postgres_url: str) -> Iterator[str]:
    """Make a database for this module, with a model that costs nothing."""
    with temporary_database(postgres_url, "test_protocol") as url:
        yield url


def pick(items: Sequence[T], choice: int) -> Sequence[T]:
    """Return one of *items*, or none if there is none."""
    return [items[choice % len(items)]] if items else []


class Protocol(RuleBasedStateMachine):
    """
    Anything, in any order; World checks after every step what readers see.

    Rules are drawn evenly, so what is rare in life shares one. None has a precondition: which tasks
    wait for a lock is told by the server, and a draw that depends on it could not be repeated.
    """

    world: World

    @initialize(versioned=st.booleans(), name=names, text=texts)
    def begin(self, *, versioned: bool, name: str, text: str) -> None:
        self.world.reset(versioned=versioned)
        self.world.upload(name, text)

    @property
    def letters(self) -> list[Letter]:
        return self.world.letters if len(self.world.tasks) < MOST_TASKS else []

    @rule(choice=choices, steps=st.integers(min_value=0, max_value=25))
    def deliver(self, choice: int, steps: int) -> None:
        for letter in pick(self.letters, choice):
            self.world.step(self.world.deliver(letter), times=steps)

    @rule(choice=choices)
    def deliver_at_once(self, choice: int) -> None:
        for letter in pick(self.letters, choice):
            self.world.finish(self.world.deliver(letter))

    @rule(choice=choices, steps=st.integers(min_value=0, max_value=25))
    def deliver_in_the_middle_of(self, choice: int, steps: int) -> None:
        if len(self.letters) < 2:
            return
        first, second = (self.letters[(choice + i) % len(self.letters)] for i in (0, 1))
        task = self.world.deliver(first)
        self.world.step(task, times=steps)
        self.world.finish(self.world.deliver(second))
        self.world.finish(task)

    @rule(choice=choices, steps=st.integers(min_value=1, max_value=12))
    def go_on(self, choice: int, steps: int) -> None:
        for task in pick(self.world.ready_tasks, choice):
            self.world.step(task, times=steps)

    @rule(choice=choices)
    def finish(self, choice: int) -> None:
        for task in pick(self.world.ready_tasks, choice):
            self.world.finish(task)

    @rule(name=names, text=texts)
    def upload(self, name: str, text: str) -> None:
        self.world.upload(name, text)

    @rule(name=names, what=st.sampled_from(ACTIONS))
    def use(self, name: str, what: str) -> None:
        if what == "delete":
            self.world.delete(name)
        elif what in ("forge_delete", "forge_metadata", "touch") and name in self.world.bucket.live:
            getattr(self.world, what)(name)
        elif what in ("reindex", "retry") and len(self.world.tasks) < MOST_TASKS:
            self.world.finish(getattr(self.world, what)(name))

    @rule(choice=choices, fault=st.sampled_from(["crash", "disconnect", "fail"]))
    def interrupt(self, choice: int, fault: str) -> None:
        for task in pick(self.world.ready_tasks, choice):
            if fault != "fail" or task.remote:
                getattr(self.world, fault)(task)

    @rule(choice=choices, fate=st.sampled_from(["duplicate", "drop", "give_up"]))
    def mislead(self, choice: int, fate: str) -> None:
        for letter in pick(self.world.letters, choice):
            getattr(self.world, fate)(letter)

    @rule(
        what=st.sampled_from(["expire_leases", "sweep", "reconcile", "fill", "switch_model"]),
        steps=st.integers(min_value=0, max_value=12),
    )
    def schedule(self, what: str, steps: int) -> None:
        if what == "expire_leases":
            self.world.expire_leases()
        elif len(self.world.tasks) < MOST_TASKS:
            self.world.step(getattr(self.world, what)(), times=steps)

    def teardown(self) -> None:
        self.world.drain()


def run_machine(world: World, *, examples: int, start: int | None = None) -> None:
    """
    Run the machine on *world*.

    Args:
        start: A seed; None takes the same examples every time, or new ones with PROTOCOL_EXAMPLES.
    """

    class Machine(Protocol):
        pass

    Machine.world = world
    run_state_machine_as_test(
        Machine if start is None else seed(start)(Machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=start is None and "PROTOCOL_EXAMPLES" not in os.environ,
            database=None,
            # A broken design need only be found, not be told in the fewest steps.
            phases=[Phase.generate] if start is not None else [Phase.generate, Phase.shrink],
            verbosity=Verbosity.quiet,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
def test_protocol_holds_whatever_happens(protocol_url: str) -> None:
    """Readers see one whole generation or none, nothing comes back, all ends and is told."""
    with World(protocol_url, design=Design(announces=True)) as world:
        run_machine(world, examples=EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "interruption"), [("fault: first finalize", "crash"), ("two batches at once", "pause")]
)
def test_protocol_holds_wherever_one_task_stops(
    protocol_url: str, name: str, interruption: Interruption
) -> None:
    """A crash or a pause before any single statement changes nothing in the end."""
    (scenario,) = [scenario for scenario in SCENARIOS if scenario.name == name]
    scenario = replace(scenario, interruptions=(interruption,))
    with World(protocol_url, design=Design(announces=True)) as world:
        assert sum(1 for _ in run_exhaustively(world, scenario)) > 15


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
        run_machine(world, examples=500, start=SEEDS[mutant.name])
