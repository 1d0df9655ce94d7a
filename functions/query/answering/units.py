"""
The parts of a passage that can answer: sentences, list items, rows, commands. Pure.

Headings, navigation, contents and the introduction of a list by itself answer nothing. A sentence
that ends in a colon goes together with the list or the command that it introduces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from sentencex import get_sentence_boundaries  # type: ignore[import-untyped] # ships none

from shared.values import Hit

Kind = Literal["sentence", "item", "row", "code", "list"]

MAX_UNIT_CHARACTERS = 900
# A list or a command that follows its introduction, at most.
_MAX_FOLLOWING_LINES = 12
_MAX_HEADING_CHARACTERS = 120
# And one that has no blank line behind it.
_MAX_TITLE_LINE = 60
# So many sentences of which the last is a question are one.
_MAX_ASKED = 3
# A title that runs into the text has so few words: "6. Trademarks. This licence ..."
_MAX_RUN_IN_WORDS = 5
# With fewer words what stands before a command is its title.
_MIN_INTRODUCTION = 3

_BLOCK_BREAK = re.compile(r"\n[ \t]*\n[\s]*")
# What an item of a list begins with: a bullet, 1. or a), iv). A heading is what 2.1. begins.
ITEM_MARKER = (
    r"(?:[-*•◦▪▫‣●○■□◆◇➢❖►✓☐☑–+]"
    r"|\(?(?:\d{1,2}|[A-Za-z]|[ivx]{2,5})[.)])"
)
_ITEM = re.compile(rf"[ \t]*{ITEM_MARKER}[ \t]+(?=\S)")
_STEP = re.compile(r"\d[.)][ \t]+\Z")
# A bullet of plain manual pages; within a paragraph it is Spanish for "or".
_ROUND_BULLET = re.compile(r"[ \t]*o[ \t]+(?=\S)")
_MARKED = re.compile(rf"{_ITEM.pattern}|{_ROUND_BULLET.pattern}")
# An entry of the contents at the head of a page.
_LEADS_WITHIN = re.compile(r"\W*\[[^\]]*\]\(#[^)]*\)\W*")
# "# apt upgrade" is what the superuser types.
_MARKDOWN_HEADING = re.compile(r"(?:#{2,6}[ \t]+\S|#[ \t]+(?![a-z]))")
_NUMBERED_HEADING = re.compile(
    r"(?:(?:[A-Z]|(?:§ ?)?\d{1,3})(?:\.\d{1,3})*\.?|(?:Chapter|Section|Appendix|Table|Figure"
    r"|Example|Part"
    r"|Kapitel|Abschnitt|Anhang|Tabelle|Abbildung|Capítulo|Sección|Tabla|Chapitre|Chương|Phần|Bảng)"
    r"\s+[\w.]+\.?)\s+\S",
    re.IGNORECASE,
)
_SENTENCE_ENDS = re.compile(r"[.!?。！？…][\"'”’»)\]]*\s*$")
_INTRODUCES = re.compile(r"[:：]\s*$")
# "I have lost my password." heads an answer, as a question does.
_OF_THE_READER = re.compile(r"I(?:[’']\w+)?\s")
_QUOTED_END = re.compile(r"[.!?…][\"'”’»]\s*$")
_ONE_WORD = re.compile(r"[^\W\d_]{2,8}[.!]\s*")
_REMARK = re.compile(r"\s*\((?:i\.e\.|e\.g\.|[a-zà-ÿ])")
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
# What prose hardly holds: options, redirections, assignments, prompts, calls.
_CODE_SIGNS = re.compile(
    r"(?:^|\s)(?:[$#>]\s|--?[a-z]|[|<>]{1,2}\s)|[{};]\s*$|\w=\S|\w\(.*\)|^\s*(?:[\w.~-]*/)+[\w.-]+"
    r"|\\\s*$|^\s*[\w-]+:\s*\S+$"
)
# The name of an option, a parameter or a function, as lists of definitions have it.
_TERM = re.compile(
    r"(?:[‘'`]?--?[A-Za-z][\w-]*(?:[ =,\n’'`]+[-\[<A-Za-z‘'`][^\s]*){0,6}"
    r"|\S*[\w>\]](?: ?\([^()\n]{0,80}\))?)\s*¶?"
)
# What the name of an option or a setting has, and a heading has not.
_LITERAL_SIGN = re.compile(r"[\d_=()<>/]|(?<!\w)-|[a-z][A-Z]|\w\.\w")
# An option or a variable, on a line of its own above what it does.
_OPTION_LINE = re.compile(r"\s*(?:[‘'`]?--?[A-Za-z]|[A-Z][A-Z0-9_]{2,}\s*$)")
# A term and what it means on one line, set apart: "127    if the command is not found".
_DEFINED = re.compile(
    r"[ \t]*(?P<term>\S{1,24}(?: \S{1,24}){0,3})(?:[ ]{3,}|\t+)(?P<said>\S[^\n]*)"
)
_MAX_DEFINED_LINES = 4
# What stands before a command without a colon: "Then run".
_COMMANDS = re.compile(
    r"\b(?:run|type|enter|execute|use|using|with|by|do|command|eingeben|ausführen|befehl|mit"
    r"|ejecute|escriba|comando|con|exécutez|tapez|commande|avec|esegui|digita|comando|digite|lệnh"
    r"|chạy|gõ)\W*$",
    re.IGNORECASE,
)
# What is asked and what is answered, as lists of questions mark them.
_ASKED = re.compile(r"(?:Q|F|Question|Frage|Pregunta|Domanda|Pergunta|Hỏi)\s?\d{0,3}[.:]\s")
_ANSWERED = re.compile(
    r"(?:A|R|Answer|Antwort|Respuesta|Réponse|Risposta|Resposta|Đáp|Trả lời)\s?\d{0,3}[.:]\s+"
)
# A line below a title, or across the page.
_RULE = re.compile(r"[ \t]*([=~^*_#.+-])\1{2,}[ \t]*")
# Where links lead, and pictures: nothing of it is said.
_TARGET = re.compile(
    r"[ \t]*(?:\.\. (?:_.+:\s|image::|\|)|:target:|\[[^\]]+\]:\s+\S+\s*$"
    r"|(?:\[?!\[[^\]]*\]\([^)]*\)\]?(?:\([^)]*\))?\s*)+$)"
)
_URL = re.compile(r"\b[a-z]{2,8}://\S+")
_SMALL_WORD = re.compile(r"(?<!\w)[^\W\d_A-Z]{3,}")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")
# A line of a text with a frame of stars around it.
_BOXED = re.compile(r"[ \t]*\*[ \t].*[ \t]\*[ \t]*")
_FRAME_SIGN = re.compile(r"^[ \t]*\*|\*[ \t]*$", re.MULTILINE)
_FRAME_END = re.compile(r"\s\*\s*$")
# Abbreviations that end no sentence ...
_SHORT_WORDS = (
    "z.B z.Hd z.H z.T z.Zt d.h i.A i.V i.d.R u.a u.U o.ä s.o s.u v.a bzw ca Nr Nrn Abs Bd Dr"
    " Prof Hr Fr Str Tel Fa inkl exkl ggf evtl vgl lt Ziff Hrsg Kap Abb Tab Mio Mrd zzgl abzgl"
    " sog gem einschl Mr Mrs Ms vs approx cf e.g i.e incl excl ext attn dept Fig Figs p.ej"
    " p.ex p.es Sr Sra Srta Sres Dra Dña Ud Uds núm núms pág págs aprox avda MM Mme Mlle Dott"
    " sig ThS TS PGS GS TP BS KS Tx M"
)
_SHORTENED = re.compile(
    r"(?<![^\s(\"'“„«])(?:"
    + "|".join(word.replace(".", r"\. ?") for word in _SHORT_WORDS.split())
    + r")\.\s*$"
)
# ... and those that may, but not before a number.
_NUMBERS = re.compile(
    r"(?<![^\s(])(?:No|Nos|Arts?|N|Pp?|S|Pag|Ch|Chap|Cap|Sec|Vol|Min|Max|Est|Tél)\.\s*$",
    re.IGNORECASE,
)
_ENDS_OR_NOT = re.compile(r"(?<![^\s(])(?:etc|usw|Inc|Ltd|Co|Corp|a\. ?m|p\. ?m|ecc|Jr|St)\.\s*$")
_PLAIN_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*[,.;:!?)]*")
# From so many words a line on, of which so many are plain, it is prose whatever it looks like.
_PROSE_WORDS = 5
_PROSE_SHARE = 0.7
# Text that is set in full width has gaps no wider than that.
_JUSTIFIED_GAP = 3
_CALL = re.compile(r"[\w.]+\([^()\n]*\)\s*¶?|[\w.]+\s*¶")
_CODE_NAME = re.compile(r"(?=\w*\d)(?=\w*[A-Z])[\w-]{2,12}[:.]?\s+\S")
_MAX_ENTRY_CHARACTERS = 300
# "Prepared by: Ana", "dashboard.settings.timezone: UTC".
_FIELD = re.compile(r"\s*(?:[^:.\n]{2,40}|[\w.\[\]-]{2,80}):\s+\S")
_KEY = re.compile(
    r"\s{0,40}[\w-]{1,60}(?:\[\d{1,6}\]|\.[\w-]{1,60}){0,12}"
    r"(?:\[\d{1,6}\]|[._][\w-]{1,60}): +(?=\S)"
)
# A field with so many words and a full stop is a sentence.
_LEAST_SAID = 4
_LEAST_POINTS = 3
# "Islands > Sorrel" tells where a page stands.
_TRAIL = re.compile(r"[^.!?]* [>»›] [^.!?]*")
# A command behind the prompt of a shell.
_PROMPT = re.compile(r"\s*\$ [a-z./]")
_CELL = re.compile(r"(?<!\\)\||\t")
# What a column is called has letters, or is a year; what it holds begins with a number.
_NAMES_COLUMN = re.compile(r"[^\d\W]|\(?[^\W\d]|(?:1[89]|20)\d\d(?:/\d{2,4})?$")
_AMOUNT = re.compile(r"[$€£¥₫₹+–-]? ?\d(?!\d{3}$)")
# Columns of plain text are set apart by blanks.
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")


_LINKS_BACK = frozenset(
    ["prev", "previous", "zurück", "anterior", "précédent", "indietro", "precedente", "trước"]
)
_LINKS_FORTH = frozenset(
    ["next", "weiter", "siguiente", "suivant", "successivo", "próximo", "kế tiếp", "tiếp"]
)
_LINKS_ABOVE = frozenset(
    ["up", "home", "nach oben", "inhalt", "subir", "inicio", "niveau supérieur", "acima", "lên"]
)
_LINKS = _LINKS_BACK | _LINKS_FORTH | _LINKS_ABOVE


@dataclass(frozen=True, slots=True)
class Unit:
    """
    A part of passage *number* that can answer.

    Attributes:
        start, end: Its characters in the passage's text.
        head_end: Where the introduction of a list or a command ends; *start* without one.
        header: The header row of a table's row, else empty.
        place: Its position among the units of the passage.
        lead: Where the heading, the term or the question stands in the passage that it comes under.
        term: Where the term stands that it says the meaning of, right above it; (0, 0) without one.
        code_end: Where the command ends whose sentence goes on behind it; 0 if none does.
    """

    number: int
    start: int
    end: int
    kind: Kind
    head_end: int
    header: str = ""
    place: int = 0
    lead: tuple[int, int] = (0, 0)
    term: tuple[int, int] = (0, 0)
    code_end: int = 0


@dataclass(frozen=True, slots=True)
class _Block:
    start: int
    end: int
    kind: Literal["prose", "heading", "rows", "items", "code", "furniture"]


def split_units(passage: Hit, *, number: int, language: str = "en") -> list[Unit]:
    """
    Return the units of *passage*, in order.

    Args:
        language: ISO 639-1, for the abbreviations that end no sentence.
    """
    units = _units(passage, number, language)
    return [replace(unit, place=place) for place, unit in enumerate(units)]


def is_step(unit: Unit, text: str) -> bool:
    """Return whether *unit* of *text* is a numbered item, alone or with its command."""
    numbered = _STEP.search(text, max(0, unit.start - 8), unit.start)
    return unit.kind in ("item", "code") and numbered is not None


def row_cells(row: str) -> list[str]:
    """Return the cells of a table's row."""
    inner = row.strip().strip("|")
    separator = _CELL if _CELL.search(inner) else _GAP
    return [cell.strip() for cell in separator.split(inner)]


def _units(passage: Hit, number: int, language: str) -> Iterator[Unit]:
    text = passage.text
    blocks = list(_blocks(text, passage))
    lead = (0, 0)
    # A term and what it means: in a list of definitions a few words are a whole meaning.
    defines = False
    taken = resumed = 0
    before: Unit | None = None
    for at_block, block in enumerate(blocks):
        following = blocks[at_block + 1] if at_block + 1 < len(blocks) else None
        if taken > at_block or block.kind == "furniture":
            continue
        if _asks_in_list(text, block) or (
            block.kind == "prose" and _ASKED.match(text, block.start, block.end)
        ):
            lead, defines = (block.start, block.end), False
            continue
        if _is_numbered_title(text, block, following):
            lead, defines = (block.start, block.end), False
            continue
        if _is_term(text, block, following):
            lead, defines = (block.start, block.end), True
            continue
        if block.kind == "heading" or (
            not defines
            and _defined(text, block) is None
            and _is_heading(text, block, following, language)
        ):
            lead, defines = (block.start, block.end), False
            continue
        if block.kind != "prose":
            units = list(_parts(text, block, passage, number, language))
            if units and _ends_in_code(text, units[-1], blocks[at_block + 1 : at_block + 3]):
                # The command of a step, between its item and the next one.
                last = units[-1]
                end = blocks[at_block + 1].end
                units[-1] = replace(last, end=end, kind="code", head_end=last.end)
                taken = at_block + 2
            for unit in units:
                yield replace(unit, lead=lead)
            continue
        if (defined := _defined(text, block)) is not None:
            yield Unit(number, defined, block.end, "item", defined, lead=lead)
            continue
        if _is_entry(text[block.start : block.end]):
            yield Unit(number, block.start, block.end, "item", block.start, lead=lead)
            continue
        begin = max(block.start, resumed)
        if answers := _ANSWERED.match(text, begin, block.end):
            begin = answers.end()
            if _is_code(text[begin : block.end]):
                yield Unit(number, begin, block.end, "code", begin, lead=lead)
                continue
        sentences = list(_sentences(text, begin, block.end, language))
        if 1 < len(sentences) <= _MAX_ASKED and _asks(text, sentences[-1]):
            # "I have lost my key. What now?" asks as a whole.
            lead = (sentences[0][0], sentences[-1][1])
            continue
        for at, (start, end) in enumerate(sentences):
            if _asks(text, (start, end)) or (
                len(sentences) == 1 and _OF_THE_READER.match(text, start, end)
            ):
                lead = (start, end)
                continue
            if at == len(sentences) - 1 and following and _introduces(text, start, end, following):
                joined = _join(text, start, end, following, number)
                if joined is not None:
                    goes_on = text[start].islower() and joined.kind == "code"
                    if goes_on and before and joined.end - before.start <= MAX_UNIT_CHARACTERS:
                        joined = replace(joined, start=before.start, head_end=before.head_end)
                    if joined.kind == "code" and at_block + 2 < len(blocks):
                        joined = _with_tail(text, joined, blocks[at_block + 2], language)
                        resumed = joined.end
                    before = joined
                    yield replace(joined, lead=lead)
                    if joined.kind == "list":
                        for unit in _parts(text, following, passage, number, language):
                            yield replace(unit, lead=(start, end))
                    taken = at_block + 2
                    continue
                lead = (start, end)
            # A chunk may begin within a sentence.
            cut = (
                start == block.start == _first(text)
                and text[start].islower()
                and not _FIELD.match(text[start:end])
            )
            alone = len(sentences) == 1 and not defines
            if not (cut and passage.char_start) and _is_statement(text[start:end], alone=alone):
                term = lead if defines and _names(text, lead, start, end) else (0, 0)
                yield Unit(number, start, end, "sentence", start, lead=lead, term=term)


def _ends_in_code(text: str, unit: Unit, following: Sequence[_Block]) -> bool:
    """Return whether code belongs to an item: it announces it, or its list goes on behind it."""
    if unit.kind != "item" or not following or following[0].kind != "code":
        return False
    announced = text[unit.start : unit.end].rstrip().endswith((":", "："))
    goes_on = len(following) > 1 and following[1].kind == "items"
    return (announced or goes_on) and following[0].end - unit.start <= MAX_UNIT_CHARACTERS


def _asks_in_list(text: str, block: _Block) -> bool:
    """Return whether a block is one numbered question, which the prose behind it answers."""
    if block.kind not in ("items", "rows") or not _asks(text, (block.start, block.end)):
        return False
    parts = _items if block.kind == "items" else _lines
    return len(list(parts(text, block.start, block.end))) == 1


def _is_numbered_title(text: str, block: _Block, following: _Block | None) -> bool:
    """Return whether a block is one short numbered line that prose or a table follows."""
    line = text[block.start : block.end].strip()
    return (
        block.kind == "items"
        and following is not None
        and following.kind in ("prose", "rows")
        and "\n" not in line
        and line[:1].isdigit()
        and len(line) <= _MAX_TITLE_LINE
        and not _SENTENCE_ENDS.search(_without_marker(line))
        and not re.search(r"[:=]", line)
    )


def _asks(text: str, sentence: tuple[int, int]) -> bool:
    said = _LINK.sub(r"\1", text[slice(*sentence)])
    return said.rstrip(" \t\n`*_").endswith(("?", "？"))


def _is_term(text: str, block: _Block, following: _Block | None) -> bool:
    """Return whether a block is the name of what the prose behind it describes."""
    if block.kind not in ("prose", "code") or following is None or following.kind != "prose":
        return False
    line = text[block.start : block.end].strip()
    if len(line) > _MAX_HEADING_CHARACTERS or not _TERM.fullmatch(line):
        return False
    # Set further in, it need not begin with a capital.
    is_further_in = _margin(text, following.start) > _margin(text, block.start)
    is_option = bool(_OPTION_LINE.match(line)) and is_further_in
    return is_option or text[following.start : following.end].lstrip()[:1].isupper()


def _margin(text: str, at: int) -> int:
    """Return how far in the line begins that *at* is in, before its first letter."""
    line = text[text.rfind("\n", 0, at) + 1 :]
    return len(line) - len(line.lstrip(" "))


def _defined(text: str, block: _Block) -> int | None:
    """Return where a block begins with a term whose meaning it is, None if it is none."""
    found = _DEFINED.match(text, block.start, block.end)
    if found is None or text[block.start : block.end].count("\n") >= _MAX_DEFINED_LINES:
        return None
    meaning = found["said"]
    # The lines that go on stand below what is said of the term.
    margin = len(found.group()) - len(meaning)
    further = text[found.end() : block.end].splitlines()
    if any(line and len(line) - len(line.lstrip()) < min(margin, 4) for line in further):
        return None
    is_said = meaning[:1].isalpha() and len(meaning.split()) > 1 and not _GAP.search(meaning)
    return found.start("term") if is_said and found["term"] not in "-*•+" else None


def _names(text: str, term: tuple[int, int], start: int, end: int) -> bool:
    """Return whether *term* stands right above a sentence that is unclear without it."""
    name = text[slice(*term)].strip()
    said = set(re.findall(r"\w+", text[start:end].casefold()))
    return (
        not text[term[1] : start].strip()
        and bool(_LITERAL_SIGN.search(name))
        and not set(re.findall(r"\w+", name.casefold())) <= said
    )


def _is_entry(text: str) -> bool:
    """Return whether a short paragraph tells of the code or number that it begins with."""
    whole = text.strip()
    if len(whole) > _MAX_ENTRY_CHARACTERS or "\n" in whole:
        return False
    return bool(_CODE_NAME.match(whole)) and bool(_SENTENCE_ENDS.search(whole))


def _with_tail(text: str, unit: Unit, following: _Block, language: str) -> Unit:
    """Return *unit* with the end of its sentence, where that goes on behind the command."""
    if (
        following.kind != "prose"
        or not text[following.start : following.end].lstrip()[:1].islower()
    ):
        return unit
    end = next((stop for _, stop in _sentences(text, following.start, following.end, language)), 0)
    if (
        not _SENTENCE_ENDS.search(text[following.start : end])
        or end - unit.start > MAX_UNIT_CHARACTERS
    ):
        return unit
    return replace(unit, end=end, code_end=unit.end)


def _first(text: str) -> int:
    return len(text) - len(text.lstrip())


def _is_heading(text: str, block: _Block, following: _Block | None, language: str) -> bool:
    """Return whether a block is one short line that says nothing by itself, or is numbered."""
    whole = text[block.start : block.end].strip()
    whole = _FRAME_END.sub("", whole)
    if block.kind != "prose" or "\n" in whole or len(whole) > _MAX_HEADING_CHARACTERS:
        return False
    if _NUMBERED_HEADING.match(whole) and not re.search(r"[a-z]{2}\.$", whole):
        return True
    if (
        following is not None
        and following.kind == "code"
        and len(whole.split()) > _MIN_INTRODUCTION
    ):
        return False
    if len(list(_sentences(text, block.start, block.end, language))) > 1:
        return False  # a sentence, and then a picture or a word
    return not _SENTENCE_ENDS.search(whole) and not re.search(r"[:=]", whole)


def _parts(text: str, block: _Block, passage: Hit, number: int, language: str) -> Iterator[Unit]:
    if block.kind == "rows":
        lines = list(_lines(text, block.start, block.end))
        header = passage.header.strip()
        rows = [
            (start, end)
            for start, end in lines
            if not _is_rule(text[start:end])
            and not _leads_elsewhere(text[start:end])
            and not _asks(text, (start, end))
        ]
        columns = len(row_cells(text[rows[0][0] : rows[0][1]])) if rows else 0
        if header and columns > len(row_cells(header)):
            header = ""  # another table's
        if rows and len(lines) > 1 and _is_header(text, lines, header):
            header = text[rows[0][0] : rows[0][1]].strip()
            rows = rows[1:]
        elif header and rows and text[rows[0][0] : rows[0][1]].strip() == header:
            rows = rows[1:]
        for start, end in rows:
            if len(lines) > 1 or header or any(map(str.isdigit, text[start:end])):
                yield Unit(number, start, end, "row", start, header)
    elif block.kind == "items":
        for start, end in _items(text, block.start, block.end):
            yield from _item_units(text, start, end, number, language)
    elif block.kind == "code":
        yield Unit(
            number,
            block.start,
            min(block.end, block.start + MAX_UNIT_CHARACTERS),
            "code",
            block.start,
        )
    elif block.kind == "prose":
        for start, end in _sentences(text, block.start, block.end, language):
            if _is_statement(text[start:end], alone=False):
                yield Unit(number, start, end, "sentence", start)


def _item_units(text: str, start: int, end: int, number: int, language: str) -> Iterator[Unit]:
    marker = _MARKED.match(text, start, end)
    inner = marker.end() if marker else start
    if _LEADS_WITHIN.fullmatch(text, inner, end):
        return
    sentences = list(_sentences(text, inner, end, language))
    if len(sentences) > 1 and len(text[slice(*sentences[0])].split()) <= _MAX_RUN_IN_WORDS:
        sentences[:2] = [(sentences[0][0], sentences[1][1])]
    if len(sentences) == 1 or end - inner < 160:
        if any(map(str.isalnum, text[inner:end])) and not _asks(text, (inner, end)):
            yield Unit(number, inner, end, "item", inner)
        return
    for at, (begin, stop) in enumerate(sentences):
        if _is_statement(text[begin:stop], alone=False):
            yield Unit(number, begin, stop, "item" if at == 0 else "sentence", begin)


def _join(text: str, start: int, end: int, following: _Block, number: int) -> Unit | None:
    """Return the unit of an introduction and what it introduces, None if that is too much."""
    stop = following.end
    lines = list(_lines(text, following.start, following.end))
    if len(lines) > _MAX_FOLLOWING_LINES or stop - start > MAX_UNIT_CHARACTERS:
        if following.kind == "items" or len(lines) < 3:
            return None
        stop = lines[min(len(lines), _MAX_FOLLOWING_LINES) - 1][1]
        stop = min(stop, start + MAX_UNIT_CHARACTERS)
    if following.kind == "rows" or stop <= end:
        return None
    kind: Kind = "code" if following.kind == "code" else "list"
    return Unit(number, start, stop, kind, end)


def _introduces(text: str, start: int, end: int, following: _Block) -> bool:
    sentence = text[start:end]
    if following.kind == "code":
        named = _CALL.fullmatch(text[following.start : following.end].strip())
        if _OPTION_LINE.match(text, following.start) and (
            _margin(text, start) > _margin(text, following.start)
        ):
            return False  # the next option, and not what this one's text leads to
        return not _SENTENCE_ENDS.search(sentence) and not named
    return following.kind == "items" and bool(_INTRODUCES.search(sentence))


def _blocks(text: str, passage: Hit) -> Iterator[_Block]:
    """Yield the blocks of *passage*; items that blank lines set apart are one list."""
    last: _Block | None = None
    for block in _separate(text, passage):
        if last is not None and _goes_on(text, last, block):
            last = replace(last, end=block.end)
            continue
        if last is not None:
            yield last
        last = block
    if last is not None:
        yield last


def _goes_on(text: str, last: _Block, block: _Block) -> bool:
    """Return whether *block* is the next item of the list that *last* is."""
    if not last.kind == block.kind == "items" or text[last.end : block.start].strip():
        return False
    signs = [re.sub(r"\w+", "1", text[each.start : each.end].split()[0]) for each in (last, block)]
    return signs[0] == signs[1] and not _asks(text, (last.start, last.end))


def _separate(text: str, passage: Hit) -> Iterator[_Block]:
    position = 0
    headings = {_fold(part) for part in passage.heading.split(" > ") if part}
    breaks = [match.span() for match in _BLOCK_BREAK.finditer(text)]
    for begin, after in [*breaks, (len(text), len(text))]:
        yield from _runs(text, position, begin, headings)
        position = after


def _runs(text: str, start: int, end: int, headings: set[str]) -> Iterator[_Block]:
    """Divide what stands between blank lines by what its lines are."""
    kinds = _line_kinds(text, start, end, headings)
    if not kinds:
        return
    if len(kinds) > 1 and kinds[0][2] in ("heading", "furniture"):
        yield _Block(
            kinds[0][0], kinds[0][1], "heading" if kinds[0][2] == "heading" else "furniture"
        )
        yield from _runs(text, kinds[1][0], end, headings)
        return
    has_fence = any(_FENCE.match(text, s, e) for s, e, _ in kinds)
    if not has_fence and all(kind == "prose" for _, _, kind in kinds):
        if (terms := _terms_above(text, kinds)) and terms < len(kinds):
            yield _Block(kinds[0][0], kinds[terms - 1][1], "prose")
            yield from _runs(text, kinds[terms][0], end, headings)
            return
        if _is_code(text[start:end], before=text[:start]):
            yield _Block(kinds[0][0], kinds[-1][1], "code")
            return
        yield from _paragraphs(text, [(s, e) for s, e, _ in kinds])
        return
    current: list[tuple[int, int, str]] = []

    def flush() -> Iterator[_Block]:
        if current:
            kind = current[0][2]
            yield _Block(current[0][0], current[-1][1], kind)  # type: ignore[arg-type]
            current.clear()

    fenced = False
    for s, e, kind in kinds:
        if _FENCE.match(text, s, e):
            yield from flush()
            fenced = not fenced
            continue
        if fenced:
            kind = "code"
        elif current and current[0][2] == "items" and kind == "prose" and text[s] in " \t":
            kind = "items"  # a wrapped item
        elif current and current[0][2] == "prose" and kind == "heading":
            # A short line within a paragraph is one of its lines.
            kind = "prose" if not _MARKDOWN_HEADING.match(text, s, e) else kind
        if current and current[0][2] != kind:
            yield from flush()
        current.append((s, e, kind))
        if kind == "heading":
            yield from flush()
    yield from flush()


def _line_kinds(text: str, start: int, end: int, headings: set[str]) -> list[tuple[int, int, str]]:
    """Return the lines with what each is, also by the lines around it."""
    lines = list(_lines(text, start, end))
    kinds = [_line_kind(text[s:e], headings) for s, e in lines]
    for at, (s, e) in enumerate(lines):
        line = text[s:e]
        below = text[slice(*lines[at + 1])] if at + 1 < len(lines) else ""
        if _ROUND_BULLET.match(line) and (at == 0 or kinds[at - 1] == "items"):
            kinds[at] = "items"
        if _RULE.fullmatch(line) and not (at and kinds[at - 1] == "rows"):
            kinds[at] = "furniture"
        elif below and kinds[at] in ("prose", "items") and _RULE.fullmatch(below):
            if len(line.strip()) <= _MAX_HEADING_CHARACTERS:
                kinds[at] = "heading"
        elif below and _is_capital_heading(line, below):
            kinds[at] = "heading"
        elif (
            below
            and kinds[at] == "items"
            and kinds[at + 1] == "prose"
            and not (at and kinds[at - 1] == "items")
            and below[:1] not in " \t"
            and not _SENTENCE_ENDS.search(line)
            and _is_title_line(_without_marker(line).strip(), below.strip())
        ):
            # "5. Hedge along the railway" with what is said of it right below.
            kinds[at] = "heading"
        if kinds[at] == "rows" and "rows" not in (kinds[at - 1 : at] + kinds[at + 1 : at + 2]):
            # "The template {{ name | upper }} is used."
            told = line.strip()
            if told[:1].isupper() and told.endswith(".") and "\t" not in told:
                kinds[at] = "prose"
    for first, last in _gapped_runs(text, lines, kinds):
        if _is_justified([text[s:e] for s, e in lines[first:last]]):
            kinds[first:last] = ["prose"] * (last - first)
    return [(s, e, kind) for (s, e), kind in zip(lines, kinds, strict=True)]


def _is_capital_heading(line: str, below: str) -> bool:
    """Return whether *line* is in capitals, with what it heads set further in right below."""
    words = line.split()
    return (
        line.isupper()
        and len(line.strip()) <= _MAX_TITLE_LINE
        and len(words[0]) > 2
        and "_" not in line
        and len(below) - len(below.lstrip()) > len(line) - len(line.lstrip())
    )


def _gapped_runs(
    text: str, lines: Sequence[tuple[int, int]], kinds: Sequence[str]
) -> Iterator[tuple[int, int]]:
    """Yield where rows stand together whose cells only blanks set apart."""
    first = None
    for at, (s, e) in enumerate([*lines, (0, 0)]):
        gapped = at < len(lines) and kinds[at] == "rows" and not _CELL.search(text, s, e)
        if gapped and first is None:
            first = at
        elif not gapped and first is not None:
            yield first, at
            first = None


def _is_justified(lines: Sequence[str]) -> bool:
    """Return whether the gaps of *lines* only make them equally long: no column continues."""
    gaps = [gap for line in lines for gap in re.findall(r"(?<=\S) {2,}", line)]
    if any(len(gap) > _JUSTIFIED_GAP for gap in gaps):
        return False
    columns = [{match.end() for match in _GAP.finditer(line)} for line in lines]
    return not (len(lines) > 1 and all(one & other for one, other in pairwise(columns)))


def _terms_above(text: str, lines: Sequence[tuple[int, int, str]]) -> int:
    """Return how many lines name the option that the lines below, set further in, describe."""
    count = 0
    margins = [len(text[s:e]) - len(text[s:e].lstrip()) for s, e, _ in lines]
    while count < len(lines) and _OPTION_LINE.match(text[slice(*lines[count][:2])]):
        if margins[count] != margins[0]:
            break
        count += 1
    if not count or count == len(lines) or margins[count] <= margins[0]:
        return 0
    named = text[lines[0][0] : lines[count - 1][1]].strip()
    return count if _TERM.fullmatch(named) else 0


def _paragraphs(text: str, lines: Sequence[tuple[int, int]]) -> Iterator[_Block]:
    """Divide lines of prose where a line ends though there was room: headings, entries, fields."""
    width = max(len(text[s:e].strip()) for s, e in lines)
    begin = lines[0][0]
    for (s, e), (after, after_end) in pairwise(lines):
        line, next_line = text[s:e].strip(), text[after:after_end].strip()
        full = len(line) + 1 + len(next_line.split(maxsplit=1)[0]) > width
        marked = _ASKED.match(next_line) or _ANSWERED.match(next_line)
        if marked:
            yield _Block(begin, e, "prose")
            begin = after
            continue
        if full and not _CODE_NAME.match(next_line):
            continue
        if _SENTENCE_ENDS.search(line) and begin <= s:
            yield _Block(begin, e, "prose")
            begin = after
        elif begin == s and _is_title_line(line, next_line):
            yield _Block(s, e, "heading")
            begin = after
    yield _Block(begin, lines[-1][1], "prose")


def _is_title_line(line: str, next_line: str) -> bool:
    if len(line) > _MAX_TITLE_LINE or re.search(r"[:=,;]", line) or not next_line[:1].isupper():
        return False
    says_more = len(next_line) > len(line) and len(next_line.split()) > _MIN_INTRODUCTION
    return says_more and not line[:1].islower()


def _line_kind(line: str, headings: set[str]) -> str:
    stripped = line.strip()
    if _TARGET.match(line):
        return "furniture"
    if _BOXED.fullmatch(line):
        return "prose"
    if _ITEM.match(line) and not (_NUMBERED_HEADING.match(stripped) and stripped in headings):
        return "items"
    if _ASKED.match(stripped) or _ANSWERED.match(stripped) or _PROMPT.match(line):
        return "prose"
    aligned = len(_GAP.findall(stripped)) > 1
    celled = aligned or " | " in stripped or stripped.startswith("|") or "\t" in stripped
    if celled and len(row_cells(line)) >= 2:
        return "rows"
    if _MARKDOWN_HEADING.match(stripped) or _fold(stripped) in headings:
        return "heading"
    return "prose"


def _is_code(block: str, *, before: str = "") -> bool:
    """
    Return whether a block is a command or a listing.

    Args:
        before: What stands before it: a few small words below a title go on with that.
    """
    lines = [line for line in block.splitlines() if line.strip()]
    ended = bool(_SENTENCE_ENDS.search(block))
    if not any(map(str.isalnum, block)) or _INTRODUCES.search(block) or (ended and len(lines) < 3):
        return False
    if len(lines) > 1 and ended:
        words = block.split()
        plain = sum(bool(_PLAIN_WORD.fullmatch(word.strip("\"'(“”‘’`*"))) for word in words)
        if len(words) >= _PROSE_WORDS * len(lines) and plain >= _PROSE_SHARE * len(words):
            return False
    # Where something is to be found is no command.
    lines = [
        line
        for line in (_URL.sub("", _LINK.sub(r"\1", line)) for line in lines)
        if line.strip(" \t<>()[].,")
    ]
    if not lines:
        return False
    signs = sum(bool(_CODE_SIGNS.search(line)) for line in lines)
    small = sum(line.lstrip()[:1].islower() or not line.lstrip()[:1].isalpha() for line in lines)
    sentences = sum(bool(_SENTENCE_ENDS.search(line)) for line in lines)
    if len(lines) == 1:
        line = lines[0].strip()
        short = len(line.split()) <= 12
        titled = bool(re.match(r"[\d.§]+\s*[A-ZÀ-Þ]", line))
        above = before.rstrip()[-MAX_UNIT_CHARACTERS:].rpartition("\n\n")[2]
        leads = len(above.split()) > _MAX_RUN_IN_WORDS or any(
            sign.search(above) for sign in (_SENTENCE_ENDS, _INTRODUCES, _COMMANDS)
        )
        bare = len(line.split()) <= 4 and not titled and leads
        said = bool(_DEFINED.match(lines[0]))
        return short and not sentences and small == 1 and not said and (signs > 0 or bare)
    return sentences <= len(lines) / 4 and signs + small >= len(lines) and signs > 0


def _is_statement(sentence: str, *, alone: bool) -> bool:
    """Return whether a sentence says something by itself: no heading, furniture or introduction."""
    stripped = _LINK.sub(r"\1", sentence).strip()
    if not any(map(str.isalpha, stripped)) or _asks(stripped, (0, len(stripped))):
        return False
    if _SENTENCE_ENDS.search(stripped):
        return True
    if _INTRODUCES.search(stripped) or _TRAIL.fullmatch(stripped):
        return False
    if _URL.search(stripped) and not _SMALL_WORD.search(_URL.sub("", stripped)):
        return False  # "Version 2.0, January 2004 http://..." is a letterhead
    if alone and len(stripped) <= _MAX_HEADING_CHARACTERS:
        # "Prepared By: Sarah Martinez" is a field; "Configuring the Server" is a heading.
        return bool(re.search(r"[:=]\s*\S", stripped)) and not _NUMBERED_HEADING.match(stripped)
    return True


def _sentences(text: str, start: int, end: int, language: str) -> Iterator[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    whole = text[start:end]
    if _BOXED.match(whole):
        whole = _FRAME_SIGN.sub(lambda sign: " " * len(sign.group()), whole)
    for boundary in get_sentence_boundaries(language, whole):
        begin, stop = start + boundary["start_index"], start + boundary["end_index"]
        # No sentence ends within a word, or before a remark in brackets on what it says.
        within = text[begin - 1 : begin].isalnum() or text[begin - 1 : begin] == "."
        # "No." says nothing without what follows it.
        within = within or (len(spans) == 1 and _ONE_WORD.fullmatch(text, *spans[0]) is not None)
        if spans and (
            within
            or _is_shortened(text[spans[-1][0] : spans[-1][1]], text[begin:stop])
            or _REMARK.match(text, begin, stop)
            or (
                _QUOTED_END.search(text, spans[-1][0], begin)
                and text[begin:stop].lstrip()[:1].islower()
            )
        ):
            begin = spans.pop()[0]
        spans.append((begin, stop))
    for begin, stop in spans:
        for at, upto in _shorten(text, begin, stop):
            trimmed = _trim(text, _behind_key(text, at, upto), upto)
            if trimmed is not None:
                yield trimmed


def _is_shortened(before: str, after: str) -> bool:
    """Return whether what ends *before* is an abbreviation and no sentence."""
    follows = after.lstrip()[:1]
    return bool(
        (_SHORTENED.search(before) and follows)
        or (_NUMBERS.search(before) and follows.isdigit())
        or (_ENDS_OR_NOT.search(before) and (follows.islower() or follows == ","))
    )


def _shorten(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Divide at their lines what are fields, and what is too long to be a sentence."""
    lines = list(_lines(text, start, end))
    fields = len(lines) > 1 and all(_FIELD.match(text[s:e]) for s, e in lines)
    fields = fields or _are_points([text[s:e].strip() for s, e in lines])
    if not fields and end - start <= MAX_UNIT_CHARACTERS:
        yield start, end
        return
    if len(lines) > 1:
        yield from lines
        return
    position = start
    while position < end:
        stop = min(end, position + MAX_UNIT_CHARACTERS)
        if stop < end:
            space = text.rfind(" ", position + 1, stop)
            stop = space + 1 if space > position else stop
        yield position, stop
        position = stop


def _are_points(lines: Sequence[str]) -> bool:
    """Return whether each line is a point of a slide: none continues the line before it."""
    if len(lines) < _LEAST_POINTS or not all(
        line[:1].isupper() or line[:1].isdigit() for line in lines
    ):
        return False
    width = max(map(len, lines))
    return not any(
        line.endswith((",", ";", ":", "-")) or len(line) + 1 + len(after.split()[0]) > width
        for line, after in pairwise(lines)
        if len(line) < width
    )


def _behind_key(text: str, start: int, end: int) -> int:
    """Return where the sentence of a record's field begins: "articles[8].answer: Write to us."."""
    key = _KEY.match(text, start, end)
    says = key is not None and _SENTENCE_ENDS.search(text[key.end() : end])
    return (
        key.end() if key and says and len(text[key.end() : end].split()) >= _LEAST_SAID else start
    )


def _without_marker(line: str) -> str:
    marker = _MARKED.match(line)
    return line[marker.end() :] if marker else line


def _items(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for s, _e in _lines(text, start, end):
        if s > begin and _MARKED.match(text, s, end):
            if (trimmed := _trim(text, begin, s)) is not None:
                yield trimmed
            begin = s
    if (trimmed := _trim(text, begin, end)) is not None:
        yield trimmed


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    position = start
    while position < end:
        newline = text.find("\n", position, end)
        stop = newline if newline >= 0 else end
        if text[position:stop].strip():
            yield position, stop
        position = stop + 1


def _trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    part = text[start:end]
    left = len(part) - len(part.lstrip())
    if part.startswith(("* ", "*\t"), left):
        left += len(part[left:]) - len(part[left:].lstrip("* \t"))
    right = start + len(_FRAME_END.sub("", part).rstrip())
    return (start + left, right) if right > start + left else None


def _is_rule(line: str) -> bool:
    return not any(map(str.isalnum, line))


def _leads_elsewhere(row: str) -> bool:
    """Return whether a row is the links from one page of a manual to the next."""
    cells = {cell.casefold().strip("←→<>« »") for cell in row_cells(row)}
    return len(cells & _LINKS) >= 2 or (len(cells) <= 3 and bool(cells & _LINKS_BACK))


def _is_header(text: str, lines: Sequence[tuple[int, int]], header: str) -> bool:
    first = text[lines[0][0] : lines[0][1]].strip()
    if header and _fold(header) != _fold(first):
        return False
    cells = row_cells(first)
    if _is_rule(text[lines[1][0] : lines[1][1]]):
        return True
    if len(lines) <= 2 or not all(cells):
        return False
    if not any(map(str.isdigit, first)):
        return True
    # "Line | Q3 2025 | Q3 2026" names columns of numbers.
    columns = list(zip(*(row_cells(text[s:e]) for s, e in lines[1:]), strict=False))
    return all(_NAMES_COLUMN.match(cell) for cell in cells) and any(
        any(map(str.isdigit, cell)) and all(_AMOUNT.match(below) for below in column)
        for cell, column in zip(cells, columns, strict=False)
    )


def _fold(text: str) -> str:
    return " ".join(text.strip("# \t").casefold().split())
