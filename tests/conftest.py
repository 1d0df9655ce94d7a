"""
What the tests share: one PostgreSQL server a run, a fresh migrated database a test, and one running
system for all acceptance and browser tests that leave it whole.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from hypothesis import HealthCheck, settings
from pgvector.psycopg import register_vector
from psycopg import sql
from pydantic import SecretStr
from xdist.remote import Producer

from admin import migrate
from local.checkout import remove
from local.postgres import start_postgres
from local.roles import make_login
from local.system import System, run_system
from shared.embedding.embedder import read_model_info
from shared.settings import DatabaseSettings
from shared.store import Connection, Pool, open_pool
from shared.store.connection import connection_arguments
from tests.support.asking import BUCKET
from tests.support.emulators import running_storage
from tests.support.scheduling import LongestFirst

# A busy machine is no fault of a test's strategy.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

MODEL_DIR = Path(
    os.environ.get("MODEL_DIR")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    / "kaydangpt/models/all-MiniLM-L6-v2"
)

_MEMORY = Path("/dev/shm")
# For the servers of three processes of tests.
_ROOM_BYTES = 6 * 2**30


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LongestFirst:
    """Take our order of files, whatever --dist says: module fixtures are made once that way."""
    return LongestFirst(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write what was captured so that it can be sent: tests log lone surrogates on purpose."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """Return the exported default model; `make test` exports it when it is missing."""
    read_model_info(MODEL_DIR)
    return MODEL_DIR


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """
    Make a folder for the server's data, in memory where there is room.

    Each test's database is some hundred files: on a disk they take 230 ms of the kernel's time.
    """
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ROOM_BYTES:
        yield tmp_path_factory.mktemp("postgres")
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="kaydangpt-tests-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def postgres_url(server_folder: Path) -> Iterator[str]:
    """Start a PostgreSQL server for the run; durability is switched off for speed."""
    server = start_postgres(
        server_folder / "data",
        options={
            **{"fsync": "off", "synchronous_commit": "off", "max_connections": "200"},
            # What it keeps may stand in memory.
            "max_wal_size": "256MB",
            # Tests connect thousands of times, and would spend half of each on hashing.
            "scram_iterations": "1",
        },
    )
    try:
        with psycopg.connect(server.url) as connection:
            password = sql.Literal(urlsplit(server.url).password)
            connection.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(password))
        yield server.url
    finally:
        server.stop()
        remove(server.data_dir)


def with_database(url: str, name: str) -> str:
    """Return *url* with another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def template_database(postgres_url: str, model_dir: Path) -> str:
    """Make a migrated database with the default model once; the tests get copies of it."""
    name = "template_kaydangpt"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    prepare_database(with_database(postgres_url, name), model_dir=model_dir)
    return name


def prepare_database(url: str, *, model_dir: Path) -> None:
    """Bring an empty database to this release, as `python -m admin migrate` does."""
    migrate.migrate(migrate.Settings(database_url=SecretStr(url), model_dir=model_dir))


def create_database(server_url: str, *, template: str) -> str:
    """Make a copy of *template* and return its URL."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return with_database(server_url, name)


def drop_database(server_url: str, url: str) -> None:
    """Remove a database and end its connections."""
    name = urlsplit(url).path.lstrip("/")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """Make a database for one test, as its owner sees it."""
    url = create_database(postgres_url, template=template_database)
    try:
        yield url
    finally:
        drop_database(postgres_url, url)


@pytest.fixture(scope="session")
def worker_login(postgres_url: str, template_database: str) -> str:
    """Make the login of ingest, embed_worker and the operator's commands, for every database."""
    return make_login(with_database(postgres_url, template_database), group="kaydang_worker")


@pytest.fixture(scope="session")
def query_login(postgres_url: str, template_database: str) -> str:
    """Make the login of the query function, for every database."""
    return make_login(with_database(postgres_url, template_database), group="kaydang_query")


@pytest.fixture
def worker_url(database_url: str, worker_login: str) -> str:
    """Return the test's database as ingest, embed_worker and the operator's commands have it."""
    return with_database(worker_login, urlsplit(database_url).path.lstrip("/"))


@pytest.fixture
def query_url(database_url: str, query_login: str) -> str:
    """Return the test's database as the query function has it."""
    return with_database(query_login, urlsplit(database_url).path.lstrip("/"))


@contextmanager
def open_connection(url: str) -> Iterator[Connection]:
    """Open a connection with the options of a pool's."""
    arguments = connection_arguments(DatabaseSettings(database_url=SecretStr(url)))
    with psycopg.connect(url, **arguments) as opened:
        register_vector(opened)
        yield opened


@pytest.fixture
def owner(database_url: str) -> Iterator[Connection]:
    """Open a connection as the owner: to arrange, to look, and for what only the owner does."""
    with open_connection(database_url) as opened:
        yield opened


@pytest.fixture
def connection(worker_url: str) -> Iterator[Connection]:
    """Open a connection as ingest, embed_worker and the operator's commands have it."""
    with open_connection(worker_url) as opened:
        yield opened


@pytest.fixture
def reader(query_url: str) -> Iterator[Connection]:
    """Open a connection as the query function has it."""
    with open_connection(query_url) as opened:
        yield opened


@pytest.fixture
def worker_pool(worker_url: str) -> Iterator[Pool]:
    """Open a pool as ingest, embed_worker and the operator's commands do."""
    with open_pool(DatabaseSettings(database_url=SecretStr(worker_url))) as opened:
        yield opened


@pytest.fixture
def pool(query_url: str) -> Iterator[Pool]:
    """Open a pool as the query function does."""
    with open_pool(DatabaseSettings(database_url=SecretStr(query_url))) as opened:
        yield opened


@pytest.fixture(scope="session")
def system(
    postgres_url: str,
    template_database: str,
    model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[System]:
    """Run the system for the whole session; a test uses object names of its own."""
    url = create_database(postgres_url, template=template_database)
    try:
        with run_system(
            folder=tmp_path_factory.mktemp("system"),
            database_url=url,
            model_dir=model_dir,
            variables={"UPLOADS_ENABLED": "true"},
        ) as running:
            yield running
    finally:
        drop_database(postgres_url, url)


@pytest.fixture(scope="module")
def storage_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the stand-in for Cloud Storage, without anyone to notify."""
    with running_storage(tmp_path_factory.mktemp("storage") / "state") as emulator:
        yield emulator.url


@pytest.fixture
def bucket(storage_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[storage.Bucket]:
    """Make the bucket of documents for one test: each stand-in is a second of processor time."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_url)
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = storage.Client(project="test", credentials=credentials)
    made = client.create_bucket(BUCKET)
    yield made
    made.delete(force=True)
    client.close()
