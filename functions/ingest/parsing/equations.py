"""Equations of Office documents (OMML) as linear text: F = 1/2 m v^2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# What is nested more deeply is read without its structure.
_MAX_DEPTH = 60
_MAX_CHARS = 4_000
_RELATION = re.compile(r"([=≠≈≤≥≡→⇒⇔]|:=)")


@dataclass(slots=True)
class _Node:
    name: str
    value: str = ""
    text: list[str] = field(default_factory=list)
    children: list[_Node] = field(default_factory=list)

    def child(self, name: str) -> _Node | None:
        return next((child for child in self.children if child.name == name), None)

    def setting(self, name: str, default: str) -> str:
        """Return a setting of an element, which stands in its properties."""
        for child in self.children:
            if child.name.endswith("Pr"):
                found = child.child(name)
                if found is not None:
                    return found.value
        return default


class EquationReader:
    """Takes the elements within one m:oMath, and writes them as a line."""

    def __init__(self) -> None:
        self.root = _Node("oMath")
        self.open = [self.root]
        self.deeper = 0
        self.chars = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self.open) > _MAX_DEPTH:
            self.deeper += 1
            return
        node = _Node(name, attributes.get("val", ""))
        self.open[-1].children.append(node)
        self.open.append(node)

    def end(self) -> None:
        if self.deeper:
            self.deeper -= 1
        elif len(self.open) > 1:
            self.open.pop()

    def text(self, text: str) -> None:
        self.chars += len(text)
        if self.chars <= _MAX_CHARS and self.open[-1].name == "t":
            self.open[-1].text.append(text)

    def line(self) -> str:
        """Return the equation on one line."""
        return " ".join(_RELATION.sub(r" \1 ", _join(self.root.children)).split())


def _join(nodes: list[_Node]) -> str:
    """Return *nodes* beside each other, apart where their letters would run together."""
    line = ""
    was_text = True
    for node in nodes:
        text = _line(node)
        if not text:
            continue
        is_text = node.name in ("r", "t")
        apart = not (was_text and is_text) and line[-1:].isalnum() | (line[-1:] == ")")
        if apart and (text[0].isalnum() or text[0] == "("):
            line += " "
        line += text
        was_text = is_text
    return line


def _inner(node: _Node, name: str) -> str:
    child = node.child(name)
    return _join(child.children).strip() if child is not None else ""


def _grouped(text: str) -> str:
    """Return *text* in parentheses unless it is one number, name or bracket."""
    if (
        text.isalpha()
        or _is_number(text)
        or (text.startswith("(") and text.endswith(")") and text.count("(") == 1)
    ):
        return text
    return f"({text})" if text else ""


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _scripts(node: _Node, base: str) -> str:
    below, above = _inner(node, "sub"), _inner(node, "sup")
    line = base
    if below:
        line += f"_{_grouped(below)}"
    if above:
        line += f"^{_grouped(above)}"
    return line


def _line(node: _Node) -> str:
    name = node.name
    if name == "t":
        return "".join(node.text)
    if name.endswith("Pr"):
        return ""
    if name == "f":
        above, below = _inner(node, "num"), _inner(node, "den")
        if node.setting("type", "bar") == "noBar":
            return f"({above} over {below})"
        # 1/2a may be half of a, or one of 2a.
        is_one = len(below) == 1 or _is_number(below) or below.startswith("(")
        return f"{_grouped(above)}/{_grouped(below) if is_one else f'({below})'}"
    if name in ("sSup", "sSub", "sSubSup", "sPre"):
        base = _inner(node, "e")
        return _scripts(node, base if len(base) < 2 or base.isalnum() else _grouped(base))
    if name == "rad":
        degree, inner = _inner(node, "deg"), _inner(node, "e")
        return f"root({degree}, {inner})" if degree else f"sqrt({inner})"
    if name == "nary":
        return f"{_scripts(node, node.setting('chr', '∫'))} {_inner(node, 'e')}"
    if name == "d":
        separator = node.setting("sepChr", "|")
        parts = [_join(child.children).strip() for child in node.children if child.name == "e"]
        begin, end = node.setting("begChr", "("), node.setting("endChr", ")")
        return f"{begin}{separator.join(parts)}{end}"
    if name == "func":
        inner = _inner(node, "e")
        return f"{_inner(node, 'fName')} {inner}" if inner else _inner(node, "fName")
    if name in ("limLow", "limUpp"):
        mark = "_" if name == "limLow" else "^"
        return f"{_inner(node, 'e')}{mark}{_grouped(_inner(node, 'lim'))}"
    if name == "m":
        return f"[{'; '.join(_rows(node))}]"
    if name == "eqArr":
        return "; ".join(_join(child.children) for child in node.children if child.name == "e")
    if name == "acc":
        return f"{_inner(node, 'e')}{node.setting('chr', chr(0x302))}"
    if name == "bar":
        return f"overline({_inner(node, 'e')})"
    return _join(node.children)


def _rows(node: _Node) -> Iterator[str]:
    for row in node.children:
        if row.name == "mr":
            yield ", ".join(_join(cell.children) for cell in row.children if cell.name == "e")
