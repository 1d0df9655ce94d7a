"""Texts with marks of their own: manual pages, LaTeX, reStructuredText, AsciiDoc and Org."""

from __future__ import annotations

import pytest

from functions.ingest.parsing.blocks import Title
from tests.support.documents import blocks_of, parse_bytes, text_of

_MAN = r""".\" A comment
.TH ROPECTL 1 "2 March 2026"
.SH NAME
ropectl \- tie ropes
.SH OPTIONS
.TP
.BR \-k ", " \-\-kind =\fIkind\fR
Ties a knot of
.I this
kind.
.TP
.B \-v
Prints each step.
.IP
To standard error.
.SS "Exit status"
.IP 7 4
A rope broke, see
.BR knot (7).
.IP \(bu 2
A point.
.IP b. 2
More.
.PP
See below.
.IP
.nf
$ ropectl \-k bowline
  a.rope
.fi
.TS
tab(;);
l n.
Rope;Load
_
hemp;740
.TE
"""
_MDOC = r""".Dd March 2, 2026
.Dt KNOTD 8
.Sh NAME
.Nm knotd
.Nd knot daemon
.Sh OPTIONS
.Bl -tag -width Ds
.It Fl f Ar file
Read
.Ar file ,
not
.Pa /etc/knotd.conf .
.It Fl d
Stay.
.El
.Nm
stops on
.Dv SIGTERM .
"""
_MS = r""".TL
Tide Tables
.NH 1
Spring
.PP
The tide stands at 4.1 metres.
.FS
At Brest.
.FE
.NH 2
Moon
.LP
The \fIfull\fP moon \(em and
the new one.
.nf
\*[Fn "tie"]\*[Op "(\[dq]a\[dq])"]
.fi
"""
_LATEX = r"""\documentclass{article}
\newcommand{\kx}{KX-4}
\title{Harbour \emph{Manual}}
% a remark
\begin{document}
\section{Crane}\label{sec:crane}
The \kx{} lifts \textbf{12\,t} (50\,\% more, \SI{2}{\metre\per\second})\footnote{The old one: 9~t.},
at the caf\'e.
\begin{description}
\item[Whistle] Two blasts mean stop.
\end{description}
\begin{tabular}{lr}
\toprule Part & Price \\ \midrule
\multirow{2}{*}{Drum} & 9.50 \\
 & 8.40 \\
Rope \& hook & 71.00 \\ \bottomrule
\end{tabular}
\begin{enumerate}
\item Wear \item gloves
\end{enumerate}
So $F = \frac{1}{2} m v^{2}$ and
\[ \sqrt{x+1} \leq \alpha \]
\begin{verbatim}
crane --up % kept
\end{verbatim}
\end{document}
"""
_RST = """
Harbour
=======

.. a comment

Whistle
   Two blasts
   mean stop.
Flag
   A red flag.

.. note:: Never stand
   below.

====  =====
Part  Price
====  =====
Drum  9.50
Rope  71.00
====  =====

.. list-table:: Berths
   :header-rows: 1

   * - Berth
     - Depth
   * - South
     - 5.9 m

+------+------+
| Gate | Code |
+======+======+
| West | 4417 |
+------+------+

#. first
#. second

Start it::

   crane --up
     4

Signs
-----

See [#n]_ and :ref:`the site <x>`.

.. [#n] A note.
"""
_ASCIIDOC = """= Harbour

NOTE: Never stand below.footnote:[Or near.]

Whistle:: Two blasts mean stop.
Flag::
  A red flag, stem:[r^2] wide.

// a comment
.Parts
[cols="1,1",options="header"]
|===
|Part |Price
|Drum
|9.50
2+|none left
|===

== Steps
. first
. second

[source,sh]
----
crane --up
  4
----
"""
_ORG = """#+TITLE: Harbour
* TODO Crane :lift:
:PROPERTIES:
:ID: 8
:END:
- Whistle :: Two blasts.
| Part | Price |
|------+-------|
| Drum | 9.50 |
# a comment
#+BEGIN_SRC sh
# kept
crane
#+END_SRC
See [[https://x.example][the site]].
"""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "ropectl.1",
            _MAN,
            """NAME
ropectl - tie ropes
OPTIONS
-k, --kind=kind: Ties a knot of this kind.
-v: Prints each step.
To standard error.
Exit status
7: A rope broke, see knot(7).
- A point.
b. More.
See below.
$ ropectl -k bowline
  a.rope
Rope | Load
hemp | 740""",
        ),
        (
            "knotd",
            _MDOC,
            """NAME
knotd - knot daemon
OPTIONS
-f file: Read file, not /etc/knotd.conf.
-d: Stay.
knotd stops on SIGTERM.""",
        ),
        (
            "tides.ms",
            _MS,
            """Tide Tables
1 Spring
The tide stands at 4.1 metres. [Note 1: At Brest.]
1.1 Moon
The full moon — and the new one.
tie("a")""",
        ),
        (
            "a.tex",
            _LATEX,
            """Harbour Manual
Crane
The KX-4 lifts 12 t (50 % more, 2 metre per second) [Note 1: The old one: 9 t.], at the café.
Whistle: Two blasts mean stop.
Part | Price
Drum | 9.50
Drum | 8.40
Rope & hook | 71.00
1. Wear
2. gloves
So F = 1/2 m v^2 and
sqrt(x+1) ≤ α
crane --up % kept""",
        ),
        (
            "a.rst",
            _RST,
            """Harbour
Whistle: Two blasts mean stop.
Flag: A red flag.
Note: Never stand below.
Part | Price
Drum | 9.50
Rope | 71.00
Berths
Berth | Depth
South | 5.9 m
Gate | Code
West | 4417
1. first
2. second
Start it:
crane --up
  4
Signs
See [#n]_ and the site.
[#n] A note.""",
        ),
        (
            "a.adoc",
            _ASCIIDOC,
            """Harbour
NOTE: Never stand below. [Note: Or near.]
Whistle: Two blasts mean stop.
Flag: A red flag, r^2 wide.
Parts
Part | Price
Drum | 9.50
none left
Steps
1. first
2. second
crane --up
  4""",
        ),
        (
            "a.org",
            _ORG,
            """Crane
Whistle: Two blasts.
Part | Price
Drum | 9.50
# kept
crane
See the site.""",
        ),
    ],
)
def test_text_with_marks_when_read(name: str, text: str, expected: str) -> None:
    """Headings, terms with their explanation, tables, notes and code are read as they print."""
    assert text_of(text.encode(), name) == expected
    rows = [block for block in blocks_of(text.encode(), name) if block.kind == "row"]
    assert all(row.header for row in rows[1:2])


@pytest.mark.parametrize(
    ("name", "text", "title"),
    [
        ("a.1", _MAN, "ROPECTL(1)"),
        ("a", _MS, "Tide Tables"),
        ("a.tex", _LATEX, "Harbour Manual"),
        (
            "a.tex",
            r"\documentclass{a}\begin{document}\title{Crane}\maketitle x\end{document}",
            "Crane",
        ),
    ],
)
def test_text_with_marks_and_its_title(name: str, text: str, title: str) -> None:
    """The document's title is the one that it names."""
    assert Title(title) in parse_bytes(text.encode(), name)[1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tex", r"\a{" * 5_000 + "needle"),
        ("a.tex", r"\newcommand{\b}{x}\[ needle \frac{" + r"\frac{" * 2_000),
        ("a.tex", r"\begin{tabular}{l}\multirow{9999}{*}{needle}" + r"\\" * 2_000),
        ("a.tex", "needle" + r"\begin{verbatim}" * 20_000),
        ("a.rst", "needle\n\n" + "== ==\n" * 20_000),
        ("a.rst", ".. a::\n" + "".join(f"{' ' * n}.. a::\n" for n in range(1, 400)) + "needle"),
        ("a.adoc", "|===\n" + "9999+9999.9999+|needle\n" * 50),
        ("a.1", ".TH A 1\n.TS\n" + "needle\n" * 2_000),
        ("a.1", ".TH A 1\nneedle\n.if t \\{\n" * 500),
    ],
)
def test_text_with_marks_when_strange(name: str, text: str) -> None:
    """What never ends, or claims to cover everything, costs no more than its text."""
    assert "needle" in text_of(text.encode(), name)
