"""The client of the repository against the running system, and the examples of its page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaydangpt_client import Client, ProblemError
from local.system import ROOT, System, wait_until

PAGE = (ROOT / "docs/client.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
OUTPUTS = [
    "ready",
    "guides/paris.txt It was finished in 1889. True",
    "['guides/paris.txt']",
    "The Eiffel Tower stands in Paris.",
    "404 unknown_document",
]


@pytest.fixture
def client(system: System) -> Iterator[Client]:
    """Return a client of the shared system."""
    with Client(system.query_url) as made:
        yield made


def test_the_examples_of_the_page(system: System) -> None:
    """Each prints what it is about, in the order in which a reader meets them."""
    assert len(EXAMPLES) == len(OUTPUTS)
    for example, expected in zip(EXAMPLES, OUTPUTS, strict=True):
        done = subprocess.run(
            [sys.executable, "-c", example],
            env=os.environ | system.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout


def test_documents_page_by_page(client: Client) -> None:
    """Every document once, however small the pages; conditions narrow the list."""
    names = [f"client/{number}.txt" for number in range(5)]
    for name in names:
        client.upload(f"The number of {name} is {hash(name)}.".encode(), name=name)
    for name in names:
        assert client.wait(name)["state"] == "ready"
    listed = list(client.documents(prefix="client/", state=["ready"], limit=2))
    assert [document["name"] for document in listed] == names
    assert [d["name"] for d in client.documents(prefix="client/", search="3", order="desc")] == [
        "client/3.txt"
    ]
    assert client.document(listed[0]["id"])["name"] == names[0]
    facet = client.facets(prefix="client/", values=1)["collection"]
    assert facet["values"] == [{"value": "client", "documents": 5}]


def test_a_document_is_retried_and_deleted(client: Client) -> None:
    """Both are accepted; a deleted one is found no more."""
    client.upload(b"", name="client/empty.txt", content_type="text/plain")
    failed = client.wait("client/empty.txt")
    assert failed["reason"] is not None
    assert failed["reason"]["code"] == "empty"
    assert client.retry(failed["id"])["state"] == "accepted"
    wait_until(
        lambda: (client.find("client/empty.txt") or failed)["generation"] != failed["generation"],
        what="the new generation is seen",
    )
    renewed = client.wait("client/empty.txt")
    client.delete(renewed["id"])
    wait_until(lambda: client.find("client/empty.txt") is None, what="it is gone")


def test_a_table_is_computed_over(client: Client) -> None:
    """Rows of a file become exact figures."""
    rows = "Region,Amount\nNorth,10.5\nSouth,2\nNorth,1\n"
    client.upload(rows.encode(), name="client/amounts.csv")
    document = client.wait("client/amounts.csv")
    (table,) = client.tables(document["id"])
    found = client.query_table(
        table["id"],
        {
            "where": {"column": "Region", "value": "North"},
            "aggregates": [{"function": "sum", "column": "Amount"}],
            "group_by": None,
            "limit": None,
        },
    )
    assert found["rows"][0]["values"] == ["11.5"]


def test_a_wrong_field_is_named(client: Client) -> None:
    """The problem says which, and where its code is explained."""
    with pytest.raises(ProblemError) as raised:
        client.ask("Why?", limit=1000)
    assert (raised.value.status, raised.value.code) == (400, "invalid_field")
    assert [fault["field"] for fault in raised.value.errors] == ["limit"]
    assert raised.value.type.endswith("/problems/invalid_field")


def test_commands_from_outside_a_deployment(system: System, tmp_path: Path) -> None:
    """Without the database: a folder is uploaded and waited for, and what is there is listed."""
    (tmp_path / "well.txt").write_text("The well is nine metres deep.\n")
    (tmp_path / "empty.txt").touch()
    out_of_reach = {"DATABASE_URL": "", "QUERY_URL": system.query_url}
    environment = os.environ | system.environment | out_of_reach

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "admin", *arguments, "--json"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)

    uploaded = call("upload", str(tmp_path), "--prefix", "outside", "--wait", "--timeout", "100")
    counts = json.loads(uploaded.stdout)
    assert (uploaded.returncode, counts["ready"], counts["failed"]) == (1, 1, 1)
    assert [each["name"] for each in counts["failures"]] == ["outside/empty.txt"]
    listed = json.loads(call("list", "outside/").stdout)
    assert [(each["name"], each["state"], each["reason_code"]) for each in listed] == [
        ("outside/empty.txt", "failed", "empty"),
        ("outside/well.txt", "ready", None),
    ]
    assert "There is no collection outsid" in call("list", "--collection", "outsid").stderr
