"""
Analyses a question as documents were analysed, usually in one statement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from psycopg import sql

from shared.language import (
    SEARCH_CONFIGS,
    find_identifiers,
    find_phrases,
    language_by_letters,
    searchable_text,
    spellings_of_identifier,
)
from shared.search.empty_words import EMPTY_WORDS
from shared.search.fusion import Fusion
from shared.search.query_terms import Question, Term, quote_lexeme, weigh_rarity
from shared.search.unknown_words import TypedWord, resolve
from shared.spellings import find_alternatives
from shared.store.connection import Connection, execute_prepared

# Candidates of a leg; the scores of a leg are put on one scale by the best and the last of them.
LEG_SIZE = 50
# Lexemes without statistics are counted up to here; beyond it their rarity hardly changes.
_MAX_COUNTED = 5000
# Words of the question count as neighbours up to this many positions apart, stop words included.
_NEIGHBOUR_POSITIONS = 3
_STOP_WORD_SHARE = 0.2
_OTHER_LANGUAGE_WEIGHT = 0.5
# The sample of documents, and of chunks of each, that shows a language's common words.
_SAMPLED_DOCUMENTS = 50
_SAMPLED_CHUNKS_A_DOCUMENT = 2
# Words in the documents of a language: the sum of their squared shares of its chunks says that a
# question is in it, from here on ...
_LEAST_FAMILIARITY = 0.02
# ... if it is so many times that of any other language.
_FAMILIARITY_LEAD = 2
# How far the graph is searched, to the candidates of a leg.
_EF_SEARCH_A_CANDIDATE = 4
# Up to here that finds 99 of 100; in ten times as many vectors four times the breadth does, so that
# it grows as their number to this power (docs/scaling.md).
_STEADY_CHUNKS = 100_000
_EF_SEARCH_GROWTH = 0.6
_MAX_EF_SEARCH = 1000  # pgvector's own limit
# As the text of an array: said with each question, and always the same.
LANGUAGES = f"{{{','.join(SEARCH_CONFIGS)}}}"
CONFIGS = f"{{{','.join(SEARCH_CONFIGS.values())}}}"


@dataclass(frozen=True, slots=True)
class Analysis:
    """
    What the analysis found, before the search.

    Attributes:
        model_id, model_digest: The model whose vectors answer; None if there is none yet.
        restricted: Some of what answers is closed to the caller.
        fusion: What was fitted for that model; None if nothing was.
    """

    question: Question
    model_id: int | None
    model_digest: str | None
    restricted: bool
    fusion: Fusion | None


# The question is analysed as the documents were: once for each configuration that is in use. The
# configuration that finds most stop words in it is its language, if they are a fifth of the words;
# its stop words are dropped for all. _TOLD_APART are asked in any case, and "simple" shows all
# words.
_TOLD_APART = ("english", "french", "german", "italian", "portuguese", "spanish")
_ANALYSIS = (
    sql.SQL(
        """
    WITH configurations AS MATERIALIZED (
        SELECT config::regconfig, bool_or(in_use) AS in_use
        FROM (
            SELECT coalesce(known.config, 'simple') AS config, true AS in_use
            FROM live_languages
            LEFT JOIN unnest(%(languages)s::text[], %(configs)s::text[]) AS known (language, config)
                ON known.language = live_languages.language
            UNION ALL
            VALUES ('simple', false), {told_apart}
        ) AS configs
        GROUP BY config
    ),
    occurrences AS MATERIALIZED (
        SELECT config, in_use, lexeme, position
        FROM configurations,
             unnest(to_tsvector(config, %(searchable)s)),
             unnest(positions) AS position
    ),
    question_language AS MATERIALIZED (
        SELECT config
        FROM (
            SELECT config, configurations.in_use, count(DISTINCT position) AS kept
            FROM configurations
            LEFT JOIN occurrences USING (config)
            GROUP BY config, configurations.in_use
        ) AS counts
        CROSS JOIN (SELECT count(DISTINCT position) AS words FROM occurrences) AS total
        WHERE words - kept >= greatest(1, {stop_word_share} * words)
        -- Short questions have as many stop words of a neighbouring language.
        ORDER BY kept, in_use DESC, config
        LIMIT 1
    ),
    lexemes AS MATERIALIZED (
        SELECT config, lexeme, array_agg(position::integer) AS positions
        FROM occurrences
        WHERE in_use
            AND (
                position IN (
                    SELECT position
                    FROM occurrences
                    WHERE config = (SELECT config FROM question_language)
                )
                OR NOT EXISTS (SELECT FROM question_language)
            )
        GROUP BY config, lexeme
    ),
    rights AS MATERIALIZED (
        SELECT sees_every_collection() AS every_one,
               estimate_chunks({max_counted} * 10)::double precision AS chunks
    ),
    frequencies AS MATERIALIZED (
        SELECT lexeme,
               coalesce(
                   (
                       SELECT CASE WHEN every_one THEN share ELSE open_share END * rights.chunks
                       FROM lexeme_statistics
                       CROSS JOIN rights
                       WHERE lexeme_statistics.lexeme = distinct_lexemes.lexeme
                   ),
                   count_chunks_with(lexeme, {max_counted})
               ) AS chunks
        FROM (SELECT DISTINCT lexeme FROM lexemes) AS distinct_lexemes
    )
    SELECT (SELECT id FROM serving_model) AS model_id,
           (SELECT digest FROM serving_model) AS model_digest,
           (SELECT NOT every_one FROM rights) AS restricted,
           (SELECT fusion FROM serving_model) AS fusion,
           set_config('hnsw.iterative_scan', 'relaxed_order', true),
           set_config(
               'hnsw.ef_search',
               least(
                   {max_ef_search},
                   %(ef_search)s * greatest(
                       1,
                       (SELECT chunks::float8 / {steady_chunks} FROM search_statistics)
                   ) ^ {ef_search_growth}
               )::integer::text,
               true
           ),
           -- Planning takes longer than searching, and no plan here depends on a value.
           set_config('plan_cache_mode', 'force_generic_plan', true),
           (SELECT config::text FROM question_language) AS language,
           (SELECT chunks FROM rights) AS chunks,
           (
               SELECT coalesce(array_agg(config::text), '{{}}')
               FROM configurations
               WHERE in_use
           ) AS configs,
           coalesce(
               (
                   SELECT jsonb_agg(
                       jsonb_build_array(config::text, lexeme, positions, frequencies.chunks)
                   )
                   FROM lexemes
                   JOIN frequencies USING (lexeme)
               ),
               '[]'
           ) AS lexemes,
           coalesce(
               (
                   SELECT jsonb_object_agg(position, lexeme)
                   FROM occurrences
                   WHERE config = 'simple'::regconfig
               ),
               '{{}}'
           ) AS typed
    """
    )
    .format(
        stop_word_share=sql.Literal(_STOP_WORD_SHARE),
        max_counted=sql.Literal(_MAX_COUNTED),
        max_ef_search=sql.Literal(_MAX_EF_SEARCH),
        steady_chunks=sql.Literal(_STEADY_CHUNKS),
        ef_search_growth=sql.Literal(_EF_SEARCH_GROWTH),
        told_apart=sql.SQL(", ").join(
            sql.SQL("({}, false)").format(sql.Literal(config)) for config in _TOLD_APART
        ),
    )
    .as_bytes(None)
)


# Vietnamese, Chinese and most others have no stop words in PostgreSQL. What is in every other chunk
# of a language is known from some of its documents.
_FAMILIARITY = sql.SQL(
    """
    WITH sampled AS MATERIALIZED (
        SELECT live_languages.language, coalesce(config, 'simple') AS config, search
        FROM live_languages
        LEFT JOIN unnest(%(languages)s::text[], %(configs)s::text[]) AS known (language, config)
            ON known.language = live_languages.language
        CROSS JOIN LATERAL (
            SELECT build_id
            FROM live_documents
            WHERE live_documents.language = live_languages.language
            LIMIT {documents}
        ) AS documents
        CROSS JOIN LATERAL (
            SELECT search
            FROM live_lexemes
            WHERE live_lexemes.build_id = documents.build_id
            LIMIT {chunks}
        ) AS some_chunks
        WHERE live_languages.language <> ''
            AND live_languages.language = coalesce(%(language)s, live_languages.language)
    )
    SELECT language,
           sum(share * share) AS familiarity,
           jsonb_object_agg(lexeme, share) AS shares
    FROM (
        -- A language of a handful of documents says little: their subjects are in all of them.
        SELECT language, lexeme, sum((search @@ query)::integer)::float8 / (count(*) + 9) AS share
        FROM sampled
        JOIN unnest(%(term_configs)s::text[], %(lexemes)s::text[], %(queries)s::tsquery[])
            AS terms (config, lexeme, query)
            USING (config)
        GROUP BY language, lexeme
    ) AS shares
    GROUP BY language
    ORDER BY familiarity DESC
    LIMIT 2
    """
).format(documents=sql.Literal(_SAMPLED_DOCUMENTS), chunks=sql.Literal(_SAMPLED_CHUNKS_A_DOCUMENT))


def _find_familiar_language(
    connection: Connection, lexemes: Sequence[tuple[str, str]], *, language: str | None
) -> tuple[str | None, Mapping[str, float]]:
    """
    Return the language whose documents have the common words of a question without stop words.

    Names and numbers are the same in all languages, but in few chunks of any.

    Args:
        lexemes: (configuration, lexeme) of the question.
        language: ISO 639-1 code, if it is known already.

    Returns:
        An ISO 639-1 code, None if no language stands out; and the share of that language's chunks
        that hold each lexeme, about.
    """
    rows = connection.execute(
        _FAMILIARITY,
        {
            "languages": LANGUAGES,
            "configs": CONFIGS,
            "language": language,
            "term_configs": [config for config, _ in lexemes],
            "lexemes": [lexeme for _, lexeme in lexemes],
            "queries": [quote_lexeme(lexeme) for _, lexeme in lexemes],
        },
    ).fetchall()
    (first, most, shares), (_, next_most, _) = [*rows, (None, 0.0, {}), (None, 0.0, {})][:2]
    if language is not None:
        return language, shares
    if most >= max(_LEAST_FAMILIARITY, _FAMILIARITY_LEAD * next_most):
        return first, shares
    return None, {}


def analyse(connection: Connection, question: str, *, leg_size: int = LEG_SIZE) -> Analysis:
    """Analyse *question* and set this transaction up for the search with it."""
    rows = execute_prepared(
        connection,
        _ANALYSIS,
        {
            "searchable": searchable_text(question, language="", asked=True),
            "languages": LANGUAGES,
            "configs": CONFIGS,
            "ef_search": _EF_SEARCH_A_CANDIDATE * leg_size,
        },
    ).fetchall()
    model_id, model_digest, restricted, fusion, _, _, _, *analysis = rows[0]
    return Analysis(
        _read_analysis(connection, question, *analysis),
        model_id,
        model_digest,
        restricted,
        None if fusion is None else Fusion.read(fusion),
    )


def _read_analysis(
    connection: Connection,
    question: str,
    language: str | None,
    chunks: float,
    configs: list[str],
    lexemes: list[tuple[str, str, list[int], float]],
    typed: dict[str, str],
) -> Question:
    """Return the question as the index sees it, with the weights of its words."""
    frequencies: dict[str, float] = {}
    holders: dict[str, float] = {}
    words: dict[str, list[tuple[int, str]]] = {}
    for config, lexeme, positions, holding in lexemes:
        counts = 1.0 if config == language or language not in configs else _OTHER_LANGUAGE_WEIGHT
        frequencies[lexeme] = max(frequencies.get(lexeme, 0), counts * len(positions))
        holders[lexeme] = holding
        words.setdefault(config, []).extend((position, lexeme) for position in positions)
    languages = [code for code, config in SEARCH_CONFIGS.items() if config == language]
    by_letters = language_by_letters(question)
    if by_letters is not None:
        languages = [by_letters]
    shares: Mapping[str, float] = {}
    without_stop_words = (
        language is None if by_letters is None else by_letters not in SEARCH_CONFIGS
    )
    if without_stop_words and "simple" in configs:
        familiar, shares = _find_familiar_language(
            connection,
            [(config, lexeme) for config, lexeme, _, _ in lexemes],
            language=by_letters,
        )
        languages = [familiar] if familiar else []
    # What nearly every text of a small language has is rare among all documents. Two such words in
    # their order say much all the same.
    alone = {lexeme: max(own, shares.get(lexeme, 0) * chunks) for lexeme, own in holders.items()}
    terms, paired = (
        {
            lexeme: Term(
                lexeme,
                frequency,
                round(holders[lexeme]),
                weigh_rarity(counted[lexeme], chunks=chunks),
            )
            for lexeme, frequency in frequencies.items()
        }
        for counted in (alone, holders)
    )
    variants: dict[int, set[str]] = {}
    for position, lexeme in chain.from_iterable(words.values()):
        variants.setdefault(position, set()).add(lexeme)
    neighbours = {
        (paired[lexeme], paired[following])
        for places in words.values()
        for (position, lexeme), (next_position, following) in pairwise(sorted(places))
        if 1 <= next_position - position <= _NEIGHBOUR_POSITIONS and lexeme != following
    }
    # Another spelling of a word, or an empty one, is not missing if documents do not use it.
    left_out = find_alternatives(question) | EMPTY_WORDS
    places = sorted(
        place
        for place, lexemes_at in variants.items()
        if typed.get(str(place)) not in left_out
        or any(terms[lexeme].document_frequency for lexeme in lexemes_at)
    )
    words_at = [[terms[lexeme] for lexeme in sorted(variants[place])] for place in places]
    analysed = Question(
        terms=sorted(terms.values(), key=lambda term: (term.document_frequency, term.lexeme)),
        words=words_at,
        neighbours=sorted(neighbours, key=lambda pair: (pair[0].lexeme, pair[1].lexeme)),
        languages=languages,
        chunks=chunks,
        configs=configs,
        config=language,
    )
    return resolve(
        connection,
        analysed,
        [
            TypedWord(typed.get(str(place), ""), own)
            for place, own in zip(places, words_at, strict=True)
        ],
    )


_REQUIRED = sql.SQL(
    """
    SELECT array_agg(DISTINCT lexeme) AS lexemes, NULL AS query
    FROM unnest(%(identifiers)s::text[]) AS identifier
    CROSS JOIN unnest(%(configs)s::regconfig[]) AS config
    CROSS JOIN LATERAL unnest(to_tsvector(config, identifier)) AS parts
    GROUP BY identifier
    UNION ALL
    SELECT NULL, string_agg(DISTINCT '(' || phraseto_tsquery(config, phrase)::text || ')', '|')
    FROM unnest(%(phrases)s::text[]) AS phrase
    CROSS JOIN unnest(%(configs)s::regconfig[]) AS config
    WHERE numnode(phraseto_tsquery(config, phrase)) > 0
    GROUP BY phrase
    """
)


@dataclass(frozen=True, slots=True)
class Required:
    """
    What a chunk should contain exactly.

    Attributes:
        query: tsquery of all identifiers of the question that occur anywhere and of all its quoted
            phrases, empty if there are none.
        share: How much that decides, 0 to 1: an identifier that is everywhere decides little.
        chunks: How many chunks hold it, at most: the rarest lexeme of all decides.
        quoted: Single words in quotation marks. Their stems may be those of other words, also in
            other languages, so that the text itself must have one.
    """

    query: str = ""
    share: float = 0.0
    chunks: int = 0
    quoted: Sequence[str] = ()


def find_required(connection: Connection, question: str, analysed: Question) -> Required:
    """Return what the identifiers and quoted phrases of *question* require of a chunk."""
    identifiers, phrases = find_identifiers(question), find_phrases(question)
    if not identifiers and not phrases:
        return Required()
    rows = connection.execute(
        _REQUIRED,
        {
            "identifiers": [" ".join(spellings_of_identifier(one)) for one in identifiers],
            "phrases": [searchable_text(phrase, language="", asked=True) for phrase in phrases],
            "configs": analysed.configs,
        },
    ).fetchall()
    terms = {term.lexeme: term for term in analysed.terms if term.document_frequency > 0}
    rarest = math.log1p(2 * analysed.chunks + 1)
    parts, shares, chunks = [], [], []
    for lexemes, query in rows:
        found = [terms[lexeme] for lexeme in lexemes or () if lexeme in terms]
        if query or found:
            parts.append(query or "|".join(quote_lexeme(term.lexeme) for term in found))
            shares.append(1.0 if query else max(term.rarity for term in found) / rarest)
            chunks.append(
                min(
                    (
                        t.document_frequency
                        for t in terms.values()
                        if quote_lexeme(t.lexeme) in query
                    ),
                    default=0,
                )
                if query
                else sum(term.document_frequency for term in found)
            )
    return Required(
        query="&".join(f"({part})" for part in parts),
        share=min(shares, default=0.0),
        chunks=min(chunks, default=0),
        quoted=[phrase for phrase in phrases if phrase.isalpha()],
    )
