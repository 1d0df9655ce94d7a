-- The documents, their builds (one try to index one generation), chunks and embeddings.
-- A document answers from its active build alone; readers see nothing but the views at the end.

CREATE EXTENSION IF NOT EXISTS vector;

-- The group roles kaydang_worker and kaydang_query are made before (admin/rights.py): not every owner
-- may make roles.

CREATE TABLE models (
    id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    dimension integer NOT NULL CHECK (dimension BETWEEN 1 AND 4000), -- HNSW's limit for halfvec
    digest text NOT NULL UNIQUE,
    created timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE active_model (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    model_id smallint NOT NULL REFERENCES models
);

CREATE TABLE documents (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    bucket text NOT NULL,
    name text NOT NULL,
    seen_generation bigint NOT NULL DEFAULT 0,   -- highest generation known to have been finalized
    dead_generation bigint NOT NULL DEFAULT 0,   -- highest generation known to be gone; the row stays
    epoch integer NOT NULL DEFAULT 0,            -- bumped by a re-index
    active_build bigint,                         -- the build that answers
    -- What the active build's generation looks like: copied at the flip, so that filters
    -- and citations speak of the generation that answers.
    active_generation bigint,
    collection text NOT NULL DEFAULT 'default',
    content_type text NOT NULL DEFAULT '',
    size bigint NOT NULL DEFAULT 0,
    metadata jsonb NOT NULL DEFAULT '{}',
    object_updated timestamptz,
    title text NOT NULL DEFAULT '',
    language text NOT NULL DEFAULT '',
    updated timestamptz NOT NULL DEFAULT now(),
    UNIQUE (bucket, name)
);
CREATE UNIQUE INDEX documents_active_build ON documents (active_build) WHERE active_build IS NOT NULL;

CREATE TABLE builds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
    generation bigint NOT NULL,
    epoch integer NOT NULL,
    config_hash text NOT NULL DEFAULT '',        -- parser, chunker and model that made it
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'parsing', 'embedding', 'ready', 'failed')),
    metageneration bigint NOT NULL DEFAULT 0,
    collection text NOT NULL DEFAULT 'default',
    content_type text NOT NULL DEFAULT '',
    size bigint NOT NULL DEFAULT 0,
    metadata jsonb NOT NULL DEFAULT '{}',
    object_updated timestamptz,
    title text NOT NULL DEFAULT '',
    language text NOT NULL DEFAULT '',
    chunk_count integer,
    pages integer,
    pages_without_text integer[] NOT NULL DEFAULT '{}',
    attempts integer NOT NULL DEFAULT 0,
    lease_until timestamptz,
    published timestamptz NOT NULL DEFAULT now(), -- when a message for it was last sent
    last_error text,                              -- what the last try that failed said
    reason_code text,
    reason text,
    created timestamptz NOT NULL DEFAULT now(),
    finished timestamptz,
    UNIQUE (document_id, generation, epoch),
    CHECK ((state = 'failed') = (reason_code IS NOT NULL))
);
CREATE INDEX builds_unfinished ON builds (published)
    WHERE state IN ('queued', 'parsing');

ALTER TABLE documents ADD FOREIGN KEY (active_build) REFERENCES builds DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE batches (
    build_id bigint NOT NULL REFERENCES builds ON DELETE CASCADE,
    number integer NOT NULL,
    size integer NOT NULL,
    done boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    lease_until timestamptz,
    published timestamptz NOT NULL DEFAULT now(),
    last_error text,
    PRIMARY KEY (build_id, number)
);
CREATE INDEX batches_unfinished ON batches (published) WHERE NOT done;

CREATE TABLE chunks (
    build_id bigint NOT NULL REFERENCES builds ON DELETE CASCADE,
    ordinal integer NOT NULL,
    batch_number integer,                        -- NULL where the embedding was copied
    text text NOT NULL,
    heading text NOT NULL,
    header text NOT NULL,
    page integer,
    char_start integer NOT NULL,
    char_end integer NOT NULL,
    source text NOT NULL DEFAULT 'text' CHECK (source IN ('text', 'ocr')),
    content_hash bytea NOT NULL,
    search tsvector NOT NULL,
    PRIMARY KEY (build_id, ordinal)
);
CREATE INDEX chunks_content_hash ON chunks (content_hash);
CREATE INDEX chunks_search ON chunks USING gin (search);

-- Apart from the chunks: an exact scan reads narrow rows, and a second model's vectors can be
-- filled in beside the first's. The dimension is the model's, so the column has none.
CREATE TABLE embeddings (
    model_id smallint NOT NULL REFERENCES models,
    build_id bigint NOT NULL REFERENCES builds ON DELETE CASCADE,
    ordinal integer NOT NULL,
    embedding halfvec NOT NULL,
    PRIMARY KEY (build_id, ordinal, model_id)
) PARTITION BY LIST (model_id);

-- The extracted text, in segments, for citations in their context.
CREATE TABLE texts (
    build_id bigint NOT NULL REFERENCES builds ON DELETE CASCADE,
    segment integer NOT NULL,
    char_start integer NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (build_id, segment)
);

-- Messages that Pub/Sub gave up on, kept until an operator replays them.
CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL UNIQUE,
    subscription text NOT NULL DEFAULT '',
    data bytea NOT NULL,
    attributes jsonb NOT NULL,
    received timestamptz NOT NULL DEFAULT now(),
    replayed timestamptz
);

CREATE VIEW live_chunks AS
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
       embeddings.embedding
FROM documents
JOIN chunks ON chunks.build_id = documents.active_build
JOIN embeddings ON embeddings.build_id = chunks.build_id
    AND embeddings.ordinal = chunks.ordinal
    AND embeddings.model_id = (SELECT model_id FROM active_model);

CREATE VIEW live_embeddings AS
SELECT documents.id AS document_id,
       documents.name,
       documents.collection,
       documents.content_type,
       documents.metadata,
       documents.object_updated,
       embeddings.build_id,
       embeddings.ordinal,
       embeddings.embedding
FROM documents
JOIN embeddings ON embeddings.build_id = documents.active_build
    AND embeddings.model_id = (SELECT model_id FROM active_model);

CREATE VIEW live_texts AS
SELECT documents.id AS document_id,
       documents.active_generation AS generation,
       texts.build_id,
       texts.segment,
       texts.char_start,
       texts.text
FROM documents
JOIN texts ON texts.build_id = documents.active_build;

CREATE VIEW document_status AS
SELECT documents.id,
       documents.bucket,
       documents.name,
       coalesce(latest.collection, documents.collection) AS collection,
       coalesce(nullif(latest.title, ''), documents.title) AS title,
       coalesce(nullif(latest.language, ''), documents.language) AS language,
       documents.seen_generation AS generation,
       documents.active_generation AS answering_generation,
       CASE
           WHEN documents.dead_generation >= documents.seen_generation THEN 'deleted'
           WHEN latest.state IS NULL THEN 'queued'
           WHEN latest.state IN ('parsing', 'embedding') THEN 'indexing'
           ELSE latest.state
       END AS state,
       latest.reason_code,
       latest.reason,
       latest.pages,
       coalesce(latest.pages_without_text, '{}') AS pages_without_text,
       coalesce(latest.chunk_count, 0) AS chunks,
       coalesce(latest.chunk_count, 0) - coalesce(waiting.chunks, 0) AS chunks_embedded,
       greatest(coalesce(latest.attempts, 0), coalesce(waiting.attempts, 0)) AS attempts,
       coalesce(latest.size, documents.size) AS size,
       coalesce(latest.content_type, documents.content_type) AS content_type,
       coalesce(latest.metadata, documents.metadata) AS metadata,
       documents.updated
FROM documents
LEFT JOIN builds AS latest ON latest.document_id = documents.id
    AND latest.generation = documents.seen_generation
    AND latest.epoch = documents.epoch
LEFT JOIN LATERAL (
    SELECT sum(batches.size)::integer AS chunks,
           max(batches.attempts) AS attempts
    FROM batches
    WHERE batches.build_id = latest.id
        AND NOT batches.done
) AS waiting ON true;

CREATE VIEW serving_model AS
SELECT models.id, models.name, models.dimension, models.digest
FROM active_model
JOIN models ON models.id = active_model.model_id;

GRANT SELECT, INSERT, UPDATE, DELETE
    ON documents, builds, batches, chunks, embeddings, texts, dead_letters TO kaydang_worker;
GRANT SELECT ON models, active_model TO kaydang_worker;
GRANT SELECT ON live_chunks, live_embeddings, live_texts, document_status, serving_model
    TO kaydang_worker, kaydang_query;
