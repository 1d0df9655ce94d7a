"""Formulas of web pages (MathML) as linear text: E = m c^2."""

from __future__ import annotations

from collections.abc import Iterator

from selectolax.lexbor import LexborNode

_MAX_DEPTH = 60
_MAX_CHARS = 4_000
# What repeats the formula in another notation.
_UNREAD = frozenset(["annotation", "annotation-xml", "mphantom", "maction-hidden"])
_INVISIBLE = str.maketrans("", "", "\u2061\u2062\u2063\u2064\u200b")
_SPACED = frozenset("=≠≈≤≥<>±∓→⇒⇔∈∉⊂⊆∪∩")


def linear_formula(node: LexborNode) -> str:
    """Return the formula in a math element on one line."""
    text = " ".join(_line(node, 0).split())[:_MAX_CHARS]
    return text or (node.attributes.get("alttext") or "").strip()


def _line(node: LexborNode, depth: int) -> str:
    tag = node.tag or ""
    if tag == "-text":
        return " ".join((node.text_content or "").translate(_INVISIBLE).split())
    if tag in _UNREAD:
        return ""
    if depth > _MAX_DEPTH:
        return " ".join(node.text().split())
    parts = [_line(child, depth + 1) for child in _children(node)]
    match tag, parts:
        case "mfrac", [above, below]:
            return f"{_grouped(above)}/{_grouped(below)}"
        case "msup" | "mover", [base, upper]:
            return f"{_grouped(base)}^{_grouped(upper)}"
        case "msub" | "munder", [base, lower]:
            return f"{_grouped(base)}_{_grouped(lower)}"
        case "msubsup" | "munderover", [base, lower, upper]:
            return f"{_grouped(base)}_{_grouped(lower)}^{_grouped(upper)}"
        case "msqrt", _:
            return f"√({_beside(parts)})"
        case "mroot", [base, index]:
            return f"root({index}, {base})"
        case "mfenced", _:
            opened = node.attributes.get("open") or "("
            closed = node.attributes.get("close") or ")"
            return f"{opened}{', '.join(filter(None, parts))}{closed}"
        case "mtable", _:
            return f"[{'; '.join(filter(None, parts))}]"
        case "mtr" | "mlabeledtr", _:
            return ", ".join(filter(None, parts))
        case "mo", _:
            sign = "".join(parts)
            return f" {sign} " if sign in _SPACED else sign
        case "mi" | "mn" | "mtext" | "ms", _:
            return "".join(parts)
    return _beside(parts)


def _children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.child
    while child is not None:
        if child.tag != "-text" or (child.text_content or "").strip():
            yield child
        child = child.next


def _beside(parts: list[str]) -> str:
    """Return factors apart, and numbers with their signs."""
    line = ""
    for part in parts:
        if line[-1:].isalnum() and part[:1].isalnum():
            line += " "
        line += part
    return line


def _grouped(part: str) -> str:
    part = part.strip()
    is_bracket = part[:1] == "(" and part[-1:] == ")" and part.count("(") == 1
    return part if part.isalnum() or len(part) < 2 or is_bracket else f"({part})"
