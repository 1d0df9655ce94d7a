"""
The parser's side of the sandbox: a small fork server, and the child that parses one document.

sandbox.py starts this module in a fresh interpreter. Everything is imported once, before the
first fork, so that a child starts in milliseconds and needs no file but its input.

Frames of a child are a kind (one byte), a length (four bytes, network order) and the data:
T text in UTF-8, C a chunk, W a row of a table and M the summary as JSON, P a picture to be
read, N before the first figure is decoded, F a figure to be described, E a refusal as JSON.
The other way go Q, the request, R, the text that was read from a picture, and D, a description.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from shared.errors import Unreadable
from shared.tables import MAX_COLUMNS, MAX_TABLES
from shared.values import Chunk

from .chunking import Budget, chunk_blocks
from .confinement import UNCONFINED_STATUS, Unconfined, confine, hide_memory
from .parsing import recognition
from .parsing.blocks import (
    Block,
    EmptyPage,
    Event,
    PageCount,
    ParseLimits,
    PictureBudget,
    Request,
    TableHead,
    Title,
)
from .parsing.figures import Figures
from .parsing.registry import PDF, parse

FRAME = struct.Struct("!cI")
_TEXT_FRAME_BYTES = 1 << 16
_MAX_REQUEST_BYTES = 1 << 16
_MAX_PAGES_NAMED = 20
# How much of a document's processor time may have passed when a figure is decoded.
_FIGURES_SHARE = 0.6


def serve(control: socket.socket) -> None:
    """Fork a child for each request on *control*, until its other end is closed."""
    hide_memory()
    _import_everything()
    gc.collect()
    gc.freeze()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # A terminal's Ctrl-C reaches the parent, which closes the socket when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    if not _accept(control, children):
                        _kill(children)
                        return
                else:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_read, 4096)
            _reap(children)


def _accept(control: socket.socket, children: dict[int, socket.socket]) -> bool:
    """Start the child of one request; return False at the end of the parent."""
    try:
        message, descriptors, _, _ = socket.recv_fds(control, _MAX_REQUEST_BYTES, 3)
    except ConnectionError:
        return False
    if not message:
        return False
    source, data, status = descriptors
    status_socket = socket.socket(fileno=status)
    load_tokenizer(json.loads(message)["tokenizer"])
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        # From here on this process is the child; it never returns to the loop.
        try:
            _run_child(source=source, data=data, server=server)
        finally:
            os._exit(1)
    os.close(source)
    os.close(data)
    children[pid] = status_socket
    _tell(status_socket, {"pid": pid})
    return True


def _reap(children: dict[int, socket.socket]) -> None:
    while children:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        with children.pop(pid) as status_socket:
            rss = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            _tell(
                status_socket,
                {
                    "exit": os.waitstatus_to_exitcode(status),
                    "max_rss_bytes": rss,
                    "cpu_ms": int((usage.ru_utime + usage.ru_stime) * 1000),
                },
            )


def _tell(status_socket: socket.socket, message: dict[str, int]) -> None:
    # The parent may have given up on this child and closed the socket.
    with contextlib.suppress(OSError):
        status_socket.sendall(json.dumps(message).encode() + b"\n")


def _kill(children: dict[int, socket.socket]) -> None:
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@cache
def load_tokenizer(path: str) -> Tokenizer:
    """Return the tokenizer in *path*, which neither cuts nor pads."""
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _import_everything() -> None:
    """Import what parsers import on first use: a child cannot open files any more."""
    import encodings

    for module in pkgutil.iter_modules(encodings.__path__):
        if module.name not in ("mbcs", "oem", "cp65001"):
            importlib.import_module(f"encodings.{module.name}")
    folder = Path(__file__).parent / "parsing"
    for module in pkgutil.iter_modules([str(folder)]):
        importlib.import_module(f"{__package__}.parsing.{module.name}")
    from .parsing.preload import preload

    recognition.load()

    preload()


def _run_child(*, source: int, data: int, server: int) -> None:
    """Parse one document under its limits, then end the process."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    source, data = _keep_only(source, data)
    channel = _Channel(socket.socket(fileno=data))
    request = json.loads(channel.receive(b"Q"))
    limits = ParseLimits(**request["limits"])
    try:
        confine(limits, filtered=request["filtered"])
    except Unconfined:
        os._exit(UNCONFINED_STATUS)
    if os.getppid() != server:
        # The parent died before the kernel could end this process with it.
        os._exit(1)
    code = 0
    try:
        _parse(request, limits=limits, source=source, channel=channel)
        channel.flush()
    except Unreadable as error:
        channel.refuse(error.code, error.message)
    except MemoryError:
        # Free the unreachable partial result before anything is sent.
        gc.collect()
        channel.refuse("out_of_memory", _out_of_memory(limits.memory_bytes))
    except RecursionError:
        channel.refuse("corrupt", "The file is damaged: its parts are nested too deeply.")
    except BrokenPipeError:
        code = 1
    except Exception as error:
        # Anything can go wrong here. Only the type is reported, because messages may quote the
        # document.
        channel.refuse(
            "corrupt",
            "The file cannot be read: it is damaged or unusual "
            f"({type(error).__name__}). Save it again in the program that made it.",
        )
    os._exit(code)


def _out_of_memory(limit: int) -> str:
    return (
        f"Reading the file needs more than the {limit >> 20} MiB of memory allowed. "
        "Split it into smaller files."
    )


def _keep_only(source: int, data: int) -> tuple[int, int]:
    """Close every descriptor but the two, which become 3 and 4; output goes nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    high_source, high_data = os.dup2(source, 1001), os.dup2(data, 1000)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, 1000)
    os.dup2(high_source, 3)
    os.dup2(high_data, 4)
    os.closerange(5, 4096)
    return 3, 4


class _Channel:
    """Sends frames, and collects text into frames of about 64 KiB."""

    def __init__(self, data: socket.socket) -> None:
        self.data = data
        self.waiting = bytearray()
        self.text: list[bytes] = []
        self.text_bytes = 0

    def send(self, kind: bytes, data: bytes) -> None:
        self._text_out()
        self.waiting += FRAME.pack(kind, len(data)) + data
        if len(self.waiting) > _TEXT_FRAME_BYTES:
            self.flush()

    def send_text(self, text: bytes) -> None:
        self.text.append(text)
        self.text_bytes += len(text)
        if self.text_bytes > _TEXT_FRAME_BYTES:
            self._text_out()

    def _text_out(self) -> None:
        if self.text:
            data, self.text, self.text_bytes = b"".join(self.text), [], 0
            self.send(b"T", data)

    def flush(self) -> None:
        self._text_out()
        self.data.sendall(self.waiting)
        self.waiting.clear()

    def refuse(self, code: str, message: str) -> None:
        self.text = []
        with contextlib.suppress(BrokenPipeError):
            self.send(b"E", json.dumps({"code": code, "message": message}).encode())
            self.flush()

    def read_picture(self, png: bytes) -> str:
        """Have the parent read the text of a picture of a page."""
        self.send(b"P", png)
        self.flush()
        return self.receive(b"R").decode()

    def begin_figures(self) -> None:
        """Announce that figures are decoded from now on."""
        self.send(b"N", b"")
        self.flush()

    def describe_figure(self, picture: bytes, caption: str) -> tuple[str, str]:
        """Have the parent describe a picture; return its words, or why there are none."""
        about = caption.encode()
        self.send(b"F", len(about).to_bytes(2, "big") + about + picture)
        self.flush()
        text, code = json.loads(self.receive(b"D"))
        return text, code

    def receive(self, kind: bytes) -> bytes:
        """Return the parent's next frame, which is of this *kind*."""
        sent, length = FRAME.unpack(self._receive(FRAME.size))
        if sent != kind:
            raise BrokenPipeError
        return self._receive(length)

    def _receive(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            piece = self.data.recv(min(length - len(data), 1 << 16))
            if not piece:
                raise BrokenPipeError
            data += piece
        return bytes(data)


class _Blocks:
    """Passes on the blocks of a document, and keeps the facts from its other events."""

    def __init__(self, events: Iterator[Event]) -> None:
        self.events = events
        self.last: Block | None = None
        self.title = ""
        self.first_heading = ""
        self.pages: int | None = None
        self.pages_without_text: list[int] = []

    def __iter__(self) -> Iterator[Block]:
        for event in self.events:
            if isinstance(event, Block):
                if event.kind == "heading" and not self.first_heading:
                    self.first_heading = event.label
                self.last = event
                yield event
            elif isinstance(event, Title):
                self.title = self.title or event.text[:300]
            elif isinstance(event, PageCount):
                self.pages = event.count
            elif isinstance(event, EmptyPage):
                self.pages_without_text.append(event.page)


def _parse(request: dict[str, Any], *, limits: ParseLimits, source: int, channel: _Channel) -> None:
    tokenizer = load_tokenizer(request["tokenizer"])

    def tokenize(text: str) -> list[tuple[int, int]]:
        offsets: list[tuple[int, int]] = tokenizer.encode(text, add_special_tokens=False).offsets
        return offsets

    figures = None
    if request["figures"]:
        figures = Figures(
            channel.describe_figure,
            begin=channel.begin_figures,
            until=_FIGURES_SHARE * limits.timeout_seconds,
        )
    with open(source, "rb", closefd=False) as stream:
        content_type, events = parse(
            Request(
                source=stream,
                name=request["name"],
                content_type=request["content_type"],
                limits=limits,
                read_picture=channel.read_picture if request["asks"] else None,
                picture_budget=PictureBudget(request["picture_budget"]),
                figures=figures,
            )
        )
        blocks = _Blocks(events)
        special_tokens = tokenizer.num_special_tokens_to_add(False)
        budget = Budget.for_model(
            request["max_tokens"] + special_tokens, special_tokens=special_tokens
        )
        rows = _Rows(channel, max_cells=limits.max_cells)
        chars = chunks = 0
        for piece in chunk_blocks(
            blocks, tokenize=tokenize, budget=budget, title=lambda: blocks.title
        ):
            if isinstance(piece, Chunk):
                chunks += 1
                if chunks > limits.max_chunks:
                    raise Unreadable(
                        "too_many_chunks",
                        f"The document makes more than {limits.max_chunks} passages. "
                        "Split it into smaller files.",
                    )
                channel.send(b"C", _pack_chunk(piece))
            else:
                chars += len(piece)
                if chars > limits.max_text_chars:
                    raise Unreadable(
                        "too_much_text",
                        f"The document has more than {limits.max_text_chars} characters of text. "
                        "Split it into smaller files.",
                    )
                channel.send_text(piece.encode())
                assert blocks.last is not None, "a piece is a block's"  # noqa: S101
                rows.add(blocks.last, end=chars)
    if chunks == 0:
        raise _no_text(
            blocks, content_type=content_type, reads_pictures=request["picture_budget"] > 0
        )
    summary = {
        "title": blocks.title or blocks.first_heading,
        "content_type": content_type,
        "pages": blocks.pages,
        "pages_without_text": blocks.pages_without_text,
        "tables": rows.complete,
        "left_out": figures.left_out if figures is not None else [],
    }
    channel.send(b"M", json.dumps(summary).encode())


class _Rows:
    """
    Sends the rows of the document's tables; tables that are too large to keep are left out.

    Attributes:
        complete: Numbers of the tables that were sent whole.
    """

    def __init__(self, channel: _Channel, *, max_cells: int) -> None:
        self.channel = channel
        self.left = max_cells
        self.head: TableHead | None = None
        self.number = -1
        self.complete: list[int] = []

    def add(self, block: Block, *, end: int) -> None:
        """Send the row that *block* writes out, whose text ends at *end*."""
        row = block.row
        if row is None:
            return
        head = None
        if row.head is not self.head:
            self.head = row.head
            self.number += 1
            if self.number >= MAX_TABLES or len(row.head.names) > MAX_COLUMNS:
                return
            self.complete.append(self.number)
            head = [row.head.title, row.head.names, block.page]
        if self.complete[-1:] != [self.number]:
            return
        self.left -= len(row.cells)
        if self.left < 0 or len(row.cells) > MAX_COLUMNS:
            self.complete.pop()
            return
        place = [end - len(block.text), end, block.page]
        frame = [self.number, head, place, row.cells, row.covered]
        self.channel.send(b"W", json.dumps(frame).encode())


def _pack_chunk(chunk: Chunk) -> bytes:
    """Return all of *chunk* but its text, which the parent has already."""
    return json.dumps(
        [
            chunk.heading,
            chunk.header,
            chunk.page,
            chunk.char_start,
            chunk.char_end,
            chunk.tokens,
            chunk.source,
            chunk.page_starts,
            base64.b64encode(chunk.boxes).decode("ascii"),
        ]
    ).encode()


def _no_text(blocks: _Blocks, *, content_type: str, reads_pictures: bool) -> Unreadable:
    pages = blocks.pages_without_text
    if not pages:
        return Unreadable(
            "no_text", "The document contains no text, so there is nothing to find in it."
        )
    named = ", ".join(map(str, pages[:_MAX_PAGES_NAMED]))
    more = f" and {len(pages) - _MAX_PAGES_NAMED} more" if len(pages) > _MAX_PAGES_NAMED else ""
    which: Literal["page", "pages"] = "page" if len(pages) == 1 else "pages"
    if content_type != PDF and not content_type.startswith("image/"):
        # Sheets and slides: no picture of them is read.
        return Unreadable(
            "no_text", "The document contains no text, so there is nothing to find in it."
        )
    if content_type.startswith("image/"):
        told = f"The document is a picture in which no text was found ({which} {named}{more}). "
    else:
        told = f"The document has no text layer ({which} {named}{more}): it seems to be scanned. "
    if not reads_pictures:
        told += (
            "Text recognition is off: set OCR_PAGE_BUDGET on the ingest function to have its "
            "pictures read."
        )
    elif recognition.is_available():
        told += (
            "Text recognition found none in its pictures. If there is some, install the data of "
            "its language for Tesseract (such as the Debian package tesseract-ocr-fra), or "
            "set a Gemini key on the ingest function."
        )
    else:
        told += (
            "Install the data of its language for Tesseract (such as the Debian package "
            "tesseract-ocr-eng), or set OCR_PAGE_BUDGET and a Gemini key on the ingest function."
        )
    return Unreadable("no_text", told)
