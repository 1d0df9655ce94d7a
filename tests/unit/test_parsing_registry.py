"""The table of formats: every row can be used, and what the documentation lists is the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from functions.ingest.parsing.detection import Format
from functions.ingest.parsing.registry import FORMATS, load_parser
from shared.errors import Unreadable
from tests.support.documents import parse_bytes

_ROOT = Path(__file__).parents[2]
_EXTENSIONS = [extension for known in FORMATS for extension in known.extensions]


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.content_type)
def test_format_when_used(known: Format) -> None:
    """Each row names a parser that exists, and the kind that people call it."""
    assert callable(load_parser(known))
    assert known.label.startswith(("a ", "an "))
    # What has no extension of its own is told by its text.
    assert known.extensions or known.looks_like


def test_formats_when_compared() -> None:
    """No two rows claim the same extension or the same type."""
    assert len(_EXTENSIONS) == len(set(_EXTENSIONS))
    types = [kind for known in FORMATS for kind in (known.content_type, *known.declared)]
    assert len(types) == len(set(types))


def test_supported_when_documented() -> None:
    """README.md and docs/formats.md list the extensions of the table, all and no others."""
    listed = re.search(
        r"What can go into the bucket: ([^.]*)\.", _ROOT.joinpath("README.md").read_text()
    )
    assert listed
    usual = {known.extensions[0] for known in FORMATS if known.extensions}
    assert set(listed.group(1).replace("\n", " ").split(", ")) == usual
    table = _ROOT.joinpath("docs/formats.md").read_text()
    rows = re.findall(r"^\| ([a-z0-9, ]+) \|", table, re.MULTILINE)
    assert sorted(", ".join(rows).split(", ")) == sorted(_EXTENSIONS)


def test_supported_when_refused() -> None:
    """A refusal says what is read instead."""
    with pytest.raises(Unreadable, match="epub") as refused:
        parse_bytes(b"\x7fELF\x02\x01" + bytes(100), "a.pdf")
    assert "not a PDF document" in refused.value.message
