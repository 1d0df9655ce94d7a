r"""
LaTeX sources as they are printed: headings, lists, tables, notes and formulas, without commands.

A command that is not known here leaves what stands in its braces. Commands that the source defines
itself are followed where they have no arguments.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from .blocks import Event, Request, Title, clean_line, read_all
from .decoding import declared_charset, decode
from .prose import Prose
from .tables import Row, Spans

_TOKEN = re.compile(
    r"""\\(?:begin|end)\s*\{(?P<environment>[^{}]{1,60})\} | \\(?P<command>[A-Za-z@]+\*?)[ \t]*\n?
      | \\(?P<escaped>.|\n) | (?P<blank>\n[ \t]*\n\s*) | (?P<math>\$\$?) | (?P<sign>[{}~&])
      | (?P<text>[^\\${}~&\n]+|\n)""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%[^\n]*\n?[ \t]*")
_VERBATIM = "verbatim|Verbatim|lstlisting|minted|alltt|BVerbatim"
_VERBATIM_BEGIN = re.compile(rf"\\begin\{{((?:{_VERBATIM})\*?)\}}")
_VERBATIM_OPTIONS = re.compile(r"\A[ \t]*+(?:\[[^\]\n]*\])?(?:\{[^}\n]*\})?[ \t]*\n")
_DEFINITION = re.compile(
    r"\\(?:(?:re|provide)?newcommand\*?|def)\s*\{?\\([A-Za-z]+)\}?\s*\{([^{}\\]{0,200})\}"
)
# What \maketitle prints.
_FRONT = ("title", "author", "date")
_SECTIONS = {
    "part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5,
    "subparagraph": 6, "frametitle": 2,
}  # fmt: skip
# Commands of which the braces hold nothing to read, with their number.
_SILENT = {
    "documentclass": 1, "usepackage": 1, "RequirePackage": 1, "label": 1, "input": 1, "include": 1,
    "bibliography": 1, "bibliographystyle": 1, "addbibresource": 1, "vspace": 1, "hspace": 1,
    "setlength": 2, "addtolength": 2, "setcounter": 2, "addtocounter": 2, "includegraphics": 1,
    "pagestyle": 1, "thispagestyle": 1, "pagenumbering": 1, "addcontentsline": 3, "index": 1,
    "hypersetup": 1, "geometry": 1, "color": 1, "textcolor": 1, "definecolor": 3, "colorbox": 1,
    "newcommand": 2, "renewcommand": 2, "providecommand": 2, "newenvironment": 3, "newtheorem": 2,
    "DeclareMathOperator": 2, "fontsize": 2, "rule": 2, "cmidrule": 1, "cline": 1,
    "graphicspath": 1, "tikzset": 1, "lstset": 1, "captionsetup": 1, "raisebox": 1, "resizebox": 2,
    "scalebox": 1, "parbox": 1, "usetikzlibrary": 1, "theoremstyle": 1, "title": 1, "author": 1,
    "date": 1, "markboth": 2, "markright": 1, "hyphenation": 1, "phantom": 1, "vphantom": 1,
    "rowcolor": 1, "cellcolor": 1, "selectlanguage": 1, "usetheme": 1,
    "sisetup": 1, "newcolumntype": 2, "newlength": 1, "hypertarget": 1, "href": 1,
}  # fmt: skip
# Environments of which as many braces hold their layout.
_LAYOUT = {
    "tabular": 1, "tabular*": 2, "tabularx": 2, "tabulary": 2, "longtable": 1, "array": 1,
    "multicols": 1, "thebibliography": 1, "minipage": 1, "wrapfigure": 2, "supertabular": 1,
    "adjustbox": 1, "columns": 0, "column": 1, "tabu": 1, "xltabular": 2,
}  # fmt: skip
_TABLES = frozenset(
    "tabular tabularx tabulary longtable supertabular tabu xltabular".split()  # noqa: SIM905
)
_LISTS = {"itemize": "-", "enumerate": "1", "description": ":", "compactitem": "-"}
_DISPLAYED = frozenset(
    ["equation", "align", "gather", "displaymath", "multline", "eqnarray", "math", "flalign"]
)
_DRAWN = frozenset(["tikzpicture", "picture", "comment", "filecontents", "axis", "pgfpicture"])
_SIGNS = {
    "ss": "ß", "o": "ø", "O": "Ø", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "aa": "å",
    "AA": "Å", "l": "ł", "L": "Ł", "i": "ı", "j": "ȷ", "dh": "ð", "th": "þ", "ldots": "…",
    "dots": "…", "textellipsis": "…", "textendash": "–", "textemdash": "—", "textbackslash": "\\",
    "textasciitilde": "~", "textasciicircum": "^", "textbar": "|", "textless": "<",
    "textgreater": ">", "LaTeX": "LaTeX", "TeX": "TeX", "S": "§", "P": "¶", "copyright": "©",
    "textcopyright": "©", "textregistered": "®", "texttrademark": "™", "euro": "€",
    "texteuro": "€", "pounds": "£", "textsterling": "£", "textdegree": "°", "degree": "°",
    "celsius": "°C", "percent": "%", "textquotedblleft": "“", "textquotedblright": "”",
    "glqq": "„", "grqq": "“", "quad": " ", "qquad": " ", "space": " ", "textbullet": "•",
    "and": ", ", "textmu": "µ", "newline": "\n", "linebreak": "\n",
    "textquotesingle": "'", "dag": "†", "ddag": "‡", "textonehalf": "½", "hfill": " ",
    "dotfill": " ",
}  # fmt: skip
_ACCENTS = {
    "'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304",
    ".": "\u0307", "c": "\u0327", "v": "\u030c", "H": "\u030b", "u": "\u0306", "r": "\u030a",
    "k": "\u0328", "d": "\u0323", "b": "\u0331",
}  # fmt: skip
_MATH_SIGNS = {
    "cdot": "·", "times": "×", "div": "÷", "pm": "±", "mp": "∓", "le": "≤", "leq": "≤", "ge": "≥",
    "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "equiv": "≡", "infty": "∞", "sum": "∑",
    "prod": "∏", "int": "∫", "partial": "∂", "nabla": "∇", "to": "→", "rightarrow": "→",
    "Rightarrow": "⇒", "leftarrow": "←", "in": "∈", "notin": "∉", "subset": "⊂", "cup": "∪",
    "cap": "∩", "forall": "∀", "exists": "∃", "circ": "°", "degree": "°", "sim": "~", "ldots": "…",
    "cdots": "…", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε",
    "varepsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ", "iota": "ι", "kappa": "κ",
    "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ",
    "tau": "τ", "phi": "φ", "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ",
    "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ",
    "Psi": "Ψ", "Omega": "Ω", "left": "", "right": "", "displaystyle": "", "limits": "",
    "quad": " ", "qquad": " ", "nonumber": "", "big": "", "Big": "", "mathrm": "",
}  # fmt: skip
_ONE_GROUP = r"\{([^{}]{0,500})\}"
_FRACTION = re.compile(rf"\\[dt]?frac\s*{_ONE_GROUP}\s*{_ONE_GROUP}")
_ROOT = re.compile(rf"\\sqrt\s*+(?:\[([^\]]{{0,20}})\]\s*+)?{_ONE_GROUP}")
_SCRIPT = re.compile(rf"([_^])\s*{_ONE_GROUP}")
_MATH_TEXT = re.compile(
    rf"\\(?:text\w*|math[a-z]+|operatorname\*?|boldsymbol|hat|bar|vec|mbox)\s*{_ONE_GROUP}"
)
_MATH_LABEL = re.compile(r"\\(?:label|tag)\s*\{[^{}]*\}")
_MATH_COMMAND = re.compile(r"\\([A-Za-z]+)|\\(.)")
_MATH_ENDS = {"[": r"\]", "(": r"\)"}
_ESCAPED = frozenset("%&#_${}")
_LETTER = re.compile(r"\s*(?:\{([^{}]{0,20})\}|(\\[ij])(?![A-Za-z])[ ]?|(\w))")
_REFERRING = frozenset(
    ["cite", "citep", "citet", "parencite", "ref", "eqref", "autoref", "cref", "pageref"]
)
_ROW_END = re.compile(r"\\\\(?:\[[^\]]{0,20}\])?|\\tabularnewline\b")
_CAPTION = re.compile(r"\\caption\s*(?:\[[^\]]{0,200}\])?\s*\{")
_CELL_END = re.compile(r"(?<!\\)&")
_SPANNING = re.compile(r"\\multi(column|row)\s*")
_RULES = re.compile(
    r"\\(?:hline|toprule|bottomrule|midrule|(?:cline|cmidrule(?:\([lr]{0,2}\))?)\s*\{[^}]{0,20}\}"
    r"|(?:row|cell)color(?:\[[^\]]{0,20}\])?\{[^}]{0,40}\}|addlinespace(?:\[[^\]]{0,20}\])?)"
)
_MAX_MATH_CHARS = 4_000
_MAX_NESTING = 20
_MAX_DEPTH = 20
_MAX_GROUP_CHARS = 8_000
_MAX_MACROS = 200
_MAX_INDENT = 8


def parse_latex(request: Request) -> Iterator[Event]:
    """Yield the blocks of a LaTeX source."""
    text = decode(read_all(request), declared=declared_charset(request.content_type))
    yield from _Reader(text.replace("\r\n", "\n")).read()


class _Source:
    """
    A part of a source, and how far it was read.

    Args:
        depth: How many arguments this part is inside of.
    """

    def __init__(self, text: str, macros: dict[str, str], *, depth: int = 0) -> None:
        self.text = text
        self.macros = macros
        self.depth = depth
        self.at = 0

    def next_token(self) -> re.Match[str] | None:
        found = _TOKEN.match(self.text, self.at)
        if found is None and self.at < len(self.text):
            # A lone backslash at the end.
            self.at = len(self.text)
        if found is not None:
            self.at = found.end()
        return found

    def argument(self, brackets: str = "{}") -> str:
        """Return the argument that stands here in braces or brackets, "" if there is none."""
        start = self.at
        while self.text[start : start + 1] in (" ", "\t") and start < len(self.text):
            start += 1
        if not self.text.startswith(brackets[0], start):
            return ""
        end = _group_end(self.text, start, brackets)
        self.at = end
        return self.text[start + 1 : end - 1]

    def until(self, mark: str) -> str:
        """Return what stands before *mark*, and go on behind it."""
        end = self.text.find(mark, self.at)
        end = len(self.text) if end < 0 else end
        inside, self.at = self.text[self.at : end], end + len(mark)
        return inside

    def plain(self, text: str) -> str:
        """Return the text of an argument, on one line."""
        if self.depth >= _MAX_DEPTH or not any(sign in text for sign in "\\${"):
            return clean_line(_print_marks(text.replace("~", " ")))
        inside = _Source(text, self.macros, depth=self.depth + 1)
        parts: list[str] = []
        while (token := inside.next_token()) is not None:
            parts.append(inside.shown(token))
        return clean_line("".join(parts))

    def shown(self, token: re.Match[str]) -> str:
        """Return what a token, with its arguments, prints within a line."""
        if token["text"]:
            return _print_marks(token["text"])
        if token["command"]:
            return self.command(token["command"].removesuffix("*"))
        if token["math"]:
            return linear_math(self.until(token["math"]))
        if token["sign"]:
            return " " if token["sign"] == "~" else ""
        if token["environment"]:
            if token.group().startswith(r"\begin"):
                self.argument("[]")
                for _ in range(_LAYOUT.get(token["environment"], 0)):
                    self.argument()
            return " "
        escaped = token["escaped"]
        if escaped is None:
            return " "
        if escaped in _MATH_ENDS:
            return linear_math(self.until(_MATH_ENDS[escaped]))
        if escaped == "\\":
            self.argument("[]")
            return "\n"
        if escaped in _ACCENTS:
            return self.accented(_ACCENTS[escaped])
        return escaped if escaped in _ESCAPED else " " if escaped in ",;: \n" else ""

    def accented(self, mark: str) -> str:
        """Return the letter that stands here with an accent."""
        found = _LETTER.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        letter = next(filter(None, found.groups()), "")
        letter = {"i": "i", "j": "j"}.get(letter.strip("\\ "), letter.strip("\\ "))
        return unicodedata.normalize("NFC", letter[:1] + mark) + letter[1:]

    def command(self, name: str) -> str:
        """Return what a command within a line prints; braces behind it are read as text."""
        if name in self.macros:
            return self.macros[name]
        if name in _SIGNS:
            return _SIGNS[name]
        if name in _ACCENTS:
            return self.accented(_ACCENTS[name])
        if name in _REFERRING:
            self.argument("[]")
            return f"[{self.argument().replace(',', ', ')}]"
        if name in ("SI", "qty"):
            self.argument("[]")
            number = self.argument()
            # A unit is written as commands: \\litre\\per\\second.
            return " ".join([number, *self.argument().replace("\\", " ").split()])
        if name == "item":
            return f" - {self.plain(self.argument('[]'))} "
        if name == "footnote":
            self.argument("[]")
            return f" [Note: {self.plain(self.argument())}]"
        if name == "verb":
            mark, self.at = self.text[self.at : self.at + 1], self.at + 1
            return self.until(mark) if mark else ""
        if name in ("let", "def"):
            self.until("\n")
            return ""
        self.argument("[]")
        for _ in range(_SILENT.get(name, 0)):
            self.argument()
            self.argument("[]")
        return ""


class _Reader:
    """Goes through one source."""

    def __init__(self, text: str) -> None:
        self.verbatim: list[str] = []
        text = _COMMENT.sub(r"\1", self._without_verbatim(text))
        macros = dict(_DEFINITION.findall(text)[:_MAX_MACROS])
        self.source = _Source(text, macros)
        self.prose = Prose()
        self.lists: list[str] = []
        self.counts: list[int] = []
        self.notes = 0
        self.caption = ""

    def _without_verbatim(self, text: str) -> str:
        """Return *text* with what is printed as it stands put aside: no comment is in it."""
        parts: list[str] = []
        at = 0
        while found := _VERBATIM_BEGIN.search(text, at):
            end = text.find(f"\\end{{{found[1]}}}", found.end())
            if end < 0:
                break
            inside = _VERBATIM_OPTIONS.sub("", text[found.end() : end], count=1)
            self.verbatim.append(inside.rstrip())
            number = len(self.verbatim) - 1
            parts += [text[at : found.start()], f"\\begin{{verbatim@}}{number}\\end{{verbatim@}}"]
            at = end + len(f"\\end{{{found[1]}}}")
        return "".join([*parts, text[at:]])

    def read(self) -> Iterator[Event]:
        source = self.source
        begin = source.text.find(r"\begin{document}")
        if begin >= 0:
            yield from self._preamble(source.text[:begin])
            source.at = begin + len(r"\begin{document}")
        while (token := source.next_token()) is not None:
            if token["environment"]:
                yield from self._environment(token)
            elif token["blank"]:
                yield from self.prose.flush()
            elif token["math"] == "$$" or token["escaped"] == "[":
                mark = "$$" if token["math"] else r"\]"
                yield from self._formula(source.until(mark))
            elif token["command"]:
                yield from self._command(token["command"].removesuffix("*"), token)
            else:
                self._put(source.shown(token))
        yield from self.prose.flush()

    def _put(self, text: str) -> None:
        """Add what goes on in the same line: tokens bring their blanks with them."""
        if self.prose.lines:
            self.prose.lines[-1] += text
        elif text:
            self.prose.add(text)

    def _preamble(self, text: str) -> Iterator[Event]:
        for name in _FRONT:
            found = re.search(rf"\\{name}\s*(?:\[[^\]]*\])?\s*(?=\{{)", text)
            if found is None:
                continue
            end = _group_end(text, found.end(), "{}")
            inside = self.source.plain(text[found.end() + 1 : end - 1])
            yield from self._front(name, inside)

    def _front(self, name: str, inside: str) -> Iterator[Event]:
        """Yield what stands on the first page: title, author or date."""
        yield from self.prose.flush()
        if name == "title" and inside:
            yield Title(inside)
            yield from self.prose.heading(inside, level=1)
        else:
            self.prose.add(inside)
            yield from self.prose.flush()

    def _formula(self, formula: str) -> Iterator[Event]:
        yield from self.prose.flush()
        self.prose.add(linear_math(formula))
        yield from self.prose.flush()

    def _command(self, name: str, token: re.Match[str]) -> Iterator[Event]:
        source = self.source
        if name in _FRONT:
            source.argument("[]")
            yield from self._front(name, source.plain(source.argument()))
        elif name in _SECTIONS:
            source.argument("[]")
            title = source.plain(source.argument())
            yield from self.prose.heading(title, level=_SECTIONS[name])
        elif name == "item":
            yield from self._item()
        elif name == "bibitem":
            source.argument("[]")
            yield from self.prose.item(f"[{source.argument()}]")
        elif name == "caption":
            source.argument("[]")
            yield from self.prose.flush()
            self.caption = source.plain(source.argument())
            self.prose.add(self.caption)
            yield from self.prose.flush()
        elif name == "footnote":
            source.argument("[]")
            self.notes += 1
            self._put(f" [Note {self.notes}: {source.plain(source.argument())}]")
        elif name == "par":
            yield from self.prose.flush()
        else:
            self._put(source.shown(token))

    def _item(self) -> Iterator[Event]:
        kind = self.lists[-1] if self.lists else "-"
        term = self.source.plain(self.source.argument("[]"))
        indent = "  " * min(max(len(self.lists) - 1, 0), _MAX_INDENT)
        if kind == ":" and term:
            yield from self.prose.term(term)
        elif kind == "1" and not term:
            self.counts[-1] += 1
            yield from self.prose.item(f"{indent}{self.counts[-1]}.")
        else:
            yield from self.prose.item(f"{indent}{term or '-'}")

    def _environment(self, token: re.Match[str]) -> Iterator[Event]:
        name, source = token["environment"], self.source
        bare = name.removesuffix("*")
        yield from self.prose.flush()
        if token.group().startswith(r"\end"):
            if bare in _LISTS and self.lists:
                self.lists.pop()
                self.counts.pop()
            elif bare == "table":
                self.caption = ""
        elif name == "verbatim@":
            number = source.until(r"\end{verbatim@}")
            if number.isdecimal() and int(number) < len(self.verbatim):
                yield from self.prose.code(self.verbatim[int(number)].split("\n"))
        elif bare in _DRAWN:
            source.until(f"\\end{{{name}}}")
        elif bare in _DISPLAYED:
            yield from self._formula(source.until(f"\\end{{{name}}}"))
        elif bare in _TABLES:
            source.argument("[]")
            for _ in range(_LAYOUT[name]):
                source.argument()
            inside = _inside_of(source, name)
            if found := _CAPTION.search(inside):
                # That of a table which breaks over pages stands within it.
                end = _group_end(inside, found.end() - 1, "{}")
                self.caption = source.plain(inside[found.end() : end - 1])
                inside = inside[: found.start()] + _ROW_END.sub("", inside[end:], count=1)
                self.prose.add(self.caption)
            caption, self.caption = self.caption, ""
            rows = list(_Rows(source, inside).read())
            yield from self.prose.table(rows, title=caption, is_said=True)
        else:
            source.argument("[]")
            for _ in range(_LAYOUT.get(name, 0)):
                source.argument()
            if bare in _LISTS:
                self.lists.append(_LISTS[bare])
                self.counts.append(0)
            elif bare == "abstract":
                yield from self.prose.heading("Abstract", level=2)
            elif bare == "frame" and (title := source.plain(source.argument())):
                yield from self.prose.heading(title, level=2)


class _Rows:
    """The rows of one table."""

    def __init__(self, source: _Source, text: str) -> None:
        self.source = source
        self.text = text
        self.spans = Spans()

    def read(self) -> Iterator[Row]:
        """Yield the rows; those above \\midrule, or above \\endhead, name columns."""
        text = self.text
        for mark in (r"\endfirsthead", r"\endhead"):
            # A long table has its header twice: for its first page, and for the others.
            before, found, after = text.partition(mark)
            if found:
                text = before.partition(r"\midrule")[0] + r"\midrule " + after
        if r"\endhead" in self.text and r"\endfirsthead" in self.text:
            text = self.text.partition(r"\endfirsthead")[2].replace(r"\endhead", r"\midrule", 1)
        for mark in (r"\endlastfoot", r"\endfoot"):
            before, found, after = text.partition(mark)
            if found:
                text = before.partition(r"\midrule")[0] + r"\midrule " + after
        head, rule, body = text.partition(r"\midrule")
        if not rule:
            head, body = "", text
        for part, is_header in ((head, True), (body, None)):
            for line in _ROW_END.split(part):
                raw = [_RULES.sub("", cell).strip() for cell in _CELL_END.split(line)]
                for cell in raw:
                    self._add(cell)
                cells = self.spans.row()
                if any(cells):
                    bold = all(cell.startswith(r"\textbf") for cell in raw if cell)
                    yield Row(cells, is_header, is_strong=bold)

    def _add(self, cell: str) -> None:
        columns = rows = 1
        while found := _SPANNING.match(cell):
            inside = _Source(cell, self.source.macros)
            inside.at = found.end()
            count = inside.argument().strip()
            inside.argument("[]")
            inside.argument()
            inside.argument("[]")
            number = int(count) if count.isdecimal() and len(count) < 4 else 1
            columns, rows = (number, rows) if found[1] == "column" else (columns, number)
            cell = inside.argument().strip()
        # What a cell covers from above is left empty in the source.
        if cell or len(self.spans.cells) not in self.spans.reaching:
            self.spans.add(self.source.plain(cell), columns=columns, rows=rows)


def linear_math(formula: str) -> str:
    """Return a formula on one line: F = 1/2 m v^2."""
    text = _MATH_LABEL.sub("", formula[:_MAX_MATH_CHARS])
    for _ in range(_MAX_NESTING):
        before = text
        text = _MATH_TEXT.sub(r"\1", text)
        text = _SCRIPT.sub(lambda found: f"{found[1]}{_grouped(found[2])}", text)
        text = _ROOT.sub(
            lambda found: f"root({found[1]}, {found[2]})" if found[1] else f"sqrt({found[2]})", text
        )
        text = _FRACTION.sub(lambda found: f"{_grouped(found[1])}/{_grouped(found[2])} ", text)
        if text == before:
            break
    text = _MATH_COMMAND.sub(_math_sign, text)
    return clean_line(text.replace("{", "").replace("}", "").replace("&", "").replace("~", " "))


def _math_sign(found: re.Match[str]) -> str:
    if found[1]:
        return _MATH_SIGNS.get(found[1], found[1])
    return "; " if found[2] == "\\" else found[2] if found[2] in _ESCAPED else " "


def _grouped(text: str) -> str:
    """Return a part of a formula in parentheses unless it is one sign, number or name."""
    text = text.strip()
    return text if text.isalnum() or len(text) < 2 or text[0] == "\\" else f"({text})"


def _print_marks(text: str) -> str:
    """Return *text* with the dashes and quotes that are printed for what is typed."""
    if "--" in text:
        text = text.replace("---", "—").replace("--", "–")
    return text.replace("``", "“").replace("''", "”").replace("\n", " ")


def _group_end(text: str, start: int, brackets: str) -> int:
    """Return where a group ends that begins at *start*, at most the end of the text."""
    depth = 0
    for found in re.compile(rf"\\.|[{re.escape(brackets)}]", re.DOTALL).finditer(text, start):
        if found.group() == brackets[0]:
            depth += 1
        elif found.group() == brackets[1]:
            depth -= 1
            if depth == 0:
                return found.end()
        if found.start() - start > _MAX_GROUP_CHARS:
            break
    return min(start + 1, len(text))


def _inside_of(source: _Source, name: str) -> str:
    """Return what stands in an environment, in which others of its name may stand."""
    begin, end = f"\\begin{{{name}}}", f"\\end{{{name}}}"
    start, depth, at = source.at, 1, source.at
    while depth and at < len(source.text):
        closed = source.text.find(end, at)
        if closed < 0:
            at = len(source.text)
            break
        depth += source.text.count(begin, at, closed) - 1
        at = closed + len(end)
    source.at = at
    return source.text[start:at].removesuffix(end)
