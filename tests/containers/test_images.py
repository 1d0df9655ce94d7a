"""The images of infra/Dockerfile: what is in them, and a question answered from them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import requests

from infra import images
from local.processes import free_port
from local.system import wait_until
from tests.conftest import with_database
from tests.containers.conftest import CONFINED, environment_options, podman, running
from tests.support.emulators import running_pubsub, running_storage

pytestmark = pytest.mark.slow

_PROJECT = "kaydangpt-image"
# Runs in the container and prints what it finds.
_LOOK = """
import importlib.metadata, json, os, pathlib, re
def name(text): return re.sub(r"[-_.]+", "-", text).lower()
def writable(folder):
    try: (pathlib.Path(folder) / "new").write_text("")
    except OSError: return False
    return True
bill = json.load(open("/usr/share/sbom/kaydang.cdx.json"))
status = pathlib.Path("/proc/self/status").read_text()
print(json.dumps({
    "user": os.getuid(), "group": os.getgid(),
    "installed": sorted({name(d.metadata["Name"]) for d in importlib.metadata.distributions()}),
    "listed": sorted({name(part["name"]) for part in bill["components"]}),
    "writable": [f for f in ("/", "/app", "/opt/venv", "/model", "/tmp") if writable(f)],
    "capabilities": re.search(r"CapEff:\\s*(\\w+)", status)[1],
    "seccomp": re.search(r"Seccomp:\\s*(\\d)", status)[1],
    "model": sorted(path.name for path in pathlib.Path("/model").iterdir()),
}))
"""


@pytest.mark.parametrize("name", sorted(images.IMAGES))
def test_an_image_runs_confined_and_carries_nothing_of_its_build(
    built_images: Sequence[str], name: str
) -> None:
    """User 10001 without capabilities writes to /tmp alone; no torch, no pip; a whole bill."""
    image = f"localhost/{name}:latest"
    output = podman("run", "--rm", *CONFINED, image, "python", "-c", _LOOK)
    found = json.loads(output.strip().splitlines()[-1])
    assert (found["user"], found["group"]) == (10001, 10001)
    assert found["writable"] == ["/tmp"]
    assert int(found["capabilities"], 16) == 0
    assert found["seccomp"] == "2"
    assert found["model"] == ["model.json", "model.onnx", "reader", "tokenizer.json"]
    installed = set(found["installed"])
    assert not installed & {"torch", "sentence-transformers", "transformers", "pip", "setuptools"}
    assert installed <= set(found["listed"])


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    """Make an empty database, and drop it with the login roles that the set-up made."""
    name = f"image_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield with_database(postgres_url, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.execute("DROP ROLE IF EXISTS image_worker, image_query")


def test_a_document_is_answered_from_the_images(
    built_images: Sequence[str], database: str, tmp_path: Path
) -> None:
    """Set-up, four functions with 1 CPU and 1 GiB each, an upload, and a cited answer."""
    ports = {name: free_port() for name in ("ingest", "embed-worker", "dead-letters", "query")}
    _, _, place = database.partition("@")
    worker = {"DATABASE_URL": f"postgresql://image_worker:of-this-run@{place}"}
    asker = {"DATABASE_URL": f"postgresql://image_query:of-this-run@{place}"}
    with ExitStack() as stack:
        pubsub = stack.enter_context(running_pubsub(tmp_path / "pubsub"))
        bucket = stack.enter_context(running_storage(tmp_path / "storage", pubsub_host=pubsub.host))
        common = {
            "GOOGLE_CLOUD_PROJECT": _PROJECT,
            "DOCUMENTS_BUCKET": "documents",
            "STORAGE_EMULATOR_HOST": bucket.url,
            "PUBSUB_EMULATOR_HOST": pubsub.host,
        }
        setup = common | {
            "DATABASE_URL": database,
            "WORKER_DATABASE_URL": worker["DATABASE_URL"],
            "QUERY_DATABASE_URL": asker["DATABASE_URL"],
            "INGEST_URL": f"http://127.0.0.1:{ports['ingest']}",
            "EMBED_WORKER_URL": f"http://127.0.0.1:{ports['embed-worker']}",
            "DEAD_LETTER_URL": f"http://127.0.0.1:{ports['dead-letters']}",
        }
        image = "localhost/kaydang-setup:latest"
        podman("run", "--rm", *CONFINED, *environment_options(setup), image)

        dead_letters = worker | {"FUNCTION_TARGET": "record_dead_letter"}
        started = {}
        for name, source, own in (
            ("ingest", "ingest", worker),
            ("embed-worker", "embed-worker", worker),
            ("dead-letters", "embed-worker", dead_letters),
            ("query", "query", asker),
        ):
            started[name] = stack.enter_context(
                running(
                    f"localhost/kaydang-{source}:latest",
                    common | own | {"PORT": str(ports[name])},
                )
            )
        try:
            for name, port in ports.items():
                _wait_for_probe(name, f"http://127.0.0.1:{port}/readyz")
            _wait_for_probe("query", f"http://127.0.0.1:{ports['query']}/healthz")
            _upload_and_ask(bucket.url, f"http://127.0.0.1:{ports['query']}")
        except AssertionError as error:
            logs = "\n".join(f"--- {name}\n{part.log()}" for name, part in started.items())
            raise AssertionError(f"{error}\n{logs}") from error

        # The cloud's jobs run from ingest's image.
        image = "localhost/kaydang-ingest:latest"
        for command in ("sweep", "reconcile", "status"):
            podman(
                *("run", "--rm", *CONFINED, *environment_options(setup), image),
                *("python", "-m", "admin", command),
            )


def _wait_for_probe(name: str, url: str) -> None:
    wait_until(
        lambda: requests.get(url, timeout=5).status_code == 200,
        what=f"{name} answers {url}",
        timeout_seconds=120,
        pause=0.2,
    )


def _upload_and_ask(storage_url: str, query_url: str) -> None:
    requests.post(
        f"{storage_url}/upload/storage/v1/b/documents/o",
        params={"uploadType": "media", "name": "image/lamp.md"},
        data="# Lamp room\n\nThe lamp room's code word is bergamot-seven.\n",
        headers={"Content-Type": "text/markdown"},
        timeout=30,
    ).raise_for_status()
    question = {"question": "What is the code word of the lamp room?"}

    def answered() -> bool:
        response = requests.post(f"{query_url}/query", json=question, timeout=60)
        response.raise_for_status()
        answer = response.json()
        cited = [citation["name"] for citation in answer["citations"] if citation["verified"]]
        return "bergamot-seven" in answer["answer"] and cited == ["image/lamp.md"]

    wait_until(answered, what="an answer that cites the document", timeout_seconds=90, pause=0.3)
