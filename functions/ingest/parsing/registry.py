"""The table of formats: a new one is its parser, a row here, and its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module

from shared.errors import Unreadable

from . import detection
from .blocks import Event, Request
from .detection import Format
from .noise import without_base64

Parser = Callable[[Request], Iterator[Event]]

PDF = "application/pdf"
_OPEN_XML = "application/vnd.openxmlformats-officedocument"
DOCX = f"{_OPEN_XML}.wordprocessingml.document"
PPTX = f"{_OPEN_XML}.presentationml.presentation"
XLSX = f"{_OPEN_XML}.spreadsheetml.sheet"
XLSB = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
XLS = "application/vnd.ms-excel"
DOC = "application/msword"
PPT = "application/vnd.ms-powerpoint"
SPREADSHEET_XML = "application/vnd.ms-excel+xml"
_OPEN_DOCUMENT = "application/vnd.oasis.opendocument"
ODT = f"{_OPEN_DOCUMENT}.text"
ODS = f"{_OPEN_DOCUMENT}.spreadsheet"
ODP = f"{_OPEN_DOCUMENT}.presentation"
FLAT_OFFICE = "application/vnd.office+xml"
EPUB = "application/epub+zip"
RTF = "application/rtf"
EML = "message/rfc822"
CONTACTS = "text/vcard"
EMLX = "message/x-emlx"
MSG = "application/vnd.ms-outlook"
MBOX = "application/mbox"
TNEF = "application/ms-tnef"
CALENDAR = "text/calendar"
WEB_ARCHIVE = "multipart/related"
HTML = "text/html"
SUBTITLES = "text/vtt"
XML = "application/xml"
MARKDOWN = "text/markdown"
TEXT = "text/plain"
CSV = "text/csv"
TSV = "text/tab-separated-values"
JSON = "application/json"
JSON_LINES = "application/jsonl"
PNG = "image/png"
JPEG = "image/jpeg"
TIFF = "image/tiff"
WEBP = "image/webp"
ZIP = "application/zip"
GZIP = "application/gzip"
TAR = "application/x-tar"
SVG = "image/svg+xml"
SOURCE_CODE = "text/x-source"
YAML = "application/yaml"
TOML = "application/toml"
INI = "text/x-ini"
ROFF = "text/troff"
LATEX = "application/x-latex"
RST = "text/x-rst"
ASCIIDOC = "text/asciidoc"
ORG = "text/org"

# For the languages that people keep in repositories.
_SOURCE_EXTENSIONS = (
    "py pyi js mjs cjs jsx ts tsx vue svelte java kt kts scala groovy gradle c h cc cpp cxx "
    "hpp hh cs fs vb go rs rb php pl pm swift m mm r jl lua dart ex exs erl hrl hs clj cljs "
    "elm ml mli lisp el scm sh bash zsh fish ps1 psm1 bat cmd sql css scss sass less proto "
    "graphql gql tf tfvars hcl bicep cmake mk asm vhd vhdl sv sol nix diff patch"
)

# In order of precedence, where two could claim the same file; any other text is the last.
FORMATS = (
    Format(
        content_type=PDF,
        label="a PDF document",
        parser="pdf.parse_pdf",
        extensions=("pdf",),
        magic=detection.is_pdf,
    ),
    Format(
        content_type=DOCX,
        label="a Word document",
        parser="docx.parse_docx",
        extensions=("docx", "docm", "dotx"),
        part="word/",
    ),
    Format(
        content_type=PPTX,
        label="a PowerPoint presentation",
        parser="pptx.parse_pptx",
        extensions=("pptx", "pptm", "ppsx"),
        part="ppt/",
    ),
    Format(
        content_type=XLSB,
        label="a binary Excel workbook",
        parser="xlsb.parse_xlsb",
        extensions=("xlsb",),
        part="xl/workbook.bin",
    ),
    Format(
        content_type=XLSX,
        label="an Excel workbook",
        parser="xlsx.parse_xlsx",
        extensions=("xlsx", "xlsm", "xltx"),
        part="xl/",
    ),
    Format(
        content_type=ODT,
        label="an OpenDocument text",
        parser="opendocument.parse_odt",
        extensions=("odt", "ott"),
        declared=(f"{_OPEN_DOCUMENT}.text-template",),
        part="content.xml",
    ),
    Format(
        content_type=ODS,
        label="an OpenDocument spreadsheet",
        parser="opendocument.parse_ods",
        extensions=("ods", "ots"),
        declared=(f"{_OPEN_DOCUMENT}.spreadsheet-template",),
        part="content.xml",
    ),
    Format(
        content_type=ODP,
        label="an OpenDocument presentation",
        parser="opendocument.parse_odp",
        extensions=("odp", "otp"),
        declared=(f"{_OPEN_DOCUMENT}.presentation-template",),
        part="content.xml",
    ),
    Format(
        content_type=XLS,
        label="an old Excel workbook",
        parser="xls.parse_xls",
        extensions=("xls", "xlt"),
        stream="Workbook",
    ),
    Format(
        content_type=DOC,
        label="an old Word document",
        parser="doc.parse_doc",
        extensions=("doc", "dot"),
        stream="WordDocument",
    ),
    Format(
        content_type=PPT,
        label="an old PowerPoint presentation",
        parser="ppt.parse_ppt",
        extensions=("ppt", "pps", "pot"),
        stream="PowerPoint Document",
    ),
    Format(
        content_type=MSG,
        label="an Outlook message",
        parser="msg.parse_msg",
        extensions=("msg",),
        stream="__properties_version1.0",
    ),
    Format(
        content_type=TNEF,
        label="a message of Outlook's (winmail.dat)",
        parser="tnef.parse_tnef",
        extensions=("tnef",),
        declared=("application/vnd.ms-tnef",),
        magic=detection.is_tnef,
    ),
    Format(
        content_type=EPUB,
        label="an EPUB book",
        parser="epub.parse_epub",
        extensions=("epub",),
        part="META-INF/container.xml",
    ),
    Format(
        content_type=ZIP,
        label="a zip archive",
        parser="zip_files.parse_zip",
        extensions=("zip",),
        declared=("application/x-zip-compressed",),
        any_zip=True,
    ),
    Format(
        content_type=GZIP,
        label="a gzip file",
        parser="zip_files.parse_gzip",
        extensions=("gz", "tgz", "svgz"),
        declared=("application/x-gzip",),
        magic=detection.is_gzip,
    ),
    Format(
        content_type=TAR,
        label="a tar archive",
        parser="tar_files.parse_tar",
        extensions=("tar",),
        magic=detection.is_tar,
    ),
    Format(
        content_type=RTF,
        label="an RTF document",
        parser="rtf.parse_rtf",
        extensions=("rtf",),
        declared=("text/rtf",),
        magic=detection.is_rtf,
    ),
    Format(
        content_type=PNG,
        label="a PNG picture",
        parser="pictures.parse_picture",
        options={"kind": "PNG"},
        extensions=("png",),
        magic=detection.is_png,
    ),
    Format(
        content_type=JPEG,
        label="a JPEG picture",
        parser="pictures.parse_picture",
        options={"kind": "JPEG"},
        extensions=("jpg", "jpeg"),
        magic=detection.is_jpeg,
    ),
    Format(
        content_type=TIFF,
        label="a TIFF picture",
        parser="pictures.parse_picture",
        options={"kind": "TIFF"},
        extensions=("tiff", "tif"),
        magic=detection.is_tiff,
    ),
    Format(
        content_type=WEBP,
        label="a WebP picture",
        parser="pictures.parse_picture",
        options={"kind": "WEBP"},
        extensions=("webp",),
        magic=detection.is_webp,
    ),
    Format(
        content_type=MARKDOWN,
        label="a Markdown file",
        parser="markdown.parse_markdown",
        extensions=("md", "markdown", "mdown"),
        declared=("text/x-markdown",),
        named=True,
    ),
    Format(
        content_type=SOURCE_CODE,
        label="a source file",
        parser="source_text.parse_source",
        extensions=tuple(_SOURCE_EXTENSIONS.split()),
        declared=(
            "application/javascript",
            "application/sql",
            "application/x-sh",
            "text/css",
            "text/javascript",
            "text/x-python",
        ),
        named=True,
    ),
    Format(
        content_type=YAML,
        label="a YAML file",
        parser="source_text.parse_source",
        options={"sections": "yaml"},
        extensions=("yaml", "yml"),
        declared=("application/x-yaml", "text/yaml", "text/x-yaml"),
        named=True,
    ),
    Format(
        content_type=TOML,
        label="a TOML file",
        parser="source_text.parse_source",
        options={"sections": "toml"},
        extensions=("toml",),
        named=True,
    ),
    Format(
        content_type=LATEX,
        label="a LaTeX source",
        parser="latex.parse_latex",
        extensions=("tex", "latex", "ltx"),
        declared=("application/x-tex", "text/x-tex"),
        named=True,
    ),
    Format(
        content_type=RST,
        label="a reStructuredText file",
        parser="restructured_text.parse_rst",
        extensions=("rst", "rest"),
        named=True,
    ),
    Format(
        content_type=ASCIIDOC,
        label="an AsciiDoc file",
        parser="asciidoc.parse_asciidoc",
        extensions=("adoc", "asciidoc"),
        named=True,
    ),
    Format(
        content_type=ORG,
        label="an Org file",
        parser="org_mode.parse_org",
        extensions=("org",),
        named=True,
    ),
    Format(
        content_type=ROFF,
        label="a manual page",
        parser="roff.parse_roff",
        extensions=("man", "roff", "troff", "mdoc", "ms"),
        looks_like=detection.is_roff,
    ),
    # Web applications and reports write the next three under the name of xls.
    Format(
        content_type=SPREADSHEET_XML,
        label="an Excel workbook in XML",
        parser="spreadsheet_xml.parse_spreadsheet_xml",
        looks_like=detection.is_spreadsheet_xml,
    ),
    Format(
        content_type=FLAT_OFFICE,
        label="an office document in XML",
        parser="flat_office.parse_flat_office",
        extensions=("fodt", "fods", "fodp"),
        looks_like=detection.is_flat_office,
    ),
    Format(
        content_type=WEB_ARCHIVE,
        label="a web archive",
        parser="mail.parse_web_archive",
        extensions=("mht", "mhtml"),
        looks_like=detection.is_web_archive,
    ),
    Format(
        content_type=MBOX,
        label="a mailbox",
        parser="mail.parse_mailbox",
        extensions=("mbox", "mbx"),
        looks_like=detection.is_mailbox,
    ),
    Format(
        content_type=CALENDAR,
        label="a calendar",
        parser="calendars.parse_calendar",
        extensions=("ics",),
        looks_like=detection.is_calendar,
    ),
    Format(
        content_type=CONTACTS,
        label="an address book",
        parser="contacts.parse_contacts",
        extensions=("vcf",),
        declared=("text/x-vcard", "text/directory"),
        looks_like=detection.is_contacts,
    ),
    Format(
        content_type=EMLX,
        label="a message of Apple Mail",
        parser="mail.parse_emlx",
        extensions=("emlx",),
        looks_like=detection.is_emlx,
    ),
    Format(
        content_type=SUBTITLES,
        label="a transcript",
        parser="subtitles.parse_subtitles",
        extensions=("vtt", "srt", "sbv", "ass", "ssa"),
        declared=("application/x-subrip",),
        looks_like=detection.is_subtitles,
    ),
    Format(
        content_type=SVG,
        label="an SVG drawing",
        parser="svg.parse_svg",
        extensions=("svg",),
        looks_like=detection.is_svg,
    ),
    Format(
        content_type=HTML,
        label="a web page",
        parser="html.parse_html",
        extensions=("html", "htm", "xhtml"),
        declared=("application/xhtml+xml",),
        looks_like=detection.is_html,
    ),
    Format(
        content_type=XML,
        label="an XML document",
        parser="xml_text.parse_xml",
        extensions=("xml", "dita", "dbk"),
        declared=("text/xml",),
        looks_like=detection.is_xml,
    ),
    Format(
        content_type=CSV,
        label="a CSV table",
        parser="delimited.parse_delimited",
        extensions=("csv",),
        disguises=("xls",),
    ),
    Format(
        content_type=TSV,
        label="a TSV table",
        parser="delimited.parse_delimited",
        options={"delimiter": "\t"},
        extensions=("tsv", "tab"),
    ),
    Format(
        content_type=EML,
        label="an e-mail message",
        parser="mail.parse_mail",
        extensions=("eml",),
        might_be=detection.is_mail,
    ),
    Format(
        content_type=JSON,
        label="a JSON file",
        parser="records.parse_json",
        extensions=("json", "ipynb"),
        might_be=detection.is_json,
        strict=True,
    ),
    Format(
        content_type=JSON_LINES,
        label="a file of JSON lines",
        parser="records.parse_json_lines",
        extensions=("jsonl", "ndjson"),
        declared=("application/x-ndjson",),
        might_be=detection.is_json_lines,
        strict=True,
    ),
    Format(
        content_type=INI,
        label="a configuration file",
        parser="source_text.parse_source",
        options={"sections": "ini"},
        extensions=("ini", "cfg", "conf", "properties"),
    ),
    Format(
        content_type=TEXT,
        label="a text",
        parser="text.parse_text",
        extensions=("txt", "text", "log"),
    ),
)


def parse(request: Request) -> tuple[str, Iterator[Event]]:
    """
    Return the detected MIME type of a document, and its blocks.

    Raises:
        Unreadable: Here if the format is not supported, from the iterator if the file is damaged.
    """
    found = detection.detect_format(
        request.source,
        name=request.name,
        content_type=request.content_type,
        limits=request.limits,
        formats=FORMATS,
    )
    if (
        found.strict
        and not found.is_claimed(name=request.name, content_type=request.content_type)
        and not _is_whole(found, request)
    ):
        found = FORMATS[-1]
    return found.content_type, without_base64(load_parser(found)(request))


def _is_whole(known: Format, request: Request) -> bool:
    """Whether a text that begins like a format is one to its end."""
    try:
        for _ in load_parser(known)(replace(request, figures=None)):
            pass
    except Unreadable as error:
        return error.code != "corrupt"
    return True


def load_parser(known: Format) -> Parser:
    """Return the parser of a format; its module is imported on first use."""
    module, _, function = known.parser.partition(".")
    parser: Parser = getattr(import_module(f"{__package__}.{module}"), function)
    return partial(parser, **known.options) if known.options else parser
