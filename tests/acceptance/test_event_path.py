"""From a file in the bucket to a cited answer, through every process."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local.system import System, wait_until


def texts(system: System, question: str, prefix: str) -> list[str]:
    """Return the texts that answer from documents whose names begin with *prefix*."""
    found = system.post(
        "/retrieve", {"question": question, "limit": 20, "filter": {"prefix": prefix}}
    )
    return [passage["text"] for passage in found["passages"]]


def test_uploaded_file_answers_with_a_citation(system: System) -> None:
    """The main job: drop a file, ask, get an answer that proves itself."""
    text = "Building seven.\n\nThe gate code of building seven is QX-7714. It changes on Mondays."
    generation = system.upload("path/gate.txt", text)
    document = system.wait_for("path/gate.txt", generation=generation)
    assert (document["state"], document["answering_generation"]) == ("ready", generation)
    answer = system.post(
        "/query",
        {"question": "What is the gate code of building seven?", "filter": {"prefix": "path/"}},
    )
    assert (answer["model"], answer["grounded"]) == ("extractive", True)
    assert "QX-7714" in answer["answer"]
    citation = answer["citations"][0]
    assert (citation["name"], citation["verified"]) == ("path/gate.txt", True)
    assert text[citation["char_start"] : citation["char_end"]] == citation["quote"]


def test_overwrite_leaves_no_gap_and_no_mixture(system: System) -> None:
    """At every moment exactly one generation answers, and never the old after the new."""
    name = "overwrite/report.txt"

    def version(number: int) -> str:
        return "\n\n".join(f"Report version{number} part {part}. " * 30 for part in range(8))

    system.wait_for(name, generation=system.upload(name, version(1)))
    seen: list[set[str]] = []
    with _asking_meanwhile(system, "report version part", "overwrite/", seen):
        for number in (2, 3):
            system.wait_for(name, generation=system.upload(name, version(number)))
    assert all(len(answer) == 1 for answer in seen)
    order = [next(iter(answer)) for answer in seen]
    assert order == sorted(order)
    assert {order[0], order[-1]} == {"version1", "version3"}


@contextmanager
def _asking_meanwhile(
    system: System, question: str, prefix: str, seen: list[set[str]]
) -> Iterator[None]:
    """Ask in a second thread and note which versions each answer is made of."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            found = texts(system, question, prefix)
            seen.append({word for text in found for word in text.split() if "version" in word})

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        count = len(seen)
        # One more answer after the last flip, so that the newest generation is seen.
        wait_until(lambda: len(seen) > count + 1, what="the reader goes on")
        over.set()
        thread.join()


def test_deleted_file_answers_no_more(system: System) -> None:
    """Gone from the bucket is gone from the answers."""
    name = "delete/secret.txt"
    system.wait_for(name, generation=system.upload(name, "The vault number is 90210."))
    assert texts(system, "vault number", "delete/")
    system.bucket().blob(name).delete()
    wait_until(lambda: not texts(system, "vault number", "delete/"), what="it is forgotten")
    assert system.documents(prefix=name) == {}
    assert system.documents(prefix=name, state="deleted")[name]["answering_generation"] is None


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("failing/empty.txt", b"", "empty"),
        ("failing/blank.txt", b" \n\n ", "empty"),
        ("failing/program.bin", b"\x7fELF" + bytes(200), "unsupported_type"),
        ("failing/broken.pdf", b"%PDF-1.4 nothing of use", "corrupt"),
    ],
)
def test_file_that_cannot_be_indexed_says_why(
    system: System, name: str, data: bytes, code: str
) -> None:
    """Every file is ready, or failed with a reason for its owner."""
    system.upload(name, data)
    document = system.wait_for(name)
    assert document["state"] == "failed"
    assert document["reason"]["code"] == code
    assert len(document["reason"]["message"]) > 10


def test_failed_overwrite_retracts_the_old_text(system: System) -> None:
    """The bucket no longer holds that text, so it must not answer."""
    name = "retract/a.txt"
    system.wait_for(name, generation=system.upload(name, "The lamp is green."))
    document = system.wait_for(name, generation=system.upload(name, b""))
    assert (document["state"], document["answering_generation"]) == ("failed", None)
    assert texts(system, "lamp", "retract/") == []


@pytest.mark.parametrize(
    "name",
    [
        "names/kế hoạch năm – bản 2.md",
        unicodedata.normalize("NFD", "names/kế hoạch năm – bản 2.md"),
        "names/two  spaces.txt",
        'names/quote\'s "x" <b>.txt',
        "names/new\nline.txt",
        "names/100%25.txt",
        "names/a/../b.txt",
        "names/" + "x" * 1018,
    ],
)
def test_any_object_name_is_taken(system: System, name: str) -> None:
    """Names that Storage allows reach the answer unchanged."""
    word = f"drawer{abs(hash(name)) % 10_000}"
    system.wait_for(name, generation=system.upload(name, f"The code is in {word}."))
    found = system.post(
        "/retrieve", {"question": word, "limit": 20, "filter": {"prefix": "names/"}}
    )
    assert name in {passage["name"] for passage in found["passages"]}


def test_folder_placeholder_is_no_document(system: System) -> None:
    """Consoles make an empty object for a folder; nobody wants to read that it failed."""
    system.upload("placeholder/", b"")
    system.wait_for("placeholder/a.txt", generation=system.upload("placeholder/a.txt", "A text."))
    assert set(system.documents(prefix="placeholder/")) == {"placeholder/a.txt"}


def test_metadata_update_moves_the_document_to_another_collection(system: System) -> None:
    """A metadata change reaches the filters without a new generation."""
    name = "moving/a.txt"
    generation = system.upload(name, "The moving van is yellow.")
    system.wait_for(name, generation=generation)
    blob = system.bucket().blob(name)
    blob.metadata = {"collection": "vans"}
    blob.patch()
    wait_until(
        lambda: system.post(
            "/retrieve", {"question": "moving van", "filter": {"collection": "vans"}}
        )["passages"],
        what="the filter sees the new collection",
    )
    assert system.documents(prefix=name)[name]["generation"] == generation


def test_operator_sees_and_heals(system: System) -> None:
    """status, retry, reindex and reconcile do what they say, in JSON for scripts."""
    system.upload("operator/empty.txt", b"")
    system.wait_for("operator/empty.txt")
    generation = system.upload("operator/a.txt", "The operator wears a hat.")
    system.wait_for("operator/a.txt", generation=generation)
    failed = system.run("admin", "status", "--failed", "--json", "operator/")
    assert '"empty"' in failed.stdout
    assert '"retried": 1' in system.run("admin", "retry", "operator/empty.txt", "--json").stdout
    assert system.wait_for("operator/empty.txt")["state"] == "failed"
    assert (
        '"reindexed": 1'
        in system.run(
            "admin", "reindex", "--collection", "operator", "operator/a.txt", "--json"
        ).stdout
    )
    wait_until(
        lambda: system.documents(prefix="operator/a")["operator/a.txt"]["state"] == "ready",
        what="the new build is ready",
    )
    assert texts(system, "operator hat", "operator/") == ["The operator wears a hat."]
