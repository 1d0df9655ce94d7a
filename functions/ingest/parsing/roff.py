"""
Manual pages and other texts for roff: the macros man, mdoc and ms, and tables by tbl.

Sources: man(7), mdoc(7), ms(7) and tbl(1) of mandoc and groff. What a terminal shows is read:
macros that are defined in the text itself, drawings and equations' layout are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .blocks import Event, Request, Title, clean_line, read_all
from .decoding import declared_charset, decode
from .mdoc import read_mdoc_line
from .prose import Prose
from .tables import Row, Spans, cover

# groff_char(7), those that texts use.
_CHARACTERS = {
    "em": "—", "en": "–", "hy": "-", "bu": "•", "sq": "□", "aq": "'", "dq": '"', "lq": "“",
    "rq": "”", "oq": "‘", "cq": "’", "Bq": "„", "bq": "‚", "Fo": "«", "Fc": "»", "rs": "\\",
    "ha": "^", "ti": "~", "ga": "`", "co": "©", "rg": "®", "tm": "™", "->": "→", "<-": "←",
    "<>": "↔", "da": "↓", "ua": "↑", "rA": "⇒", "lA": "⇐", "mu": "×", "di": "÷", "+-": "±",
    "<=": "≤", ">=": "≥", "!=": "≠", "==": "≡", "~=": "≈", "de": "°", "mc": "µ", "pc": "·",
    "fm": "′", "sd": "″", "sc": "§", "ps": "¶", "dg": "†", "dd": "‡", "Eu": "€", "eu": "€",
    "Po": "£", "Ye": "¥", "ct": "¢", "12": "½", "14": "¼", "34": "¾", "S1": "¹", "S2": "²",
    "S3": "³", "if": "∞", "sr": "√", "at": "@", "sh": "#", "Do": "$", "ba": "|", "br": "|",
    "or": "|", "bv": "|", "ul": "_", "rn": "‾", "sl": "/", "lB": "[", "rB": "]", "lC": "{",
    "rC": "}", "la": "<", "ra": ">", "ss": "ß", "AE": "Æ", "ae": "æ", "OE": "Œ", "oe": "œ",
    "/O": "Ø", "/o": "ø", "oA": "Å", "oa": "å", ",C": "Ç", ",c": "ç", "-D": "Ð", "Sd": "ð",
    "TP": "Þ", "Tp": "þ", "r!": "¡", "r?": "¿", "OK": "✓", "CR": "↵", "ff": "ff", "fi": "fi",
    "fl": "fl", "pl": "+", "mi": "−", "eq": "=", "*m": "μ", "*a": "α", "*b": "β", "*p": "π",
}  # fmt: skip
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", ":": "\u0308", "~": "\u0303"}
_ESCAPE = re.compile(
    r"""\\(?:
        ["\#].*                                                             # a comment
      | f(?:\[[^\]]*\]|\(..|.)                                              # a font
      | \((?P<two>..) | \[(?P<long>[^\]\n]{1,60})\] | C'(?P<named>[^']*)'    # a character
      | \*(?:\((?P<string2>..)|\[(?P<string>(?:[^\[\]]|\[[^\[\]]*\])*)\]|(?P<string1>.))  # a string
      | s(?:'[^']*'|\[(?:[^\[\]]|\[[^\]]*\])*\]|[-+]?\(..|[-+]?[1-3]?\d)    # a size
      | [ng][-+]?(?:\(..|\[[^\]]*\]|.)                                      # a register
      | [bDhHlLNoRSvwxXZ]'[^'\n]*'
      | [mMFkY](?:\[[^\]]*\]|\(..|.)
      | z                                                                   # no movement
      | (?P<one>.)
    )""",
    re.VERBOSE,
)
_ONE = {
    "-": "-", "e": "\\", "\\": "\\", "E": "\\", " ": " ", "~": " ", "0": " ", "t": "\t",
    "'": "'", "`": "`", ".": ".",
}  # fmt: skip
# Strings that man(7) and mdoc(7) define.
_STRINGS = {"R": "®", "Tm": "™", "lq": "“", "rq": "”", "S": "", "Lq": "“", "Rq": "”", "Ba": "|"}
_WORD = re.compile(r'"((?:[^"]|"")*)"?|(\S+)')
_MARGIN = re.compile(r"(?:[-+*•o·]|\d{1,3}[.)]?|\(?[a-z0-9]{1,3}\)|[a-zA-Z]\.)$")
_FONTS = {"B": " ", "I": " ", "SM": " ", "SB": " ", "R": " ", "CW": " "}
_ALTERNATING = frozenset(["BI", "BR", "IB", "IR", "RB", "RI"])
_PARAGRAPHS = frozenset(["PP", "LP", "P", "HP", "QP", "XP", "Pp", "pp", "lp", "Sp", "sp"])
_CODE = {"nf": "fi", "EX": "EE", "Vb": "Ve", "DS": "DE", "LD": "DE", "ID": "DE", "CD": "DE"}
_UNREAD = {"PS": ("PE",), "GS": ("GE",), "EQ": ("EN",)}
_MAX_HEADING_LINES = 4
_MAX_STRINGS = 500
_MAX_STRING_CHARS = 500


def parse_roff(request: Request) -> Iterator[Event]:
    """Yield the blocks of a text for roff."""
    text = decode(read_all(request), declared=declared_charset(request.content_type))
    yield from _Reader(text).read()


class _Reader:
    """Goes through the lines of one text."""

    def __init__(self, text: str) -> None:
        # A line that ends with a backslash goes on in the next one.
        self.lines = re.sub(r"(?<!\\)\\\r?\n", "", text).splitlines()
        self.at = 0
        self.prose = Prose()
        self.strings = dict(_STRINGS)
        self.numbers: list[int] = []
        self.notes = 0
        self.in_note = False
        self.is_mdoc = self.is_man = False
        self.name = ""
        self.lists: list[str] = []
        self.counts: list[int] = []
        self.awaits_term = False
        self.has_title = False

    def read(self) -> Iterator[Event]:
        while (line := self._next()) is not None:
            yield from self._line(line)
        yield from self.prose.flush()

    def _next(self) -> str | None:
        if self.at >= len(self.lines):
            return None
        self.at += 1
        return self.lines[self.at - 1]

    def _line(self, line: str) -> Iterator[Event]:
        if line[:1] in (".", "'") and line[1:2] not in ("", ".", "'"):
            macro, _, rest = line[1:].strip().partition(" ")
            macro, _, more = macro.partition("\t")
            yield from self._macro(macro, f"{more} {rest}".strip())
        elif line.startswith((".", "'")) and not line.strip(".' "):
            return
        elif not line.strip():
            if not self.in_note:
                yield from self.prose.flush()
        else:
            yield from self._text(self.plain(line))

    def _text(self, text: str) -> Iterator[Event]:
        if self.awaits_term:
            self.awaits_term = False
            yield from self.prose.term(text)
        else:
            self.prose.add(text)

    def _macro(self, macro: str, rest: str) -> Iterator[Event]:
        if macro.startswith(('\\"', "\\#")):
            return
        words = self._words(rest)
        if macro in ("de", "de1", "am", "ig"):
            self._skip(words[1] if len(words) > 1 else ".")
        elif macro in ("ds", "as"):
            self._define(rest)
        elif macro in ("if", "ie", "el"):
            yield from self._condition(macro, rest)
        elif macro in ("TH", "Dt"):
            self.is_mdoc, self.is_man = macro == "Dt", macro == "TH"
            yield from self._title(words)
        elif macro in _CODE:
            yield from self.prose.code([self.plain(line) for line in self._until(_CODE[macro])])
        elif macro == "TS":
            yield from self.prose.table(list(self._table_rows(self._until("TE"))))
        elif macro in _UNREAD:
            self._until(*_UNREAD[macro])
        elif macro in ("SH", "SS", "Sh", "Ss", "NH", "H", "sh", "TL"):
            yield from self._heading(macro, words)
        elif macro in ("FS", "FE"):
            self._note(macro)
        elif self.is_mdoc:
            yield from self._mdoc(macro, rest)
        else:
            yield from self._man(macro, words)

    def _man(self, macro: str, words: list[str]) -> Iterator[Event]:
        if macro in _PARAGRAPHS or macro in ("AU", "AI", "AB", "AE", "RS", "RE", "QS", "QE"):
            if not self.in_note:
                yield from self.prose.flush()
        elif macro in ("TP", "TQ"):
            if macro == "TP" or self.prose.lines:
                yield from self.prose.flush()
            self.awaits_term = True
        elif macro in ("IP", "ip", "LI", "np"):
            yield from self._item(words)
        elif macro in _FONTS:
            # ms has a text, what follows it and what stands before it; man has words.
            text = " ".join(words)
            if words:
                yield from self._text(text)
        elif macro in _ALTERNATING:
            yield from self._text("".join(words))
        elif macro == "br":
            self.prose.add("\n")
        elif macro == "SY":
            yield from self.prose.flush()
            self.prose.add(" ".join(words))
        elif macro == "OP":
            self.prose.add(f"[{' '.join(words)}]")
        elif (macro in ("UR", "MT") and words) or (macro in ("UE", "ME") and words):
            self.prose.add(words[0])

    def _mdoc(self, macro: str, rest: str) -> Iterator[Event]:
        words = [self.plain(word) for word in _split(rest)]
        if macro == "Nm":
            self.name = self.name or next(iter(words), "")
        if macro in _PARAGRAPHS:
            yield from self.prose.flush()
        elif macro == "Bl":
            yield from self.prose.flush()
            self.lists.append(next((word for word in words if word.startswith("-")), ""))
            self.counts.append(0)
        elif macro == "El":
            yield from self.prose.flush()
            if self.lists:
                self.lists.pop()
                self.counts.pop()
        elif macro == "It":
            yield from self._mdoc_item(words)
        elif macro == "Bd":
            if any(word in ("-literal", "-unfilled") for word in words):
                lines = [self._mdoc_text(line) for line in self._until("Ed")]
                yield from self.prose.code(lines)
            else:
                yield from self.prose.flush()
        elif macro in ("D1", "Dl"):
            yield from self.prose.code([read_mdoc_line(words, name=self.name)])
        elif macro not in ("Dd", "Os", "Ed", "Bk", "Ek", "Sm", "Rs", "Re", "Tg"):
            text = read_mdoc_line([macro, *words], name=self.name)
            if text:
                yield from self._text(text)

    def _mdoc_text(self, line: str) -> str:
        if line[:1] != ".":
            return self.plain(line)
        words = [self.plain(word) for word in _split(line[1:])]
        return read_mdoc_line(words, name=self.name)

    def _mdoc_item(self, words: list[str]) -> Iterator[Event]:
        kind = self.lists[-1] if self.lists else ""
        if kind in ("-bullet", "-dash", "-hyphen", "-item"):
            yield from self.prose.item("-")
        elif kind == "-enum":
            self.counts[-1] += 1
            yield from self.prose.item(f"{self.counts[-1]}.")
        elif kind == "-column":
            yield from self.prose.item("-")
            cells = " ".join(words).split(" Ta ")
            self.prose.add(" | ".join(read_mdoc_line(cell.split(), name="") for cell in cells))
        else:
            yield from self.prose.term(read_mdoc_line(words, name=self.name))

    def _item(self, words: list[str]) -> Iterator[Event]:
        mark = words[0].strip() if words else ""
        if not mark and self.prose.is_open:
            # It goes on below its term.
            self.prose.add("\n")
        elif not mark:
            # A paragraph that is set in.
            yield from self.prose.flush()
        elif _MARGIN.match(mark):
            number = mark[:1].isdigit() and not mark.endswith((".", ")"))
            if number:
                yield from self.prose.term(mark)
            else:
                yield from self.prose.item("-" if mark in ("•", "o", "·", "*", "+") else mark)
        else:
            yield from self.prose.term(mark)

    def _title(self, words: list[str]) -> Iterator[Event]:
        if words and not self.has_title:
            self.has_title = True
            section = f"({words[1]})" if len(words) > 1 and words[1] else ""
            yield Title(clean_line(f"{words[0]}{section}"))

    def _heading(self, macro: str, words: list[str]) -> Iterator[Event]:
        level = 2 if macro in ("SS", "Ss") else 1
        number = ""
        if macro == "SH" and not self.is_man and len(words) == 1 and words[0].isdecimal():
            # In ms a level; the text stands below it.
            level, words = int(words[0][:1]), []
        if macro in ("NH", "H", "sh"):
            level = int(words[0]) if words and words[0].isdecimal() and len(words[0]) < 2 else 1
            words = words[1:]
            del self.numbers[level:]
            self.numbers += [0] * (level - len(self.numbers))
            self.numbers[level - 1] += 1
            number = ".".join(map(str, self.numbers)) + " "
        text = " ".join(words)
        if macro in ("NH", "TL") or not text:
            text = " ".join(self._text_lines()) or text
        if macro == "TL":
            self.has_title = True
            yield Title(clean_line(text))
        yield from self.prose.heading(f"{number}{text}", level=level + (macro in ("NH", "H")))

    def _text_lines(self) -> Iterator[str]:
        """Yield the lines before the next macro that begins something."""
        for _ in range(_MAX_HEADING_LINES):
            if self.at >= len(self.lines):
                return
            line = self.lines[self.at]
            macro, _, rest = line[1:].partition(" ")
            if line.startswith(".") and macro not in _FONTS and macro not in _ALTERNATING:
                return
            self.at += 1
            yield self.plain(rest if line.startswith(".") else line)

    def _note(self, macro: str) -> None:
        if macro == "FS":
            self.notes += 1
            self.in_note = True
            self.prose.add(f"[Note {self.notes}:")
        elif self.in_note:
            self.in_note = False
            if self.prose.lines:
                self.prose.lines[-1] += "]"

    def _condition(self, macro: str, rest: str) -> Iterator[Event]:
        """Follow what holds on a terminal; any other condition does not."""
        condition, _, body = rest.partition(" ")
        if macro == "el":
            holds, body = False, rest
        else:
            holds = condition in ("n", "!t", "1")
        body = body.strip()
        if "\\{" in rest:
            if not holds:
                self._skip_group(rest)
                return
            body = rest.partition("\\{")[2].strip().removesuffix("\\")
        if holds and body:
            yield from self._line(body)

    def _skip_group(self, rest: str) -> None:
        depth = rest.count("\\{") - rest.count("\\}")
        while depth > 0 and (line := self._next()) is not None:
            depth += line.count("\\{") - line.count("\\}")

    def _skip(self, end: str) -> None:
        while (line := self._next()) is not None:
            if line.startswith(".") and line[1:].strip() == end:
                return

    def _until(self, *ends: str) -> list[str]:
        """Return the lines before the macro that ends something, without other macros."""
        found = []
        while (line := self._next()) is not None:
            macro = re.split(r"[ \t]", line[1:].strip(), maxsplit=1)[0]
            if line[:1] in (".", "'") and (macro in ends or macro in ("SH", "Sh", "SS", "Ss")):
                if macro not in ends:
                    self.at -= 1
                break
            if line[:1] == "." and ends[:1] != ("TE",) and not self.is_mdoc:
                words = self._words(line[1:].partition(" ")[2])
                if macro in _FONTS or macro in _ALTERNATING:
                    found.append(_FONTS.get(macro, "").join(words))
                continue
            found.append(line)
        return found

    def _define(self, rest: str) -> None:
        name, _, value = rest.partition(" ")
        if len(self.strings) < _MAX_STRINGS:
            self.strings[name] = self.plain(self.plain(value.removeprefix('"')))[:_MAX_STRING_CHARS]

    def _words(self, text: str) -> list[str]:
        return [self.plain(word) for word in _split(text)]

    def plain(self, text: str) -> str:
        """Return *text* with the characters that its escapes stand for."""
        return _ESCAPE.sub(self._shown, text) if "\\" in text else text

    def _shown(self, found: re.Match[str]) -> str:
        name = found["two"] or found["long"] or found["named"]
        if name:
            return _character(name)
        string = found["string"] or found["string1"] or found["string2"]
        if string:
            name, _, given = string.partition(" ")
            # What is given to a string is a part of its text: marks for the colours of code.
            return "".join(self._words(given)) if given else self.strings.get(name, "")
        return _ONE.get(found["one"] or "", "")

    def _table_rows(self, lines: list[str]) -> Iterator[Row]:
        """Yield the rows of a table by tbl(1); those above the first rule name its columns."""
        rows, rules = _read_table(lines)
        first = next((at for at in rules if 0 < at < len(rows)), 0)
        spans = Spans()
        above: list[str] = []
        for number, (cells, form) in enumerate(rows):
            texts = [self.plain(cell) for cell in cells]
            for column, text in enumerate(texts):
                mark = form[column] if column < len(form) else "l"
                if mark == "s" and spans.cells:
                    spans.add(cover(str(spans.cells[-1]), below=False))
                elif mark == "^" or text == "\\^":
                    value = above[column] if column < len(above) else ""
                    spans.add(cover(value, below=True))
                else:
                    spans.add(clean_line(text))
            above = spans.row()
            yield Row(list(above), (number < first) or None)


def _read_table(lines: list[str]) -> tuple[list[tuple[list[str], str]], list[int]]:
    """Return (cells, letters of their columns) of each row, and before which rows rules stand."""
    tab = "\t"
    at = 0
    if lines and lines[0].rstrip().endswith(";"):
        if found := re.search(r"tab\s*\((.)\)", lines[0]):
            tab = found[1]
        at = 1
    forms: list[str] = []
    ends = (number for number, line in enumerate(lines) if line.rstrip().endswith("."))
    last = next(ends, -1)
    while at <= last:
        line = lines[at].rstrip()
        at += 1
        for part in line.rstrip(".").split(","):
            bare = re.sub(r"\([^)]*\)|[fFwWpv][A-Z(\d][\d)]*", "", part)
            if form := re.sub("[^lLrRcCnNaAsS^]", "", bare).lower():
                forms.append(form)
    rows: list[tuple[list[str], str]] = []
    rules: list[int] = []
    block: list[str] | None = None
    cells: list[str] = []
    for line in lines[at:]:
        if block is not None:
            if not line.startswith("T}"):
                macro, _, words = line[1:].partition(" ")
                if line[:1] != ".":
                    block.append(line)
                elif macro in _FONTS or macro in _ALTERNATING:
                    block.append(_FONTS.get(macro, "").join(_split(words)))
                continue
            cells.append(" ".join(block))
            block, rest = None, line[2:].removeprefix(tab)
            parts = rest.split(tab) if rest else []
        elif line.strip() in ("_", "=", ".TH"):
            rules.append(len(rows))
            continue
        elif line.startswith(".") and tab not in line:
            continue
        else:
            cells, parts = [], line.split(tab)
        if parts and parts[-1].strip() == "T{":
            cells += parts[:-1]
            block = []
            continue
        cells += parts
        form = forms[min(len(rows), len(forms) - 1)] if forms else ""
        rows.append((_spread(cells, form), form))
        cells = []
    return rows, rules


def _spread(cells: list[str], form: str) -> list[str]:
    """Return *cells* with a place for each column that another one spans."""
    if "s" not in form or len(cells) >= len(form):
        return cells
    waiting = iter(cells)
    return ["" if mark == "s" else next(waiting, "") for mark in form]


def _split(text: str) -> list[str]:
    return [
        quoted.replace('""', '"') if quoted or not word else word
        for quoted, word in _WORD.findall(text)
    ]


def _character(name: str) -> str:
    if name in _CHARACTERS:
        return _CHARACTERS[name]
    if len(name) == 2 and name[0] in _ACCENTS and name[1].isalpha():
        return f"{name[1]}{_ACCENTS[name[0]]}"
    if found := re.fullmatch(r"u([0-9A-F]{4,6})", name):
        code = int(found[1], 16)
        return chr(code) if code < 0x110000 else ""
    return ""
