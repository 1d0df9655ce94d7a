"""Source code, configuration files and drawings."""

from __future__ import annotations

import gzip

import pytest

from functions.ingest.parsing.blocks import Title
from functions.ingest.parsing.registry import SOURCE_CODE, SVG
from tests.support.documents import blocks_of, parse_bytes, text_of

_CODE = """\
\"\"\"<html> is no page here.\"\"\"

import os


def area(width):
    if not width:

        return 0
\treturn width * 4

    # end
x = 1
"""
_DRAWING = """\
<?xml version="1.0"?><!-- made by hand -->
<svg xmlns="http://www.w3.org/2000/svg"><title>Pump plan</title><style>.a{fill:red}</style>
<g><text x="1">Inlet <tspan>valve</tspan></text><text display="none">ghost</text></g>
<switch><foreignObject><div xmlns="http://www.w3.org/1999/xhtml">Main pump<br/>4 kW</div>
</foreignObject><text>Main pump...</text></switch><text>Outlet</text></svg>
"""


def test_source_when_read() -> None:
    """Code keeps every character; its blocks begin at the margin."""
    kind, _ = parse_bytes(_CODE.encode(), "area.py")
    blocks = blocks_of(_CODE.encode(), "area.py")
    assert kind == SOURCE_CODE
    assert "".join(block.gap + block.text for block in blocks) == _CODE.rstrip()
    assert [block.text.split("\n")[0] for block in blocks][1:] == ["import os", "def area(width):"]
    assert {block.kind for block in blocks} == {"code"}


def test_source_when_it_begins_as_a_page() -> None:
    """A template that begins with a tag stays source code."""
    assert parse_bytes(b"<html><?php echo 1 ?></html>", "a.php")[0] == SOURCE_CODE


def test_source_when_indented_and_long() -> None:
    """The first line keeps its indentation, and a line without an end is cut, not lost."""
    text = "\n\n    deep = 1\n" + "x" * 100_000
    assert "".join(b.gap + b.text for b in blocks_of(text.encode(), "a.js")) == text


@pytest.mark.parametrize(
    ("name", "text", "labels", "over"),
    [
        ("a.ini", "[paths]\nhome = /srv ; x\n\n[mail]\nfrom = a\n", ["paths", "mail"], []),
        (
            "a.toml",
            'x = [\n  [1, 2],\n]\n[tool.ruff]\nline = 1\n[[bin]]\nname = "a"\n',
            ["tool.ruff", "bin"],
            [],
        ),
        (
            "a.yaml",
            (
                "name: web\nservices:\n  db:\n    image: pg\n\n  web: &w\n    port: 1\nscript: |\n"
                "  a:\n\n  b\nlast: 1\nlist:\n- a\n---\nkind: b\nspec:\n  c: 1\n"
            ),
            ["services", "script", "list", "spec"],
            ["last: 1", "---\nkind: b"],
        ),
    ],
)
def test_configuration_when_in_sections(
    name: str, text: str, labels: list[str], over: list[str]
) -> None:
    """Sections are headings, end where they do, and the text keeps every character."""
    blocks = blocks_of(text.encode(), name)
    assert "".join(block.gap + block.text for block in blocks) == text.rstrip()
    assert [block.label for block in blocks if block.kind == "heading"] == labels
    assert [block.text for block in blocks if block.kind == "code" and block.level] == over


@pytest.mark.parametrize("packed", [False, True])
def test_svg_when_read(packed: bool) -> None:
    """The labels of a drawing are read once each, without styles and what is hidden."""
    data, name = _DRAWING.encode(), "plan.svg"
    if packed:
        data, name = gzip.compress(data), "plan.svgz"
    assert text_of(data, name).split("\n") == [
        "Pump plan",
        "Inlet valve",
        "Main pump",
        "4 kW",
        "Outlet",
    ]
    _, events = parse_bytes(data, name)
    assert Title("Pump plan") in events
    assert packed or parse_bytes(data, "plan.txt")[0] == SVG
