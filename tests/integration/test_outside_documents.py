"""
Real documents of other people, and hostile ones: each is read right, or refused for the reason.

The set is no part of this project. KAYDANG_OUTSIDE_DATA names its folder; without it,
../shared/data beside the project is taken. Absent, these tests are left out; CI=true demands them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from functions.ingest.sandbox import ParsedDocument, ParseLimits, parse_document
from shared.errors import Unreadable

_ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = Path(os.environ.get("KAYDANG_OUTSIDE_DATA") or _ROOT.parent / "shared/data") / "documents"
LIMITS = ParseLimits(
    max_pages=10_000,
    max_decompressed_bytes=256 << 20,
    max_cells=2_000_000,
    max_chunks=200_000,
    max_text_chars=128 << 20,
    timeout_seconds=60,
    memory_bytes=1 << 30,
)


def _expectations() -> list[dict[str, Any]]:
    path = OUTSIDE / "expectations.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _fold(text: str) -> str:
    """Compare as the set's README says: NFKC, case folded, no white space, no soft hyphens."""
    text = unicodedata.normalize("NFKC", text.replace("\xad", "")).casefold()
    return re.sub(r"\s+", "", text)


def _text(document: ParsedDocument) -> str:
    return "".join(text for _, text in document.text_segments())


def _check(path: Path, expectation: dict[str, Any], model_dir: Path) -> None:
    try:
        document = parse_document(
            path,
            name=path.name,
            content_type=expectation.get("content_type"),
            limits=LIMITS,
            tokenizer=model_dir / "tokenizer.json",
            max_tokens=256,
        )
    except Unreadable as error:
        told = f"{error.code} {error.message}"
        if expectation["expect"] == "text" or not re.search(
            expectation.get("reason", ""), told, re.IGNORECASE
        ):
            pytest.fail(f"{path.name}: {told}")
        return
    with document:
        assert expectation["expect"] in ("text", "text_or_reject"), "should have been refused"
        text = _text(document)
        folded = _fold(text)
        for phrase in expectation["must"]:
            wanted = phrase.split("|") if expectation.get("alt") else [phrase]
            assert any(_fold(one) in folded for one in wanted), phrase
        for phrase in expectation.get("must_not", []):
            assert _fold(phrase) not in folded, phrase
        places = [folded.find(_fold(phrase)) for phrase in expectation.get("order", [])]
        assert places == sorted(places)
        assert len(text) >= expectation.get("min_chars", 0)
        assert expectation.get("pages", document.pages) == document.pages
        chunks = list(document.chunks())
        assert chunks
        covered = _fold("".join(chunk.text for chunk in chunks))
        assert covered == folded, "the chunks leave a part of the text out"
        for chunk in chunks:
            assert chunk.text == text[chunk.char_start : chunk.char_end]
            assert chunk.tokens <= 256


def test_outside_set_is_there() -> None:
    """Continuous integration does not pass without the outside documents."""
    if not _expectations():
        assert os.environ.get("CI") != "true", f"no outside documents in {OUTSIDE}"
        pytest.skip(f"outside documents not found in {OUTSIDE}; set KAYDANG_OUTSIDE_DATA")


@pytest.mark.parametrize("expectation", _expectations(), ids=lambda e: str(e["file"]))
def test_outside_document_as_expected(expectation: dict[str, Any], model_dir: Path) -> None:
    """A document of the outside set is read right, or refused for the reason given."""
    _check(OUTSIDE / "files" / expectation["file"], expectation, model_dir)


def test_hostile_documents_as_expected(tmp_path: Path, model_dir: Path) -> None:
    """The outside set's hostile documents are read right, or refused for the reason given."""
    if not _expectations():
        pytest.skip("outside documents not found")
    subprocess.run(
        [sys.executable, OUTSIDE / "make_hostile.py", tmp_path],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    lines = (tmp_path / "hostile.jsonl").read_text(encoding="utf-8").splitlines()
    hostname = Path("/etc/hostname")
    for expectation in map(json.loads, lines):
        if hostname.exists() and expectation["file"] == "xxe.docx":
            expectation["must_not"] = [hostname.read_text(encoding="utf-8").strip()]
        _check(tmp_path / "files" / expectation["file"], expectation, model_dir)
