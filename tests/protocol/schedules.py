"""
Schedules: who goes on, who stops and who dies, and where.

The exhaustive ones take a scenario (one task, and what else happens) and place one interruption, or
two, before every single step. The random ones draw everything from a seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

from tests.protocol.harness import DEADLY, SLOW, UNREADABLE, Letter, Task, World

Interruption = Literal["crash", "disconnect", "refuse", "pause", "stall"]

OLD = "alpha.beta.gamma."
NEW = "alpha.delta.epsilon.zeta."
TEXTS = (
    OLD,
    NEW,
    "beta.",
    "gamma.gamma.eta.theta.iota.",
    UNREADABLE,
    f"{DEADLY}.",
    f"{SLOW}.beta.kappa.",
)

# Where a second one follows; the first task then goes on in the middle of the second.
_TWO_INTERRUPTIONS: tuple[Interruption, ...] = ("stall", "crash")

# Starts a task, to be led to its end; or does something and starts none.
Step = Callable[[World], "Task | None"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    One task, and what else happens while it stands still or after it has died.

    Attributes:
        prepare: What was before.
        first: Starts the task that is interrupted.
        others: What happens then, one after the other; a task is led to its end.
        versioned: Whether the bucket still gives generations that are not live.
        interruptions: What may happen to the first task.
        messages_alone: Whether the messages must do, without the sweeper.
    """

    name: str
    prepare: Callable[[World], object]
    first: Step
    others: tuple[Step, ...] = ()
    versioned: bool = False
    interruptions: tuple[Interruption, ...] = ("crash", "pause", "stall")
    messages_alone: bool = False


def run_exhaustively(world: World, scenario: Scenario, *, twice: bool = False) -> Iterator[None]:
    """Run every placement of one interruption, and of a second one where *twice*."""
    interruptions = _TWO_INTERRUPTIONS if twice else scenario.interruptions
    for interruption in interruptions:
        for first_stop in count():
            if not twice:
                if not run_schedule(world, scenario, interruption, first_stop):
                    break
                yield
                continue
            for second_stop in count():
                if not run_schedule(world, scenario, interruption, first_stop, second_stop):
                    break
                yield
            if second_stop == 0:
                break


def run_schedule(
    world: World,
    scenario: Scenario,
    interruption: Interruption,
    first_stop: int,
    second_stop: int | None = None,
) -> bool:
    """
    Run *scenario* with its first task interrupted before its step *first_stop*.

    Args:
        second_stop: Before which step the last of the other tasks stands still, until the first has
            ended; or dies, where the first did.

    Returns:
        Whether there was such a step.
    """
    world.reset(versioned=scenario.versioned)
    with world.hurrying():
        scenario.prepare(world)
    first = scenario.first(world)
    assert first is not None
    world.step(first, times=first_stop)
    if first not in world.ready_tasks:
        return False
    reached = True
    if interruption == "refuse":
        if first.remote:
            world.fail(first)
    elif interruption == "crash":
        world.crash(first)
    elif interruption == "disconnect":
        world.disconnect(first)
        world.finish(first)
    elif interruption == "stall":
        world.expire_leases()
    for number, other in enumerate(scenario.others, 1):
        task = other(world)
        if task is None:
            continue
        if second_stop is None or number < len(scenario.others):
            world.finish(task)
            continue
        world.step(task, times=second_stop)
        reached = task in world.ready_tasks
        if reached and interruption == "crash":
            world.crash(task)
        world.finish(first)
    world.finish_all()
    with world.hurrying():
        world.drain(sweep=not scenario.messages_alone)
    return reached


def _nothing(world: World) -> None:
    pass


def _indexed(*objects: tuple[str, str]) -> Callable[[World], None]:
    def prepare(world: World) -> None:
        for name, text in objects:
            world.upload(name, text)
        world.deliver_all()

    return prepare


def _then(*steps: Callable[[World], object]) -> Callable[[World], None]:
    def prepare(world: World) -> None:
        for step in steps:
            step(world)

    return prepare


def _upload(name: str, text: str) -> Step:
    def upload(world: World) -> None:
        world.upload(name, text)

    return upload


def _touch(name: str) -> Step:
    def touch(world: World) -> None:
        world.touch(name)

    return touch


def _delete(name: str) -> Step:
    def delete(world: World) -> None:
        world.delete(name)

    return delete


def _find(world: World, said: str, *, which: int = 0) -> Letter | None:
    found = [letter for letter in world.letters if letter.describe().startswith(said)]
    return found[which] if found else None


def _deliver(said: str, *, which: int = 0) -> Step:
    """Deliver the message that says so, where there still is one."""

    def deliver(world: World) -> Task | None:
        letter = _find(world, said, which=which)
        return None if letter is None else world.deliver(letter)

    return deliver


def _finish_delivery(said: str, *, which: int = 0) -> Step:
    def deliver(world: World) -> None:
        if (letter := _find(world, said, which=which)) is not None:
            world.finish(world.deliver(letter))

    return deliver


def _deliver_rest(world: World) -> None:
    """Deliver all messages but those whose task is under way."""
    under_way = {task.letter.id for task in world.tasks if task.letter}
    while due := [letter for letter in world.letters if letter.id not in under_way]:
        for letter in due:
            under_way.add(letter.id)
            world.finish(world.deliver(letter))


def _drop(said: str) -> Step:
    def drop(world: World) -> None:
        if (letter := _find(world, said)) is not None:
            world.drop(letter)

    return drop


def _duplicate(said: str) -> Step:
    def duplicate(world: World) -> None:
        if (letter := _find(world, said)) is not None:
            world.duplicate(letter)

    return duplicate


def _bury_job(world: World) -> None:
    """Give up a job whose lease has run out, and say so to the database."""
    world.expire_leases()
    if (letter := _find(world, "embed")) is not None:
        world.give_up(letter := world.duplicate(letter))
        world.finish(world.deliver(letter))


def _fault(
    name: str, prepare: Callable[[World], object], said: str, *, versioned: bool = False
) -> Scenario:
    return Scenario(
        f"fault: {name}",
        prepare,
        _deliver(said),
        versioned=versioned,
        interruptions=("crash", "disconnect", "refuse"),
        messages_alone=True,
    )


SCENARIOS: tuple[Scenario, ...] = (
    # Faults alone: the messages heal them, without the sweeper.
    _fault("first finalize", _upload("a", OLD), "finalize"),
    _fault(
        "last batch",
        _then(_upload("a", OLD), _finish_delivery("finalize"), _finish_delivery("embed")),
        "embed",
    ),
    Scenario(
        "the worker that makes it ready tells others",
        _then(_upload("a", OLD), _finish_delivery("finalize"), _finish_delivery("embed")),
        _deliver("embed"),
        interruptions=("crash", "refuse"),
    ),
    _fault(
        "job whose batch another's did",
        _then(_upload("a", OLD), _finish_delivery("finalize"), _finish_delivery("embed", which=1)),
        "embed",
    ),
    _fault("delete", _then(_indexed(("a", OLD)), _delete("a")), "delete", versioned=True),
    _fault("overwrite's delete", _then(_indexed(("a", OLD)), _upload("a", NEW)), "delete"),
    _fault("unreadable", _upload("a", UNREADABLE), "finalize"),
    _fault("deadly", _upload("a", f"{DEADLY}."), "finalize"),
    # Two that meet.
    Scenario(
        "the same finalize twice", _upload("a", OLD), _deliver("finalize"), (_deliver("finalize"),)
    ),
    Scenario(
        "two batches at once",
        _then(_upload("a", OLD), _finish_delivery("finalize")),
        _deliver("embed"),
        (_deliver("embed", which=1),),
    ),
    Scenario(
        "the same batch twice",
        _then(_upload("a", NEW), _finish_delivery("finalize")),
        _deliver("embed"),
        (_deliver("embed"),),
    ),
    Scenario(
        "overwritten while parsing",
        _then(_indexed(("a", OLD)), _upload("a", NEW)),
        _deliver("finalize"),
        (_upload("a", "beta."), _deliver_rest),
    ),
    Scenario(
        "overwritten while parsing, versioned",
        _upload("a", OLD),
        _deliver("finalize"),
        (_upload("a", NEW), _deliver_rest, _deliver("finalize")),
        versioned=True,
    ),
    Scenario(
        "overwritten while embedding",
        _then(_upload("a", OLD), _finish_delivery("finalize"), _finish_delivery("embed")),
        _deliver("embed"),
        (_upload("a", NEW), _deliver_rest),
        versioned=True,
    ),
    Scenario(
        "an old finalize after the new one",
        _then(_upload("a", OLD), _upload("a", NEW), _finish_delivery("finalize a 102")),
        _deliver("finalize"),
        (_deliver_rest,),
        versioned=True,
    ),
    Scenario(
        "two documents take turns",
        _then(
            _upload("a", OLD),
            _finish_delivery("finalize"),
            _upload("b", NEW),
            _finish_delivery("finalize"),
        ),
        _deliver("embed", which=1),
        (_deliver("embed", which=1), _deliver("embed", which=-1)),
    ),
    Scenario(
        "deleted while parsing",
        _then(_upload("a", OLD), _duplicate("finalize")),
        _deliver("finalize"),
        (_delete("a"), _deliver("delete"), _deliver("finalize", which=1)),
        versioned=True,
    ),
    Scenario(
        "deleted while embedding",
        _then(_upload("a", OLD), _finish_delivery("finalize"), _finish_delivery("embed")),
        _deliver("embed"),
        (_delete("a"), _deliver("delete")),
    ),
    Scenario(
        "uploaded again while the delete is handled",
        _then(_indexed(("a", OLD)), _delete("a")),
        _deliver("delete"),
        (_upload("a", NEW), _deliver_rest),
    ),
    Scenario(
        "delete and finalize of an overwrite",
        _then(_indexed(("a", OLD)), _upload("a", NEW)),
        _deliver("delete"),
        (_deliver("finalize"),),
    ),
    Scenario(
        "an overwrite's delete that names the new generation, which is deleted as well",
        _then(_indexed(("a", OLD)), _upload("a", NEW)),
        _deliver("finalize"),
        (_deliver("delete"), _delete("a"), _deliver_rest),
        versioned=True,
    ),
    Scenario(
        "metadata changed while parsing",
        _upload("a", OLD),
        _deliver("finalize"),
        (_touch("a"), _deliver("metadata_update")),
    ),
    Scenario(
        "metadata changed before the finalize",
        _then(_upload("a", OLD), _touch("a")),
        _deliver("metadata_update"),
        (_deliver("finalize"),),
    ),
    Scenario(
        "forged delete",
        _then(_indexed(("a", OLD)), lambda world: world.forge_delete("a")),
        _deliver("delete"),
        (_upload("a", NEW), _deliver_rest),
    ),
    Scenario(
        "forged finalize",
        _then(_indexed(("a", OLD)), lambda world: world.forge_finalize("a")),
        _deliver("finalize"),
        (_upload("a", NEW), _deliver_rest),
    ),
    Scenario(
        "forged metadata",
        _then(_upload("a", OLD), lambda world: world.forge_metadata("a")),
        _deliver("finalize", which=1),
        (_deliver("metadata_update"), _deliver("finalize"), _touch("a"), _deliver_rest),
    ),
    Scenario(
        "forged finalize of what is not there",
        lambda world: world.forge_finalize("a"),
        _deliver("finalize"),
        (_upload("a", NEW), _deliver_rest),
    ),
    Scenario(
        "overwritten by an unreadable text",
        _then(_indexed(("a", OLD)), _upload("a", UNREADABLE)),
        _deliver("finalize"),
        (_deliver("delete"), _deliver("finalize")),
    ),
    Scenario(
        "a late verdict",
        _upload("a", f"{SLOW}.beta."),
        _deliver("finalize"),
        (_deliver("finalize"),),
    ),
    Scenario(
        "re-indexed while embedding",
        _then(_indexed(("a", OLD)), _upload("a", NEW), _finish_delivery("finalize")),
        _deliver("embed"),
        (lambda world: world.reindex("a"), _deliver_rest),
    ),
    Scenario(
        "re-index",
        _indexed(("a", OLD)),
        lambda world: world.reindex("a"),
        (_upload("a", NEW), _deliver("finalize")),
    ),
    Scenario(
        "retried while an old worker embeds",
        _then(_indexed(("b", "beta.")), _upload("a", "beta.gamma."), _finish_delivery("finalize")),
        _deliver("embed"),
        (
            _bury_job,
            _delete("b"),
            _deliver("delete b"),
            lambda world: world.retry("a"),
            _deliver("finalize"),
        ),
        interruptions=("pause",),
    ),
    Scenario(
        "the sweeper meets a worker",
        _then(_upload("a", OLD), _finish_delivery("finalize"), lambda world: world.expire_leases()),
        lambda world: world.sweep(),
        (_deliver("embed"), _deliver("embed", which=-1)),
    ),
    Scenario(
        "the sweeper meets the sweeper",
        _then(_upload("a", OLD), lambda world: world.expire_leases()),
        lambda world: world.sweep(),
        (lambda world: world.sweep(),),
    ),
    # The model is changed.
    Scenario(
        "the model switched while embedding",
        _then(_upload("a", OLD), _finish_delivery("finalize"), _finish_delivery("embed")),
        _deliver("embed"),
        (lambda world: world.switch_model(),),
    ),
    Scenario(
        "the model switched while a copy is staged",
        _then(
            _indexed(("a", OLD)),
            lambda world: world.finish(world.fill()),
            lambda world: world.deliver_all(),
            _upload("b", OLD),
        ),
        _deliver("finalize"),
        (lambda world: world.switch_model(),),
    ),
    Scenario(
        "a document is ready while the model is switched",
        _then(
            _indexed(("a", "beta.")),
            lambda world: world.finish(world.fill()),
            lambda world: world.deliver_all(),
            _upload("b", "gamma."),
            _finish_delivery("finalize"),
        ),
        lambda world: world.switch_model(),
        (_deliver("embed"),),
    ),
    # Lost messages.
    Scenario(
        "finalize of an overwrite lost",
        _then(_indexed(("a", OLD)), _upload("a", NEW), _drop("finalize")),
        _deliver("delete"),
        (_duplicate("delete"),),
    ),
    Scenario(
        "finalize of an overwrite lost twice",
        _then(_indexed(("a", OLD)), _upload("a", NEW), _drop("finalize")),
        _deliver("delete"),
        (_drop("finalize"),),
    ),
    Scenario(
        "jobs lost",
        _then(_upload("a", OLD), _finish_delivery("finalize"), _drop("embed"), _drop("embed")),
        lambda world: world.sweep(),
    ),
    Scenario(
        "the reconciler meets an upload",
        _then(_indexed(("a", OLD), ("c", "beta.")), _delete("c"), _drop("delete")),
        lambda world: world.reconcile(),
        (_upload("b", NEW), _deliver_rest, _upload("c", NEW), _deliver_rest),
    ),
)

# Two interruptions: a second delivery stops, or dies, at each of its own steps.
TWICE = ("two batches at once", "delete and finalize of an overwrite", "a late verdict")


_NAMES = ("a", "b/c")
_MOST_TASKS = 4


def run_at_random(world: World, seed: int, *, actions: int = 40) -> None:
    """Run one schedule that is drawn from *seed*."""
    rng = random.Random(seed)
    world.reset(versioned=rng.random() < 0.5)
    lossy = rng.random() < 0.3
    for _ in range(actions):
        possible = list(_possible_actions(world, rng, lossy=lossy))
        weights = [weight for weight, _ in possible]
        rng.choices(possible, weights)[0][1]()
    world.finish_all()
    with world.hurrying():
        world.drain()


def _possible_actions(
    world: World, rng: random.Random, *, lossy: bool
) -> Iterator[tuple[int, Callable[[], object]]]:
    """Yield what can happen now, with its weight."""
    name = rng.choice(_NAMES)
    yield 12, lambda: world.upload(name, rng.choice(TEXTS))
    yield 3, world.expire_leases
    if name in world.bucket.live:
        yield 5, lambda: world.delete(name)
        yield 1, lambda: world.forge_delete(name)
        yield 1, lambda: world.forge_finalize(name)
        yield 2, lambda: world.touch(name)
    if world.letters:
        letter = rng.choice(world.letters)
        yield 3, lambda: world.duplicate(letter)
        if lossy:
            yield 2, lambda: world.drop(letter)
            yield 2, lambda: world.give_up(letter)
        if len(world.tasks) < _MOST_TASKS:
            yield 25, lambda: world.deliver(letter)
    if len(world.tasks) < _MOST_TASKS:
        yield 2, world.sweep
        yield 1, world.reconcile
        yield 1, world.fill
        yield 1, world.switch_model
        yield 1, lambda: world.reindex(name)
        yield 1, lambda: world.retry(name)
    if world.ready_tasks:
        task = rng.choice(world.ready_tasks)
        yield 30, lambda: world.step(task, times=rng.choice((1, 2, 3, 5, 8)))
        yield 15, lambda: world.finish(task)
        yield 4, lambda: world.crash(task)
        yield 2, lambda: world.disconnect(task)
        if task.remote:
            yield 8, lambda: world.fail(task)
