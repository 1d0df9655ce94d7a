"""
The answer without a model: the sentences of the passages that cover the question best. Pure.

Sentences are scored by the question's words that they hold, weighted by how rare the words are
among all sentences at hand, with a share for their neighbours (an answer often stands beside the
sentence that names its subject) and for the rank of their passage. Nothing in it knows a language
but the boundaries of sentences (sentencex).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sentencex import get_sentence_boundaries  # type: ignore[import-untyped] # ships none

from shared.language import UNSPACED
from shared.values import Hit

from .sanitizer import longest_plain_part

MAX_SENTENCES = 3
MAX_SENTENCE_CHARACTERS = 600
MAX_PASSAGES = 8

_NEIGHBOUR_SHARE = 0.35
_RANK_SHARE = 0.5
# Below this share of the best sentence's score another one only dilutes the answer.
_WORTH = 0.4

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """The characters start to end of passage *number*, which answer."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Extract:
    """
    The sentences chosen, in reading order.

    Attributes:
        coverage: Share of the question's words, weighted by rarity, that the passages of the
            chosen sentences hold; 0 to 1.
    """

    sentences: list[Sentence]
    coverage: float


def extract(
    question: str, passages: Sequence[Hit], *, max_sentences: int = MAX_SENTENCES
) -> Extract:
    """Return the sentences of *passages* (best first) that answer *question* best."""
    asked = Counter(terms(question))
    considered = passages[:MAX_PASSAGES]
    spans = [list(split_sentences(passage.text)) for passage in considered]
    words = [
        [set(terms(passage.text[start:end])) for start, end in sentences]
        for passage, sentences in zip(considered, spans, strict=True)
    ]
    weights = _weigh(asked, [sentence for sentences in words for sentence in sentences])
    total = sum(weights.values())
    if not total:
        return Extract([], 0.0)
    scored: list[tuple[float, Sentence]] = []
    for rank, (passage, sentences) in enumerate(zip(considered, spans, strict=True)):
        own = [sum(weights.get(word, 0.0) for word in sentence) / total for sentence in words[rank]]
        context = set().union(*words[rank], terms(passage.heading)) if words[rank] else set()
        passage_score = sum(weights.get(word, 0.0) for word in context) / total
        for position, (start, end) in enumerate(sentences):
            beside = max(
                own[max(0, position - 1) : position] + own[position + 1 : position + 2] + [0.0]
            )
            score = (
                own[position] + _NEIGHBOUR_SHARE * beside + _RANK_SHARE * passage_score / (rank + 1)
            )
            scored.append((score, Sentence(rank + 1, start, end)))
    scored.sort(key=lambda pair: -pair[0])
    chosen: list[Sentence] = []
    seen: set[str] = set()
    for score, sentence in scored:
        text = " ".join(considered[sentence.number - 1].text[sentence.start : sentence.end].split())
        if len(chosen) == max_sentences or score < _WORTH * scored[0][0]:
            break
        if text not in seen:
            seen.add(text)
            chosen.append(sentence)
    chosen.sort(key=lambda sentence: (sentence.number, sentence.start))
    covered: set[str] = set()
    for number in {sentence.number for sentence in chosen}:
        passage = considered[number - 1]
        covered.update(terms(passage.text), terms(passage.heading), terms(passage.header))
    coverage = sum(weight for word, weight in weights.items() if word in covered) / total
    return Extract(chosen, coverage)


def split_sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each sentence of *text*, without markup and addresses."""
    for boundary in get_sentence_boundaries("en", text):
        start, end = boundary["start_index"], boundary["end_index"]
        for line_start, line_end in _split_long(text, start, end):
            plain_start, plain_end = longest_plain_part(text, start=line_start, end=line_end)
            if any(character.isalnum() for character in text[plain_start:plain_end]):
                yield plain_start, plain_end


def terms(text: str) -> list[str]:
    """
    Return the words of *text*, folded; scripts without spaces give pairs of characters.

    A word of more than five letters counts by its first letters: endings differ between a
    question and its answer, beginnings hardly.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    found: list[str] = []
    for word in _WORD.findall(folded):
        position = 0
        for run in UNSPACED.finditer(word):
            if word[position : run.start()]:
                found.append(_stem(word[position : run.start()]))
            pairs = run.group()
            found.extend(pairs[index : index + 2] for index in range(max(1, len(pairs) - 1)))
            position = run.end()
        if word[position:]:
            found.append(_stem(word[position:]))
    return found


def _stem(word: str) -> str:
    return word if word.isdigit() or len(word) <= 5 else word[: max(5, len(word) - 3)]


def _weigh(asked: Counter[str], sentences: Sequence[set[str]]) -> dict[str, float]:
    counts = Counter(word for sentence in sentences for word in sentence)
    return {
        word: times * math.log(1 + (len(sentences) + 1) / (counts[word] + 0.5))
        for word, times in asked.items()
    }


def _split_long(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Split what is no sentence but a long run of lines (a table, a list) at its lines."""
    if end - start <= MAX_SENTENCE_CHARACTERS:
        yield start, end
        return
    position = start
    while position < end:
        newline = text.find("\n", position, end)
        stop = newline + 1 if newline >= 0 else end
        stop = min(stop, position + MAX_SENTENCE_CHARACTERS)
        if stop < end and text[stop - 1] != "\n":
            space = text.rfind(" ", position + 1, stop)
            stop = space + 1 if space > position else stop
        yield position, stop
        position = stop
