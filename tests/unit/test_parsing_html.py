"""HTML pages and the books and messages made of them."""

from __future__ import annotations

import io
import zipfile

import pytest

from functions.ingest.parsing.blocks import Block, Title
from functions.ingest.parsing.registry import EML, EPUB, HTML, RTF
from shared.errors import Unreadable
from tests.support.documents import (
    blocks_of,
    make_epub,
    make_pdf,
    make_zip,
    parse_bytes,
    pdf_lines,
    text_of,
)

PAGE = """<!doctype html><html><head><title> Garden &amp; yard </title>
<script>var hidden = 1</script></head><body><nav>Home About</nav>
<h1>Soil</h1><p>Some <b>bold</b> text with a <a href="x">link to peat</a>.</p>
<h2>Kinds</h2><ul><li>loam</li><li>clay</li></ul><ol><li>dig</li><li>sow</li></ol>
<table><tr><th>Plant</th><th>Days</th></tr><tr><td>Kale</td><td>60</td></tr></table>
<pre>  code
    kept</pre></body></html>"""


def test_html_blocks() -> None:
    """Headings, lists, tables, code and the text of links come in order."""
    kind, events = parse_bytes(PAGE.encode(), "page")
    blocks = [event for event in events if isinstance(event, Block)]
    assert kind == HTML
    assert events[0] == Title("Garden & yard")
    assert [(b.kind, b.text) for b in blocks] == [
        ("heading", "Soil"),
        ("paragraph", "Some bold text with a link to peat."),
        ("heading", "Kinds"),
        ("item", "- loam"),
        ("item", "- clay"),
        ("item", "1. dig"),
        ("item", "2. sow"),
        ("row", "Plant | Days"),
        ("row", "Kale | 60"),
        ("code", "  code\n    kept"),
    ]
    assert blocks[8].header == "Plant | Days"


def test_html_when_only_navigation() -> None:
    """A page of nothing but navigation keeps it."""
    assert text_of(b"<html><body><nav>Home</nav></body></html>", "a.html") == "Home"


def test_html_when_its_paragraphs_are_deep() -> None:
    """Paragraphs that stand deeper than is looked for the text's place are read."""
    page = "<div>" * 300 + f"<p>needle {'word ' * 200}</p>" * 3
    assert text_of(page.encode(), "a.html").count("needle") == 3


def test_html_when_deeply_nested() -> None:
    """Tens of thousands of nested elements neither overflow nor take long."""
    data = b"<html><body>" + b"<div>" * 20_000 + b"needle" + b"</div>" * 20_000
    assert text_of(data, "a.html") == "needle"


def test_html_when_tables_nest() -> None:
    """A table in a cell is read as a table of its own; nothing is lost."""
    data = b"<html><table><tr><td>a<table><tr><td>b</td><td>c</td></tr></table>d</td></tr></table>"
    assert text_of(data, "a.html").split() == ["a", "b", "|", "c", "d"]


def test_html_when_charset_is_in_meta() -> None:
    """The page's own declaration of its encoding is followed."""
    data = '<html><meta charset="iso-8859-2"><p>Łódź'.encode("iso8859-2")
    assert text_of(data, "a.html") == "Łódź"


def test_epub_in_order_of_spine() -> None:
    """Chapters come in the order of the spine, under the book's title."""
    kind, events = parse_bytes(make_epub(["<h1>One</h1><p>first</p>", "<p>second</p>"]), "b")
    assert kind == EPUB
    assert [e.text for e in events if isinstance(e, Title | Block)] == [
        "A book",
        "One",
        "first",
        "second",
    ]


def test_rtf_text() -> None:
    """RTF's escapes become letters, its title the document's."""
    data = rb"{\rtf1\ansi\ansicpg1252{\info{\title Plan}}Gr\'fc\'dfe\par aus \u8364?uropa}"
    kind, events = parse_bytes(data, "a.rtf")
    assert kind == RTF
    assert Title("Plan") in events
    assert "Grüße" in text_of(data, "a.rtf")
    assert "€uropa" in text_of(data, "a.rtf")


def _mail(attachment: bytes, name: str, kind: str) -> bytes:
    import base64

    body = base64.encodebytes(attachment).decode()
    return (
        "From: a@example.org\nTo: b@example.org\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n"
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=zzz\n\n"
        "--zzz\nContent-Type: multipart/alternative; boundary=yyy\n\n"
        "--yyy\nContent-Type: text/plain; charset=utf-8\n\nThe plain body.\n"
        "--yyy\nContent-Type: text/html\n\n<p>The html body.</p>\n--yyy--\n"
        f'--zzz\nContent-Type: {kind}; name="{name}"\n'
        f'Content-Disposition: attachment; filename="{name}"\n'
        f"Content-Transfer-Encoding: base64\n\n{body}\n--zzz--\n"
    ).encode()


def test_mail_with_attachment() -> None:
    """A message gives its headers, one of its bodies, and its attachments by their own type."""
    data = _mail(make_pdf([pdf_lines(["Valve V-7 leaks."])]), "report.pdf", "application/pdf")
    kind, events = parse_bytes(data, "m.eml")
    text = text_of(data, "m.eml")
    assert kind == EML
    assert events[0] == Title("Grüße")
    assert "The plain body." in text
    assert "html body" not in text
    assert "Attachment: report.pdf" in text
    assert "Valve V-7 leaks." in text


def test_mail_when_attachment_is_unreadable() -> None:
    """An attachment of a type that is not read is named, the rest is kept."""
    text = text_of(_mail(b"\x7fELF" + bytes(64), "tool", "application/x-executable"), "m.eml")
    assert "The plain body." in text
    assert "Attachment: tool (not read)" in text


def test_mail_when_messages_nest() -> None:
    """Messages in messages are read to a bounded depth, the deeper ones named."""
    data = b"From: a@b.c\nTo: d@e.f\nSubject: core\n\ninnermost"
    for depth in range(8):
        data = _mail(data, f"{depth}.eml", "application/octet-stream")
    assert "(not read: nested too deeply)" in text_of(data, "m.eml")


def test_mail_when_named_otherwise() -> None:
    """A message is recognised by its headers under any name."""
    data = b"Received: by x\nFrom: a@b.c\nTo: d@e.f\nSubject: hello\n\nbody"
    assert parse_bytes(data, "note.txt")[0] == EML


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"GIF89a" + bytes(64), "a GIF picture, not a PDF document"),
        (b"PK\x03\x04garbage", "damaged"),
        (b"Rar!\x1a\x07\x01" + bytes(64), "a RAR archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument".encode("utf-16-le"), "docx"),
    ],
)
def test_refusal_says_what_it_is(data: bytes, told: str) -> None:
    """A refusal names what the file is, so that its owner knows what to do."""
    with pytest.raises(Unreadable) as caught:
        parse_bytes(data, "a.pdf")
    assert told in caught.value.message


def test_office_file_when_encrypted() -> None:
    """An OLE2 container with an encrypted package needs a password."""
    data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")
    with pytest.raises(Unreadable) as caught:
        blocks_of(data, "a.docx")
    assert caught.value.code == "encrypted"


@pytest.mark.parametrize(
    "notice",
    [
        '<div id="cookie-banner"><p>We use cookies.</p><button>Accept all</button></div>',
        '<div role="dialog"><p>Cookies help us. Accept all</p><input type="button"></div>',
        '<section class="site-Consent"><p>Cookies?</p><a role="button">Accept all</a></section>',
    ],
)
def test_html_when_it_asks_about_cookies(notice: str) -> None:
    """A notice about cookies is no text of the page; what a page says about cookies is."""
    page = f"<h1>Hours</h1>{notice}<p class='cookie-text'>Our cookies cost 2 euros a bag.</p>"
    text = text_of(page.encode(), "a.html")
    assert "Accept all" not in text
    assert "cookies cost 2 euros" in text


def test_html_when_choices_are_many() -> None:
    """A form with more choices than a person reads takes no time, and its text is whole."""
    choices = "".join(f"<Option value={i}>Choice {i}</option>" for i in range(60_000))
    page = f"<p>Depot nine.</p><select>{choices}</select><p>Lever B ends it.</p>"
    text = text_of(page.encode(), "a.html")
    assert "Depot nine." in text
    assert "Lever B ends it." in text
    assert "Choice 59999" not in text


_ROLES = (
    "<div role=table><div role=row><span role=columnheader>Gate</span>"
    "<span role=columnheader>Code</span></div><div role=row><span role=cell>East</span>"
    "<span role=cell>88</span></div></div>"
)
_FOOT_FIRST = (
    "<table><thead><tr><th>Item<th>Sum</thead><tfoot><tr><td>All<td>3</tfoot>"
    "<tbody><tr><td>Oil<td>3</table>"
)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (
            "<dl><dt>Bight<dt>Loop<dd>A bend.<dd>More.<dt>End<dd><ul><li>x</ul></dl>",
            "Bight, Loop: A bend.\nMore.\nEnd\n- x",
        ),
        (
            "<dl><dt>Who pays?<dd>The ship.<dt>Note:<dd>In cash.</dl>",
            "Who pays?\n\nThe ship.\nNote: In cash.",
        ),
        (
            "<div role=tabpanel hidden><p>Use ports.</div><div hidden>gone</div><p>Seen.",
            "Use ports.\nSeen.",
        ),
        (
            "<h2><button>Who pays?</button></h2><button>Copy</button><p>The ship.",
            "Who pays?\nThe ship.",
        ),
        ("<p>Ship: <input value=Hela><input type=hidden value=x>", "Ship: Hela"),
        ("<label><input type=checkbox checked> Paid</label><input type=radio>", "[x] Paid"),
        (
            "<table><tr><td class=linenos><pre>1\n2</pre></td><td><pre>a\n  b</pre></td></table>",
            "a\n  b",
        ),
        ("<h2>Set up<a href='#s'>¶</a></h2><a href='#m'>Skip it</a><p>Go.", "Set up\nGo."),
        (
            "<p>At <ruby>dawn<rp>(</rp><rt>early</rt></ruby>.<p><ruby>港<rt>みなと</rt></ruby>",
            "At dawn (early).\n港(みなと)",
        ),
        ("<p>Rated <i class=material-icons>star</i> 4", "Rated 4"),
        ("<ul><li><a href='https://x.example/sharer.php?u=a'>Share</a></ul><p>Text.", "Text."),
        ("<dl>" + "<dt>Site" * 6 + "</dl>", "\n".join(["Site"] * 6)),
        (_FOOT_FIRST, "Item | Sum\nOil | 3\nAll | 3"),
        (_ROLES, "Gate | Code\nEast | 88"),
        (
            "<table><tr><th>Role<th>Work</tr><tr><td>Mate<td><ul><li>stows<li>logs</ul></table>",
            "Role | Work\nMate | stows; logs",
        ),
    ],
)
def test_html_when_more_than_text(page: str, expected: str) -> None:
    """Terms, tabs, fields, code with line numbers and tables of other elements are as shown."""
    assert text_of(f"<html><body>{page}".encode(), "a.html") == expected


def test_epub_when_only_its_contents_name_the_chapters() -> None:
    """A chapter without a heading is under its name in the table of contents."""
    book = make_epub(["<p>One.</p>", "<p>It holds <i epub:type='pagebreak'>12</i>740.</p>"])
    with zipfile.ZipFile(io.BytesIO(book)) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    item = b'<item id="n" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
    package = parts["OPS/book.opf"].replace(b"</manifest>", item + b"</manifest>")
    contents = '<html><body><nav><a href="text/c1.xhtml">Two: Bends</a></nav></body></html>'
    parts |= {"OPS/book.opf": package, "OPS/nav.xhtml": contents.encode()}
    text = text_of(make_zip({**parts}, first="mimetype"), "a.epub")
    assert text == "One.\nTwo: Bends\nIt holds 740."
