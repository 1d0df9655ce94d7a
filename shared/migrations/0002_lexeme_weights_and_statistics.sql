-- What searching needs: BM25 weights beside each tsvector, how common each lexeme is, and indexes
-- for the filters.

-- The part of BM25 that a chunk brings along (Robertson and Zaragoza 2009, k1 = 1.2, b = 0.75), one
-- dimension a lexeme; the question brings the rarity, so that no insert changes another row. The
-- average length is fixed at what the chunker makes: 200 word pieces have about 64 lexemes.
CREATE FUNCTION lexeme_dimension(lexeme text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN 1 + abs(hashtextextended(lexeme, 0) % 1000000000)::integer; -- pgvector's limit of dimensions

CREATE FUNCTION lexeme_weights(search tsvector) RETURNS sparsevec
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT ('{' || coalesce(string_agg(dimension || ':' || weight, ','), '')
        || '}/1000000000')::sparsevec
    FROM (
        SELECT lexeme_dimension(lexeme) AS dimension,
               max(frequency * 2.2 / (frequency + 1.2 * (0.25 + 0.75 * length / 64)))::real AS weight
        FROM (
            SELECT lexeme,
                   cardinality(positions)::double precision AS frequency,
                   sum(cardinality(positions)) OVER () AS length
            FROM unnest(search)
        ) AS lexemes
        GROUP BY dimension
    ) AS weights;
END;

-- A question for those weights: their inner product is BM25.
CREATE FUNCTION lexeme_query(lexemes text[], weights double precision[]) RETURNS sparsevec
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT ('{' || coalesce(string_agg(dimension || ':' || weight, ','), '')
        || '}/1000000000')::sparsevec
    FROM (
        SELECT lexeme_dimension(lexeme) AS dimension, sum(weight)::real AS weight
        FROM unnest(lexemes, weights) AS terms (lexeme, weight)
        GROUP BY dimension
    ) AS dimensions;
END;

-- A tsvector within the row is read without a second look-up and without decompression.
ALTER TABLE chunks SET (toast_tuple_target = 8160);
ALTER TABLE chunks ADD COLUMN weights sparsevec GENERATED ALWAYS AS (lexeme_weights(search)) STORED;

-- Share of the chunks that hold a lexeme, by a sample; lexemes too rare for the sample are absent
-- and counted when asked for.
CREATE TABLE lexeme_statistics (
    lexeme text PRIMARY KEY,
    share real NOT NULL CHECK (share > 0 AND share <= 1)
);
CREATE TABLE search_statistics (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    chunks bigint NOT NULL,
    refreshed timestamptz NOT NULL DEFAULT now()
);

-- Closed form of the file name ("Q3-report_v2.PDF": q3reportv2pdf), as shared/language.py makes it
-- of a question.
CREATE FUNCTION closed_name(name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN regexp_replace(lower(regexp_replace(name, '^.*/', '')), '[[:punct:][:space:]]+', '', 'g');

CREATE INDEX documents_language ON documents (language) WHERE active_build IS NOT NULL;
CREATE INDEX documents_collection ON documents (collection);
CREATE INDEX documents_content_type ON documents (content_type);
CREATE INDEX documents_object_updated ON documents (object_updated);
CREATE INDEX documents_name ON documents (name text_pattern_ops);
CREATE INDEX documents_metadata ON documents USING gin (metadata jsonb_path_ops);
CREATE INDEX documents_closed_name ON documents (closed_name(name));
CREATE INDEX documents_closed_stem ON documents (closed_name(regexp_replace(name, '\.[^./]*$', '')));

CREATE VIEW live_documents AS
SELECT documents.id AS document_id,
       documents.bucket,
       documents.name,
       documents.collection,
       documents.content_type,
       documents.metadata,
       documents.object_updated,
       documents.language,
       documents.active_build AS build_id,
       closed_name(documents.name) AS closed_name,
       closed_name(regexp_replace(documents.name, '\.[^./]*$', '')) AS closed_stem,
       builds.chunk_count
FROM documents
JOIN builds ON builds.id = documents.active_build;

CREATE VIEW live_lexemes AS
SELECT documents.id AS document_id,
       documents.name,
       documents.collection,
       documents.content_type,
       documents.metadata,
       documents.object_updated,
       documents.language,
       chunks.build_id,
       chunks.ordinal,
       chunks.search,
       chunks.weights
FROM documents
JOIN chunks ON chunks.build_id = documents.active_build;

CREATE OR REPLACE VIEW live_chunks AS
SELECT documents.id AS document_id,
       documents.bucket,
       documents.name,
       documents.collection,
       documents.content_type,
       documents.metadata,
       documents.object_updated,
       documents.title,
       documents.language,
       documents.active_generation AS generation,
       chunks.build_id,
       chunks.ordinal,
       chunks.text,
       chunks.heading,
       chunks.header,
       chunks.page,
       chunks.char_start,
       chunks.char_end,
       chunks.source,
       chunks.search,
       embeddings.embedding,
       chunks.weights
FROM documents
JOIN chunks ON chunks.build_id = documents.active_build
JOIN embeddings ON embeddings.build_id = chunks.build_id
    AND embeddings.ordinal = chunks.ordinal
    AND embeddings.model_id = (SELECT model_id FROM active_model);

CREATE OR REPLACE VIEW live_embeddings AS
SELECT documents.id AS document_id,
       documents.name,
       documents.collection,
       documents.content_type,
       documents.metadata,
       documents.object_updated,
       embeddings.build_id,
       embeddings.ordinal,
       embeddings.embedding,
       documents.language,
       embeddings.model_id
FROM documents
JOIN embeddings ON embeddings.build_id = documents.active_build
    AND embeddings.model_id = (SELECT model_id FROM active_model);

-- The languages of all that answers, by skipping through the index: a look-up each.
CREATE VIEW live_languages AS
WITH RECURSIVE languages AS (
    (
        SELECT language
        FROM documents
        WHERE active_build IS NOT NULL
        ORDER BY language
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT documents.language
        FROM documents
        WHERE documents.active_build IS NOT NULL
            AND documents.language > languages.language
        ORDER BY documents.language
        LIMIT 1
    )
    FROM languages
    WHERE languages.language IS NOT NULL
)
SELECT language
FROM languages
WHERE language IS NOT NULL;

-- How many chunks hold *lexeme*, at most *ceiling*: of readers' business is the number alone,
-- hence the owner's rights.
CREATE FUNCTION count_chunks_with(lexeme text, ceiling integer) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, public
AS $$
BEGIN
    RETURN (
        SELECT count(*)
        FROM (
            SELECT
            FROM public.chunks
            WHERE chunks.search @@
                ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery
            LIMIT ceiling
        ) AS holders
    );
END
$$;

CREATE FUNCTION count_chunks(ceiling integer) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, public
AS $$
BEGIN
    RETURN (SELECT count(*) FROM (SELECT FROM public.chunks LIMIT ceiling) AS some_chunks);
END
$$;

REVOKE EXECUTE ON FUNCTION count_chunks_with, count_chunks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION count_chunks_with, count_chunks TO kaydang_worker, kaydang_query;
GRANT SELECT, INSERT, UPDATE, DELETE ON lexeme_statistics, search_statistics TO kaydang_worker;
GRANT SELECT ON lexeme_statistics, search_statistics TO kaydang_query;
GRANT SELECT ON live_documents, live_lexemes, live_languages TO kaydang_worker, kaydang_query;
