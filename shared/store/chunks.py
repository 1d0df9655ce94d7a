"""The chunks and the text of a build that is being staged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from psycopg.rows import class_row

from shared.store.connection import Connection
from shared.values import Chunk

# Rows sent to the server at a time while a build is staged: bounds memory on both sides.
_ROWS_AT_A_TIME = 500
# Chunks of equal text of which one may lend its embedding.
_HOLDERS = 20

# Less is a heading or a caption.
_SAMPLED_CHARS = 120

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SampledChunk:
    """A chunk of a document that answers."""

    name: str
    language: str
    heading: str
    header: str
    text: str
    char_start: int


def sample_chunks(connection: Connection, *, prefix: str, limit: int) -> list[SampledChunk]:
    """
    Return chunks that hold a few sentences, as evenly of all documents as they have them.

    Args:
        prefix: How the documents' names begin.
    """
    with connection.cursor(row_factory=class_row(SampledChunk)) as rows:
        return rows.execute(
            """
            SELECT name, language, heading, header, text, char_start
            FROM (
                SELECT live_chunks.name,
                       documents.language,
                       live_chunks.heading,
                       live_chunks.header,
                       live_chunks.text,
                       live_chunks.char_start,
                       row_number() OVER (
                           PARTITION BY documents.id
                           ORDER BY md5(documents.id::text || live_chunks.ordinal)
                       ) AS place
                FROM live_chunks
                JOIN documents ON documents.id = live_chunks.document_id
                WHERE starts_with(live_chunks.name, %(prefix)s)
                    AND live_chunks.source <> 'figure'
                    AND length(live_chunks.text) >= %(least)s
            ) AS numbered
            ORDER BY place, md5(name)
            LIMIT %(limit)s
            """,
            {"prefix": prefix, "least": _SAMPLED_CHARS, "limit": limit},
        ).fetchall()


def insert_chunks(
    connection: Connection,
    build_id: int,
    *,
    collection: str,
    chunks: Iterable[tuple[Chunk, str]],
    search_config: str,
    batch_size: int,
) -> tuple[int, list[int]]:
    """Insert chunks, copying embeddings that exist; return their count and the batches' sizes."""
    chunk_count = 0
    to_embed = 0
    for page in _pages(chunks):
        ordinals = [chunk.ordinal for chunk, _ in page]
        hashes = [chunk.content_hash for chunk, _ in page]
        copied = _copy_embeddings(connection, build_id, collection, ordinals, hashes)
        batch_numbers: list[int | None] = []
        for ordinal in ordinals:
            batch_numbers.append(None if ordinal in copied else to_embed // batch_size)
            to_embed += ordinal not in copied
        connection.execute(
            """
            INSERT INTO chunks (build_id, ordinal, batch_number, text, heading, header, page,
                                char_start, char_end, source, content_hash, page_starts,
                                boxes, search)
            SELECT %(build_id)s, ordinal, batch_number, text, heading, header, page,
                   char_start, char_end, source, content_hash,
                   string_to_array(nullif(page_starts, ''), ' ')::integer[], boxes,
                   to_tsvector(%(search_config)s::regconfig, searchable)
            FROM unnest(
                %(ordinals)s::integer[], %(batch_numbers)s::integer[], %(texts)s::text[],
                %(headings)s::text[], %(headers)s::text[], %(pages)s::integer[],
                %(starts)s::integer[], %(ends)s::integer[], %(sources)s::text[],
                %(hashes)s::bytea[], %(page_starts)s::text[], %(boxes)s::bytea[],
                %(searchable)s::text[]
            ) AS page_of_chunks (ordinal, batch_number, text, heading, header, page,
                                 char_start, char_end, source, content_hash, page_starts,
                                 boxes, searchable)
            """,
            {
                "build_id": build_id,
                "search_config": search_config,
                "ordinals": ordinals,
                "batch_numbers": batch_numbers,
                "texts": [chunk.text for chunk, _ in page],
                "headings": [chunk.heading for chunk, _ in page],
                "headers": [chunk.header for chunk, _ in page],
                "pages": [chunk.page for chunk, _ in page],
                "starts": [chunk.char_start for chunk, _ in page],
                "ends": [chunk.char_end for chunk, _ in page],
                "sources": [chunk.source for chunk, _ in page],
                "hashes": hashes,
                # Arrays of arrays of different lengths are nothing that Postgres knows.
                "page_starts": [
                    " ".join(f"{start.position} {start.page}" for start in chunk.page_starts)
                    for chunk, _ in page
                ],
                "boxes": [chunk.boxes or None for chunk, _ in page],
                "searchable": [searchable for _, searchable in page],
            },
        )
        chunk_count += len(page)
    full, rest = divmod(to_embed, batch_size)
    return chunk_count, [batch_size] * full + ([rest] if rest else [])


def _copy_embeddings(
    connection: Connection,
    build_id: int,
    collection: str,
    ordinals: Sequence[int],
    hashes: Sequence[bytes],
) -> set[int]:
    """
    Copy the embeddings that equal texts have already; return the ordinals so served.

    Only from documents that all who may read *collection* may read: from others, the time until a
    document is ready would show that a closed collection holds a guessed text. For
    the same reason no more than a few holders of a text are looked at.
    """
    # Planned for the tables of this moment: a plan that was kept from when they filled a page or
    # two reads all embeddings for every chunk, until the next automatic ANALYZE.
    rows = connection.execute(
        """
        INSERT INTO embeddings (model_id, build_id, ordinal, embedding)
        SELECT known.model_id, %(build_id)s, wanted.ordinal, known.embedding
        FROM unnest(%(ordinals)s::integer[], %(hashes)s::bytea[]) AS wanted (ordinal, content_hash)
        CROSS JOIN LATERAL (
            SELECT embeddings.model_id, embeddings.embedding
            FROM (
                SELECT chunks.build_id, chunks.ordinal
                FROM chunks
                WHERE chunks.content_hash = wanted.content_hash
                LIMIT %(holders)s
            ) AS holders
            JOIN builds ON builds.id = holders.build_id
            JOIN documents ON documents.id = builds.document_id
            JOIN embeddings ON embeddings.build_id = holders.build_id
                AND embeddings.ordinal = holders.ordinal
                AND embeddings.model_id = (SELECT model_id FROM active_model)
            WHERE NOT EXISTS (
                SELECT
                FROM unnest(
                    ARRAY[builds.collection, documents.collection, documents.latest_collection]
                ) AS holding (collection)
                WHERE holding.collection <> %(collection)s
                    AND coalesce(
                        (
                            SELECT closed FROM collection_access
                            WHERE collection_access.collection = holding.collection
                        ),
                        (SELECT closed FROM collection_default)
                    )
            )
                -- Who else may read a document that names its readers is not looked into.
                AND (
                    documents.readers IS NULL
                        AND documents.latest_readers IS NULL
                        AND readers_of(builds.metadata) IS NULL
                    OR documents.id = (
                        SELECT own.document_id FROM builds AS own WHERE own.id = %(build_id)s
                    )
                )
            LIMIT 1
        ) AS known
        RETURNING ordinal
        """,
        {
            "build_id": build_id,
            "collection": collection,
            "ordinals": list(ordinals),
            "hashes": list(hashes),
            "holders": _HOLDERS,
        },
        prepare=False,
    ).fetchall()
    return {row[0] for row in rows}


def insert_text(connection: Connection, build_id: int, segments: Iterable[tuple[int, str]]) -> None:
    for page in _pages(enumerate(segments)):
        connection.cursor().executemany(
            """
            INSERT INTO texts (build_id, segment, char_start, text)
            VALUES (%(build_id)s, %(segment)s, %(char_start)s, %(text)s)
            """,
            [
                {"build_id": build_id, "segment": segment, "char_start": char_start, "text": text}
                for segment, (char_start, text) in page
            ],
        )


def _pages(rows: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(rows)
    while page := list(islice(iterator, _ROWS_AT_A_TIME)):
        yield page
