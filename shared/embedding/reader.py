"""Whether a sentence answers a question, by a model that reads both together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from shared.embedding.cross_encoder import CrossEncoder
from shared.embedding.tokenizer import READER_FOLDER, has_reader, read_model_info
from shared.errors import ModelUnavailable
from shared.runtime.logs import get_logger

# Of a sentence with what it stands under.
_TEXT_TOKENS = 72

logger = get_logger(__name__)


class Reader:
    """
    A loaded reader; threads may share it. It knows English.

    Args:
        folder: Written by infra.model.reader.
        threads: Sentences read at once; 0 takes the cores that this process may use.

    Raises:
        ModelUnavailable: The folder is missing, incomplete or damaged.
    """

    def __init__(self, folder: Path, *, threads: int = 0) -> None:
        self._encoder = CrossEncoder(folder, threads=threads)

    def read(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return for each of *texts* the log-odds that it answers *question*."""
        return self._encoder.score(question, texts, passage_tokens=_TEXT_TOKENS)


class Readers:
    """
    The readers of a process, each loaded when it is first needed; threads may share them.

    A model that has none, or whose reader is missing or damaged, answers without one: the log says
    so where it should be there.
    """

    def __init__(self, model_dirs: Sequence[Path | None], *, threads: int = 0) -> None:
        self._folders = {
            read_model_info(folder).digest: folder / READER_FOLDER
            for folder in model_dirs
            if folder is not None and has_reader(folder)
        }
        self._threads = threads
        self._loaded: dict[str, Reader | None] = {}
        self._loading = threading.Lock()

    def find(self, digest: str) -> Reader | None:
        """Return the reader of the embedding model with this digest, None where it has none."""
        folder = self._folders.get(digest)
        if folder is None:
            return None
        with self._loading:
            if digest not in self._loaded:
                self._loaded[digest] = self._open(folder)
            return self._loaded[digest]

    def warm_up(self) -> None:
        """Load what there is, and run it once."""
        for digest in self._folders:
            reader = self.find(digest)
            if reader is not None:
                reader.read("warm up?", ["Warm up."])

    def _open(self, folder: Path) -> Reader | None:
        try:
            return Reader(folder, threads=self._threads)
        except ModelUnavailable as error:
            logger.warning("answers are chosen without the reader", error=str(error))
            return None
