"""Faults of documents and of the parser."""

from __future__ import annotations

import io
import os
import signal
import time
import zipfile
from contextlib import suppress
from pathlib import Path

from tests.faults.registry import fault
from tests.faults.rig import Rig

_GROUP = "Documents"


def _overwrite_with(rig: Rig, name: str, data: bytes, *, code: str) -> None:
    """Let a good document answer, then put *data* in its place, which must fail."""
    whole = rig.upload(name)
    rig.system.wait_for(whole)
    rig.upload(name, data, code=code)


@fault(_GROUP)
def parse_errors(rig: Rig) -> None:
    """Damaged files overwrite good ones: the old text must go, the reason must be named."""
    _overwrite_with(rig, "broken.pdf", b"%PDF-1.7\n" + b"garbage " * 500, code="corrupt")
    _overwrite_with(rig, "broken.docx", _zip({"word/document.xml": b"<w:"}), code="corrupt")


@fault(_GROUP)
def no_text(rig: Rig) -> None:
    """A page without a word and an empty file overwrite good documents."""
    _overwrite_with(rig, "blank.html", b"<html><body><p> </p></body></html>", code="no_text")
    _overwrite_with(rig, "empty.txt", b"", code="empty")


@fault(_GROUP)
def decompression_bomb(rig: Rig) -> None:
    """A docx of 400 KB that unfolds to 400 MB overwrites a good document."""
    body = b"<w:document>" + b" " * (400 * 2**20)
    _overwrite_with(
        rig, "bomb.docx", _zip({"word/document.xml": body}), code="decompression_limit|corrupt"
    )


@fault(_GROUP, quick=True)
def parser_killed(rig: Rig) -> None:
    """kill -9 of every parser process, again and again for 3 s."""
    deadline = time.monotonic() + 3
    killed = 0
    while time.monotonic() < deadline:
        for number in _parsers(rig):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
                killed += 1
        time.sleep(0.1)
    assert killed, "no parser was there to be killed"


@fault(_GROUP)
def upload_of_many_batches(rig: Rig) -> None:
    """A document of 90 chunks is overwritten twice while its 30 batches are embedded."""
    text = "\n\n".join(
        f"Passage {number}. " + f"The part {number} stands on shelf {number % 7}. " * 14
        for number in range(90)
    )
    for edition in range(3):
        rig.upload("long.md", f"{text}\n\nEdition {edition}.".encode())
        rig.go_on(1.5)


def _parsers(rig: Rig) -> list[int]:
    group = rig.system.running["ingest"].pid
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            command = path.with_name("cmdline").read_bytes()
            if int(fields[2]) == group and b"ingest_parser" in command:
                found.append(int(path.parent.name))
    return found


def _zip(files: dict[str, bytes]) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        for name, data in files.items():
            archive.writestr(name, data)
    return output.getvalue()
