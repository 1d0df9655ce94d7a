"""
The documents of the benchmark: text, Markdown and HTML of Debian's documentation packages.

Fetched once by apt into ~/.cache/kaydangpt/bench/corpus; nothing of it is part of the project.
A second, larger corpus is made of the first one's chunks: copies with some words exchanged and
vectors turned a little, so that no two rows are the same.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import shutil
import subprocess
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .environments import CACHE, BenchmarkFailed

# Documentation in plain files, some of it the same pages as text and as HTML.
PACKAGES = (
    "apt-doc",
    "borgbackup-doc",
    "debian-policy",
    "debian-reference-en",
    "developers-reference",
    "docker-doc",
    "execnet-doc",
    "git-doc",
    "maint-guide",
    "python-doit-doc",
    "python-flask-doc",
)
SUFFIXES = (".md", ".txt", ".html")
# Smaller ones are redirects and tables of contents, larger ones whole books in one page.
BYTES = (1_500, 45_000)
FILES = 300
THIRDS = 3
EDITED_SHARE = 0.05
EDITED_PLACES = 5
EditKind = Literal[
    "words exchanged", "sentences added", "sentences left out", "words written backwards"
]
# What authors do; nobody writes words backwards, which benchmarks/edits.py has to show the worst.
EDIT_KINDS: tuple[EditKind, ...] = ("words exchanged", "sentences added", "sentences left out")
_WORD = re.compile(r"[A-Za-z]{2,}")
_SENTENCE = re.compile(r"[A-Z][^.<>\n]{20,200}\.(?=\s)")
_CLAUSE = re.compile(r"[A-Za-z]+(?:\s[a-z]{2,}){7}")


def corpus_folders(*, files: int = FILES, parts: int = THIRDS) -> list[Path]:
    """
    Return the folders among which the corpus is dealt out, made when they are missing.

    Raises:
        BenchmarkFailed: A package could not be fetched.
    """
    folder = CACHE / "corpus" / f"{files}-in-{parts}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        for index, (name, text) in enumerate(_choose(files)):
            path = folder / str(index % parts) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (folder / "complete").touch()
    return [folder / str(part) for part in range(parts)]


def list_files(folder: Path) -> list[Path]:
    """Return the documents of *folder* in a fixed order."""
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)


def digest(folders: list[Path]) -> str:
    """Return what tells two corpora apart: packages move with Debian's point releases."""
    state = hashlib.sha256()
    for folder in folders:
        for path in list_files(folder):
            state.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return state.hexdigest()[:16]


def edited_copy(folder: Path, target: Path) -> Path:
    """Write the documents of *folder* to *target*, each edited in five places spread over it."""
    shutil.rmtree(target, ignore_errors=True)
    for path in list_files(folder):
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")
    return target


def edit(text: str, *, kinds: Sequence[EditKind] = EDIT_KINDS) -> str:
    """
    Return *text* with 5 % of it changed in five places spread evenly over it, as authors do.

    Args:
        kinds: Taken in turn. A run of words is exchanged for words of the same document or written
            backwards; sentences of the same document are added, or some are left out. Where there
            is no sentence, words are exchanged.
    """
    words = [found for found in _WORD.finditer(text) if not _in_tag(text, found.start())]
    sentences = list(_SENTENCE.finditer(text))
    turn = zlib.crc32(text.encode())
    run = max(1, round(len(words) * EDITED_SHARE / EDITED_PLACES))
    pieces: list[str] = []
    at = 0
    for place in range(EDITED_PLACES):
        first = (2 * place + 1) * len(words) // (2 * EDITED_PLACES)
        kind = kinds[(turn + place) % len(kinds)]
        if kind in ("sentences added", "sentences left out") and sentences:
            room = round(len(text) * EDITED_SHARE / EDITED_PLACES)
            changes = _change_sentences(
                sentences, kind, near=words[first].start() if words else 0, room=room
            )
        else:
            changes = _change_words(words, kind, first=first, run=run)
        for start, end, changed in changes:
            if start >= at:
                pieces += (text[at:start], changed)
                at = end
    return "".join(pieces) + text[at:]


def _change_words(
    words: Sequence[re.Match[str]], kind: EditKind, *, first: int, run: int
) -> Iterator[tuple[int, int, str]]:
    for number, found in enumerate(words[first : first + run], start=first):
        if kind == "words written backwards":
            yield found.start(), found.end(), found[0][::-1]
        else:
            yield found.start(), found.end(), words[number - len(words) // 2][0]


def _change_sentences(
    sentences: Sequence[re.Match[str]], kind: EditKind, *, near: int, room: int
) -> Iterator[tuple[int, int, str]]:
    """Yield changes of at least one sentence, and of no more than make up *room* characters."""
    first = min(bisect_left(sentences, near, key=lambda s: s.start()), len(sentences) - 1)
    added = ""
    for number in range(first, len(sentences)):
        if kind == "sentences left out":
            yield sentences[number].start(), sentences[number].end(), ""
            room -= len(sentences[number][0])
        else:
            added += f" {sentences[number - len(sentences) // 2][0]}"
        if len(added) >= room:
            break
    if added:
        yield sentences[first].end(), sentences[first].end(), added


def questions(folders: list[Path], *, count: int) -> list[str]:
    """Return different questions, each about eight words of some document."""
    random_ = random.Random(7)
    found: dict[str, None] = {}
    for folder in folders:
        for path in list_files(folder):
            for clause in _CLAUSE.findall(path.read_text(encoding="utf-8")):
                found[f"what is said about {' '.join(clause.lower().split())}?"] = None
    chosen = list(found)
    random_.shuffle(chosen)
    if len(chosen) < count:
        raise BenchmarkFailed(f"the corpus has words for {len(chosen)} of {count} questions")
    return chosen[:count]


@dataclass(frozen=True, slots=True)
class EmbeddedCorpus:
    """
    Chunks whose vectors are known, at rest.

    Attributes:
        texts: JSON lines of {"document", "ordinal", "text"}, the chunks of a document together.
        vectors: A .npy file, float32, a row a text, of unit length.
        digest: What tells two of them apart.
    """

    texts: Path
    vectors: Path
    chunks: int
    digest: str


@dataclass(frozen=True, slots=True)
class Chunks:
    """
    The chunks of some documents.

    Attributes:
        names: The document of each, the chunks of a document together and in their order.
        vectors: float32, a row a chunk, of unit length.
    """

    names: Sequence[str]
    texts: Sequence[str]
    vectors: NDArray[np.float32]

    @classmethod
    def load(cls, file: Path) -> Chunks:
        """Return what save() wrote."""
        with np.load(file) as saved:
            return cls(
                [str(name) for name in saved["names"]],
                [str(text) for text in saved["texts"]],
                saved["vectors"],
            )

    def save(self, file: Path) -> None:
        """Write a .npz file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished.npz")
        np.savez(
            unfinished,
            names=np.array(self.names),
            texts=np.array(self.texts),
            vectors=np.array(self.vectors, dtype=np.float32),
        )
        unfinished.rename(file)


def embed_corpus(labelled: Chunks | None, plain: Chunks, *, chunks: int) -> EmbeddedCorpus:
    """
    Return *labelled* documents among so many chunks, made when missing.

    The others are the *plain* chunks, and then copies of them with other words and turned vectors.
    """
    state = hashlib.sha256(str(chunks).encode())
    for part in (labelled, plain):
        state.update("".join(part.texts).encode() if part else b"-")
    digest_ = state.hexdigest()[:16]
    folder = CACHE / "corpus" / f"embedded-{chunks}-{digest_}"
    corpus = EmbeddedCorpus(folder / "texts.jsonl", folder / "vectors.npy", chunks, digest_)
    if corpus.vectors.exists():
        return corpus
    folder.mkdir(parents=True, exist_ok=True)
    random_ = random.Random(11)
    texts = plain.texts
    vocabulary = sorted({word for text in texts for word in _WORD.findall(text)})
    first = len(labelled.texts) if labelled else 0
    with corpus.texts.open("w", encoding="utf-8") as output:
        for row in _labelled_rows(labelled):
            output.write(json.dumps(row) + "\n")
        for index in range(chunks - first):
            copy, source = divmod(index, len(texts))
            text = texts[source] if copy == 0 else _exchange(texts[source], vocabulary, random_)
            # Ten chunks make a document, as in a real one of some pages.
            row = {"document": f"large-{index // 10}.txt", "ordinal": index % 10, "text": text}
            output.write(json.dumps(row) + "\n")
    vectors = turn_copies(plain.vectors, chunks=chunks - first)
    np.save(corpus.vectors, np.concatenate([labelled.vectors, vectors]) if labelled else vectors)
    return corpus


def _labelled_rows(labelled: Chunks | None) -> Iterator[dict[str, str | int]]:
    before, ordinal = "", 0
    for name, text in zip(labelled.names, labelled.texts, strict=True) if labelled else ():
        ordinal = ordinal + 1 if name == before else 0
        before = name
        yield {"document": name, "ordinal": ordinal, "text": text}


def turn_copies(vectors: NDArray[np.float32], *, chunks: int) -> NDArray[np.float32]:
    """Return *chunks* rows of unit length: *vectors* themselves, then copies turned a little."""
    generator = np.random.default_rng(11)
    rows = vectors[np.arange(chunks) % len(vectors)]
    # A noise of a tenth of the length in all: copies are neighbours, not twins.
    noise = generator.normal(scale=0.1 / np.sqrt(rows.shape[1]), size=rows.shape)
    rows = rows + np.where(np.arange(chunks)[:, None] < len(vectors), 0, noise)
    turned: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return turned.astype(np.float32)


def read_embedded(
    corpus: EmbeddedCorpus,
) -> tuple[list[dict[str, str | int]], NDArray[np.float32]]:
    """Return the rows and vectors."""
    with corpus.texts.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    vectors: NDArray[np.float32] = np.load(corpus.vectors)
    return rows, vectors


def _exchange(text: str, vocabulary: list[str], random_: random.Random) -> str:
    """Exchange about a tenth of the words for others of the corpus."""
    return _WORD.sub(
        lambda found: random_.choice(vocabulary) if random_.random() < 0.1 else found[0], text
    )


def _in_tag(text: str, position: int) -> bool:
    """Return whether *position* stands between < and > of a tag."""
    opened = text.rfind("<", max(0, position - 400), position)
    return opened >= 0 and text.find(">", opened, position) < 0


def _choose(files: int) -> list[tuple[str, str]]:
    """
    Return names and texts of so many documents, none of them twice in two formats.

    The order is that of a hash, so every part of the corpus has something of every package.
    """
    pages: dict[str, list[tuple[str, str]]] = {}
    for package in PACKAGES:
        root = _unpack(package)
        for path in sorted(root.rglob("*")):
            name = path.name.removesuffix(".gz")
            if path.is_symlink() or not path.is_file() or not name.endswith(SUFFIXES):
                continue
            data = path.read_bytes()
            try:
                text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
            except (UnicodeDecodeError, gzip.BadGzipFile):
                continue
            if BYTES[0] <= len(text) <= BYTES[1]:
                stem = name.removesuffix(Path(name).suffix).removesuffix(".rst")
                folder = path.relative_to(root).parent.name
                pages.setdefault(f"{package}/{stem}", []).append(
                    (f"{package}/{folder}-{name}", text)
                )
    order = sorted(pages, key=lambda key: hashlib.sha256(key.encode()).digest())
    # Where a page exists in several formats, its name decides: about as many of one as the other.
    chosen = [sorted(pages[key])[_hash(key) % len(pages[key])] for key in order]
    # Markdown is rare among Debian's documentation and common among ours: it comes first.
    chosen.sort(key=lambda item: not item[0].endswith(".md"))
    chosen = chosen[:files]
    return sorted(chosen, key=lambda item: hashlib.sha256(item[0].encode()).digest())


def _hash(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[-1]


def _unpack(package: str) -> Path:
    folder = CACHE / "debian" / package
    if not folder.exists():
        download = CACHE / "debian" / f"{package}.download"
        shutil.rmtree(download, ignore_errors=True)
        download.mkdir(parents=True)
        commands = (["apt-get", "download", "--quiet", package], ["dpkg", "-x"])
        finished = subprocess.run(
            commands[0], cwd=download, check=False, capture_output=True, text=True, timeout=300
        )
        packages = list(download.glob("*.deb"))
        if finished.returncode != 0 or not packages:
            raise BenchmarkFailed(
                f"apt-get download {package} failed (is this Debian, and was apt-get update run?): "
                f"{finished.stderr[-500:]}"
            )
        unpacked = download / "unpacked"
        subprocess.run([*commands[1], packages[0], unpacked], check=True, timeout=300)
        unpacked.rename(folder)
        shutil.rmtree(download)
    return folder
