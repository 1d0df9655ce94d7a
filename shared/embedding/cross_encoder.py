"""An exported cross-encoder, which scores how well a passage answers a question."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tokenizers import Encoding

from shared.embedding.embedder import available_cores, open_session
from shared.embedding.tokenizer import read_description, read_tokenizer
from shared.errors import ModelUnavailable

# Reading costs as much as there are tokens: of a longer passage the part is read that holds most of
# the question (docs/models.md, "Rerankers").
PASSAGE_TOKENS = 28
# Of one length: more at once are no faster.
_MOST_PAIRS = 8
# The window over a passage moves by so many words or tokens.
_STEP = 8
_WORD = re.compile(r"\w+")
# Words that begin alike are taken for forms of one.
_STEM_LETTERS = 5
_Item = TypeVar("_Item", int, str)


class CrossEncoder:
    """
    A loaded cross-encoder; threads may share it.

    Args:
        model_dir: Folder written by infra.model.cross_encoder.
        threads: Passages read at once; 0 takes the cores that this process may use.

    Raises:
        ModelUnavailable: The folder is missing, incomplete, damaged, or holds another kind.
    """

    def __init__(self, model_dir: Path, *, threads: int = 0) -> None:
        description = read_description(model_dir)
        if description.get("kind") != "cross-encoder":
            raise ModelUnavailable(
                f"{model_dir} (RERANKER) holds no cross-encoder: write one by"
                " python -m infra.model.cross_encoder --model NAME --output FOLDER"
            )
        self.name: str = description["name"]
        self._max_tokens: int = description["max_tokens"]
        self._tokenizer = read_tokenizer(model_dir)
        self._tokenizer.no_truncation()
        self._session: Any = open_session(model_dir)
        inputs = self._session.get_inputs()
        self._inputs = {each.name for each in inputs}
        # Graphs that were traced, or exported by older releases, read one pair at a time.
        self._pairs = 1 if isinstance(inputs[0].shape[0], int) else _MOST_PAIRS
        self._threads = threads or available_cores()
        self._runs = ThreadPoolExecutor(self._threads, thread_name_prefix="rerank")

    def score(
        self, question: str, texts: Sequence[str], *, passage_tokens: int = PASSAGE_TOKENS
    ) -> list[float]:
        """
        Return how well each of *texts* answers *question*, in their order; higher is better.

        Args:
            passage_tokens: So many tokens of each text are read.
        """
        own = self._tokenizer.encode(question, add_special_tokens=False)
        special = len(self._tokenizer.encode("", "")) + len(own)
        room = min(passage_tokens, self._max_tokens - special)
        asked = set(own.ids)
        words = {_stem(word) for word in _WORD.finditer(question)}
        room = max(room, 1)
        # Looking for words costs a tenth of what tokens cost.
        parts = (_cut(text, words, most=room + _STEP) for text in texts)
        pairs = [self._encode(own, part, asked, room) for part in parts]
        most = min(self._pairs, -(-len(pairs) // self._threads))
        scores = [0.0] * len(pairs)
        batches = list(_batches([len(pair.ids) for pair in pairs], most=most))
        for batch, found in zip(
            batches,
            self._runs.map(lambda batch: self._run([pairs[i] for i in batch]), batches),
            strict=True,
        ):
            for place, score in zip(batch, found, strict=True):
                scores[place] = score
        return scores

    def _encode(self, question: Encoding, text: str, asked: set[int], room: int) -> Encoding:
        own = self._tokenizer.encode(text, add_special_tokens=False)
        if room < len(own):
            start, end = _find_window(own.ids, asked, size=room)
            own.truncate(end)
            own.truncate(end - start, direction="left")
        encoding: Encoding = self._tokenizer.post_process(question, own)
        # What is left over is the question's: it fills the model by itself.
        encoding.truncate(self._max_tokens)
        return encoding

    def _run(self, pairs: Sequence[Encoding]) -> list[float]:
        """Return the scores of pairs of one length."""
        values = {
            "input_ids": [pair.ids for pair in pairs],
            "token_type_ids": [pair.type_ids for pair in pairs],
            "attention_mask": [pair.attention_mask for pair in pairs],
        }
        inputs = {
            name: np.array(value, dtype=np.int64)
            for name, value in values.items()
            if name in self._inputs
        }
        scores: list[float] = self._session.run(None, inputs)[0][:, 0].tolist()
        return scores


def _batches(lengths: Sequence[int], *, most: int) -> Iterator[list[int]]:
    """Yield the places of *lengths*, those of one length together, *most* at once."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    for _, same in groupby(order, key=lambda place: lengths[place]):
        places = list(same)
        yield from (places[start : start + most] for start in range(0, len(places), most))


def _stem(word: re.Match[str]) -> str:
    return word.group()[:_STEM_LETTERS].lower()


def _cut(text: str, asked: set[str], *, most: int) -> str:
    """Return the part of *text*, *most* words long, that holds most of the words *asked*."""
    words = list(_WORD.finditer(text))
    if len(words) <= most:
        return text
    start, end = _find_window([_stem(word) for word in words], asked, size=most)
    return text[words[start].start() : words[end - 1].end()]


def _find_window(items: Sequence[_Item], asked: set[_Item], *, size: int) -> tuple[int, int]:
    """Return where the *size* of *items* begin and end that hold most of *asked*."""
    starts = [*range(0, len(items) - size, _STEP), len(items) - size]
    best = max(starts, key=lambda start: len(asked.intersection(items[start : start + size])))
    return best, best + size
