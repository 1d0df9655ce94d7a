"""
Questions beside a neighbour on the memory bus: python -m benchmarks.neighbour

Ours and the peer that `make bench` finds fastest at 100,000 chunks, each served as there to one
client, over the stores that `make bench ARGS=--prepare` filled. In each round both are asked alone,
beside a process that copies arrays within its cache, and beside the same process with arrays that
no cache holds: the step from the second to the third is the memory's, that from the first to the
second the processor's. Writes benchmarks/results/neighbour-*.json and the table of
docs/performance.md.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from .compare import OURS, PEER_NAMES, STATE, bench_server, peer_state
from .corpus import corpus_folders, questions
from .driving import Asked, Served, ask_over_http
from .environments import peer_python
from .question_cost import find_store, serve_checkout
from .recording import (
    ROOT,
    describe_machine,
    describe_run,
    make_table,
    show_latest,
    write_result,
)

DOCUMENT = ROOT / "docs" / "performance.md"
_STORE = "large"
_WARM_UP = 96
# A quarter of a core's own cache, and more than any processor's last one.
_MEGABYTES = {"alone": 0.0, "in its cache": 0.25, "in memory": 512.0}


def copy_for_ever(megabytes: float) -> None:
    """Copy an array of so many megabytes to another, again and again."""
    source = np.ones(int(megabytes * 2**20), dtype=np.uint8)
    target = np.empty_like(source)
    while True:
        np.copyto(target, source)


@contextmanager
def neighbour(megabytes: float) -> Iterator[None]:
    """Run a process that copies arrays; none for 0 megabytes."""
    if not megabytes:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(
        target=copy_for_ever, args=[megabytes], daemon=True
    )
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def measure(*, peer: str, rounds: int, count: int) -> dict[str, Any]:
    """Ask both, in turn first, in each condition of each round."""
    machine = describe_machine()
    needed = _WARM_UP + rounds * len(_MEGABYTES) * count
    asked = iter(questions(corpus_folders(files=240), count=needed))
    cores = len(os.sched_getaffinity(0))
    found: dict[str, dict[str, list[float]]] = {
        name: {condition: [] for condition in _MEGABYTES} for name in (OURS, peer)
    }
    with ExitStack() as stack:
        server_url = stack.enter_context(bench_server())
        ours = stack.enter_context(serve_checkout(server_url, _STORE, ROOT, 0))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="kaydangpt-neighbour-")))
        served = Served(
            peer,
            python=peer_python(peer),
            urls={_STORE: find_store(server_url, peer, _STORE)},
            state=peer_state(STATE),
            log=folder / "peer.log",
            processes=1,
            threads=cores,
        )
        stack.callback(served.stop)
        warm = [next(asked) for _ in range(_WARM_UP)]
        served.wait(_STORE, warm[0])
        ask: dict[str, Callable[[list[str]], Asked]] = {
            OURS: lambda texts: ask_over_http(ours.port, texts, clients=1),
            peer: lambda texts: served.ask(_STORE, texts, clients=1),
        }
        for name in ask:
            ask[name](warm)
        for turn in range(rounds):
            for condition, megabytes in _MEGABYTES.items():
                texts = [next(asked) for _ in range(count)]
                with neighbour(megabytes):
                    for name in list(ask)[:: 1 if turn % 2 else -1]:
                        p50 = statistics.median(ask[name](texts).milliseconds)
                        found[name][condition].append(round(p50, 2))
                        click.echo(f"round {turn}, {condition}: {name} {p50:.1f} ms", err=True)
    return {"machine": machine, "peer": peer, "rounds": rounds, "questions": count, "p50_ms": found}


def write_table(result: dict[str, Any]) -> str:
    """Return the table of docs/performance.md."""
    peer = result["peer"]
    rows = []
    for condition in _MEGABYTES:
        ours, theirs = (result["p50_ms"][name][condition] for name in (OURS, peer))
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        rows.append(
            (
                condition,
                f"{statistics.median(ours):.1f}",
                f"{statistics.median(theirs):.1f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            )
        )
    said = (
        f"`python -m benchmarks.neighbour`: one client, {result['rounds']} rounds of"
        f" {result['questions']} questions, beside one process that copies arrays."
    )
    header = ("the neighbour copies", "KaydangPT, p50 ms", f"{peer}, p50 ms", "ours to its")
    return "\n\n".join([said, make_table(header, rows), describe_run(result)])


@click.command(help=__doc__)
@click.option("--peer", default="django", type=click.Choice(PEER_NAMES), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--questions", "count", default=80, show_default=True, help="A round and condition.")
@click.option("--tables", is_flag=True, help="Only write the table of the newest result again.")
def main(*, peer: str, rounds: int, count: int, tables: bool) -> None:
    """Measure, write the result and the table."""
    if not tables:
        result = measure(peer=peer, rounds=rounds, count=count)
        click.echo(write_result("neighbour", result))
    show_latest("neighbour", document=DOCUMENT, blocks={"neighbour": write_table})


if __name__ == "__main__":
    main()
