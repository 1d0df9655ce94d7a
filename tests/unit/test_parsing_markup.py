"""Markup, data and transcripts: what a reader sees is read, and nothing else."""

from __future__ import annotations

import base64
import codecs
import json
import random

import pytest

from functions.ingest.parsing.blocks import Block, Title
from functions.ingest.parsing.encoding_labels import find_codec
from tests.support.documents import blocks_of, make_epub, parse_bytes, text_of

_NOISE = base64.b64encode(random.Random(7).randbytes(30_000)).decode()


def test_html_when_hidden() -> None:
    """What a style, an attribute or a class hides is not read; a tab that a click shows is."""
    page = """<style>/* x */ .pre{display:none} .tab{display:none} .tab.open{display:block}
        @media print {.body{display:none}}</style>
        <p>Seen.</p><p style="color:red; display : none">gone 1</p><p hidden>gone 2</p>
        <div class=pre>gone 3</div><div style="visibility:hidden"><p>gone 4</p></div>
        <div class=tab>Tab text.</div><div class=body>Body text.</div>"""
    text = text_of(page.encode(), "a.html")
    assert "gone" not in text
    assert all(seen in text for seen in ("Seen.", "Tab text.", "Body text."))


@pytest.mark.parametrize(
    ("formula", "line"),
    [
        ("<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>", "E = m c^2"),
        ("<mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mi>b</mi></mfrac>", "(a+1)/b"),
        (
            "<msqrt><mi>x</mi></msqrt><mo>≤</mo><mroot><mi>y</mi><mn>3</mn></mroot>",
            "√(x) ≤ root(3, y)",
        ),
        ("<msub><mi>v</mi><mn>0</mn></msub><annotation>v_{0}</annotation>", "v_0"),
    ],
)
def test_html_with_a_formula(formula: str, line: str) -> None:
    """A formula keeps its fractions, powers, roots and indices on a line."""
    text = text_of(f"<p>So <math>{formula}</math> holds.</p>".encode(), "a.html")
    assert text == f"So {line} holds."


def test_html_when_saved_with_its_menus() -> None:
    """Menus and lists of languages are left out; a list in the text stays."""
    menu = "".join(f'<li><a href="/{n}">Menu {n}</a>' for n in range(12))
    languages = "".join(
        f'<li><a href="/{n}" hreflang="{n}">Lang {n}</a>' for n in ("de", "fr", "vi")
    )
    text = text_of(
        f"<ul>{menu}</ul><main><p>The dam is 40 m high.</p><ul><li><a href=x>Source</a> of 1931"
        f"<li>Plan</ul></main><ul>{languages}</ul>".encode(),
        "a.html",
    )
    assert "Menu" not in text
    assert "Lang" not in text
    assert "Source of 1931" in text


def test_html_when_only_links() -> None:
    """A page that is nothing but a list of links keeps it."""
    links = "".join(f"<li><a href=/{n}>Chapter {n}</a>" for n in range(12))
    assert "Chapter 11" in text_of(f"<ul>{links}</ul>".encode(), "a.html")


@pytest.mark.parametrize(
    "empty", ["<title/>", "<script src='a'/>", "<p/>", '<a id="x"/>', "<style/>"]
)
def test_epub_with_empty_elements(empty: str) -> None:
    """An empty element of XHTML swallows nothing of what follows."""
    text = text_of(make_epub([f"{empty}<h1>One</h1><p>The ferry leaves.</p>"]), "a.epub")
    assert "The ferry leaves." in text


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("windows-874", "ค่าเช่าสี่สิบบาทต่อวัน"),
        ("ISO-8859-8-I", "השער נסגר בשמונה"),
        ("x-sjis", "日本語の案内"),
        ("ks_c_5601-1987", "서울에서 만나요"),
        ("x-mac-cyrillic", "Привет, мир"),
        ("gb2312", "会议在四号门"),
        ("windows-1257", "Ąžuolas žydi"),
    ],
)
def test_label_when_browsers_know_it(label: str, text: str) -> None:
    """A page and an XML file in an encoding by its web name are read."""
    codec = find_codec(label)
    assert codec
    page = f'<meta charset="{label}"><p>{text}'.encode(codec)
    document = f'<?xml version="1.0" encoding="{label}"?><a><para>{text}</para></a>'.encode(codec)
    assert text in text_of(page, "a.html")
    assert text in text_of(document, "a.xml")


def test_label_when_unknown() -> None:
    """What is no encoding of text is not taken for one."""
    assert find_codec("base64") is None
    assert find_codec("no-such") is None
    assert codecs.lookup(find_codec("latin1") or "").name == "cp1252"


def test_xml_when_a_document() -> None:
    """Tags and attributes are no text; marked-up words stay in their sentence."""
    data = (
        b'<!DOCTYPE manual [<!ENTITY product "KX-4">]><manual id="m17"><title>Pump</title>'
        b'<step n="1">Close <b>valve</b> &product; first.</step><screen>a\n  b</screen></manual>'
    )
    _, events = parse_bytes(b'<?xml version="1.0"?>' + data, "a.xml")
    assert Title("Pump") in events
    text = text_of(data, "a.xml")
    assert "Close valve KX-4 first." in text
    assert "a\n  b" in text
    assert "m17" not in text


def test_xml_when_records() -> None:
    """The fields of a record stand together, with their names."""
    data = b"<orders><order><id>A-17</id><price>12 EUR</price></order><order/></orders>"
    assert "id: A-17\nprice: 12 EUR" in text_of(data, "a.xml")


def test_xml_when_entities_explode() -> None:
    """Entities that multiply are refused."""
    entities = "".join(
        f'<!ENTITY e{n} "{f"&e{n - 1};" * 20}">' if n else '<!ENTITY e0 "lollollol">'
        for n in range(9)
    )
    data = f'<?xml version="1.0"?><!DOCTYPE a [{entities}]><a>&e8;</a>'.encode()
    with pytest.raises(Exception, match="damaged"):
        text_of(data, "a.xml")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            (
                '<r><ship id="S-1"><field name="Berth">7</field>'
                '<price currency="NOK">9</price></ship></r>'
            ),
            "ship: id: S-1\nBerth: 7\nprice: 9 (currency: NOK)",
        ),
        (
            (
                "<plist><dict><key>Name</key><string>Hela</string><key>Ports</key><array>"
                "<string>Lund</string></array><key>Insured</key><true/></dict></plist>"
            ),
            "Name: Hela\nPorts:\nLund\nInsured: true",
        ),
        (
            (
                "<book><para>See.</para><variablelist><varlistentry><term>Bight</term><term>Loop</term>"
                "<listitem><para>A bend.</para></listitem></varlistentry><varlistentry>"
                "<term>Hitch</term></varlistentry></variablelist></book>"
            ),
            "See.\nBight, Loop: A bend.\nHitch",
        ),
        (
            (
                "<article><body><p><b>Ships</b> wait<xref ref-type='fn'>1</xref><fn><p>At sea.</p>"
                "</fn>.</p><list list-type='order'><list-item><p>Ring.</p></list-item><list-item>"
                "<p>Tie.</p><p>Twice.</p></list-item></list><list><list-item><label>(a)</label>"
                "<p>End.</p></list-item></list></body></article>"
            ),
            "Ships wait¹ [Note: At sea.].\n1. Ring.\n2. Tie.\nTwice.\n(a) End.",
        ),
        ('<opml><body><outline text="Knots"/></body></opml>', "outline: text: Knots"),
        (
            (
                "<x><memo><title>Winch</title><content><![CDATA[<p>Grease it.</p><table><tr>"
                "<td>Ship</td><td>Tons</td></tr><tr><td>Hela</td><td>12</td></tr></table>]]></content></memo>"
                '<row body="&lt;p&gt;Use &lt;b&gt;rope&lt;/b&gt;.&lt;/p&gt;"/></x>'
            ),
            "title: Winch\ncontent:\nGrease it.\nShip | Tons\nHela | 12\nrow: body: Use rope.",
        ),
    ],
)
def test_xml_when_names_stand_beside_values(data: str, expected: str) -> None:
    """What an attribute, a key or a term names stays with its value."""
    assert text_of(f"<?xml version='1.0'?>{data}".encode(), "a.xml") == expected


def test_json_with_comments() -> None:
    """Settings with comments and commas too many are read; a string that looks so stays."""
    data = b'// a\n{"port": 94, /* b */ "url": "http://x//y",\n "list": [1, 2,],}'
    assert text_of(data, "a.json") == "port: 94\nurl: http://x//y\nlist: 1, 2"


@pytest.mark.parametrize("join", ["\n", " ", ""])
def test_json_when_several_values(join: str) -> None:
    """Values one after another are all read, on lines of their own or not."""
    data = join.join(json.dumps({"city": f"City {n}", "mayor": n}, indent=2) for n in range(3))
    assert all(f"city: City {n}" in text_of(data.encode(), "a.json") for n in range(3))


def test_notebook_when_read() -> None:
    """Code keeps its lines, texts their headings; what was printed stays, pictures do not."""
    cells = [
        {"cell_type": "markdown", "source": ["# Forecast\n", "The horizon is 14 days."]},
        {
            "cell_type": "code",
            "source": "def f(x):\n    return x",
            "outputs": [
                {"output_type": "stream", "text": ["MAPE 4.7\n"]},
                {"data": {"image/png": _NOISE, "text/plain": "<Figure 640x480>"}},
            ],
        },
    ]
    blocks = blocks_of(json.dumps({"nbformat": 4, "cells": cells}).encode(), "a.ipynb")
    assert [(block.kind, block.text) for block in blocks] == [
        ("heading", "# Forecast"),
        ("paragraph", "The horizon is 14 days."),
        ("code", "def f(x):\n    return x"),
        ("code", "MAPE 4.7"),
    ]


@pytest.mark.parametrize(
    ("name", "document"),
    [
        (
            "a.md",
            "Meet at gate four. ![x](data:image/png;base64,{0})\n\n[i]: <data:a/b;base64,{0}>",
        ),
        ("a.txt", "Meet at gate four.\n\n{0}"),
        (
            "a.txt",
            "Meet at gate four.\n\n-----BEGIN CERTIFICATE-----\n{1}-----END CERTIFICATE-----\n",
        ),
        ("a.html", "<p>Meet at gate four. {0}"),
        ("a.json", '{{"a": "Meet at gate four.", "b": "{0}"}}'),
        ("a.csv", "place,picture\nMeet at gate four.,{0}\n"),
    ],
)
def test_base64_when_in_a_text(name: str, document: str) -> None:
    """Pictures and files written as letters become no text, in any format."""
    broken = "\n".join(_NOISE[at : at + 64] for at in range(0, 6400, 64)) + "\n"
    text = text_of(document.format(_NOISE, broken).encode(), name)
    assert "Meet at gate four." in text
    assert len(text) < 120


def test_base64_when_it_is_none() -> None:
    """Long words that are text stay: sequences, addresses, rows of signs."""
    words = ["ACGT" * 100, "https://example.org/" + "a/" * 200, "=" * 300, "Donaudampf" * 30]
    text = "\n\n".join(words)
    assert text_of(text.encode(), "a.txt").split() == words
    signed = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n[...]\n-----END PGP SIGNATURE-----"
    assert text_of(signed.encode(), "a.txt") == signed


_VTT = (
    "WEBVTT\nKind: captions\n\nNOTE hidden\n\n1\n00:01.000 --> 00:04.000 align:start\n"
    "<v Ana Lopez>We ship on <i>the ninth</i></v>\n\n00:04.5 --> 00:08.000\n"
    "<v Ana Lopez>of June.</v>\n\n00:09.000 --> 00:10.000\n<v Bo>Agreed.</v>\n"
)
_SRT = (
    "1\r\n00:00:01,000 --> 00:00:04,000\r\nAna Lopez: We ship on <i>the ninth</i>\r\n\r\n"
    "2\r\n00:00:04,500 --> 00:00:08,000\r\nof June.\r\n"
)


_SBV = (
    "0:00:01.000,0:00:04.000\nAna Lopez: We ship on the ninth\n\n"
    "0:00:04.500,0:00:08.000\nof June.\n"
)
_ASS = (
    "[Script Info]\nTitle: hidden\n\n[Events]\nFormat: Layer, Start, End, Name, Text\n"
    "Dialogue: 0,0:00:01.00,0:00:03.00,Ana Lopez,{\\i1}We ship on\\Nthe ninth\n"
    "Dialogue: 0,0:00:03.00,0:00:04.00,Ana Lopez,of June.\n"
)


@pytest.mark.parametrize(
    ("name", "data"), [("a.vtt", _VTT), ("a.srt", _SRT), ("a.sbv", _SBV), ("a.ass", _ASS)]
)
def test_subtitles_when_read(name: str, data: str) -> None:
    """A sentence over two captions is one, under its speaker, without times and numbers."""
    text = text_of(data.encode(), name)
    assert "Ana Lopez: We ship on the ninth of June." in text
    assert not any(mark in text for mark in ("-->", "00:", "NOTE", "hidden", "Kind"))


def test_blocks_when_nothing_is_left() -> None:
    """A block that was nothing but a picture is no block."""
    events = parse_bytes(f"One.\n\n{_NOISE}\n\nTwo.".encode(), "a.txt")[1]
    assert [event.text for event in events if isinstance(event, Block)] == ["One.", "Two."]


def test_html_when_menus_stand_around_the_text() -> None:
    """Menus outside of the main text, and lists of languages anywhere, are no text."""
    page = (
        "<header><ul><li><a href=/>Home</a><li><a href=/p>Products</a></ul></header>"
        "<main><h1>Valves</h1><p>Grease the stem.<ul><li><a href=/a>Type A</a>"
        "<li><a href=/b>Type B</a></ul>"
        "<div><a href=/de>Deutsch</a> | <a href=/fr>Français</a> | <a href=/vi>Tiếng Việt</a></div>"
        "</main><div><a href=/x>Imprint</a> · <a href=/y>Jobs</a></div>"
    )
    assert text_of(f"<html><body>{page}".encode(), "a.html").split("\n") == [
        "Valves",
        "Grease the stem.",
        "- Type A",
        "- Type B",
    ]


def test_html_when_digits_are_raised() -> None:
    """A raised digit is no further digit of the number before it."""
    page = b"<html><p>A load of 10<sup>3</sup> kg on 4 m<sup>2</sup> costs 40<sup>1</sup> EUR."
    assert text_of(page, "a.html") == "A load of 10\u00b3 kg on 4 m\u00b2 costs 40\u00b9 EUR."


def test_notebook_when_a_cell_failed() -> None:
    """The message of an error that a cell ended with is read, its colours are not."""
    outputs = [{"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": ["x"]}]
    cell = {"cell_type": "code", "source": ["f()"], "outputs": outputs}
    text = text_of(json.dumps({"nbformat": 4, "cells": [cell]}).encode(), "a.ipynb")
    assert text == "f()\nValueError: bad"


def test_html_lists_as_a_browser_numbers_them() -> None:
    """Starts, values and letters of lists are kept; lists in lists are set in."""
    page = (
        "<ol start=5><li>five<li value=9>nine<li>ten<ul><li>inner</ul></ol>"
        "<ol type=a><li>first<li>second</ol><ol type=I><li>one<li>two</ol>"
    )
    assert text_of(f"<html><body>{page}".encode(), "a.html").split("\n") == [
        *(
            "5. five",
            "9. nine",
            "10. ten",
            "  - inner",
            "a. first",
            "b. second",
            "I. one",
            "II. two",
        ),
    ]


def test_xml_when_a_field_holds_markup() -> None:
    """The markup that feeds put into their fields is no text."""
    item = "<title>Bridge</title><description>&lt;p&gt;Until &lt;b&gt;noon&lt;/b&gt;&lt;/p&gt;"
    feed = f"<?xml version='1.0'?><rss><item>{item}</description></item></rss>"
    assert text_of(feed.encode(), "a.xml") == "title: Bridge\ndescription: Until noon"


def test_html_when_a_style_names_the_elements_around() -> None:
    """A rule for elements within others hides; the last of several displays counts."""
    page = """<style>.page .note{display:none} p#ad.big{visibility:hidden}</style>
        <div class=page><p class=note>gone 1</p><p style="display:none;display:block">Seen.</p>
        </div><p class=note>Also seen.</p><p id=ad class=big>gone 2</p><dialog>gone 3</dialog>
        <dialog open>Asked.</dialog>"""
    text = text_of(page.encode(), "a.html")
    assert "gone" not in text
    assert [seen for seen in ("Seen.", "Also seen.", "Asked.") if seen not in text] == []


def test_html_when_a_drawing_repeats_the_formula() -> None:
    """A formula stands once: its markup, not the drawing that is kept from screen readers."""
    formula = "<math><mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup></math>"
    wiki = (
        f'<p>By <span><span style="display: none">{formula}</span>'
        '<img aria-hidden="true" alt="{\\displaystyle E=mc^{2}}"></span> it is.</p>'
    )
    katex = (
        f'<p>By <span><span>{formula}</span><span aria-hidden="true">E=mc2</span></span> so.</p>'
    )
    assert text_of(wiki.encode(), "a.html") == "By E = m c^2 it is."
    assert text_of(katex.encode(), "a.html") == "By E = m c^2 so."


def test_html_when_menus_stand_beside_the_text() -> None:
    """Lists of links beside what holds the paragraphs are menus, whatever they are made of."""
    names = "".join(f"<option>{name}</option>" for name in ("English", "Deutsch", "Français"))
    menu = "<ul><li><a href=a>Start</a><li><a href=b>News</a></ul>"
    page = f"""<div><div><h3>Explore</h3>{menu}</div>
        <div><div><a href=c>Shop</a></div><div><a href=d>Careers</a></div></div></div>
        <select>{names}</select><div><h1>Heron</h1><p>The heron waits for hours on one leg, and
        then it strikes.</p><h2>Kinds</h2><ul><li><a href=e>Grey</a><li><a href=f>Purple</a></ul>
        <select><option>Small</option><option>Large</option></select></div>"""
    text = text_of(page.encode(), "a.html")
    menus = ("Explore", "Start", "Shop", "Careers", "Deutsch")
    assert [word for word in menus if word in text] == []
    assert [word for word in ("Heron", "Grey", "Purple", "Large") if word not in text] == []


def test_xml_when_records_have_titles_and_notes() -> None:
    """Titles and notes make no prose of records: their fields keep their names."""
    item = '<item sku="A-1"/><item><title>Pump</title><price>5</price><note>fragile</note></item>'
    text = text_of(f"<stock>{item}</stock>".encode(), "a.xml")
    assert text == "item: sku: A-1\ntitle: Pump\nprice: 5\nnote: fragile"


def test_html_when_styles_raise_or_strike_text() -> None:
    """What a style raises is a power or a mark; what it strikes out is not read."""
    page = (
        b"<style>.up{vertical-align:super} .gone{text-decoration: line-through}</style>"
        b"<p>It weighs 10<span class=up>4</span> kg<a epub:type=noteref href=#n>7</a>, costs"
        b" <span class=gone>90</span> <s>85</s> <del>82</del> 80 and has"
        b' 3<span style="vertical-align: super">2</span> rooms.'
    )
    assert text_of(page, "a.html") == "It weighs 10⁴ kg⁷, costs 80 and has 3² rooms."


def test_xml_when_it_holds_tables() -> None:
    """Rows of DocBook, DITA and XHTML are rows, merged cells in each place that they cover."""
    docbook = (
        b"<article><para>Hours:</para><table><title>Care</title><tgroup cols='2'><thead><row>"
        b"<entry>Part</entry><entry>Hours</entry></row></thead><tbody>"
        b"<row><entry morerows='1'><para>Drum</para></entry><entry>400</entry></row>"
        b"<row><entry>500</entry></row><row><entry>Rope</entry><entry/></row>"
        b"</tbody></tgroup></table><para>After.</para></article>"
    )
    rows = [block for block in blocks_of(docbook, "a.xml") if block.kind == "row"]
    assert [row.text for row in rows] == ["Part | Hours", "Drum | 400", "Drum | 500", "Rope"]
    assert rows[-1].header == "Care\nPart | Hours"
    assert not [block for block in blocks_of(docbook, "a.xml") if block.kind == "heading"]
    assert blocks_of(docbook, "a.xml")[-1].text == "After."
    dita = (
        b"<topic><body><simpletable><sthead><stentry>A</stentry><stentry>B</stentry></sthead>"
        b"<strow><stentry>x</stentry><stentry>1</stentry></strow></simpletable></body></topic>"
    )
    assert text_of(dita, "a.dita").endswith("A | B\nx | 1")


def test_xml_when_tables_never_end() -> None:
    """Tables within tables, and cells that claim everything, cost no more than their text."""
    deep = b"<table><row><entry>x" * 200
    assert text_of(deep + b"</entry></row></table>" * 200, "a.xml").split() == ["x"] * 200
    wide = (
        b"<table><tr><td rowspan='9999' colspan='9999'>x</td></tr>" + b"<tr/>" * 500 + b"</table>"
    )
    assert len(text_of(wide, "a.xml")) < 5_000_000
