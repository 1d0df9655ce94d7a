"""
Alternatives for words of a question that occur in no document as typed.

Four ways: a compound that holds the word (Kapitänsmütze for Mütze), the parts of a compound, the
word that was meant by a mistyped one, and words that begin with it. The look-ups are bounded, cost
nothing if every word is known, and see only what the caller may read (migration 0022).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from shared.language import (
    COMPOUNDING,
    UNSPACED,
    beginnings_of_compounds,
    ends_of_compounds,
)
from shared.search.near_words import (
    KEPT_BEGINNING,
    LEAST_LETTERS,
    LEAST_LETTERS_OF_TWO_SLIPS,
    distance,
    edits_of,
    splits_of,
)
from shared.search.query_terms import (
    MAX_LOOKED_AT,
    Question,
    Term,
    quote_lexeme,
    weigh_rarity,
)
from shared.search.spelling_lists import is_listed
from shared.spellings import unmark
from shared.store.connection import Connection

# Compounds are looked for with words that are in so many chunks at most.
_RARE = 50
# The look-up ends after so many chunks, and takes so many compounds of one word.
_CHUNKS_LOOKED_AT = 400
_MOST_COMPOUNDS = 24
# A compound is longer than its part by so many letters at least.
_LEAST_OTHER_LETTERS = 3
# Stemmers remove up to this many letters.
_MOST_ENDING_LETTERS = 2
# A word is meant in another form than the texts have it where they share so long a stem.
_LEAST_STEM = 5
_MOST_SHARED_ENDING = 3
# Many words may begin alike; a sample of them serves.
_CHUNKS_OF_LONGER_WORDS = 100
# The beginning of a longer word has at least so many letters.
_LEAST_BEGINNING = 5
# A compound is about its part, but also about something else.
_PART_WEIGHT = 0.6
# So many words of a question are looked for with slips, and so many languages' stemmers are tried.
_MOST_WORDS = 5
_MOST_CONFIGS = 6
# If the language of a question is unknown, these come first.
_WIDELY_WRITTEN = ("english", "german", "french", "spanish", "russian", "italian", "portuguese")
# Chunks whose words are compared with one that may have two slips.
_CHUNKS_COMPARED = 1000
_MOST_SLIPS = 2
_VIETNAMESE = "vi"
# Lexemes of which the spelling is looked up, and the texts of each that are looked into.
_MOST_MEANT = 6
_SAMPLES = 30
# Words that are near with two slips.
_MOST_NEAR = 3


@dataclass(frozen=True, slots=True)
class TypedWord:
    """
    A word of a question as it was typed, in lower case.

    Attributes:
        terms: What the text search configurations make of it.
    """

    text: str
    terms: Sequence[Term]

    @property
    def chunks(self) -> int:
        """In how many chunks it is, about."""
        return max((term.document_frequency for term in self.terms), default=0)


def resolve(connection: Connection, question: Question, typed: Sequence[TypedWord]) -> Question:
    """
    Return *question* with alternatives for its rare and unknown words.

    Args:
        typed: One for each of the words of *question*, in their order.
    """
    compounds = _find_compounds(connection, question, typed)
    question, typed = _add(question, typed, compounds)
    if _VIETNAMESE in question.languages:
        # Its syllables are short and differ by marks alone: nhiêu is no slip for nhiều.
        return question
    unknown = [
        word
        for word in typed
        if not word.chunks and len(word.text) >= LEAST_LETTERS and word.text.isalpha()
    ][:_MOST_WORDS]
    if not unknown:
        return _resolve_pairs(connection, question, typed)
    known, edits = _find_variants(connection, question, unknown)
    parts: dict[str, dict[str, int]] = {}
    left: list[str] = []
    corrections: dict[str, str] = {}
    for word in unknown:
        # A word of the language that no document has is not mistyped.
        mistyped = not is_listed(word.text, question.languages)
        meant = None
        if mistyped:
            meant = _choose_meant(connection, word, edits[word.text], known)
        if meant is None and _may_be_compound(question):
            pair = _choose_parts(splits_of(word.text), known)
            if pair is not None:
                parts[word.text] = {**known[pair[0]], **known[pair[1]]}
                continue
        if meant is None and mistyped and len(word.text) >= LEAST_LETTERS_OF_TWO_SLIPS:
            meant = _find_with_two_slips(connection, word) or _choose_variant(
                connection, word, edits[word.text], known
            )
        if meant is not None:
            corrections[word.text] = meant
        elif len(word.text) >= _LEAST_BEGINNING:
            left.append(word.text)
    parts |= _find_longer(connection, {word: [unmark(word)] for word in left})
    question, _ = _add(question, typed, parts)
    return replace(question, corrections=corrections)


def _may_be_compound(question: Question) -> bool:
    """Return whether the documents and the question may be in a language that joins words."""
    codes = COMPOUNDING.keys() & set(question.languages or COMPOUNDING)
    return any(COMPOUNDING[code] in question.configs for code in codes)


def _add(
    question: Question, typed: Sequence[TypedWord], found: Mapping[str, Mapping[str, int]]
) -> tuple[Question, list[TypedWord]]:
    """Add to each word the lexemes that were *found* for it, and to the question their terms."""
    if not found:
        return question, list(typed)
    terms = {term.lexeme: term for term in question.terms}
    words = []
    for word, own in zip(typed, question.words, strict=True):
        lexemes = found.get(word.text, {})
        holders = word.chunks + sum(lexemes.values())
        added = [
            terms.get(lexeme)
            or Term(
                lexeme,
                _PART_WEIGHT,
                holding,
                weigh_rarity(max(holders, holding), chunks=question.chunks),
            )
            for lexeme, holding in lexemes.items()
        ]
        terms |= {term.lexeme: term for term in added}
        words.append([*own, *(term for term in added if term not in own)])
    return (
        replace(
            question,
            terms=sorted(terms.values(), key=lambda term: (term.document_frequency, term.lexeme)),
            words=words,
        ),
        [replace(word, terms=own) for word, own in zip(typed, words, strict=True)],
    )


_BEGINNING = """
    SELECT lexeme, holding
    FROM lexemes_matching(%(query)s::tsquery, '{}', %(beginnings)s::text[], %(ceiling)s)
"""


def _find_beginning(
    connection: Connection, beginnings: Mapping[str, Sequence[str]], *, ceiling: int
) -> list[tuple[str, int]]:
    """Return lexemes that begin with one of *beginnings*, and how many chunks have each."""
    every = sorted({one for several in beginnings.values() for one in several})
    if not every:
        return []
    return connection.execute(
        _BEGINNING,
        {
            "query": "|".join(f"{quote_lexeme(one)}:*" for one in every),
            "beginnings": every,
            "ceiling": ceiling,
        },
    ).fetchall()


def _find_compounds(
    connection: Connection, question: Question, typed: Sequence[TypedWord]
) -> dict[str, dict[str, int]]:
    """Return the compounds that begin or end with rare words, and how many chunks have each."""
    if not _may_be_compound(question):
        return {}
    beginnings = {
        word.text: [*beginnings_of_compounds(word.text), *ends_of_compounds(word.text)]
        for word in typed
        if word.chunks <= _RARE
    }
    rows = _find_beginning(connection, beginnings, ceiling=_CHUNKS_LOOKED_AT)
    found: dict[str, dict[str, int]] = {}
    for word in typed:
        own = {term.lexeme for term in word.terms}
        lexemes = {
            lexeme: chunks
            for lexeme, chunks in sorted(rows, key=lambda row: (-row[1], len(row[0]), row[0]))
            if lexeme not in own
            and len(lexeme) >= len(word.text) + _LEAST_OTHER_LETTERS - _MOST_ENDING_LETTERS
            and lexeme.startswith(tuple(beginnings.get(word.text, ())))
        }
        if lexemes:
            found[word.text] = dict(list(lexemes.items())[:_MOST_COMPOUNDS])
    return found


def _resolve_pairs(
    connection: Connection, question: Question, typed: Sequence[TypedWord]
) -> Question:
    """
    Add pairs that begin with a character of the question if none of its own pairs is known.

    A Chinese text may separate what the question joins: 借书 and 书可以借两周.
    """
    pairs = [word.text for word in typed if UNSPACED.fullmatch(word.text)][:_MOST_WORDS]
    if not pairs or any(term.document_frequency for term in question.terms):
        return question
    found = _find_longer(connection, {pair: list(pair) for pair in pairs})
    return _add(question, typed, found)[0]


def _find_longer(
    connection: Connection, beginnings: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, int]]:
    """Return lexemes with the *beginnings* of each word, and how many chunks have each."""
    rows = _find_beginning(connection, beginnings, ceiling=_CHUNKS_OF_LONGER_WORDS)
    ordered = sorted(rows, key=lambda row: (len(row[0]), -row[1], row[0]))
    found = {
        word: dict(
            [(lexeme, chunks) for lexeme, chunks in ordered if lexeme.startswith(tuple(several))][
                :_MOST_COMPOUNDS
            ]
        )
        for word, several in beginnings.items()
    }
    return {word: lexemes for word, lexemes in found.items() if lexemes}


# The common ones of the variants are in the statistics; the index is asked for the rest at once.
_VARIANTS = sql.SQL(
    """
    WITH variants AS MATERIALIZED (
        SELECT DISTINCT word, lexeme
        FROM unnest(%(words)s::text[]) AS word
        CROSS JOIN unnest(%(dictionaries)s::regdictionary[]) AS dictionary
        CROSS JOIN LATERAL unnest(ts_lexize(dictionary, word)) AS lexeme
    ),
    common AS MATERIALIZED (
        SELECT lexeme,
               CASE WHEN sees_every_collection() THEN share ELSE open_share END
                   * %(chunks)s::float8 AS chunks
        FROM lexeme_statistics
        WHERE lexeme IN (SELECT lexeme FROM variants)
    ),
    rare AS MATERIALIZED (
        SELECT array_agg(lexeme) AS lexemes,
               string_agg('''' || lexeme || '''', '|')::tsquery AS query
        FROM (
            SELECT lexeme
            FROM variants
            WHERE lexeme !~ '[''\\\\]'
            EXCEPT
            SELECT lexeme
            FROM common
            WHERE chunks IS NOT NULL
        ) AS others
    ),
    known AS MATERIALIZED (
        SELECT lexeme, chunks
        FROM common
        WHERE chunks IS NOT NULL
        UNION ALL
        SELECT found.lexeme, found.holding
        FROM rare
        CROSS JOIN LATERAL lexemes_matching(rare.query, rare.lexemes, '{{}}', {ceiling}) AS found
    )
    SELECT word, lexeme, chunks::float8
    FROM variants
    JOIN known USING (lexeme)
    """
).format(ceiling=sql.Literal(_CHUNKS_LOOKED_AT))


def _find_variants(
    connection: Connection, question: Question, unknown: Sequence[TypedWord]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """
    Return which words near to *unknown* ones, and parts of them, are known, and their edits.

    Returns:
        The lexemes of each known one with how many chunks have each; edits_of() of each unknown.
    """
    edits = {word.text: edits_of(word.text) for word in unknown}
    words = {one for found in edits.values() for one in found}
    if _may_be_compound(question):
        words |= {part for word in unknown for pair in splits_of(word.text) for part in pair}
    rows = connection.execute(
        _VARIANTS,
        {
            "words": sorted(words),
            "dictionaries": _dictionaries(question),
            "chunks": question.chunks,
        },
    ).fetchall()
    known: dict[str, dict[str, int]] = {}
    for word, lexeme, chunks in rows:
        known.setdefault(word, {})[lexeme] = max(1, round(chunks))
    return known, edits


def _choose_meant(
    connection: Connection,
    word: TypedWord,
    edits: Mapping[str, int],
    known: Mapping[str, Mapping[str, int]],
) -> str | None:
    """Return the likeliest word of documents that *word* is with one slip, as it is spelt."""
    likely: dict[str, float] = {}
    holders: dict[str, int] = {}
    for one, chance in edits.items():
        for lexeme, chunks in known.get(one, {}).items():
            likely[lexeme] = max(likely.get(lexeme, 0), chance + math.log1p(chunks) / 2)
            holders[lexeme] = chunks
    ranked = sorted(likely, key=lambda one: (-likely[one], one))[:_MOST_MEANT]
    texts = {one: _texts_with(connection, one, chunks=holders[one]) for one in ranked}
    for lexeme in ranked:
        meant = _find_spelling(texts[lexeme], typed=word.text, most_slips=1)
        if meant is not None and unmark(meant) in edits:
            return meant
    # Other endings stand in these texts: "packages" for one who typed "pakcage".
    for lexeme in ranked:
        stem = unmark(lexeme)
        typed_so = [
            one
            for one, slip in edits.items()
            if slip and lexeme in known.get(one, {}) and one.startswith(stem)
        ]
        if typed_so and len(stem) >= _LEAST_STEM:
            meant = _find_with_stem(texts[lexeme], stem, typed=word.text)
            if meant is not None:
                return meant
    return None


def _choose_variant(
    connection: Connection,
    word: TypedWord,
    edits: Mapping[str, int],
    known: Mapping[str, Mapping[str, int]],
) -> str | None:
    """
    Return a word of documents with the stem of a likely correction of *word*.

    Such is gyroscopic for one who typed gyrosocpe.
    """
    variants = [
        (edits[one] + math.log1p(max(known[one].values())) / 2, edits[one], -len(one), one)
        for one in edits
        if one in known
    ]
    if not variants:
        return None
    lexeme, chunks = max(known[max(variants)[-1]].items(), key=lambda pair: (pair[1], pair[0]))
    texts = _texts_with(connection, lexeme, chunks=chunks)
    return _find_with_stem(texts, unmark(lexeme), typed=word.text)


def _find_with_stem(texts: Iterable[str], stem: str, *, typed: str) -> str | None:
    """
    Return the word of *texts* that is *stem* with a short ending and nearest to what was *typed*.

    None if that begins with the stem as well: it has another ending and no slip.
    """
    plain = unmark(typed)
    if plain.startswith(stem):
        return None
    held = {
        word
        for text in texts
        for word in re.findall(r"[^\W\d_]+", text.lower())
        if unmark(word).startswith(stem) and len(word) <= len(stem) + _MOST_SHARED_ENDING
    }
    return min(held, key=lambda one: (distance(unmark(one), plain), one), default=None)


def _texts_with(connection: Connection, lexeme: str, *, chunks: int) -> list[str]:
    """Return texts that have *lexeme*; one where it is too common to look at all of them."""
    statement = _TEXTS if chunks <= MAX_LOOKED_AT else _TEXT
    rows = connection.execute(
        statement, {"query": quote_lexeme(lexeme), "lexeme": lexeme, "ceiling": _SAMPLES}
    ).fetchall()
    return [text for (text,) in rows]


def _choose_parts(
    pairs: Iterable[tuple[str, str]], known: Mapping[str, object]
) -> tuple[str, str] | None:
    """Return the pair of known words whose shorter one is longest."""
    whole = [(head, tail) for head, tail in pairs if head in known and tail in known]
    return max(whole, key=lambda pair: (min(map(len, pair)), pair), default=None)


def _dictionaries(question: Question) -> list[str]:
    """Return the stemmers of the documents in the question's language, or of some."""
    if question.config in question.configs:
        return [f"{question.config}_stem"]
    order = {config: place for place, config in enumerate(_WIDELY_WRITTEN)}
    configs = sorted(
        set(question.configs) - {"simple"}, key=lambda one: (order.get(one, len(order)), one)
    )
    return [*(f"{config}_stem" for config in configs[:_MOST_CONFIGS]), "simple"]


_TEXT = """
    SELECT chunks.text
    FROM lexemes_matching(%(query)s::tsquery, ARRAY[%(lexeme)s]::text[], '{}', %(ceiling)s)
    JOIN chunks USING (build_id, ordinal)
"""
_TEXTS = """
    SELECT chunks.text
    FROM best_chunks_matching(
        %(query)s::tsquery, lexeme_query(ARRAY[%(lexeme)s]::text[], '{1}'), ''::tsquery, 0,
        %(ceiling)s
    )
    JOIN chunks USING (build_id, ordinal)
"""
_ALIKE = """
    SELECT alike.lexeme, alike.holding, chunks.text
    FROM lexemes_matching(
        %(query)s::tsquery, '{}', ARRAY[%(beginning)s]::text[], %(ceiling)s
    ) AS alike
    JOIN chunks USING (build_id, ordinal)
    WHERE abs(length(alike.lexeme) - %(letters)s) <= %(slips)s + 3
"""


def _find_with_two_slips(connection: Connection, word: TypedWord) -> str | None:
    """Return the word of a document from which two slips make *word*, None if there is none."""
    beginning = word.text[:KEPT_BEGINNING]
    rows = connection.execute(
        _ALIKE,
        {
            "query": f"{quote_lexeme(beginning)}:*",
            "beginning": beginning,
            "ceiling": _CHUNKS_COMPARED,
            "letters": len(word.text),
            "slips": _MOST_SLIPS,
        },
    ).fetchall()
    stems = {term.lexeme for term in word.terms} or {word.text}
    near = sorted(
        (slips, -chunks, lexeme, text)
        for lexeme, chunks, text in rows
        # A slip near the end keeps the stemmer from taking the ending off.
        if (slips := min(distance(stem[: len(lexeme)], lexeme) for stem in stems)) <= _MOST_SLIPS
    )
    for _, _, _, text in near[:_MOST_NEAR]:
        meant = _find_spelling([text], typed=word.text, most_slips=_MOST_SLIPS)
        if meant is not None:
            return meant
    return None


def _find_spelling(texts: Iterable[str], *, typed: str, most_slips: int) -> str | None:
    """Return the word of *texts* that is nearest to what was *typed*, within *most_slips*."""
    words = {
        word
        for text in texts
        for word in "".join(sign if sign.isalpha() else " " for sign in text.lower()).split()
        if word[0] in typed[:2] and abs(len(word) - len(typed)) <= most_slips
    }
    plain = unmark(typed)
    near = [(distance(unmark(word), plain), word) for word in words]
    return min((one for one in near if one[0] <= most_slips), default=(0, None))[1]
