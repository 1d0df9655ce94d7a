"""
Parses documents in a child process that can do nothing else.

The parent side: it keeps one fork server (parser_process.py) per worker process, hands it the
open file, keeps the deadline, and spools what comes back to unlinked temporary files.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Self

from shared.errors import Misconfigured, ParserDied, Unreadable
from shared.runtime.logs import get_logger
from shared.tables import (
    MAX_COLUMNS,
    ColumnReader,
    DecimalMark,
    Row,
    Table,
    TotalFinder,
    read_cells,
)
from shared.values import Chunk

from .confinement import UNCONFINED_STATUS, find_gap, landlock_version
from .frames import (
    ChunkReader,
    Misbehaved,
    RowReader,
    Summary,
    TextReader,
    make_chunk,
    read_figure,
    read_picture,
    read_refusal,
    read_summary,
)
from .parsing.blocks import DescribeFigure, ParseLimits

__all__ = ["ParseLimits", "ParsedDocument", "check_confinement", "parse_document", "start_parser"]

_log = get_logger("ingest")

_FRAME_HEAD_BYTES = 5
_INHERITED = ("LANG", "LC_ALL", "TZ", "OCR_LANGUAGES", "TESSDATA_PREFIX")
# No frame of an honest child is larger; pictures of pages are the largest.
_MAX_FRAME_BYTES = 32 << 20
# A passage is cut out of one or two of these, and each is read and unpacked as a whole.
_SEGMENT_CHARS = 4096
_SAMPLE_CHARS = 20_000
_END_SECONDS = 10.0
# A child may wait so many times its processor time for a processor, and never longer than what a
# push request of Pub/Sub leaves.
_WALL_FACTOR = 4
_MAX_WALL_SECONDS = 540.0
_MAX_STARTS = 2
# More than a parser decodes of one document.
_MAX_FIGURES = 1_000
# Refusals that a picture alone may have caused.
_FIGURES_MAY_CAUSE = ("corrupt", "out_of_memory", "timeout")

# The functions framework loads this folder as package "main", tests as functions.ingest: the fork
# server imports it under a name of its own.
_BOOTSTRAP = """
import socket, sys, types
package = types.ModuleType("ingest_parser")
package.__path__ = [sys.argv[1]]
sys.modules["ingest_parser"] = package
from ingest_parser.parser_process import serve
serve(socket.socket(fileno=int(sys.argv[2])))
"""


class ParsedDocument:
    """
    The result of the child: facts in memory, text and chunks in unlinked temporary files.

    Use it as a context manager; its iterators end with it.

    Attributes:
        content_type: The MIME type found, whatever the uploader claimed.
        pages: Pages, slides or sheets; None if the format has none.
        pages_without_text: Numbers of the pages where no text was found, from 1.
        sample: The first 20,000 characters or less, to tell the language from.
        figures_left_out: Code and page of each picture that has no description.
    """

    def __init__(self) -> None:
        self.title = ""
        self.content_type = ""
        self.pages: int | None = None
        self.pages_without_text: list[int] = []
        self.figures_left_out: list[tuple[str, int | None]] = []
        self.chunk_count = 0
        self.text_chars = 0
        self.sample = ""
        self._files = ExitStack()
        self._text = self._files.enter_context(_spool("parsed-text-"))
        self._chunks = self._files.enter_context(_spool("parsed-chunks-"))
        self._rows = self._files.enter_context(_spool("parsed-rows-"))
        self._tables: frozenset[int] = frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the temporary files."""
        self._files.close()

    def describe(self, summary: Summary) -> None:
        """Take the child's facts about the whole document."""
        self.title = summary.title
        self.content_type = summary.content_type
        self.pages = summary.pages
        self.pages_without_text = summary.pages_without_text
        self.figures_left_out = summary.left_out
        self._tables = summary.tables

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks in order; may be called again, and by several threads."""
        text = _Characters(self._text.fileno())
        position = 0
        rest = b""
        ordinal = 0
        while data := os.pread(self._chunks.fileno(), 1 << 16, position):
            position += len(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                start, end = json.loads(line)[3:5]
                yield make_chunk(line, ordinal=ordinal, text=text.read(start, end))
                ordinal += 1

    def tables(self, *, decimal: DecimalMark | None) -> Iterator[tuple[Table, Iterator[Row]]]:
        """
        Yield each complete table with its rows; consume a table's rows before the next table.

        Args:
            decimal: What the document's numbers are written with where a table does not tell.
        """
        position = 0
        for number, (title, names, page), first, end in self._places():
            if number not in self._tables:
                continue
            reader = ColumnReader(names)
            for _, cells, _ in self._read_rows(first, end):
                reader.add(cells)
            columns = reader.columns(decimal=decimal)
            if len(columns) > MAX_COLUMNS:
                continue
            table = Table(position, title, page, columns)
            position += 1
            yield table, self._typed_rows(table, first, end)

    def _places(self) -> Iterator[tuple[int, tuple[str, list[str], int | None], int, int]]:
        """Yield (number, head, first byte, byte behind) of the rows of each table."""
        begun: tuple[int, tuple[str, list[str], int | None], int] | None = None
        at = 0
        self._rows.seek(0)
        for line in self._rows:
            number, head, _, _, _ = json.loads(line)
            if head is not None:
                if begun is not None:
                    yield (*begun, at)
                begun = (number, tuple(head), at)
            at += len(line)
        if begun is not None:
            yield (*begun, at)

    def _read_rows(
        self, first: int, end: int
    ) -> Iterator[tuple[tuple[int, int, int | None], list[str], list[int]]]:
        position, rest = first, b""
        while position < end:
            data = os.pread(self._rows.fileno(), min(1 << 16, end - position), position)
            position += len(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _, _, place, cells, covered = json.loads(line)
                yield tuple(place), cells, covered

    def _typed_rows(self, table: Table, first: int, end: int) -> Iterator[Row]:
        width = len(table.columns)
        totals = TotalFinder(table.columns)
        for number, (place, cells, covered) in enumerate(self._read_rows(first, end), 1):
            numbers, dates = read_cells(table.columns, cells, covered)
            char_start, char_end, page = place
            yield Row(
                number=number,
                char_start=char_start,
                char_end=char_end,
                page=page,
                cells=tuple([*cells, *[""] * width][:width]),
                numbers=numbers,
                dates=dates,
                is_total=totals.is_total(cells, numbers),
            )

    def text_segments(self) -> Iterator[tuple[int, str]]:
        """Yield (position, text) of pieces that join to the extracted text."""
        text = _Characters(self._text.fileno())
        for start in range(0, self.text_chars, _SEGMENT_CHARS):
            yield start, text.read(start, min(start + _SEGMENT_CHARS, self.text_chars))


def _spool(prefix: str) -> IO[bytes]:
    return TemporaryFile(prefix=prefix)


class _Characters:
    """Reads a UTF-8 file by character positions that only grow."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.position = 0
        self.held = ""
        self.held_start = 0
        self.partial = b""

    def read(self, start: int, end: int) -> str:
        while self.held_start + len(self.held) < end:
            data = os.pread(self.descriptor, 1 << 16, self.position)
            if not data:
                break
            self.position += len(data)
            data = self.partial + data
            whole = _whole_characters(data)
            self.partial = data[whole:]
            keep = max(0, min(start - self.held_start, len(self.held)))
            self.held = self.held[keep:] + data[:whole].decode()
            self.held_start += keep
        return self.held[start - self.held_start : end - self.held_start]


def _whole_characters(data: bytes) -> int:
    """Return how many bytes at the start of *data* form whole UTF-8 characters."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return len(data)
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) if back >= needed else len(data) - back
    return len(data)


def parse_document(
    path: Path,
    *,
    name: str,
    content_type: str | None,
    limits: ParseLimits,
    tokenizer: Path,
    max_tokens: int,
    ocr: Callable[[bytes], str] | None = None,
    ocr_page_budget: int = 0,
    describe_figure: DescribeFigure | None = None,
    allow_unconfined: bool = False,
) -> ParsedDocument:
    """
    Parse and chunk the file at *path* in a child process.

    Args:
        name: The object's name.
        content_type: What the uploader claims, None if nothing.
        tokenizer: The model's tokenizer.json.
        max_tokens: What the model reads of a text, special tokens included.
        ocr: Reads the text of a picture of a page (PNG) that Tesseract reads badly; its time does
            not count as parsing.
        ocr_page_budget: How many pages without text are read, here or by *ocr*; 0 for none.
        describe_figure: Describes a picture inside the document; its time does not count as
            parsing. A document that cannot be read with its pictures is read without them.
        allow_unconfined: Whether to parse where Linux refuses the child's seccomp filter.

    Raises:
        Unreadable: No try can help; code and message say why.
        ParserDied: The child was killed from outside.
        Misconfigured: The child cannot be contained.
    """
    if path.stat().st_size == 0:
        raise Unreadable("empty", "The file is empty. Upload it again with its content.")
    request = {
        "name": name[-1024:],
        "content_type": content_type and content_type[:1024],
        "limits": asdict(limits),
        "tokenizer": str(tokenizer),
        "max_tokens": max_tokens,
        "picture_budget": ocr_page_budget,
        "asks": ocr is not None,
        "figures": describe_figure is not None,
        "filtered": not allow_unconfined,
    }
    document = ParsedDocument()
    try:
        with path.open("rb") as source, _Child(request, source.fileno(), limits) as child:
            try:
                child.receive(document, ocr, describe_figure)
                return document
            except Unreadable as error:
                if not child.decodes_figures or error.code not in _FIGURES_MAY_CAUSE:
                    raise
                _log.warning("document read again without its figures", code=error.code)
        document.close()
        document = ParsedDocument()
        request["figures"] = False
        with path.open("rb") as source, _Child(request, source.fileno(), limits) as child:
            child.receive(document, ocr, None)
        document.figures_left_out = [("failed", None)]
    except BaseException:
        document.close()
        raise
    return document


def start_parser() -> None:
    """
    Start this process's fork server early, so that the first document does not wait for imports.

    Call it after the worker's fork: a server started before belongs to the parent.
    """
    _server.start()


def check_confinement(*, allow_unconfined: bool) -> None:
    """
    Log how well this system can confine a parser.

    Raises:
        Misconfigured: It has no seccomp, and *allow_unconfined* is not set.
    """
    gap = find_gap()
    if not gap:
        _log.info("parser contained", landlock_version=landlock_version())
    elif allow_unconfined:
        _log.warning("parser not contained: a hostile document may reach files", reason=gap)
    else:
        raise Misconfigured(
            f"the parser cannot be contained here: {gap}. Run ingest where Linux has seccomp, or "
            "set ALLOW_UNCONFINED_PARSER=true if all documents come from people you trust"
        )


class _Child:
    """One parsing child, from its start to its end."""

    def __init__(self, request: dict[str, Any], source: int, limits: ParseLimits) -> None:
        self.limits = limits
        self.data, child_data = socket.socketpair()
        self.status, child_status = socket.socketpair()
        self.pid: int | None = None
        self.timed_out = False
        with child_data, child_status:
            try:
                # The fork server does not see the document's name, because later children would
                # inherit what it has seen.
                self._send(b"Q", json.dumps(request).encode())
                _server.send(
                    json.dumps({"tokenizer": request["tokenizer"]}).encode(),
                    [source, child_data.fileno(), child_status.fileno()],
                )
            except BaseException:
                self.data.close()
                self.status.close()
                raise
        self.picture_budget = request["picture_budget"]
        # The kernel counts the processor time (confinement.py); a busy machine stretches only this.
        self.wall_seconds = max(
            limits.timeout_seconds, min(_WALL_FACTOR * limits.timeout_seconds, _MAX_WALL_SECONDS)
        )
        self.deadline = time.monotonic() + self.wall_seconds
        self.status_rest = b""
        self.decodes_figures = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self.data.close()
        self.status.close()

    def receive(
        self,
        document: ParsedDocument,
        ocr: Callable[[bytes], str] | None,
        describe_figure: DescribeFigure | None,
    ) -> None:
        """Spool the child's frames into *document* until the child ends."""
        finished = False
        sample = ""
        text = TextReader(max_chars=self.limits.max_text_chars)
        chunks = ChunkReader(max_chunks=self.limits.max_chunks)
        rows = RowReader(max_cells=self.limits.max_cells)
        pictures = figures = 0
        try:
            while (frame := self._frame()) is not None:
                kind, data = frame
                if finished:
                    raise Misbehaved("a frame behind the last one")
                if kind == b"T":
                    piece = text.read(data)
                    document._text.write(data)
                    if len(sample) < _SAMPLE_CHARS:
                        sample += piece[: _SAMPLE_CHARS - len(sample)]
                elif kind == b"C":
                    document._chunks.write(chunks.read(data, text_chars=text.chars))
                elif kind == b"W":
                    document._rows.write(rows.read(data, text_chars=text.chars))
                elif kind == b"P" and ocr is not None and pictures < self.picture_budget:
                    pictures += 1
                    began = time.monotonic()
                    self._answer(ocr(read_picture(data)))
                    self.deadline += time.monotonic() - began
                elif kind == b"N" and describe_figure is not None:
                    self.decodes_figures = True
                elif kind == b"F" and describe_figure is not None and figures < _MAX_FIGURES:
                    figures += 1
                    began = time.monotonic()
                    self._describe(describe_figure(*read_figure(data)))
                    self.deadline += time.monotonic() - began
                elif kind == b"E":
                    raise Unreadable(*read_refusal(data))
                elif kind == b"M":
                    document.describe(read_summary(data))
                    text.finish()
                    finished = True
                else:
                    raise Misbehaved("a frame of another kind")
        except Misbehaved as error:
            _log.warning("parser misbehaved", what=str(error))
            raise Unreadable(
                "corrupt", "The file is damaged: it made its parser misbehave."
            ) from error
        if not finished or not chunks.count:
            raise self._why_it_ended()
        document.sample = sample
        document.chunk_count = chunks.count
        document.text_chars = text.chars
        document._text.flush()
        document._chunks.flush()
        document._rows.flush()

    def _answer(self, text: str) -> None:
        # The child may be gone; reading its frames to the end says why.
        with suppress(OSError):
            self._send(b"R", text.encode("utf-8", "replace"))

    def _describe(self, description: tuple[str, str]) -> None:
        with suppress(OSError):
            self._send(b"D", json.dumps(description).encode())

    def _send(self, kind: bytes, data: bytes) -> None:
        self.data.sendall(kind + len(data).to_bytes(4, "big") + data)

    def _frame(self) -> tuple[bytes, bytes] | None:
        head = self._receive(_FRAME_HEAD_BYTES)
        if head is None:
            return None
        length = int.from_bytes(head[1:], "big")
        if length > _MAX_FRAME_BYTES:
            raise Misbehaved("a frame too large")
        data = self._receive(length)
        return None if data is None else (head[:1], data)

    def _receive(self, length: int) -> bytes | None:
        """Return exactly *length* bytes, None if the child ends or is out of time before."""
        data = bytearray()
        while len(data) < length:
            if not self._readable(self.data, self.deadline):
                self.timed_out = True
                self._kill()
                return None
            try:
                piece = self.data.recv(min(length - len(data), 1 << 18))
            except ConnectionError:
                return None
            if not piece:
                return None
            data += piece
        return bytes(data)

    def _readable(self, source: socket.socket, deadline: float) -> bool:
        poll = select.poll()
        poll.register(source, select.POLLIN | select.POLLHUP)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def _read_status(self, key: str, seconds: float) -> dict[str, int]:
        """Return the fork server's next message that has *key*, {} where none comes in time."""
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" in self.status_rest:
                line, _, self.status_rest = self.status_rest.partition(b"\n")
                message: dict[str, int] = json.loads(line)
                if "pid" in message:
                    self.pid = message["pid"]
                if "exit" in message:
                    self.pid = None
                if key in message:
                    return message
            if not self._readable(self.status, deadline):
                return {}
            try:
                data = self.status.recv(4096)
            except ConnectionError:
                return {}
            if not data:
                return {}
            self.status_rest += data

    def _kill(self) -> None:
        """Kill the child's group, unless the fork server has seen it end."""
        self._read_status("exit", 0.0)
        if self.pid is None and not self.status_rest:
            self._read_status("pid", 1.0)
        if self.pid is not None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                # It ended, or has not made its group yet: then its own id is the only one.
                try:
                    os.kill(self.pid, signal.SIGKILL)
                except ProcessLookupError:
                    return

    def _why_it_ended(self) -> Unreadable | ParserDied | Misconfigured:
        if self.timed_out:
            return self._timeout(f"{self.wall_seconds:g} seconds")
        message = self._read_status("exit", _END_SECONDS)
        if not message:
            return ParserDied("the parser's fork server died")
        code, peak = message["exit"], message["max_rss_bytes"]
        if code == -signal.SIGXCPU or (
            # The kernel's hard limit.
            code == -signal.SIGKILL and message["cpu_ms"] >= 1000 * self.limits.timeout_seconds
        ):
            return self._timeout(f"{self.limits.timeout_seconds:g} seconds of processor time")
        if code == UNCONFINED_STATUS:
            return Misconfigured("the kernel refuses to contain the parser; see docs/security.md")
        if code == -signal.SIGKILL:
            return ParserDied("the parser child was killed from outside")
        # Native code ends by these where an allocation fails (PDFium by SIGTRAP or SIGILL).
        if code in (-signal.SIGABRT, -signal.SIGTRAP, -signal.SIGILL) or (
            code < 0 and peak > self.limits.memory_bytes // 2
        ):
            return Unreadable(
                "out_of_memory",
                f"Reading the file needs more than the {self.limits.memory_bytes >> 20} MiB "
                "of memory allowed. Split it into smaller files.",
            )
        if code < 0:
            return Unreadable(
                "corrupt",
                "The file is damaged: it made its parser crash. "
                "Save it again in the program that made it and upload that copy.",
            )
        return ParserDied(f"the parser child ended with status {code}")

    def _timeout(self, what: str) -> Unreadable:
        return Unreadable(
            "timeout",
            f"Reading the file took longer than {what}. Split it into smaller files.",
        )


class _ForkServer:
    """The fork server of this process: started on first use, again after its death or a fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.owner = 0

    def send(self, request: bytes, descriptors: list[int]) -> None:
        with self.lock:
            for attempt in range(_MAX_STARTS):
                control = self._running()
                try:
                    socket.send_fds(control, [request], descriptors)
                    return
                except OSError as error:
                    self._stop()
                    if attempt + 1 == _MAX_STARTS:
                        raise ParserDied("the parser's fork server cannot be reached") from error

    def start(self) -> None:
        """Start the server unless it runs."""
        with self.lock:
            self._running()

    def _running(self) -> socket.socket:
        if self.owner != os.getpid():
            # The socket was inherited by a fork: the server belongs to the parent.
            self.process = self.control = None
        if self.process is not None and self.process.poll() is not None:
            self._stop()
        return self.control or self._start()

    def _start(self) -> socket.socket:
        # Sequenced packets keep each request and its descriptors together.
        ours, theirs = socket.socketpair(socket.AF_UNIX, _PACKETS)
        environment = {
            **{key: os.environ[key] for key in _INHERITED if key in os.environ},
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), *sys.path])),
            "TOKENIZERS_PARALLELISM": "false",
            "RAYON_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "1",
        }
        folder = str(Path(__file__).parent)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP, folder, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                cwd="/",
            )
        self.control = ours
        if self.owner == 0:
            atexit.register(self.stop)
        self.owner = os.getpid()
        return ours

    def stop(self) -> None:
        """End the fork server of this process, and with it its children."""
        if self.owner == os.getpid():
            with self.lock:
                self._stop()

    def _stop(self) -> None:
        if self.control is not None:
            self.control.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = self.control = None


_PACKETS = socket.SOCK_STREAM if sys.platform == "darwin" else socket.SOCK_SEQPACKET
_ROOT = Path(__file__).resolve().parents[2]
_server = _ForkServer()
