"""Archives: zip and gzip files, the documents in them, and what hostile ones try."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from dataclasses import replace

import pytest

from functions.ingest.parsing.registry import GZIP, TAR, ZIP
from functions.ingest.parsing.zip_files import MAX_MEMBERS
from shared.errors import Unreadable
from tests.support.documents import (
    LIMITS,
    blocks_of,
    docx_paragraph,
    make_docx,
    make_zip,
    parse_bytes,
    text_of,
)

_SMALL = replace(LIMITS, max_decompressed_bytes=1 << 20)


def test_zip_when_of_several_kinds() -> None:
    """Each file is read by its own type, under its own path; junk and folders leave no text."""
    data = make_zip(
        {
            "plans/": b"",
            "plans/gate.docx": make_docx(docx_paragraph("The gate opens at noon.")),
            "notes/größe.txt": "Width is 4 m.",
            "__MACOSX/notes/._a.txt": "junk",
            "notes/photo.gif": b"GIF89a" + bytes(64),
        }
    )
    kind, _ = parse_bytes(data, "all.zip")
    assert kind == ZIP
    assert [(block.kind, block.text) for block in blocks_of(data, "all.zip")] == [
        ("heading", "File: plans/gate.docx"),
        ("paragraph", "The gate opens at noon."),
        ("heading", "File: notes/größe.txt"),
        ("paragraph", "Width is 4 m."),
        ("paragraph", "File: notes/photo.gif (not read)"),
    ]


def test_zip_when_of_texts() -> None:
    """A path stands on a line of its own, also before a text that begins at once."""
    blocks = blocks_of(make_zip({"a.txt": "one", "b.yaml": "c: 1"}), "a.zip")
    text = "".join(block.gap + block.text for block in blocks).strip()
    assert text == "File: a.txt\n\none\n\nFile: b.yaml\n\nc: 1"


def test_zip_when_folders_look_like_office_files() -> None:
    """A folder that is called as a part of an office file makes no document of its archive."""
    assert "Width" in text_of(make_zip({"word/size.txt": "Width is 4 m."}), "a.zip")


def test_zip_when_names_are_utf8_without_saying_so() -> None:
    """A path in UTF-8 keeps its letters, although the archive does not declare it."""
    data = make_zip({"gr\xf6sse.txt": "Width"})
    # The flag of UTF-8 in the local header and in the directory (APPNOTE 4.4.4, bit 11).
    for mark, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        at = data.index(mark) + place
        data = data[:at] + bytes([data[at] & ~0x08]) + data[at + 1 :]
    assert "File: grösse.txt" in text_of(data, "a.zip")


def test_zip_when_paths_climb() -> None:
    """A path that climbs out of the archive is a name and nothing else."""
    text = text_of(make_zip({"../../etc/passwd.txt": "inside"}), "a.zip")
    assert text == "File: ../../etc/passwd.txt\ninside"


def test_zip_when_one_file_is_damaged() -> None:
    """A damaged file costs that file, and says so; the others are read."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("bad.txt", "the damaged one")
        archive.writestr("good.txt", "the good one")
    text = text_of(buffer.getvalue().replace(b"the damaged one", b"the damagXX one", 1), "a.zip")
    assert "bad.txt (not read: " in text
    assert "the good one" in text


def test_zip_when_nested() -> None:
    """Archives in archives are read, down to a depth at which that ends."""
    data = make_zip({"a.txt": "innermost"})
    assert "innermost" in text_of(make_zip({"b.zip": data}), "a.zip")
    for _ in range(8):
        data = make_zip({"b.zip": data})
    assert "(not read: nested too deeply)" in text_of(data, "a.zip")


def _tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in members.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a"])
def test_tar_when_of_several_kinds(name: str) -> None:
    """Each file is read under its path, compressed or not; links and junk leave no text."""
    data = _tar(
        {"a/größe.txt": b"Width is 4 m.", "a/._x": b"junk", "../up.csv": b"first,second\n1,2\n"}
    )
    kind, _ = parse_bytes(data, "any")
    assert kind == TAR
    packed = gzip.compress(data) if name.endswith("gz") else data
    assert text_of(packed, name) == (
        "File: a/größe.txt\nWidth is 4 m.\nFile: ../up.csv\nfirst | second\n1 | 2"
    )


def test_tar_when_cut_off() -> None:
    """An archive that ends within a file says so."""
    with pytest.raises(Unreadable) as refused:
        parse_bytes(_tar({"a.txt": bytes(range(32, 126)) * 40})[:2000], "a.tar")
    assert refused.value.code == "corrupt"


def _bomb() -> bytes:
    return make_zip({f"{number}.txt": bytes(400_000) for number in range(4)})


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (_bomb(), "a.zip"),
        # No archive alone is over the limit: what counts is what they hold together.
        (make_zip({f"{n}.zip": make_zip({"a.txt": b"a" * 400_000}) for n in range(4)}), "a.zip"),
        (gzip.compress(bytes(3 << 20)), "a.txt.gz"),
        (make_zip({"a.txt.gz": gzip.compress(b"a" * (3 << 20))}), "a.zip"),
        (make_zip({f"{number}": b"" for number in range(MAX_MEMBERS + 1)}), "a.zip"),
        (gzip.compress(_tar({"a.txt": b"a" * (3 << 20)})), "a.tgz"),
        (_tar({f"{number}.txt": b"a" * 400_000 for number in range(4)}), "a.tar"),
        (_tar({f"{number}": b"" for number in range(MAX_MEMBERS + 1)}), "a.tar"),
    ],
    ids=["zip", "zips", "gzip", "gzip in zip", "members", "tgz", "tar", "members of tar"],
)
def test_archive_when_a_bomb(data: bytes, name: str) -> None:
    """What grows beyond the limit refuses the whole document."""
    with pytest.raises(Unreadable) as refused:
        parse_bytes(data, name, limits=_SMALL)
    assert refused.value.code == "decompression_limit"


@pytest.mark.parametrize("length", [20, 60, 200])
@pytest.mark.parametrize("name", ["a.zip", "a.txt.gz"])
def test_archive_when_truncated(name: str, length: int) -> None:
    """A truncated archive says that it is damaged."""
    text = zlib.adler32(b"").to_bytes(4, "big").hex() * 3 + "".join(map(chr, range(33, 126))) * 3
    whole = make_zip({"a.txt": text}) if name == "a.zip" else gzip.compress(text.encode())
    with pytest.raises(Unreadable) as refused:
        parse_bytes(whole[: min(length, len(whole) - 9)], name)
    assert refused.value.code == "corrupt"


def test_gzip_when_of_a_document() -> None:
    """The file in it is read by its own type, in all of its members."""
    data = gzip.compress(b"first,second\n") + gzip.compress(b"1,2\n") + bytes(8)
    kind, _ = parse_bytes(data, "sums.csv.gz")
    assert kind == GZIP
    assert [block.kind for block in blocks_of(data, "sums.csv.gz")] == ["row", "row"]
