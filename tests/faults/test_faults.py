"""The short form of `make faults`, and the proof that its checks can see what they look for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.expecting import Expected, Oracle
from tests.faults.invariants import Invariants
from tests.faults.ledger import Ledger
from tests.faults.registry import Fault
from tests.faults.rig import Rig, running_rig
from tests.faults.running import inject

NAME = "folder/name.md"


@pytest.fixture(scope="module")
def rig(model_dir: Path) -> Iterator[Rig]:
    """Run one system for all faults."""
    with running_rig(model_dir=model_dir) as running:
        yield running


def _in_a_row(rig: Rig) -> None:
    for fault in FAULTS.values():
        if fault.quick:
            fault.inject(rig)


@pytest.mark.slow
def test_nothing_is_lost_when_faults_come_in_a_row(rig: Rig) -> None:
    """Kills, duplicates, lost events and damaged downloads; then index equals bucket again."""
    rig.pace = 0.5
    faults = Fault("in_a_row", "", "", _in_a_row, broker="ours", quick=True)
    outcome = inject(rig, faults, flow_seconds=1, heal_within_seconds=180)
    assert outcome.violations == ()
    assert outcome.operations > len([fault for fault in FAULTS.values() if fault.quick])
    assert outcome.questions > 0


@pytest.mark.parametrize(
    ("sabotage", "seen"),
    [
        ("UPDATE chunks SET text = text || '.' WHERE ordinal = 0", "its chunks are not those"),
        ("DELETE FROM chunks WHERE ordinal = 1", "chunks"),
        ("UPDATE embeddings SET embedding = embedding - embedding - embedding", "cosine"),
        ("UPDATE documents SET active_build = NULL, active_generation = NULL", "answering None"),
        ("UPDATE documents SET active_generation = active_generation - 1", "answering"),
        (
            """
            INSERT INTO builds (document_id, generation, epoch)
            SELECT document_id, generation, 99 FROM builds
            """,
            "builds of",
        ),
    ],
)
@pytest.mark.slow
def test_check_sees_a_sabotaged_index(rig: Rig, sabotage: str, seen: str) -> None:
    """Each kind of wrong row is named; the transaction is rolled back."""
    check = Invariants(rig.ledger, rig.system.bucket)
    with rig.sql() as connection:
        assert check.violations(connection) == []
        with connection.transaction(force_rollback=True):
            connection.execute(sabotage.encode())
            violations = Invariants(rig.ledger, rig.system.bucket).violations(connection)
    assert any(seen in violation for violation in violations)


class _Parser:
    """Makes a chunk of each line."""

    def expect(self, name: str, data: bytes) -> Expected:
        return Expected(texts=tuple(data.decode().splitlines()), whole=data.decode())


@pytest.fixture
def ledger() -> Ledger:
    """Return the history of one object: generation 5, then 7."""
    made = Ledger(cast(Oracle, _Parser()))
    made.upload_begins(NAME, b"a\nb")
    made.uploaded(NAME, 5, b"a\nb")
    made.upload_begins(NAME, b"a\nc")
    made.uploaded(NAME, 7, b"a\nc")
    return made


def answer(ledger: Ledger, *passages: tuple[int, str]) -> list[str]:
    """Return what is wrong with this answer."""
    before = len(ledger.wrong)
    ledger.answered(ledger.ask(NAME), passages)
    return ledger.wrong[before:]


def test_ledger_takes_whole_generations_in_their_order(ledger: Ledger) -> None:
    """Nothing at first, then the older, then the newer one."""
    assert answer(ledger) == []
    assert answer(ledger, (5, "a"), (5, "b")) == []
    assert answer(ledger, (7, "a"), (7, "c")) == []
    assert ledger.wrong == []


@pytest.mark.parametrize(
    ("passages", "wrong"),
    [
        ([], "a gap"),
        ([(5, "a"), (5, "b")], "back from"),
        ([(5, "b"), (7, "a")], "at once"),
        ([(7, "a")], "are not the document"),
        ([(7, "a"), (7, "b")], "are not the document"),
    ],
)
def test_ledger_names_a_wrong_answer(
    ledger: Ledger, passages: list[tuple[int, str]], wrong: str
) -> None:
    """After the newer generation has answered nothing else may."""
    assert answer(ledger, (7, "a"), (7, "c")) == []
    assert any(wrong in one for one in answer(ledger, *passages))


def test_ledger_names_what_comes_back_after_its_delete(ledger: Ledger) -> None:
    """Silence is right after a delete, and what was silent stays so."""
    assert answer(ledger, (7, "a"), (7, "c")) == []
    ledger.may_fall_silent(NAME)
    assert answer(ledger, (7, "a"), (7, "c")) == []
    assert answer(ledger) == []
    assert answer(ledger, (7, "a"), (7, "c")) != []
