"""What the bytes of an object should become: parsed and embedded here, away from all faults."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from functions.ingest.sandbox import ParseLimits, parse_document
from shared.embedding.embedder import Embedder
from shared.embedding.tokenizer import TOKENIZER_FILE, read_model_info
from shared.errors import Unreadable


@dataclass(frozen=True, slots=True)
class Expected:
    """
    The document that some bytes make.

    Attributes:
        texts: The chunks' texts, by ordinal.
        hashes: Their content hashes.
        embedded: What is embedded of each.
        whole: The extracted text.
        code: Why there is no document; empty if there is one.
    """

    texts: tuple[str, ...] = ()
    hashes: tuple[bytes, ...] = ()
    embedded: tuple[str, ...] = ()
    whole: str = ""
    code: str = ""


class Oracle:
    """Parses and embeds as the functions should, each text once; threads may share it."""

    def __init__(self, model_dir: Path, limits: ParseLimits) -> None:
        self.digest = read_model_info(model_dir).digest
        self._max_tokens = read_model_info(model_dir).max_tokens
        self._tokenizer = model_dir / TOKENIZER_FILE
        self._embedder = Embedder(model_dir, threads=1)
        self._limits = limits
        self._documents: dict[tuple[str, bytes], Expected] = {}
        self._embeddings: dict[bytes, NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    def expect(self, name: str, data: bytes) -> Expected:
        """Return what an object of this name and content becomes."""
        key = (Path(name).suffix, hashlib.sha256(data).digest())
        with self._lock:
            if key not in self._documents:
                self._documents[key] = self._parse(name, data)
            return self._documents[key]

    def embed(self, expected: Expected) -> list[NDArray[np.float32]]:
        """Return the embeddings of the chunks, by ordinal."""
        with self._lock:
            missing = {
                key: text
                for key, text in zip(expected.hashes, expected.embedded, strict=True)
                if key not in self._embeddings
            }
            vectors = self._embedder.embed_documents(list(missing.values())) if missing else ()
            self._embeddings |= dict(zip(missing, np.asarray(vectors), strict=True))
            return [self._embeddings[key] for key in expected.hashes]

    def _parse(self, name: str, data: bytes) -> Expected:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            try:
                document = parse_document(
                    Path(file.name),
                    name=name,
                    content_type=None,
                    limits=self._limits,
                    tokenizer=self._tokenizer,
                    max_tokens=self._max_tokens,
                )
            except Unreadable as error:
                return Expected(code=error.code)
            with document:
                chunks = list(document.chunks())
                whole = "".join(text for _, text in document.text_segments())
        if not chunks:
            return Expected(code="no_text")
        return Expected(
            texts=tuple(chunk.text for chunk in chunks),
            hashes=tuple(chunk.content_hash for chunk in chunks),
            embedded=tuple(chunk.embedded_text for chunk in chunks),
            whole=whole,
        )
