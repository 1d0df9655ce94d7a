"""Vectors of the sentences that questions are compared with: the same passages are found again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from threading import Lock

import numpy as np
from numpy.typing import NDArray

# About 8,000 sentences of 384 dimensions.
MAX_BYTES = 16 * 2**20
# Of an entry beside its vector.
_ENTRY_BYTES = 400

# Texts to unit vectors.
Embed = Callable[[Sequence[str]], NDArray[np.float32]]
# The model, the build that the sentence stands in, and a digest of the sentence.
_Key = tuple[str, int, bytes]


class SentenceVectors:
    """
    Keeps the latest vectors from question to question; threads may share it.

    A vector is found by the build of its sentence alone: otherwise the time of an answer would tell
    whether a document that is closed to the caller holds the sentence too.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[_Key, NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()

    def embed(
        self, sentences: Sequence[tuple[int, str]], *, embed: Embed, model_digest: str
    ) -> NDArray[np.float32]:
        """
        Return one vector a sentence, in their order; *embed* makes those that are not kept.

        Args:
            sentences: Each with the id of the build that it stands in.
        """
        keys = [
            (
                model_digest,
                build_id,
                blake2b(text.encode("utf-8", "replace"), digest_size=16).digest(),
            )
            for build_id, text in sentences
        ]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        missing = {
            key: text for key, (_, text) in zip(keys, sentences, strict=True) if key not in found
        }
        if missing:
            made = dict(zip(missing, embed(list(missing.values())), strict=True))
            found |= made
            self._keep(made)
        return np.stack([found[key] for key in keys])

    def _keep(self, made: dict[_Key, NDArray[np.float32]]) -> None:
        with self._lock:
            for key, vector in made.items():
                if key not in self._kept:
                    # Of its own: a row would keep all the rows of its array.
                    self._kept[key] = vector.copy()
                    self._bytes += vector.nbytes + _ENTRY_BYTES
            while self._bytes > self._max_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.nbytes + _ENTRY_BYTES
