"""Mail: what a person sees in a message is read, each part once and in order."""

from __future__ import annotations

import base64
import binascii
import quopri
import struct
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from functions.ingest.parsing.blocks import Title
from functions.ingest.parsing.registry import CALENDAR, EML, MBOX, WEB_ARCHIVE
from shared.errors import Unreadable
from tests.support.documents import parse_bytes, text_of

_CALENDAR = (
    "BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:X\r\nDTSTART:19700101T000000\r\nEND:VTIMEZONE\r\n"
    "BEGIN:VEVENT\r\nSUMMARY:Lift inspection\r\nDTSTART;TZID=Europe/Berlin:20270412T143000\r\n"
    "DTEND:20270412T160000Z\r\nLOCATION:Shaft 2\\, cellar\r\nDESCRIPTION:Bring the key\r\n"
    "  card.\r\nORGANIZER;CN=Ines:mailto:ines@example.org\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


def _message(subject: str = "Subject") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@b.example", "c@d.example", subject
    return message


def test_mail_when_a_message_is_forwarded() -> None:
    """A message inside of another is read with its own attachments, each once."""
    inner = _message("Offer 81")
    inner.set_content("Ünder the bridge we deliver 12 beams.", cte="8bit")
    inner.add_attachment(b"beam,length\nB4,7.5\n", maintype="text", subtype="csv", filename="b.csv")
    outer = _message("Fwd")
    outer.set_content("Please read on.")
    outer.add_attachment(inner)
    text = text_of(bytes(outer), "m.eml")
    assert text.count("12 beams") == 1
    assert text.count("B4 | 7.5") == 1
    assert text.index("Please read on") < text.index("Offer 81") < text.index("B4 | 7.5")


@pytest.mark.parametrize(
    "plain",
    ["", " \n ", "Your mail program does not show HTML.", "Open this mail in a browser: https://x"],
)
def test_mail_when_the_plain_half_is_a_stub(plain: str) -> None:
    """The HTML half is read where the plain half does not hold the message."""
    message = _message()
    message.set_content(plain)
    message.add_alternative("<p>The ferry to Lauwersoog sails at 5:40 from pier nine.</p>", "html")
    assert "pier nine" in text_of(bytes(message), "m.eml")


def test_mail_when_both_halves_say_the_same() -> None:
    """Two halves that say the same are read once."""
    message = _message()
    message.set_content("The ferry sails at 5:40 from pier nine.")
    message.add_alternative("<p>The ferry sails at 5:40 from <b>pier nine</b>.</p>", "html")
    assert text_of(bytes(message), "m.eml").count("pier nine") == 1


def _apple_mail() -> bytes:
    """Return a message whose HTML half is in parts, with a file between them."""
    halves = MIMEMultipart("alternative")
    halves["From"], halves["To"], halves["Subject"] = "a@b.example", "c@d.example", "Stock"
    halves.attach(MIMEText("The stock of shed four. Rope 17, as above."))
    mixed = MIMEMultipart("mixed")
    table = MIMEText("item,count\nchain,9\n", "csv")
    table.add_header("Content-Disposition", "attachment", filename="stock.csv")
    for part in (MIMEText("<p>The stock of shed four.</p>", "html"), table):
        mixed.attach(part)
    mixed.attach(MIMEText("<p>Rope 17, as above.</p>", "html"))
    halves.attach(mixed)
    return halves.as_bytes()


_HEAD = "From: a@b.example\nTo: c@d.example\nSubject: s\nMIME-Version: 1.0\n"
_UUENCODED = "".join(
    binascii.b2a_uu(line).decode() for line in (b"part,count\n", b"bolt,9\n", b"nut,44\n")
)


@pytest.mark.parametrize(
    ("name", "data", "expected", "absent"),
    [
        (
            "a.eml",
            _apple_mail(),
            ["The stock of shed four.", "Rope 17", "chain | 9"],
            ["stock of shed four.\nThe"],
        ),
        (
            "a.emlx",
            b"85   \n"
            + f"{_HEAD}\nThe winch lifts 740.\n".encode()
            + b"<?xml version='1.0'?><plist>",
            ["The winch lifts 740."],
            ["plist"],
        ),
        (
            "a.eml",
            f"{_HEAD}\nThe list:\n\nbegin 644 l.csv\n{_UUENCODED}`\nend\n\nBye\n".encode(),
            ["The list:", "Bye", "Attachment: l.csv", "nut | 44"],
            ["begin 644"],
        ),
        (
            "a.eml",
            f"{_HEAD}Content-Type: text/enriched\n\n<bold>Note</bold>: it\ncosts <<9.\n".encode(),
            ["Note: it costs <9."],
            ["<bold>"],
        ),
        (
            "a.vcf",
            (
                b"BEGIN:VCARD\nN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=C3=85berg;Maja\n"
                b"item1.TEL;CELL:+46 70\nNOTE:Ask\\, please\nPHOTO;ENCODING=B:AAAA\nEND:VCARD\n"
            ),
            ["Maja Åberg", "Phone (cell): +46 70", "Note: Ask, please"],
            ["AAAA"],
        ),
    ],
)
def test_message_as_a_program_writes_it(
    name: str, data: bytes, expected: list[str], absent: list[str]
) -> None:
    """Split messages, uuencoded files, old markup and programs' footers are recognised."""
    text = text_of(data, name)
    assert [one for one in expected if text.count(one) != 1] == []
    assert [one for one in absent if one in text] == []


def test_mail_when_texts_follow_each_other() -> None:
    """Every text part belongs to the message, plain and HTML, in order."""
    message = MIMEMultipart()
    message["From"], message["Subject"] = "a@b.example", "Three"
    message["To"] = "c@d.example"
    for part in (MIMEText("one fish"), MIMEText("<p>two fish</p>", "html"), MIMEText("red fish")):
        message.attach(part)
    text = text_of(message.as_bytes(), "m.eml")
    assert text.index("one fish") < text.index("two fish") < text.index("red fish")


def test_mail_with_an_invitation() -> None:
    """Subject, place and times of an invitation are read once, wherever it stands."""
    message = _message()
    message.set_content("see the invitation")
    message.add_alternative(_CALENDAR, subtype="calendar")
    message.add_attachment(
        _CALENDAR.encode(), maintype="application", subtype="ics", filename="i.ics"
    )
    text = text_of(bytes(message), "m.eml")
    assert text.count("Lift inspection") == 1
    assert "Start: 2027-04-12 14:30 (Europe/Berlin)" in text
    assert "End: 2027-04-12 16:00 UTC" in text
    assert "Place: Shaft 2, cellar" in text
    assert "Bring the key card." in text


def test_calendar_when_a_file() -> None:
    """A calendar of its own is read under the subjects of its entries."""
    kind, events = parse_bytes(_CALENDAR.encode(), "a.txt")
    assert kind == CALENDAR
    assert Title("Lift inspection") in events


def test_mail_when_signed() -> None:
    """Logos, signatures and keys leave nothing; other files that are not read leave their name."""
    message = _message()
    message.set_content("The price is 31 EUR.")
    logo = b"GIF89a" + bytes(200)
    message.add_attachment(logo, "image", "gif", filename="image001.gif", disposition="inline")
    for name, kind in (("smime.p7s", "pkcs7-signature"), ("key.asc", "pgp-keys")):
        message.add_attachment(b"\x30\x82" * 40, "application", kind, filename=name)
    message.add_attachment(b"\x7fELF" + bytes(99), "application", "octet-stream", filename="a.out")
    text = text_of(bytes(message), "m.eml")
    assert text.endswith("Attachment: a.out (not read)")
    assert not any(noise in text for noise in ("image001", "smime", "key.asc", "Supported"))


def test_mailbox_when_many() -> None:
    """Every message of a mailbox is read under its subject; a quoted From is no separator."""
    data = b""
    for number in range(3):
        message = _message(f"Ticket {number}")
        message.set_content(f"Code QX-{number}.\n\n>From here on all is quiet.")
        data += b"From a@b.example Mon Feb  2 10:01:00 2026\n" + bytes(message) + b"\n\n"
    for name in ("a.mbox", "Inbox", "a.eml", "a.txt"):
        kind, _ = parse_bytes(data, name)
        text = text_of(data, name)
        assert kind == MBOX
        assert all(f"Ticket {number}" in text and f"QX-{number}" in text for number in range(3))
        assert text.count("\nFrom here on") == 3


def test_web_archive_when_named_doc() -> None:
    """A page that a wiki exported "to Word" is read as the page, in its own encoding."""
    archive = MIMEMultipart("related")
    archive["Subject"] = "Exported From Confluence"
    archive.attach(MIMEText("<title>Rules</title><h1>Rules</h1><p>Größe 4 £", "html", "cp1252"))
    kind, events = parse_bytes(archive.as_bytes(), "a.doc")
    assert kind == WEB_ARCHIVE
    assert events[0] == Title("Rules")
    assert "Größe 4 £" in text_of(archive.as_bytes(), "a.doc")


def test_mail_when_related_parts_were_sent() -> None:
    """A message of related parts that was sent to somebody is a message."""
    message = MIMEMultipart("related")
    message["From"], message["To"], message["Subject"] = "a@b.example", "c@d.example", "S"
    message.attach(MIMEText("<p>hello", "html"))
    assert parse_bytes(message.as_bytes(), "a.eml")[0] == EML


def test_mail_when_text_follows_an_attachment() -> None:
    """Text behind an attachment belongs to the message, not to the attachment."""
    message = MIMEMultipart()
    message["From"], message["To"], message["Subject"] = "a@b.example", "c@d.example", "Three"
    table = MIMEText("one,two\n1,2\n", "csv")
    table.add_header("Content-Disposition", "attachment", filename="t.csv")
    for part in (MIMEText("before"), table, MIMEText("behind")):
        message.attach(part)
    text = text_of(message.as_bytes(), "m.eml")
    assert text.index("before") < text.index("behind") < text.index("Attachment: t.csv")


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_mail_when_the_forwarded_message_is_encoded(encoding: str) -> None:
    """A message that its program encoded, which the standard forbids, is read."""
    inner = _message("Inner =")
    inner.set_content("The code is ZX-3 = fine.")
    data = bytes(inner)
    body = base64.encodebytes(data) if encoding == "base64" else quopri.encodestring(data)
    mail = (
        b"From: a@example.com\nTo: b@example.com\nSubject: Outer\n"
        b"Content-Type: message/rfc822\nContent-Transfer-Encoding: "
        + encoding.encode()
        + b"\n\n"
        + body
    )
    text = text_of(mail, "a.eml")
    assert "Forwarded message: Inner =" in text
    assert "The code is ZX-3 = fine." in text


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH;WKST=MO;UNTIL=20261231T000000Z",
         "Repeats: every 2 weeks on Tuesday, Thursday until 2026-12-31"),
        ("FREQ=MONTHLY;BYDAY=-1FR;COUNT=5", "Repeats: every month on the last Friday 5 times"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=2", "Repeats: every month on the second Monday"),
        ("FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=14", "Repeats: every year on day 14 in month 3"),
        ("FREQ=DAILY;BYHOUR=9", "Repeats: FREQ=DAILY;BYHOUR=9"),
    ],
)  # fmt: skip
def test_calendar_when_it_repeats(rule: str, words: str) -> None:
    """A rule is said in words where these can say all of it."""
    entry = f"DTSTART:20260602T090000\nDURATION:PT1H30M\nEXDATE:20260609T090000\nRRULE:{rule}"
    data = f"BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Shift\n{entry}\nEND:VEVENT\nEND:VCALENDAR\n"
    lines = text_of(data.encode(), "a.ics").split("\n")
    assert [words, "Duration: 1 h 30 min", "Not on: 2026-06-09 09:00"] == [
        next(line for line in lines if line.startswith(start))
        for start in ("Repeats", "Duration", "Not on")
    ]


def test_mail_when_it_was_returned() -> None:
    """Why a message was not delivered is read, and the message too."""
    text = text_of(
        b"Subject: Returned\nMIME-Version: 1.0\n"
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=B\n\n"
        b"--B\nContent-Type: text/plain\n\nNot delivered.\n"
        b"--B\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\n"
        b"Action: failed\nDiagnostic-Code: smtp; 550 mailbox unavailable\n\n"
        b"--B\nContent-Type: message/rfc822\n\nSubject: Crates\n\nThey come on Tuesday.\n--B--\n",
        "a.eml",
    )
    assert "Not delivered." in text
    assert "Action: failed\nDiagnostic-Code: smtp; 550 mailbox unavailable" in text
    assert "They come on Tuesday." in text


def test_calendar_when_it_takes_whole_days() -> None:
    """The last day is told, not the one after it."""
    event = "BEGIN:VEVENT\nSUMMARY:Fair\nDTSTART;VALUE=DATE:20260612\nDTEND;VALUE=DATE:20260615\n"
    text = text_of(f"BEGIN:VCALENDAR\n{event}END:VEVENT\nEND:VCALENDAR\n".encode(), "a.ics")
    assert "Start: 2026-06-12\nEnd: 2026-06-14" in text


def _winmail() -> bytes:
    """Return winmail.dat as Outlook writes it: a message in HTML, and a file with a long name."""

    def attribute(level: int, kind: int, data: bytes) -> bytes:
        return struct.pack("<BII", level, kind, len(data)) + data + struct.pack("<H", sum(data))

    def value(number: int, form: int, data: bytes) -> bytes:
        head = struct.pack("<IHHII", 1, form, number, 1, len(data))
        return head + data + b"\0" * (-len(data) % 4)

    name = "lift parts.csv\0".encode("utf-16-le")
    return struct.pack("<IH", 0x223E9F78, 1) + b"".join(
        [
            attribute(1, 0x00069003, value(0x1013, 0x102, b"<p>Dock 4 reopens in May.</p>")),
            attribute(2, 0x00069002, b"\1" + bytes(13)),
            attribute(2, 0x00018010, b"LIFTPA~1.CSV\0"),
            attribute(2, 0x0006800F, b"part,count\nrope,14\npulley,9\n"),
            attribute(2, 0x00069005, value(0x3707, 0x1F, name)),
        ]
    )


@pytest.mark.parametrize(
    ("said", "times"), [("Please see the list.", 1), ("Dock 4 reopens in May.", 1), ("", 1)]
)
def test_mail_when_outlook_packed_it(said: str, times: int) -> None:
    """Attachments in winmail.dat are read by name; its text where the message lacks it."""
    message = _message()
    message.set_content(said)
    message.add_attachment(_winmail(), "application", "ms-tnef", filename="winmail.dat")
    text = text_of(bytes(message), "m.eml")
    assert text.count("Dock 4 reopens in May.") == times
    assert "lift parts.csv" in text
    assert "pulley | 9" in text


def test_winmail_when_a_file_or_cut_off() -> None:
    """The file that other programs save is read; a damaged one is refused, or named in its mail."""
    assert "pulley | 9" in text_of(_winmail(), "winmail.dat")
    with pytest.raises(Unreadable, match=r"winmail\.dat is damaged"):
        text_of(_winmail()[:-30], "winmail.dat")
    message = _message()
    message.add_attachment(_winmail()[:-30], "application", "ms-tnef", filename="winmail.dat")
    assert "winmail.dat (not read: it is damaged)" in text_of(bytes(message), "m.eml")


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m",
        'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b',
    ],
)
def test_mail_when_encrypted(fields: str) -> None:
    """An encrypted message says so, and shows none of its cipher text."""
    inner = "--b\nContent-Type: application/octet-stream\n\nhQEMA5vJ\n--b--\n"
    text = text_of(f"Subject: Sealed\nFrom: a@b.c\n{fields}\n\n{inner}".encode(), "m.eml")
    assert "Subject: Sealed" in text
    assert "(not read: the message is encrypted)" in text
    assert "hQEMA5vJ" not in text
