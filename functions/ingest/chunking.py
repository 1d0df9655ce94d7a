"""Pack the blocks of a document into chunks that fit the embedding model."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from shared.boxes import LineBox, pack
from shared.values import Chunk, PageStart, TextSource, join_embedded_text, page_at, path_above

from .parsing.blocks import Block, BlockKind

# (start, end) of each word piece in the text, in order, without special tokens.
Tokenize = Callable[[str], Sequence[tuple[int, int]]]

# A section shorter than this is joined with the next one.
_SMALL_SECTION_TOKENS = 32
# A heading path or header is cut here before it is counted.
_MAX_CHARS_PER_TOKEN = 10
# Where the end of a chunk may be, as a share of what fits: see _Packer._end.
_LEAST_SHARE = 0.6
# How many chunks of text must follow a chunk before its end is chosen.
_LOOK_AHEAD_CHUNKS = 3
# A sum of word pieces this near the limit is counted again over the joined text.
_DOUBT_TOKENS = 16

_SENTENCE_END = re.compile(
    r"""(?<=[.!?…])["'”’)\]]*\s+        # Latin, Cyrillic, Vietnamese: a mark and a space
      | (?<=[。！？｡])[”’」』）]*        # Chinese and Japanese: no space
      | (?<=[؟۔।॥])\s*                  # Arabic, Urdu, Hindi
      | \n""",
    re.VERBOSE,
)
_LINE_END = re.compile(r"\n")
_CLAUSE_END = re.compile(r"(?<=[,;:、，；：،؛—–])\s*|\s+|\u200b")


@dataclass(frozen=True, slots=True)
class Budget:
    """
    How many of the model's tokens a chunk may use.

    Attributes:
        max_tokens: The most that the model reads, special tokens included; never exceeded.
        body_tokens: The most that the text of a chunk may use.
        body_chars: What the text of a chunk aims at. It keeps chunks of languages that the model
            knows small enough to be precise, and bounds what hides behind a few tokens:
            all-MiniLM-L6-v2 makes one [UNK] of a word over 100 characters, or of a run of Thai.
        heading_tokens: What the heading path may use.
        header_tokens: What a repeated table header may use; the rows beside it get less.
        special_tokens: What the tokenizer adds around any text.
    """

    max_tokens: int = 256
    body_tokens: int = 200
    body_chars: int = 800
    heading_tokens: int = 40
    header_tokens: int = 100
    special_tokens: int = 2

    def cost(self, tokens: int, chars: int) -> int:
        """Return the cost of a text in tokens: its own, or an equivalent of its length."""
        return max(tokens, chars * self.body_tokens // self.body_chars)

    @classmethod
    def for_model(cls, max_tokens: int, *, special_tokens: int = 2) -> Budget:
        """Return the budget for a model that reads *max_tokens*."""
        return cls(
            max_tokens=max_tokens,
            body_tokens=min(200, max_tokens * 200 // 256),
            body_chars=min(800, max_tokens * 800 // 256),
            heading_tokens=min(40, max_tokens * 40 // 256),
            header_tokens=min(100, max_tokens * 100 // 256),
            special_tokens=special_tokens,
        )


class _Unit(NamedTuple):
    """The smallest thing that a chunk is packed from: a block, or a sentence of a long one."""

    text: str
    gap: str
    start: int
    tokens: int
    kind: BlockKind
    page: int | None
    path: tuple[str, ...]
    header: str
    source: TextSource
    cost: int
    page_starts: tuple[PageStart, ...] = ()

    @property
    def last_page(self) -> int | None:
        return self.page_starts[-1].page if self.page_starts else self.page


def chunk_blocks(
    blocks: Iterable[Block], *, tokenize: Tokenize, budget: Budget, title: Callable[[], str]
) -> Iterator[str | Chunk]:
    """
    Yield the extracted text in pieces and, as soon as their text is out, the chunks of it.

    Args:
        title: The document's title as known so far, "" if there is none.

    Returns:
        str pieces, which join to the extracted text, between chunks in order; the chunks do not
        overlap.
    """
    packer = _Packer(tokenize=tokenize, budget=budget, title=title)
    position = 0
    first = True
    for block in blocks:
        gap = "" if first and not block.gap.strip("\n") and block.gap == "\n\n" else block.gap
        first = False
        yield gap + block.text
        yield from packer.add(block, gap=gap, start=position + len(gap))
        position += len(gap) + len(block.text)
    yield from packer.finish()


class _Packer:
    """
    Holds the open section of one document.

    The units of *open* share source and heading path, or are small sections to be joined. They
    share their page, or each begins on the page where the one before ends.

    Attributes:
        lines: Where the text that is in no chunk yet stands on its pages.
        preamble: How many of the units of *open* stand before the document's first heading.
    """

    def __init__(self, *, tokenize: Tokenize, budget: Budget, title: Callable[[], str]) -> None:
        self.tokenize = tokenize
        self.budget = budget
        self.title = title
        self.path: list[tuple[int, str]] = []
        self.open: list[_Unit] = []
        self.open_cost = 0
        self.ordinal = 0
        self.lines: deque[LineBox] = deque()
        self.skipped = ""
        self.preamble = 0
        self.count = lru_cache(maxsize=256)(lambda text: len(tokenize(text)))
        self.shorten = lru_cache(maxsize=256)(self._shorten)

    def add(self, block: Block, *, gap: str, start: int) -> Iterator[Chunk]:
        if block.level:
            while self.path and self.path[-1][0] >= block.level:
                self.path.pop()
        if block.kind == "heading":
            self.path.append((block.level, block.label))
        path = tuple(label for _, label in self.path)
        if self.open and self._ends_section(block, path):
            yield from self._pack()
        # Where the pages are another document's (an attachment's), there are none to point at.
        for line in block.lines if block.page is not None else ():
            self.lines.append(line._replace(position=line.position + start))
        for unit in self._units(block, gap=gap, start=start, path=path):
            self.open.append(unit)
            self.open_cost += unit.cost
        begin = 0
        if self.preamble and self.open_cost > 2 * self.budget.body_tokens:
            yield from self._part_preamble()
        while self.open_cost > _LOOK_AHEAD_CHUNKS * self.budget.body_tokens:
            end = self._end(begin, left=self.open_cost)
            yield self._chunk(self.open[begin:end])
            self.open_cost -= sum(unit.cost for unit in self.open[begin:end])
            begin = end
        del self.open[:begin]

    def finish(self) -> Iterator[Chunk]:
        if self.open:
            yield from self._pack()

    def _ends_section(self, block: Block, path: tuple[str, ...]) -> bool:
        last = self.open[-1]
        if block.page != last.last_page or block.source != last.source:
            return True
        if path == last.path:
            return False
        if all(unit.kind == "heading" for unit in self.open):
            return False
        if block.begins_document or (block.level and block.kind != "heading"):
            return True
        if not last.path and self.ordinal == 0 and self.open_cost < self.budget.body_tokens:
            # The recipient of a letter or an invoice is above its title.
            self.preamble = len(self.open)
            return False
        return self.open_cost >= _SMALL_SECTION_TOKENS

    def _units(
        self, block: Block, *, gap: str, start: int, path: tuple[str, ...]
    ) -> Iterator[_Unit]:
        text = block.text.rstrip()
        lead = len(text) - len(text.lstrip())
        if len(text) == lead:
            self.skipped += gap + block.text
            return
        before = self.skipped + gap + text[:lead]
        self.skipped = block.text[len(text) :]
        offsets = self.tokenize(text)
        whole = _Unit(
            text=text[lead:],
            gap=before,
            start=start + lead,
            tokens=len(offsets),
            kind=block.kind,
            page=block.page,
            path=path,
            header=block.header,
            source=block.source,
            cost=self.budget.cost(len(offsets), len(before) + len(text) - lead),
            page_starts=_pages_between(block, lead, len(text), start=start),
        )
        room = self._room(whole)
        if whole.cost <= room:
            yield whole
            return
        at = lead
        for begin, end, tokens in self._split(text, block.kind, offsets, limit=room):
            part = text[begin:end].strip()
            if not part:
                continue
            begin += len(text[begin:end]) - len(text[begin:end].lstrip())
            yield whole._replace(
                text=part,
                gap=before + text[at:begin],
                start=start + begin,
                tokens=tokens,
                cost=self.budget.cost(tokens, len(part)),
                page=page_at(begin, page=block.page, page_starts=block.page_starts)
                if block.page is not None
                else None,
                page_starts=_pages_between(block, begin, begin + len(part), start=start),
            )
            at, before = begin + len(part), ""

    def _split(
        self, text: str, kind: BlockKind, offsets: Sequence[tuple[int, int]], *, limit: int
    ) -> Iterator[tuple[int, int, int]]:
        """Yield (start, end, tokens) of the parts of a text that is too long for one chunk."""
        separators = (_LINE_END, _CLAUSE_END) if kind == "code" else (_SENTENCE_END, _CLAUSE_END)
        starts = [begin for begin, _ in offsets]

        def tokens_between(begin: int, end: int) -> int:
            return bisect_left(starts, end) - bisect_left(starts, begin)

        def cost(begin: int, end: int) -> int:
            return self.budget.cost(tokens_between(begin, end), end - begin)

        def parts(begin: int, end: int, depth: int) -> Iterator[tuple[int, int, int]]:
            if cost(begin, end) <= limit:
                yield begin, end, tokens_between(begin, end)
                return
            if depth == len(separators):
                yield from self._hard_cuts(text, begin, end, limit=limit)
                return
            at = kept = begin
            for found in separators[depth].finditer(text, begin, end):
                # Sentences and lines stay apart; clauses and words are joined up to the limit.
                if kept > at and (depth == 0 or cost(at, found.end()) > limit):
                    yield from parts(at, kept, depth + 1)
                    at = kept
                kept = found.end()
            if kept > at and cost(at, end) > limit:
                yield from parts(at, kept, depth + 1)
                at = kept
            if at < end:
                yield from parts(at, end, depth + 1)

        yield from parts(0, len(text), 0)

    def _hard_cuts(
        self, text: str, begin: int, end: int, *, limit: int
    ) -> Iterator[tuple[int, int, int]]:
        """
        Cut what has no white space after so many tokens or characters.

        A part of a word has other word pieces than the whole, so each part is counted by itself.
        """
        while begin < end:
            stop = min(end, begin + limit * self.budget.body_chars // self.budget.body_tokens)
            offsets = self.tokenize(text[begin:stop])
            while len(offsets) > limit and stop > begin + 1:
                stop = begin + max(1, min(offsets[limit][0], stop - begin - 1))
                offsets = self.tokenize(text[begin:stop])
            yield begin, stop, len(offsets)
            begin = stop

    def _room(self, unit: _Unit) -> int:
        """Return how many tokens of text fit beside the heading path and header of *unit*."""
        heading, header = self._context(unit)
        used = self.budget.special_tokens + self.count(heading) + self.count(header)
        return min(self.budget.body_tokens, self.budget.max_tokens - used)

    def _context(self, unit: _Unit) -> tuple[str, str]:
        heading = self._heading(unit.path)
        header = self.shorten(unit.header, self.budget.header_tokens) if unit.header else ""
        return heading, header

    def _heading(self, path: tuple[str, ...]) -> str:
        """Return the path below the title; the middle gives way first where it is too long."""
        title = self.title()
        names = list(path)
        if title and (not names or names[0] != title):
            names.insert(0, title)
        limit = self.budget.heading_tokens
        while len(names) > 2 and self.count(" > ".join(names)) > limit:
            del names[1]
        if len(names) == 2 and self.count(" > ".join(names)) > limit:
            names = [self.shorten(name, limit // 2) for name in names]
        return self.shorten(" > ".join(names), limit)

    def _shorten(self, text: str, limit: int) -> str:
        """Return the beginning of *text* that has at most *limit* tokens."""
        text = text[: limit * _MAX_CHARS_PER_TOKEN]
        offsets = self.tokenize(text)
        return text if len(offsets) <= limit else text[: offsets[limit - 1][1]].rstrip()

    def _part_preamble(self) -> Iterator[Chunk]:
        """Yield what stands before the first heading, unless one chunk can hold all."""
        count, self.preamble = self.preamble, 0
        if self.open_cost <= min(self._room(unit) for unit in self.open):
            return
        rest, self.open = self.open[count:], self.open[:count]
        self.open_cost = sum(unit.cost for unit in self.open)
        yield from self._pack()
        self.open, self.open_cost = rest, sum(unit.cost for unit in rest)

    def _pack(self) -> Iterator[Chunk]:
        """Yield the chunks of the open section and close it."""
        if self.preamble:
            yield from self._part_preamble()
        begin = 0
        while begin < len(self.open):
            end = self._end(begin, left=self.open_cost)
            yield self._chunk(self.open[begin:end])
            self.open_cost -= sum(unit.cost for unit in self.open[begin:end])
            begin = end
        self.open, self.open_cost = [], 0

    def _end(self, begin: int, *, left: int) -> int:
        """
        Return where the chunk ends that begins with the open unit *begin*.

        Of the ends that leave neither this chunk nor the rest too small the one before a paragraph
        is taken, and among equals the one whose next unit has the greatest checksum. So the text
        decides, not its distance from the beginning: behind an edit the chunks are soon the same
        as before, and keep their embeddings.

        Args:
            left: Cost of the open units from *begin* on.
        """
        room = self._room(self.open[begin])
        if left <= room:
            # The rest may have less room than its first unit.
            room = min(self._room(unit) for unit in self.open[begin:])
            if left <= room:
                return len(self.open)
        least = _LEAST_SHARE * room
        if left < 2 * least + room:
            least = min(least, left / 3)
        used = 0
        best, best_rank = begin + 1, (-1, 0)
        for end in range(begin + 1, len(self.open)):
            unit = self.open[end - 1]
            used += unit.cost
            room = min(room, self._room(unit))
            if used > room and end > begin + 1:
                break
            after = self.open[end]
            big_enough = used >= least and left - used >= least
            rank = (1 + _depth(unit, after), _checksum(after.text)) if big_enough else (0, used)
            if rank >= best_rank:
                best, best_rank = end, rank
        return best

    def _chunk(self, units: list[_Unit]) -> Chunk:
        first, last = units[0], units[-1]
        text = first.text + "".join(unit.gap + unit.text for unit in units[1:])
        heading = self._heading(_common_path(units))
        header = ""
        if first.header and not text.startswith(first.header):
            header = self.shorten(first.header, self.budget.header_tokens)
        above = path_above(heading, text=text)
        tokens = self.budget.special_tokens + self.count(above) + self.count(header)
        tokens += sum(unit.tokens for unit in units)
        if tokens > self.budget.max_tokens - _DOUBT_TOKENS:
            heading, header, tokens = self._fit(heading, header, text)
        start, end = first.start, last.start + len(last.text)
        chunk = Chunk(
            ordinal=self.ordinal,
            text=text,
            heading=heading,
            header=header,
            page=first.page,
            char_start=start,
            char_end=end,
            tokens=tokens,
            source=first.source,
            page_starts=_page_starts(units),
            boxes=pack(self._lines_until(end), start=start, end=end),
        )
        self.ordinal += 1
        return chunk

    def _lines_until(self, end: int) -> list[LineBox]:
        """Return the lines that begin before *end*; forget those that end there too."""
        found = []
        while self.lines and self.lines[0].position < end:
            found.append(self.lines.popleft())
        if found and found[-1].position + found[-1].words[-1].offset >= end:
            # The rest of it is the next chunk's.
            self.lines.appendleft(found[-1])
        return found

    def _fit(self, heading: str, header: str, text: str) -> tuple[str, str, int]:
        """Count exactly; leave out the heading, then the header, if the model cannot read all."""
        tokens = 0
        for fitting in ((heading, header), ("", header), ("", "")):
            joined = join_embedded_text(heading=fitting[0], header=fitting[1], text=text)
            tokens = self.budget.special_tokens + len(self.tokenize(joined))
            if tokens <= self.budget.max_tokens:
                return *fitting, tokens
        return "", "", tokens


def _depth(before: _Unit, after: _Unit) -> int:
    """
    Return how well a chunk may end between two units: 2 at a paragraph, 1 within one.

    It is 0 behind a heading, and between the names of columns and the first row below them.
    """
    if before.kind == "heading":
        return 0
    if before.kind == after.kind == "row" and after.header and not before.header:
        return 0
    return 2 if "\n\n" in after.gap else 1


def _pages_between(block: Block, begin: int, end: int, *, start: int) -> tuple[PageStart, ...]:
    """Return where between two positions of *block* pages begin, counted from *start*."""
    return tuple(
        PageStart(start + position, page)
        for position, page in block.page_starts
        if block.page is not None and begin < position < end
    )


def _page_starts(units: list[_Unit]) -> tuple[PageStart, ...]:
    """Return where pages begin behind the beginning of the first of *units*."""
    found: list[PageStart] = []
    page = units[0].page
    for unit in units:
        if unit.page is not None and unit.page != page:
            found.append(PageStart(unit.start, unit.page))
        found.extend(unit.page_starts)
        page = unit.last_page
    return tuple(found)


def _checksum(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _common_path(units: list[_Unit]) -> tuple[str, ...]:
    """Return the heading path that all *units* share, ignoring text without a heading."""
    paths = [unit.path for unit in units if unit.kind != "heading" and unit.path]
    paths = paths or [units[-1].path]
    first, last = min(paths), max(paths)
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return first[:same]
