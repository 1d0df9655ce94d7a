"""A line of mdoc(7), the macros of BSD's manual pages, as a terminal shows it."""

from __future__ import annotations

from collections.abc import Sequence

_PAIRS = {
    "Op": "[]", "Oo": "[", "Pq": "()", "Po": "(", "Bq": "[]", "Bo": "[", "Brq": "{}", "Bro": "{",
    "Aq": "<>", "Ao": "<", "Dq": "“”", "Do": "“", "Sq": "‘’", "So": "‘", "Qq": '""', "Qo": '"',
    "Ql": "‘’",
}  # fmt: skip
_ENDS = {
    "Oc": "]", "Pc": ")", "Bc": "]", "Brc": "}", "Ac": ">", "Dc": "”", "Sc": "’", "Qc": '"',
}  # fmt: skip
_SYSTEMS = {
    "Ux": "UNIX", "Bx": "BSD", "Fx": "FreeBSD", "Nx": "NetBSD", "Ox": "OpenBSD", "Dx": "DragonFly",
    "At": "AT&T UNIX",
}  # fmt: skip
# Macros that only set the type of their words.
_PLAIN = frozenset(
    """Ad An Ar Bf Bsx Cd Cm Dv Ef Em Er Es Ev Fa Fd Ft Ic In Lb Li Ms Mt No Ot Pa Px St Sx Sy Tn
    Va Vt Xc Xo %A %B %C %D %I %J %N %O %P %Q %R %T %U %V""".split()  # noqa: SIM905 - names in rows
)
_CLOSING = frozenset(".,:;)]?!")
_OPENING = frozenset("([")


def read_mdoc_line(words: Sequence[str], *, name: str) -> str:
    """
    Return the text of a line of macros and words.

    Args:
        name: What .Nm alone stands for.
    """
    line = ""
    glue = False
    ends: list[str] = []
    at = 0

    def put(text: str) -> None:
        nonlocal line, glue
        if line and text and not glue and text not in _CLOSING and line[-1] not in _OPENING:
            line += " "
        line += text
        glue = text in _OPENING

    while at < len(words):
        word = words[at]
        at += 1
        if word == "Nm":
            if at >= len(words) or words[at] in _CLOSING:
                put(name)
        elif word == "Nd":
            put("-")
        elif word in ("Ns", "Pf"):
            if word == "Pf" and at < len(words):
                put(words[at])
                at += 1
            glue = True
        elif word == "Ap":
            line += "'"
            glue = True
        elif word == "Fl":
            if at < len(words) and words[at] not in _CLOSING and not _is_macro(words[at]):
                put(f"-{words[at]}")
                at += 1
            else:
                put("-")
                glue = at < len(words)
        elif word == "Xr" and at < len(words):
            target, at = words[at], at + 1
            if at < len(words) and words[at] not in _CLOSING:
                target, at = f"{target}({words[at]})", at + 1
            put(target)
        elif word in ("Fn", "Fo") and at < len(words):
            put(f"{words[at]}({', '.join(words[at + 1 :])})" if word == "Fn" else f"{words[at]}(")
            at = len(words) if word == "Fn" else at + 1
        elif word == "Lk" and at < len(words):
            put(" ".join([*words[at + 1 :], words[at]]))
            at = len(words)
        elif word in _PAIRS:
            pair = _PAIRS[word]
            put(pair[0])
            glue = True
            if len(pair) > 1:
                ends.append(pair[1])
        elif word in _ENDS:
            line += _ENDS[word]
        elif word in _SYSTEMS:
            put(_SYSTEMS[word])
        elif word not in _PLAIN:
            put(word)
    tail = ""
    while ends and line[-1:] in _CLOSING and line[-1:] not in ")]":
        tail, line = line[-1] + tail, line[:-1].rstrip()
    return line + "".join(reversed(ends)) + tail


def _is_macro(word: str) -> bool:
    return word in _PLAIN or word in _PAIRS or word in _ENDS or word in ("Fl", "Ns", "Pf", "Xr")
