"""The parser child: what comes out of it, how it ends, and what it cannot do."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from functions.ingest import sandbox
from functions.ingest.parser_process import FRAME
from functions.ingest.sandbox import ParsedDocument, ParseLimits, parse_document
from shared.errors import ParserDied, Unreadable
from tests.support.documents import (
    LIMITS,
    assemble_pdf,
    make_docx,
    make_pdf,
    make_xlsx,
    pdf_lines,
    small_tokenizer,
)

_ROOT = Path(__file__).resolve().parents[2]
Parse = Callable[..., ParsedDocument]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tokenizer.json"
    small_tokenizer().save(str(path))
    return path


@pytest.fixture
def parse(tmp_path: Path, tokenizer: Path) -> Parse:
    """Return a function that writes bytes to a file and parses that, the only document now."""
    # The fork server may still be burying the child of the test before.
    wait_until(lambda: not children())

    def parse_bytes(
        data: bytes, name: str = "a", *, limits: ParseLimits = LIMITS, **options: Any
    ) -> ParsedDocument:
        path = tmp_path / "document"
        path.write_bytes(data)
        return parse_document(
            path,
            name=name,
            content_type=None,
            limits=limits,
            tokenizer=tokenizer,
            max_tokens=256,
            **options,
        )

    return parse_bytes


def refused(parse: Parse, data: bytes, name: str = "a", **options: Any) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        parse(data, name, **options)
    return caught.value


def children() -> list[psutil.Process]:
    """Return the parser children of this process's fork server."""
    process = sandbox._server.process
    if process is None:
        return []
    return psutil.Process(process.pid).children()


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


# What a document of endless_text() meets only after minutes.
ENDLESS = replace(LIMITS, max_chunks=10_000_000, max_text_chars=1 << 30)


def endless_text() -> bytes:
    """Return what takes longer to parse than a busy machine needs to kill its parser."""
    return b"the cat and the dog. " * 5_000_000


def test_document_reads_back(parse: Parse) -> None:
    """Chunks and segments can be read again and again, and agree with each other."""
    text = "# Größe 大\n\n" + "The ä of 日本. And 🎉 to it.\n\n" * 4000
    with parse(text.encode(), "a.md") as document:
        segments = list(document.text_segments())
        extracted = "".join(part for _, part in segments)
        assert extracted == text.rstrip()
        assert document.text_chars == len(extracted)
        assert all(len(part) <= 4096 for _, part in segments)
        assert [start for start, _ in segments] == list(range(0, len(extracted), 4096))
        chunks = list(document.chunks())
        assert chunks == list(document.chunks())
        assert len(chunks) == document.chunk_count
        assert all(c.text == extracted[c.char_start : c.char_end] for c in chunks)
        assert document.sample == extracted[:20_000]
        assert (document.title, document.content_type) == ("Größe 大", "text/markdown")


def test_text_when_it_is_read_in_pieces() -> None:
    """A character that a piece cuts belongs to the next one, whatever alphabet it is of."""
    text = "aé߿ࠀก日\uffff𐀀🎉"
    data = text.encode()
    for end in range(len(data) + 1):
        whole = data[: sandbox._whole_characters(data[:end])].decode()
        assert whole == data[:end].decode(errors="ignore")


def test_document_when_pages_have_no_text(parse: Parse) -> None:
    """A partly scanned document is read, and says which pages had no text."""
    with parse(make_pdf([pdf_lines(["One."]), "0 0 9 9 re f", pdf_lines(["Three."])])) as document:
        assert (document.pages, document.pages_without_text) == (3, [2])


def test_document_when_no_page_has_text(parse: Parse) -> None:
    """A scanned document is refused with the numbers of its pages."""
    error = refused(parse, make_pdf(["0 0 9 9 re f", "0 0 9 9 re f"]))
    assert error.code == "no_text"
    assert "pages 1, 2" in error.message


def test_workbook_when_no_sheet_has_text(parse: Parse) -> None:
    """An empty workbook is refused as such, not as a scan."""
    error = refused(parse, make_xlsx({"S": ""}), "a.xlsx")
    assert error.code == "no_text"
    assert "scanned" not in error.message


def test_mail_with_an_encoded_message(parse: Parse) -> None:
    """A message is taken apart, put together and taken apart again with no file at hand."""
    inner = b"From: a@example.com\nTo: b@example.com\nSubject: Inner\n\nThe code is ZX-3.\n"
    outer = (
        b"From: a@example.com\nTo: b@example.com\nSubject: Outer\nContent-Type: message/rfc822\n"
        b"Content-Transfer-Encoding: base64\n\n"
    )
    with parse(outer + base64.encodebytes(inner), "a.eml") as document:
        assert "The code is ZX-3." in document.sample


def test_document_when_empty(parse: Parse) -> None:
    """An empty file is refused without a child."""
    assert refused(parse, b"").code == "empty"


def test_child_when_out_of_time(parse: Parse) -> None:
    """The deadline ends the child."""
    limits = replace(LIMITS, timeout_seconds=0.2)
    assert refused(parse, endless_text(), "a.txt", limits=limits).code == "timeout"


def test_child_when_out_of_processor_time(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel ends a child that computes for too long, and the reason is told as such."""
    # However long a busy machine lets it wait for its second.
    monkeypatch.setattr(sandbox, "_WALL_FACTOR", 60)
    limits = replace(ENDLESS, timeout_seconds=1)
    error = refused(parse, endless_text() * 2, "a.txt", limits=limits)
    assert (error.code, "processor time" in error.message) == ("timeout", True)


def test_child_when_machine_is_busy(parse: Parse) -> None:
    """A child that gets no processor for longer than its deadline is not refused for that."""
    limits = replace(LIMITS, timeout_seconds=3)
    text = b"the cat and the dog. " * 20_000

    def hold() -> None:
        wait_until(children)
        child = children()[0]
        child.suspend()
        resume = time.monotonic() + 1.3 * limits.timeout_seconds
        wait_until(lambda: time.monotonic() > resume)
        child.resume()

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        began = time.monotonic()
        with parse(text, "a.txt", limits=limits) as document:
            assert document.chunk_count > 0
        held.result()
    assert time.monotonic() - began > limits.timeout_seconds
    wait_until(lambda: not children())


def test_child_when_out_of_memory(parse: Parse) -> None:
    """The memory limit ends the parsing of what does not fit, with its own reason."""
    data = b"[" + b"[]," * 8_000_000 + b"1]"
    limits = replace(LIMITS, memory_bytes=400 << 20)
    assert refused(parse, data, "a.json", limits=limits).code == "out_of_memory"


@pytest.mark.parametrize(
    ("kind", "code"), [(signal.SIGSEGV, "corrupt"), (signal.SIGABRT, "out_of_memory")]
)
def test_child_when_native_code_crashes(parse: Parse, kind: signal.Signals, code: str) -> None:
    """A crash is the document's fault, and final."""
    assert _signalled(parse, kind).code == code  # type: ignore[union-attr]


def test_child_when_killed_from_outside(parse: Parse) -> None:
    """A kill that is not ours is nobody's fault: another try may help."""
    assert isinstance(_signalled(parse, signal.SIGKILL), ParserDied)


def _signalled(parse: Parse, kind: signal.Signals) -> BaseException | None:
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(parse, endless_text(), "a.txt", limits=ENDLESS)
        wait_until(children)
        children()[0].send_signal(kind)
        return result.exception(timeout=30)


def test_server_when_killed(parse: Parse) -> None:
    """A dead fork server fails its documents for another try, and is started again."""
    parse(b"warm").close()
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(parse, endless_text(), "a.txt", limits=ENDLESS)
        wait_until(children)
        assert sandbox._server.process is not None
        sandbox._server.process.kill()
        assert isinstance(result.exception(timeout=30), ParserDied)
    with parse(b"plain text") as document:
        assert document.chunk_count == 1


def test_server_when_used_by_threads(parse: Parse, tmp_path: Path, tokenizer: Path) -> None:
    """Many threads parse at the same time, each its own document."""

    def one(number: int) -> str:
        path = tmp_path / f"{number}.txt"
        path.write_text(f"Document number {number}.", encoding="utf-8")
        with parse_document(
            path,
            name=path.name,
            content_type=None,
            limits=LIMITS,
            tokenizer=tokenizer,
            max_tokens=256,
        ) as document:
            return next(document.chunks()).text

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(one, range(40)))
    assert texts == [f"Document number {number}." for number in range(40)]


def test_server_when_parent_is_killed(tmp_path: Path, tokenizer: Path) -> None:
    """Neither server nor child outlives the process that started them."""
    (tmp_path / "a.txt").write_bytes(endless_text())
    script = textwrap.dedent(
        f"""
        import threading, time
        from pathlib import Path
        from functions.ingest import sandbox
        from tests.support.documents import LIMITS
        threading.Thread(target=sandbox.parse_document, args=(Path({str(tmp_path / "a.txt")!r}),),
            kwargs=dict(name="a.txt", content_type=None, limits=LIMITS, max_tokens=256,
            tokenizer=Path({str(tokenizer)!r})), daemon=True).start()
        while sandbox._server.process is None:
            time.sleep(0.01)
        print(sandbox._server.process.pid, flush=True)
        time.sleep(60)
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        wait_until(server.children)
        family = [server, *server.children()]
        parent.kill()
        wait_until(lambda: not any(p.is_running() and p.status() != "zombie" for p in family))


def test_server_when_folder_is_package_main(tmp_path: Path, tokenizer: Path) -> None:
    """The functions framework's way of loading the folder works too."""
    (tmp_path / "a.txt").write_text("as main", encoding="utf-8")
    script = textwrap.dedent(
        f"""
        import sys, types
        from pathlib import Path
        package = types.ModuleType("main")
        package.__path__ = [{str(_ROOT / "functions/ingest")!r}]
        sys.modules["main"] = package
        from main.sandbox import parse_document, ParseLimits
        limits = ParseLimits(10, 1 << 20, 100, 100, 1 << 20, 30.0, 1 << 30)
        with parse_document(Path({str(tmp_path / "a.txt")!r}), name="a.txt", content_type=None,
                limits=limits, tokenizer=Path({str(tokenizer)!r}), max_tokens=256) as document:
            print(next(document.chunks()).text)
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == "as main\n"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_child_when_looked_at(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child is under its filter, without privileges, and has no secret in its environment."""
    sandbox._server.stop()
    monkeypatch.setenv("DATABASE_URL", "postgresql://owner:secret@db/x")
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(parse, endless_text(), "a.txt", limits=ENDLESS)
        wait_until(children)
        folder = Path(f"/proc/{children()[0].pid}")
        wait_until(lambda: "Seccomp:\t2" in (folder / "status").read_text())
        status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
        assert (int(status["NoNewPrivs"]), int(status["CapEff"], 16)) == (1, 0)
        # Another user than root does not even see it.
        with suppress(PermissionError):
            assert b"secret" not in (folder / "environ").read_bytes()
        children()[0].kill()
        assert isinstance(result.exception(timeout=30), ParserDied)


def flate_bomb(mebibytes: int, layers: int = 2) -> bytes:
    """Return a PDF of a few KB whose page content inflates to *mebibytes*."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(mebibytes)) + packer.flush()
    for _ in range(layers - 1):
        data = zlib.compress(data, 9)
    filters = b"/FlateDecode " * layers
    return assemble_pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R>>",
            b"<</Length %d/Filter[%s]>>stream\n%s\nendstream" % (len(data), filters, data),
        ]
    )


def test_pdf_that_inflates_to_a_gigabyte(parse: Parse) -> None:
    """A PDF of kilobytes that inflates to a gigabyte ends within the limits."""
    data = flate_bomb(1024)
    assert len(data) < 10_000
    before = psutil.Process().memory_info().rss  # of a process that has run other tests
    error = refused(parse, data, "a.pdf", limits=replace(LIMITS, memory_bytes=512 << 20))
    assert error.code in ("out_of_memory", "timeout")
    assert psutil.Process().memory_info().rss - before < 256 << 20


def test_pdf_of_100000_pages(parse: Parse) -> None:
    """A PDF of 100,000 pages is refused by their number."""
    pages = " ".join(["3 0 R"] * 100_000)
    data = assemble_pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            f"<</Type/Pages/Count 100000/Kids[{pages}]>>".encode(),
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>",
        ]
    )
    assert refused(parse, data, "a.pdf").code == "too_many_pages"


def test_zip_bomb(parse: Parse) -> None:
    """A small docx of 80 MB of text is refused before it is unpacked."""
    data = make_docx("<w:p><w:r><w:t>" + "B" * (80 << 20) + "</w:t></w:r></w:p>")
    assert len(data) < 1 << 20
    assert refused(parse, data, "a.docx").code == "decompression_limit"


def test_zip_that_lies_about_its_size(parse: Parse) -> None:
    """A zip whose directory understates the size of a part is refused too."""
    data = make_docx("<w:p><w:r><w:t>" + "B" * (80 << 20) + "</w:t></w:r></w:p>")
    place = data.rindex(b"word/document.xml") - 46
    data = data[: place + 24] + struct.pack("<I", 1000) + data[place + 28 :]
    assert refused(parse, data, "a.docx").code in ("decompression_limit", "corrupt")


def test_sheet_of_too_many_cells(parse: Parse) -> None:
    """A sheet of more cells than allowed is refused at the first one too many."""
    rows = "<row>" + "<c><v>1</v></c>" * 1000 + "</row>"
    assert refused(parse, make_xlsx({"S": rows * 300}), "a.xlsx").code == "cell_limit"


def test_single_line_of_megabytes(parse: Parse) -> None:
    """One endless line is chunked or refused by its length, never swallowed whole."""
    limits = replace(LIMITS, max_text_chars=1 << 20)
    assert refused(parse, b"z" * (2 << 20), "a.txt", limits=limits).code == "too_much_text"


def test_too_many_chunks(parse: Parse) -> None:
    """The number of chunks is bounded."""
    limits = replace(LIMITS, max_chunks=3)
    assert refused(parse, b"The cat. " * 2000, "a.txt", limits=limits).code == "too_many_chunks"


@pytest.mark.parametrize(
    "name", ["two  spaces", "kế hoạch", "a\nb", "quote\"'s", "a/../b.txt", "x" * 1024, "100%25", ""]
)
def test_names(parse: Parse, name: str) -> None:
    """Any object name will do."""
    with parse(b"The drawer code is DR-200.", name) as document:
        assert document.chunk_count == 1


def test_pages_read_from_pictures(parse: Parse) -> None:
    """Pages without text are read from their picture, within the budget, and say so."""
    pictures: list[bytes] = []

    def read(png: bytes) -> str:
        pictures.append(png)
        return f"Read from picture {len(pictures)}."

    pages = [pdf_lines(["Typed."]), *["0 0 99 99 re f"] * 3]
    with parse(make_pdf(pages), "a.pdf", ocr=read, ocr_page_budget=2) as document:
        chunks = list(document.chunks())
        assert [(c.text, c.page, c.source) for c in chunks] == [
            ("Typed.", 1, "text"),
            ("Read from picture 1.", 2, "ocr"),
            ("Read from picture 2.", 3, "ocr"),
        ]
        assert document.pages_without_text == [4]
    assert all(png.startswith(b"\x89PNG\r\n\x1a\n") for png in pictures)


def test_picture_reader_fails(parse: Parse) -> None:
    """An error of the reader is the caller's, and the child is gone."""

    def read(png: bytes) -> str:
        raise ParserDied("the reader is away")

    with pytest.raises(ParserDied):
        parse(make_pdf(["0 0 99 99 re f"]), "a.pdf", ocr=read, ocr_page_budget=1)
    wait_until(lambda: not children())


def test_descriptors_do_not_leak(parse: Parse) -> None:
    """Neither good nor refused documents leave open files behind."""
    parse(b"warm").close()
    before = psutil.Process().num_fds()
    for _ in range(5):
        parse(b"some text").close()
        refused(parse, b"%PDF-1.4 broken")
    assert threading.active_count() < 50
    assert psutil.Process().num_fds() == before


class TakenOver:
    """In place of the fork server: its children say *frames*, whatever they are asked."""

    def __init__(self, *frames: tuple[bytes, bytes]) -> None:
        self.frames = frames
        self.heard = b""

    def send(self, request: bytes, descriptors: list[int]) -> None:
        """Start a child that has said all it has to say."""
        self.heard = request
        _, data, status = descriptors
        with socket.socket(fileno=os.dup(data)) as child:
            for kind, said in self.frames:
                child.sendall(FRAME.pack(kind, len(said)) + said)
        os.write(status, b'{"exit": 0, "max_rss_bytes": 0, "cpu_ms": 0}\n')


TEXT = (b"T", b"0123456789")
CHUNK = (b"C", b'["", "", null, 0, 10, 3, "text", [], ""]')
SUMMARY = (
    b"M",
    json.dumps(
        {
            "title": "",
            "content_type": "text/plain",
            "pages": 1,
            "pages_without_text": [],
            "tables": [],
            "left_out": [],
        }
    ).encode(),
)
PICTURE = (b"P", b"\x89PNG\r\n\x1a\n")


def test_child_when_it_was_taken_over(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames in the wrong order, too many or of a kind that is none fail the document for good."""
    monkeypatch.setattr(sandbox, "_server", TakenOver(TEXT, CHUNK, SUMMARY))
    with parse(b"document") as document:
        assert [chunk.text for chunk in document.chunks()] == ["0123456789"]
    for frames in (
        [CHUNK, TEXT, SUMMARY],
        [TEXT, CHUNK, CHUNK, SUMMARY],
        [TEXT, CHUNK, SUMMARY, TEXT],
        [TEXT, CHUNK, SUMMARY, SUMMARY],
        [TEXT, (b"C", b"[]"), SUMMARY],
        [TEXT, CHUNK, (b"M", b"{}")],
        [(b"T", b"\xff"), SUMMARY],
        [(b"E", b"{}")],
        [(b"X", b"")],
        [PICTURE],
        [(b"R", b"")],
    ):
        monkeypatch.setattr(sandbox, "_server", TakenOver(*frames))
        assert refused(parse, b"document").code == "corrupt", frames


def test_pictures_when_child_was_taken_over(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no more of them read, at somebody's cost, than the document may have."""
    read: list[bytes] = []

    def read_text(png: bytes) -> str:
        read.append(png)
        return ""

    monkeypatch.setattr(sandbox, "_server", TakenOver(*[PICTURE] * 5, TEXT, CHUNK, SUMMARY))
    refused(parse, b"document", ocr=read_text, ocr_page_budget=3)
    assert len(read) == 3


def test_name_when_it_is_of_another_document(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork server, whose memory each later child has, is not told whose document it is."""
    server = TakenOver(TEXT, CHUNK, SUMMARY)
    monkeypatch.setattr(sandbox, "_server", server)
    parse(b"document", "board/dismissals.txt").close()
    assert b"tokenizer" in server.heard
    assert b"dismissals" not in server.heard
