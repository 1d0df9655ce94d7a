"""
What a question costs in CPU: python -m benchmarks.question_cost [CHECKOUT ...]

Asks POST /retrieve of the query function of each checkout (this one where none is named), one after
the other in every round, over copies of the stores that `make bench ARGS=--prepare` filled. CPU
time, unlike seconds, says the same on a machine that others use. Prints a table and writes no file.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import click
import psutil
import psycopg

from local import processes
from local.processes import free_port
from local.roles import make_login
from local.system import function_command, listens, wait_until

from .compare import MODEL_DIR, OURS, bench_server
from .corpus import corpus_folders, questions
from .driving import ask_over_http
from .recording import ROOT, make_table

_WARM_UP = 96


@dataclass(frozen=True, slots=True)
class Served:
    """A checkout's query function over a copy of the store."""

    name: str
    port: int
    pid: int
    database: str


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds a question."""

    postgres: float
    user: float
    system: float
    client: float

    @property
    def whole(self) -> float:
        return self.postgres + self.user + self.system + self.client


@click.command(help=__doc__)
@click.argument(
    "checkouts", nargs=-1, type=click.Path(path_type=Path, exists=True, resolve_path=True)
)
@click.option("--store", default="large", type=click.Choice(["small", "large"]), show_default=True)
@click.option("--clients", default=16, show_default=True)
@click.option("--questions", "count", default=320, show_default=True, help="A round.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--wait", is_flag=True, help="Ask without end, for a profiler; Ctrl-C ends it.")
def main(
    checkouts: tuple[Path, ...], *, store: str, clients: int, count: int, rounds: int, wait: bool
) -> None:
    """Measure and print."""
    folders = corpus_folders(files=240)
    asked = iter(questions(folders, count=3600))
    with ExitStack() as stack:
        server_url = stack.enter_context(bench_server())
        served = [
            stack.enter_context(serve_checkout(server_url, store, checkout, number))
            for number, checkout in enumerate(checkouts or (ROOT,))
        ]
        costs: dict[str, list[Cost]] = {one.name: [] for one in served}
        for one in served:
            ask_over_http(one.port, [next(asked) for _ in range(_WARM_UP)], clients=clients)
        while wait:
            ask_over_http(served[0].port, questions(folders, count=3600), clients=clients)
        for turn in range(rounds):
            texts = [next(asked) for _ in range(count)]
            first = turn % len(served)
            for one in served[first:] + served[:first]:
                costs[one.name].append(_measure(server_url, one, texts, clients=clients))
    click.echo(_write_table(costs))


def _write_table(costs: dict[str, list[Cost]]) -> str:
    header = (
        "checkout",
        "PostgreSQL",
        "query, user",
        "query, kernel",
        "client",
        "all, CPU ms",
        "smallest to largest",
        "to the first",
    )
    base = next(iter(costs.values()))
    rows = []
    for name, found in costs.items():
        parts = (
            statistics.median(getattr(cost, part) for cost in found)
            for part in ("postgres", "user", "system", "client", "whole")
        )
        wholes = [cost.whole for cost in found]
        ratio = statistics.median(
            one.whole / other.whole for one, other in zip(found, base, strict=True)
        )
        rows.append(
            (
                name,
                *(f"{part:.2f}" for part in parts),
                f"{min(wholes):.2f} to {max(wholes):.2f}",
                f"{ratio:.3f}",
            )
        )
    return make_table(header, rows)


def find_store(server_url: str, system: str, store: str) -> str:
    """
    Return the URL of a store that the benchmark has filled for one of the systems.

    Raises:
        click.ClickException: It was not filled.
    """
    with psycopg.connect(server_url) as connection:
        row = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s ORDER BY oid DESC LIMIT 1",
            [f"bench\\_{system}\\_%\\_{store}"],
        ).fetchone()
    if row is None:
        raise click.ClickException(f"there is no store of {system}: make bench ARGS=--prepare")
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{row[0]}"))


@contextmanager
def copied_store(server_url: str, store: str, name: str) -> Iterator[str]:
    """
    Copy a store of ours that the benchmark has filled; yield the URL of its owner.

    Raises:
        click.ClickException: It was not filled.
    """
    filled = urlsplit(find_store(server_url, OURS, store)).path.strip("/")
    with psycopg.connect(server_url, autocommit=True) as connection:
        for command in (
            'DROP DATABASE IF EXISTS "{}" WITH (FORCE)',
            'CREATE DATABASE "{}" TEMPLATE "{}" STRATEGY file_copy',
        ):
            connection.execute(command.format(name, filled))
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def serve_checkout(server_url: str, store: str, checkout: Path, number: int) -> Iterator[Served]:
    """Copy the store, migrate the copy as the checkout has it, and serve it."""
    name = f"cost_{number}"
    with ExitStack() as stack:
        owner_url = stack.enter_context(copied_store(server_url, store, name))
        folder = stack.enter_context(TemporaryDirectory(prefix="kaydangpt-cost-"))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "PYTHONPATH": str(checkout),
            "MODEL_DIR": str(MODEL_DIR),
            "LOG_LEVEL": "WARNING",
        }
        migrated = subprocess.run(
            [sys.executable, "-m", "admin", "migrate"],
            cwd=checkout,
            env=environment | {"DATABASE_URL": owner_url},
            capture_output=True,
            text=True,
            check=False,
        )
        if migrated.returncode:
            raise click.ClickException(f"{checkout} cannot migrate its copy: {migrated.stderr}")
        port = free_port()
        process = processes.start(
            function_command("query", port=port),
            environment=environment
            | {"DATABASE_URL": make_login(owner_url, group="kaydang_query")},
            log=Path(folder) / "query.log",
            folder=checkout,
        )
        stack.callback(processes.stop, process)
        wait_until(partial(listens, port), what="query listens")
        yield Served(f"{number}: {checkout.name}", port, process.pid, name)


def _measure(server_url: str, served: Served, texts: list[str], *, clients: int) -> Cost:
    before = _read_clocks(server_url, served)
    ask_over_http(served.port, texts, clients=clients)
    after = _read_clocks(server_url, served)
    return Cost(*(1000 * (b - a) / len(texts) for a, b in zip(before, after, strict=True)))


def _read_clocks(server_url: str, served: Served) -> tuple[float, float, float, float]:
    """Return CPU seconds so far: the database's sessions, the function's two ways, and here."""
    with psycopg.connect(server_url) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s", [served.database]
        ).fetchall()
    sessions = sum(
        int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9 for (pid,) in rows
    )
    leader = psutil.Process(served.pid)
    times = [each.cpu_times() for each in (leader, *leader.children(recursive=True))]
    own = time.process_time()
    return sessions, sum(one.user for one in times), sum(one.system for one in times), own


if __name__ == "__main__":
    main()
