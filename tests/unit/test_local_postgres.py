"""A PostgreSQL server from the wheel's binaries."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

import psycopg
import pytest

from local.checkout import remove
from local.postgres import PostgresFailed, start_postgres


def test_data_outlives_a_restart_and_remove_takes_it_away(tmp_path: Path) -> None:
    """A second start serves what the first one stored; remove leaves nothing of it."""
    data_dir = tmp_path / "state" / "postgres"
    server = start_postgres(data_dir)
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute("CREATE TABLE kept AS SELECT '[1,2]'::halfvec(2) AS value")
    finally:
        server.stop()
    again = start_postgres(data_dir)
    try:
        with psycopg.connect(again.url) as connection:
            assert connection.execute("SELECT value::text FROM kept").fetchone() == ("[1,2]",)
    finally:
        again.stop()
    target = data_dir.resolve()
    remove(data_dir)
    assert not data_dir.exists()
    assert not target.exists()


def test_the_password_is_the_callers_secret_and_checked(tmp_path: Path) -> None:
    """Nobody but the caller reads the password, and no other one is let in."""
    server = start_postgres(tmp_path / "postgres")
    try:
        mode = (tmp_path / "postgres.password").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.url.replace("@", "x@"))
    finally:
        server.stop()
        remove(server.data_dir)


def test_a_server_that_cannot_start_tells_why(tmp_path: Path) -> None:
    """The last lines of the server's log are in the error."""
    with pytest.raises(PostgresFailed, match='unrecognized configuration parameter "nonsense"'):
        start_postgres(tmp_path / "postgres", options={"nonsense": "1"})
    remove(tmp_path / "postgres")


def test_data_elsewhere_goes_when_its_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where root's checkout cannot be entered, deleting it is enough to be rid of its data."""
    if os.geteuid() != 0:
        pytest.skip("only root's server runs as another user")
    with tempfile.TemporaryDirectory() as reachable:
        Path(reachable).chmod(0o755)
        monkeypatch.setattr("local.postgres._REACHABLE_FOLDER", Path(reachable))
        for name in ("one", "two"):
            private = tmp_path / name
            private.mkdir(mode=0o700)
            server = start_postgres(private / "postgres")
            server.stop()
            assert (private / "postgres").is_symlink()
            assert len(list(Path(reachable).glob("kaydangpt-*/data"))) == 1
            shutil.rmtree(private)
