"""Faults of Postgres: stopped, frozen, full, locked, replaced."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import psycopg
import requests

from local import processes
from local.postgres import NOBODY, PostgresServer
from local.processes import free_port
from local.system import wait_until
from tests.faults.registry import fault
from tests.faults.rig import Impossible, Rig, through
from tests.support.freezing import frozen

_GROUP = "Postgres"


@fault(_GROUP)
def postgres_fast_stop(rig: Rig) -> None:
    """A fast shutdown of Postgres under load, and a start 2 s later."""
    rig.postgres.stop()
    rig.go_on(2)
    rig.start_postgres()


@fault(_GROUP)
def postgres_immediate_stop(rig: Rig) -> None:
    """An immediate shutdown (SIGQUIT): no checkpoint, recovery from the log."""
    rig.postgres.process.send_signal(signal.SIGQUIT)
    rig.postgres.process.wait()
    rig.go_on(1)
    rig.start_postgres()


@fault(_GROUP, quick=True)
def postgres_killed(rig: Rig) -> None:
    """kill -9 of Postgres and all its backends in the middle of the work."""
    rig.wait_for_work()
    for number in rig.postgres_processes():
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    rig.postgres.process.wait()
    rig.go_on(1)
    rig.start_postgres()


@fault(_GROUP)
def postgres_frozen(rig: Rig) -> None:
    """SIGSTOP of Postgres and all its backends for 8 s: a question gets 503, not silence."""
    with frozen(rig.postgres.process.pid):
        begun = time.monotonic()
        refused = requests.post(
            f"{rig.system.query_url}/query", json={"question": "What answers?"}, timeout=30
        )
        assert refused.status_code == HTTPStatus.SERVICE_UNAVAILABLE, refused.text
        assert "Retry-After" in refused.headers
        rig.go_on(max(0.0, 8 - (time.monotonic() - begun)))


@fault(_GROUP)
def backends_terminated(rig: Rig) -> None:
    """pg_terminate_backend of every connection, five times within two seconds."""
    for _ in range(5):
        with rig.sql() as connection:
            connection.execute(
                """
                SELECT pg_terminate_backend(pid)
                FROM pg_stat_activity
                WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
                """
            )
        rig.go_on(0.4)


@fault(_GROUP)
def database_unreachable(rig: Rig) -> None:
    """The network between the functions and Postgres breaks for 5 s."""
    rig.database.refuse()
    rig.go_on(5)
    rig.database.carry()


@fault(_GROUP)
def connections_exhausted(rig: Rig) -> None:
    """Another client takes every connection up to max_connections for 5 s."""
    held: list[psycopg.Connection[Any]] = []
    try:
        with rig.sql() as connection:
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                connection.execute(
                    """
                    SELECT pg_terminate_backend(pid)
                    FROM pg_stat_activity
                    WHERE application_name = 'kaydangpt' AND pid <> pg_backend_pid()
                    """
                )
                with suppress(psycopg.OperationalError):
                    while True:
                        held.append(psycopg.connect(rig.database_url, connect_timeout=2))
                rig.go_on(0.2)
            assert len(held) > 30, f"only {len(held)} connections could be taken"
    finally:
        for one in held:
            one.close()


@fault(_GROUP)
def disk_full(rig: Rig) -> None:
    """The disk under Postgres is full for 4 s; Postgres is started again where it crashed."""
    if rig.disk is None:
        raise Impossible("mounting a small tmpfs needs root")
    ballast = rig.disk / "ballast"
    try:
        # Postgres writes meanwhile: what is free is known only when it is taken.
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**20))
        rig.go_on(4)
        with suppress(psycopg.OperationalError), rig.sql() as connection:
            connection.execute("CREATE TABLE ballast AS SELECT generate_series(1, 1000000)")
            raise AssertionError("the disk is not full")
    finally:
        ballast.unlink()
    if rig.postgres.process.poll() is not None:
        rig.start_postgres()


@fault(_GROUP)
def database_read_only(rig: Rig) -> None:
    """Postgres takes no writes for 4 s."""
    with rig.sql() as connection:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
        rig.go_on(4)
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        connection.execute("SELECT pg_reload_conf()")


@fault(_GROUP)
def deadlocks(rig: Rig) -> None:
    """Another session locks builds and then documents, against the functions' order, for 5 s."""
    with rig.sql() as connection:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with suppress(psycopg.errors.DeadlockDetected), connection.transaction():
                connection.execute("SELECT id FROM builds WHERE state <> 'ready' FOR UPDATE")
                rig.go_on(0.3)
                connection.execute("SELECT id FROM documents FOR UPDATE")


@fault(_GROUP)
def lock_timeouts(rig: Rig) -> None:
    """Another session holds every document's lock for 6 s, twice the functions' lock_timeout."""
    with rig.sql() as connection, connection.transaction():
        connection.execute("SELECT id FROM documents FOR UPDATE")
        rig.go_on(6)


@fault(_GROUP)
def failover(rig: Rig) -> None:
    """The primary is killed; a synchronous standby is promoted and answers at a new address."""
    old = rig.postgres
    with _standby(rig) as new:
        wait_until(
            lambda: _in_step(rig), what="the standby is synchronous", timeout_seconds=30, pause=0.1
        )
        rig.go_on(1)
        for number in rig.postgres_processes():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        old.process.wait()
        rig.go_on(1)
        with psycopg.connect(new.url, autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")
        rig.postgres = new
        rig.system.environment["DATABASE_URL"] = through(
            rig.system.environment["DATABASE_URL"], new.port
        )
        rig.system.owner_url = new.url
        rig.database.carry(new.port)


@contextmanager
def _standby(rig: Rig) -> Iterator[PostgresServer]:
    """Start a copy that follows the primary; it goes on after the block."""
    primary = rig.postgres
    data_dir = primary.data_dir.with_name(f"standby-{primary.port}")
    data_dir.mkdir(mode=0o700)
    uid = NOBODY if os.geteuid() == 0 else None
    if uid is not None:
        os.chown(data_dir, uid, uid)
    arguments = [str(argument) for argument in cast("list[str]", primary.process.args)]
    server = Path(arguments[0])
    log = rig.system.folder / "standby.log"
    backup = processes.start(
        [
            *(server.with_name("pg_basebackup"), "--pgdata", data_dir, "--dbname", primary.url),
            *("--checkpoint=fast", "--write-recovery-conf", "--wal-method=stream"),
        ],
        environment={"LC_ALL": "C"},
        log=log,
        folder=data_dir,
        uid=uid,
    )
    assert backup.wait() == 0, log.read_text()
    port = free_port()
    arguments[arguments.index("-D") + 1] = str(data_dir)
    process = processes.start(
        [*arguments, "-c", f"port={port}"],
        environment={"LC_ALL": "C", "TZ": "UTC"},
        log=log,
        folder=data_dir,
        uid=uid,
        on_parent_death=signal.SIGINT,
    )
    with rig.sql() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
    yield PostgresServer(through(primary.url, port), primary.host, port, data_dir, process)


def _in_step(rig: Rig) -> bool:
    with rig.sql() as connection:
        return bool(
            connection.execute(
                "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
            ).fetchone()
        )
