"""The examples of docs/api.md, run as they stand there against a served query function."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from local import processes
from local.processes import free_port
from local.roles import make_login
from local.system import wait_until
from shared.embedding.embedder import Embedder
from tests.conftest import create_database, open_connection
from tests.support.asking import index_document

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```(sh|python)\n(.*?)```", GUIDE, re.DOTALL)
CURLS = [code for language, code in EXAMPLES if language == "sh" and code.startswith("curl")]
# The listener runs in tests/acceptance/test_document_events.py.
PROGRAMS = [code for language, code in EXAMPLES if language == "python" and "pubsub" not in code]
TEXT = "The Eiffel Tower stands in Paris. It was finished in 1889."


@pytest.fixture(scope="module")
def environment(
    postgres_url: str, template_database: str, model_dir: Path, tmp_path_factory: Any
) -> Iterator[dict[str, str]]:
    """Serve the query function over one document, and return what an example needs."""
    url = create_database(postgres_url, template=template_database)
    with open_connection(make_login(url, group="kaydang_worker")) as connection:
        index_document(connection, Embedder(model_dir, threads=1), "guides/paris.txt", [TEXT])
    port = free_port()
    query_url = make_login(url, group="kaydang_query")
    settings = {"DATABASE_URL": query_url, "MODEL_DIR": str(model_dir)}
    log = tmp_path_factory.mktemp("query") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "functions_framework"),
                *("--source", "functions/query/main.py", "--target", "query"),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            cwd=ROOT,
            env=os.environ | settings | {"PYTHONPATH": str(ROOT), "THREADS": "4"},
            stdout=output,
            stderr=output,
        )
    query_url = f"http://127.0.0.1:{port}"
    try:
        wait_until(
            lambda: requests.get(f"{query_url}/readyz", timeout=30).status_code == 200,
            what="the query function is ready",
        )
        documents = requests.get(f"{query_url}/documents", timeout=30).json()["documents"]
        yield os.environ | {"QUERY_URL": query_url, "DOCUMENT_ID": documents[0]["id"]}
    finally:
        processes.stop(process, timeout_seconds=20)


@pytest.mark.parametrize("example", CURLS, ids=range(len(CURLS)))
def test_curl_when_run(environment: dict[str, str], example: str) -> None:
    """Each curl line succeeds and prints an answer."""
    done = subprocess.run(
        ["bash", "-euc", example],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    if "text/event-stream" in example:
        assert re.findall(r"^event: (\w+)$", done.stdout, re.MULTILINE) == [
            *("passages", "token", "citations", "done"),
        ]
    else:
        assert json.loads(done.stdout)


@pytest.mark.parametrize("example", PROGRAMS, ids=range(len(PROGRAMS)))
def test_client_when_run(environment: dict[str, str], example: str) -> None:
    """The example client prints an answer and its proof."""
    done = subprocess.run(
        [sys.executable, "-c", example],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1889" in done.stdout
    assert "[1] guides/paris.txt, page 1 (verified)" in done.stdout


def test_examples_when_counted() -> None:
    """The guide still holds the examples that are run here."""
    assert len(CURLS) == 7
    assert len(PROGRAMS) == 1
