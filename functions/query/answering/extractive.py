"""
The answer without a model: the parts of the passages that answer the question best.

Each part (units.py) is scored by what the embedding model and the words say together (scoring.py),
and what was found best is weighed once more: does it answer at all (confidence.py)? Each part of a
two-part question is answered by itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from shared.search.query_terms import Question
from shared.values import Hit

from .asked_values import binds
from .choosing import Choosing
from .confidence import asks_for_unknown, measure_confidence, weigh_confidence
from .question_kind import compares, detect_kinds, split_question
from .scoring import (
    Candidates,
    Part,
    Read,
    Scored,
    find_foreign,
    gather,
    holds_literal,
    points_back,
    read,
    score,
    terms,
    understand,
)
from .sentence_vectors import Embed
from .units import Unit, is_step, split_units

MAX_PASSAGES = 8
# Embedding a part takes about 1.4 ms on one core.
MAX_EMBEDDED = 20
# Of passages in another language than the question, words choose none beforehand.
MAX_EMBEDDED_FOREIGN = 40
# Reading one takes about 2 ms on one core.
MAX_READ = 8
# Longer texts cost more than they contribute.
MAX_COMPARED = 320
MAX_UNITS = 2
# An item of a list answers by itself if it scores so little less than the whole list.
_ITEM_MARGIN = 2.0
# What answers another part of the question is left to it if another scores so little less.
_LEFT_MARGIN = 6.0
# From a sentence to the command that it leads to.
_UNITS_TO_COMMAND = 4
# Items of a list that are shown when one after the other is an answer.
_MAX_ITEMS = 8
# A part of a question with so few words is understood with the others only.
_UNDERSTOOD_WORDS = 6
# Two units say the same from this share of common words on.
_SAME_WORDS = 0.8

_DENIES = re.compile(
    r"\b(?:not|no|never|nicht|keine?[nrms]?|nie|ne|pas|jamais|non|não|không|chẳng)\b|n['’]t\b",
    re.IGNORECASE,
)
# So many words of a question in their order are no chance.
_ECHO_WORDS = 4
_ADDRESSED = re.compile(r"(?:From|To|Cc|Bcc): .*@")
_ABOUT_MAIL = re.compile(
    r"\b(?:e-?mails?|mails?|messages?|letters?|sen[dt]|sender|wrote|writ\w+|address\w*|schrieb\w*|geschr\w+"
    r"|schick\w*|geschickt|absender\w*|nachricht\w*|correos?|escrib\w+|envi\w+|courriels?|écri\w+|envoy\w+"
    r"|scri\w+|invi\w+|escrev\w+|thư|gửi|viết)\b",
    re.IGNORECASE,
)
_PLAIN_WORD = re.compile(r"\w+")
# "When was it built?": of the best parts, one with a date this near to the best.
_DATED_CANDIDATES = 6
_DATED_SHARE = 0.6

# Each with the id of the build that it stands in.
EmbedSentences = Callable[[Sequence[tuple[int, str]]], NDArray[np.float32]]
EmbedQuestion = Callable[[str], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class ExtractedPart:
    """
    What was found for one part of the question.

    Attributes:
        ranked: Best first.
        chosen: What answers it, best first.
        confidence: From 0 to 1, that this answers it.
        signs: What the confidence was weighed from.
    """

    text: str
    ranked: list[Scored]
    chosen: list[Unit]
    confidence: float
    signs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Extract:
    """
    What was chosen.

    Attributes:
        units: In the order in which they are shown; of the parts that are answered.
        answers: Whether a part of the question is answered.
    """

    units: list[Unit]
    answers: bool
    parts: list[ExtractedPart] = field(default_factory=list)


def extract(
    question: str,
    passages: Sequence[Hit],
    *,
    asked: str = "",
    analysis: Question | None = None,
    embed: Embed | None = None,
    embed_sentences: EmbedSentences | None = None,
    embed_question: EmbedQuestion | None = None,
    reader: Read | None = None,
    unrelated_similarity: float = 0.0,
    multilingual: bool = False,
    choosing: Choosing | None = None,
) -> Extract:
    """
    Return the parts of *passages* that answer *question* best, best first.

    Args:
        asked: The question of *question* that is to be answered, where others stand before it.
        analysis: What the search made of the question's words; None weighs them by the passages.
        embed: Texts to unit vectors; None scores by words alone.
        embed_sentences: Sentences to unit vectors; None takes those of texts.
        embed_question: A question to its unit vector; None takes that of a text.
        reader: Question and texts to the log-odds that each answers; None chooses without.
        unrelated_similarity: The cosine from which on these vectors say something.
        multilingual: Whether a text and its translation are near in these vectors.
    """
    choosing = choosing or Choosing()
    considered = passages[:MAX_PASSAGES]
    language = next(iter(analysis.languages), "en") if analysis is not None else "en"
    foreign = find_foreign(considered, analysis) if multilingual else frozenset[int]()
    units = [
        unit
        for number, passage in enumerate(considered, 1)
        for unit in split_units(
            passage,
            number=number,
            language=passage.language if number in foreign else language,
        )
        if not _is_beside_the_point(unit, passage.text[unit.start : unit.end], question)
    ]
    if not units:
        return Extract([], answers=False)
    candidates = gather(
        considered,
        units,
        language=language,
        question=question,
        unrelated=unrelated_similarity,
        foreign=foreign,
    )
    texts = split_question(asked or question)
    compared = compares(asked or question)
    apart = bool(asked) or compared
    parts = [
        understand(
            part,
            question=question,
            read_as=part if apart else _whole(part, question),
            follows=bool(asked),
            others=[other for other in texts if compared and other != part],
            kinds=detect_kinds(part),
            analysis=analysis,
            candidates=candidates,
        )
        for part in texts
    ]
    vectors = (
        [None for _ in parts]
        if embed is None
        else _compare(parts, candidates, embed, embed_sentences, embed_question, choosing)
    )
    scored = [
        score(part, candidates, vectors=cosines, weights=choosing.sentences)
        for part, cosines in zip(parts, vectors, strict=True)
    ]
    # What is compared is named by a word or two, which ask nothing.
    if reader is not None and not compared:
        scored = [
            read(
                part,
                candidates,
                each,
                reader=reader,
                most=MAX_READ // len(parts),
                weights=choosing.sentences,
            )
            for part, each in zip(parts, scored, strict=True)
        ]
    extracted = [
        _extract_part(
            part,
            candidates,
            _leave_to_others(at, scored),
            analysis=analysis,
            multilingual=multilingual,
            choosing=choosing,
        )
        for at, part in enumerate(parts)
    ]
    answered = [part for part in extracted if part.chosen and part.confidence >= choosing.least]
    shown = list(dict.fromkeys(unit for part in answered for unit in part.chosen))
    return Extract(shown, bool(answered), extracted)


def _is_beside_the_point(unit: Unit, text: str, question: str) -> bool:
    """Return whether a unit only asks what is asked, or tells where a mail went."""
    if unit.kind == "code":
        return _asks(question, text)
    return bool(_ADDRESSED.match(text)) and not _ABOUT_MAIL.search(question)


def _asks(question: str, code: str) -> bool:
    """Return whether *code* is an example that asks the question instead of answering it."""
    words = _PLAIN_WORD.findall(question.casefold())
    return len(words) >= _ECHO_WORDS and f" {' '.join(words)} " in (
        f" {' '.join(_PLAIN_WORD.findall(code.casefold()))} "
    )


def _compare(
    parts: Sequence[Part],
    candidates: Candidates,
    embed: Embed,
    embed_sentences: EmbedSentences | None,
    embed_question: EmbedQuestion | None,
    choosing: Choosing,
) -> list[Mapping[int, float] | None]:
    """Return each part's scaled cosines with the units best by words, by their place."""
    share = (MAX_EMBEDDED_FOREIGN if candidates.foreign else MAX_EMBEDDED) // len(parts)
    places: dict[int, None] = {}
    for part in parts:
        by_words = score(part, candidates, vectors=None, weights=choosing.sentences)
        ranked = sorted(range(len(by_words)), key=lambda place: -by_words[place].score)
        places.update(dict.fromkeys(ranked[:share]))
    sentences = [
        (
            candidates.passages[candidates.units[place].number - 1].build_id,
            candidates.compared[place][:MAX_COMPARED],
        )
        for place in places
    ]
    vectors = (
        embed([text for _, text in sentences])
        if embed_sentences is None
        else embed_sentences(sentences)
    )
    asked = (
        embed([part.read_as for part in parts])
        if embed_question is None
        else [embed_question(part.read_as) for part in parts]
    )
    return [
        {
            place: candidates.scale(float(question @ vectors[row]))
            for row, place in enumerate(places)
        }
        for question in asked
    ]


def _whole(part: str, question: str) -> str:
    """Return a part of the question in a form that can be understood alone."""
    return part if len(part.split()) > _UNDERSTOOD_WORDS else f"{part} {question}"


def _extract_part(
    part: Part,
    candidates: Candidates,
    ranked: list[Scored],
    *,
    analysis: Question | None,
    multilingual: bool,
    choosing: Choosing,
) -> ExtractedPart:
    if part.kinds.date:
        ranked = _date_first(ranked)
    if not part.kinds.listing and not part.kinds.how_to:
        ranked = _items_first(ranked, passages=candidates.passages)
    chosen = _choose(ranked, candidates, choosing.margin)
    bound = binds(part, [each for each in ranked if each.unit in chosen], candidates)
    chosen = _complete(chosen, candidates, part)
    signs = measure_confidence(
        part, ranked, chosen, candidates, analysis=analysis, multilingual=multilingual
    )
    was_read = any(each.features["reader"] for each in ranked)
    confidence = weigh_confidence(signs, choosing.read if was_read else choosing.confidence)
    rows = all(unit.kind == "row" for unit in chosen)
    # A row says no more than its words: the rate of a week is not that of a weekend.
    if not bound or (rows and asks_for_unknown(part, analysis)):
        chosen = []
    return ExtractedPart(part.text, ranked, chosen, confidence, signs)


def _leave_to_others(at: int, scored: Sequence[Sequence[Scored]]) -> list[Scored]:
    """
    Return the candidates of part *at*, best first, without the best of another part.

    What answers another part better answers this one only if nothing else is nearly as good.
    """
    ranked = [sorted(each, key=lambda one: -one.score) for each in scored]
    own = ranked[at]
    better = {
        other[0].unit: other[0].score for place, other in enumerate(ranked) if place != at and other
    }
    left = [each for each in own if each.score >= better.get(each.unit, -math.inf)]
    if not left or left[0].score < own[0].score - _LEFT_MARGIN:
        return own
    return left


def _date_first(ranked: list[Scored]) -> list[Scored]:
    """Return *ranked*, with one nearly as good first that has a date, if the best has none."""
    first = ranked[0]
    if first.features["date"]:
        return ranked
    dated = next(
        (
            each
            for each in ranked[1:_DATED_CANDIDATES]
            if each.features["date"] and each.score >= _DATED_SHARE * first.score > 0
        ),
        None,
    )
    if dated is None:
        return ranked
    return [dated, *(each for each in ranked if each is not dated)]


def _items_first(ranked: list[Scored], *, passages: Sequence[Hit]) -> list[Scored]:
    """Return *ranked*, with an item or the introduction before its list if that is enough."""
    first = ranked[0]
    if first.unit.kind != "list":
        return ranked
    item = next(
        (
            each
            for each in ranked[1:]
            if each.unit.kind in ("item", "sentence")
            and each.unit.number == first.unit.number
            and first.unit.head_end <= each.unit.start
            and each.unit.end <= first.unit.end
            and each.features["words"] >= first.features["words"]
            and each.score >= first.score - _ITEM_MARGIN
        ),
        None,
    )
    if item is None and first.features["literal"]:
        head = replace(first.unit, end=first.unit.head_end, kind="sentence")
        if holds_literal(passages[head.number - 1].text[head.start : head.end]):
            item = replace(first, unit=head)
    if item is None:
        return ranked
    return [item, *(each for each in ranked if each is not item and each is not first)]


def _complete(chosen: list[Unit], candidates: Candidates, part: Part) -> list[Unit]:
    """Return *chosen* with the rest of its list, and with the sentence that it points back to."""
    first = chosen[0]
    listing = part.kinds.listing
    items = [unit for unit in chosen if _is_item(unit, candidates)]
    # What speaks for an item by its heading speaks for all items, as a step does for all.
    steps = part.kinds.how_to and any(
        is_step(unit, candidates.passages[unit.number - 1].text) for unit in items
    )
    if items and (listing or steps or _is_by_heading(items[0], candidates, part)):
        run = [
            unit
            for unit in candidates.units
            if unit.number == items[0].number
            and unit.lead == items[0].lead
            and _is_item(unit, candidates)
        ]
        if 1 < len(run) <= _MAX_ITEMS:
            return [*([first] if first not in run else []), *run]
    if first.kind != "sentence":
        return chosen
    if part.kinds.how_to and (typed := _typed_next(first, candidates)) is not None:
        return [first, typed]
    before, after = (_beside(first, candidates, step) for step in (-1, 1))
    if listing and after is not None and after.kind == "list":
        return [first, after]
    text = candidates.passages[first.number - 1].text
    if (
        after is not None
        and after.kind == "sentence"
        and part.kinds.asks_for_one
        and not _DENIES.search(part.text)
        and _DENIES.search(text, first.start, first.end)
        and points_back(text[after.start :])
    ):
        # "It does not come from the slates. It comes from the gutter."
        return [first, after]
    if before is not None and before.kind == "sentence" and points_back(text[first.start :]):
        return [before, *(unit for unit in chosen if unit != before)]
    return chosen


def _typed_next(first: Unit, candidates: Candidates) -> Unit | None:
    """Return the command that soon follows a sentence, or what names one where that does not."""
    text = candidates.passages[first.number - 1].text
    place = candidates.units.index(first) + 1
    following = [
        unit
        for unit in candidates.units[place : place + _UNITS_TO_COMMAND]
        if unit.number == first.number
    ]
    names = [] if holds_literal(text[first.start : first.end]) else following
    typed = [unit for unit in following if unit.kind == "code"]
    named = [unit for unit in names if holds_literal(text[unit.start : unit.end])]
    return next(iter([*typed, *named]), None)


def _is_by_heading(item: Unit, candidates: Candidates, part: Part) -> bool:
    """Return whether more of the question stands above the list than in its *item*."""
    place = candidates.units.index(item)
    above, own = (
        sum(part.worth.get(word, 0.0) for word in held)
        for held in (candidates.leads[place], candidates.own[place])
    )
    return own == 0 or above > own


def _is_item(unit: Unit, candidates: Candidates) -> bool:
    """Return whether a unit is an item of a list, or a step with its command."""
    return unit.kind == "item" or is_step(unit, candidates.passages[unit.number - 1].text)


def _beside(unit: Unit, candidates: Candidates, step: int) -> Unit | None:
    """Return the unit right before or after *unit*."""
    place = candidates.units.index(unit) + step if unit in candidates.units else -1
    if not 0 <= place < len(candidates.units):
        return None
    other = candidates.units[place]
    if other.number != unit.number:
        return None
    first, second = (other, unit) if step < 0 else (unit, other)
    between = candidates.passages[unit.number - 1].text[first.end : second.start]
    return None if between.strip() else other


def _choose(ranked: Sequence[Scored], candidates: Candidates, margin: float) -> list[Unit]:
    """Return the best unit and others that are nearly as good and add something."""
    chosen: list[Unit] = []
    said: list[set[str]] = []
    for each in ranked:
        if len(chosen) == MAX_UNITS or each.score < ranked[0].score - margin:
            break
        unit = each.unit
        passage = candidates.passages[unit.number - 1]
        words = set(terms(passage.text[unit.start : unit.end], candidates.language))
        if any(len(words & other) >= _SAME_WORDS * min(len(words), len(other)) for other in said):
            continue
        chosen.append(unit)
        said.append(words)
    return chosen
