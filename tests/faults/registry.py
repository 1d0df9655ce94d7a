"""The faults by name: each a function, its docstring the line of description in the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.faults.rig import Rig

Broker = Literal["ours", "google"]
Inject = Callable[["Rig"], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """
    A fault that can be injected.

    Attributes:
        group: The heading it stands under.
        description: What is injected, a sentence.
        broker: Whose Pub/Sub emulator the system runs on.
        quick: Whether `make test` injects it as well.
    """

    name: str
    group: str
    description: str
    inject: Inject
    broker: Broker
    quick: bool


FAULTS: dict[str, Fault] = {}


def fault(
    group: str, *, broker: Broker = "ours", quick: bool = False
) -> Callable[[Inject], Inject]:
    """Enter a function into the table under its own name; it returns when the fault is over."""

    def enter(inject: Inject) -> Inject:
        name = inject.__name__
        assert name not in FAULTS, f"two faults are called {name}"
        assert inject.__doc__, f"{name} says nothing of itself"
        description = " ".join(inject.__doc__.split()).rstrip(".")
        FAULTS[name] = Fault(name, group, description, inject, broker, quick)
        return inject

    return enter
