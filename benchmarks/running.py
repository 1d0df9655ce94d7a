"""The whole system for a benchmark: its own database server, as `make run` sets it up."""

from __future__ import annotations

import random
import re
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import click
import psycopg
from pgvector.psycopg import register_vector
from pydantic import SecretStr

from admin import migrate
from local import processes
from local.checkout import remove
from local.postgres import PostgresServer, start_postgres
from local.system import ROOT, System, run_system
from shared import store
from shared.store import Connection

POOL_SIZE = 4
model_dir_option = click.option(
    "--model-dir",
    type=click.Path(path_type=Path),
    envvar="MODEL_DIR",
    default=Path.home() / ".cache/kaydangpt/models/all-MiniLM-L6-v2",
    show_default=True,
)
# What has a pool of connections: four functions, sweeper and reconciler.
POOLS = 6


@dataclass(frozen=True, slots=True)
class Running:
    """A system that runs, and the server of its database."""

    system: System
    server: PostgresServer
    database_url: str


@contextmanager
def run_like_product(model_dir: Path, *, folder: Path | None = None) -> Iterator[Running]:
    """Start everything with the product's own intervals and settings; durability as shipped."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        Path(temporary).chmod(0o755)
        server = start_postgres(Path(temporary) / "postgres" / "data")
        try:
            migrate.migrate(
                migrate.Settings(database_url=SecretStr(server.url), model_dir=model_dir)
            )
            with run_system(
                folder=Path(temporary),
                database_url=server.url,
                model_dir=model_dir,
                variables={
                    "LEASE_SECONDS": "60",
                    "DATABASE_POOL_SIZE": str(POOL_SIZE),
                    "LOG_LEVEL": "WARNING",
                },
            ) as system:
                _slow_down_sweeper(system)
                yield Running(system, server, server.url)
        finally:
            server.stop()
            remove(server.data_dir)


@dataclass(frozen=True, slots=True)
class Database:
    """A database of its own with the product's schema, and a session of its owner in it."""

    connection: Connection
    server: PostgresServer


@contextmanager
def open_database(
    options: Mapping[str, str], *, dimension: int, folder: Path | None = None
) -> Iterator[Database]:
    """
    Run a server without fsync and autovacuum, which measure themselves; remove it at the end.

    Args:
        options: Further settings of PostgreSQL.
        dimension: Of the model that is registered, with id 1.
    """
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        Path(temporary).chmod(0o755)
        server = start_postgres(
            Path(temporary) / "data", options={"fsync": "off", "autovacuum": "off", **options}
        )
        try:
            migrate.migrate(migrate.Settings(database_url=SecretStr(server.url)))
            with psycopg.connect(server.url, autocommit=True) as connection:
                register_vector(connection)
                store.register_model(
                    connection, name="benchmark", dimension=dimension, digest="benchmark"
                )
                yield Database(connection, server)
        finally:
            server.stop()
            remove(server.data_dir)


def _slow_down_sweeper(system: System) -> None:
    """Let sweeper and reconciler come as often as in `make run`; the tests are impatient."""
    for name, command, seconds in (("sweeper", "sweep", 20), ("reconciler", "reconcile", 300)):
        system.kill(name)
        system.running[name] = processes.start(
            [sys.executable, "-m", "admin", command, "--every", str(seconds)],
            environment=system.environment,
            log=system.folder / f"{name}.log",
            folder=ROOT,
        )


@contextmanager
def repeating(look: Callable[[], None], *, every_seconds: float) -> Iterator[None]:
    """Look at once, and again and again in a thread of its own, until the block is left."""
    over = threading.Event()

    def repeat() -> None:
        look()
        while not over.wait(every_seconds):
            look()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def sentences() -> list[str]:
    """Return sentences of Python's own documentation, some thousands."""
    return [
        sentence
        for text in topics.values()
        for sentence in re.split(r"(?<=[.:]) ", " ".join(text.split()))
        if 30 < len(sentence) < 500
    ]


def make_text(chance: random.Random, known: list[str], *, chunks: int) -> str:
    """Return about so many chunks of text that no other call returns."""
    paragraphs = [
        " ".join([*chance.sample(known, 4), f"Item {chance.randrange(10**9)}."])
        for _ in range(round(chunks * 1.2))
    ]
    text = "\n\n".join(paragraphs)
    return text[: chunks * 750]


def real_documents(count: int, *, seed: int) -> list[Path]:
    """Return so many text files of this machine: of /usr/share/doc, and of Python's library."""
    found = sorted(
        path
        for path in Path("/usr/share/doc").rglob("*")
        if path.suffix in ("", ".txt", ".html", ".md")
        and path.is_file()
        and not path.is_symlink()
        and 1_000 < path.stat().st_size < 200_000
    )
    found += sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return random.Random(seed).sample(found, min(count, len(found)))
