-- Pictures inside documents, described by Gemini. A description lives as long as its build: a
-- document that is deleted takes it along, and one that is uploaded again finds it.

CREATE TABLE figures (
    build_id bigint NOT NULL REFERENCES builds ON DELETE CASCADE,
    picture bytea NOT NULL,                      -- SHA-256 of the picture and its caption
    model text NOT NULL,
    description text NOT NULL,                   -- empty: a decoration
    refused boolean NOT NULL,                    -- the model gives no description of it
    PRIMARY KEY (build_id, picture, model)
);
CREATE INDEX figures_picture ON figures (picture);

ALTER TABLE figures ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY workers ON figures TO kaydang_worker USING (true);
DO $$
BEGIN
    EXECUTE format(
        'CREATE POLICY owner ON figures TO %I USING (true)',
        (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'figures'::regclass)
    );
END $$;
GRANT SELECT, INSERT, DELETE ON figures TO kaydang_worker;

ALTER TABLE builds
    ADD COLUMN figures jsonb,                    -- what their descriptions took; NULL where off
    ADD COLUMN notices text[] NOT NULL DEFAULT '{}';

-- NOT VALID: it allows more than before, so every row holds already.
ALTER TABLE chunks
    DROP CONSTRAINT chunks_source_check,
    ADD CONSTRAINT chunks_source_check CHECK (source IN ('text', 'ocr', 'figure')) NOT VALID;

CREATE OR REPLACE VIEW document_status WITH (security_invoker = true) AS
SELECT documents.id,
       documents.bucket,
       documents.name,
       coalesce(latest.collection, documents.collection) AS collection,
       coalesce(nullif(latest.title, ''), documents.title) AS title,
       coalesce(nullif(latest.language, ''), documents.language) AS language,
       documents.seen_generation AS generation,
       documents.active_generation AS answering_generation,
       documents.state,
       latest.reason_code,
       latest.reason,
       latest.pages,
       coalesce(latest.pages_without_text, '{}') AS pages_without_text,
       coalesce(latest.chunk_count, 0) AS chunks,
       coalesce(latest.chunk_count, 0) - coalesce(waiting.chunks, 0) AS chunks_embedded,
       greatest(coalesce(latest.attempts, 0), coalesce(waiting.attempts, 0)) AS attempts,
       documents.latest_size AS size,
       coalesce(latest.content_type, documents.content_type) AS content_type,
       coalesce(latest.metadata, documents.metadata) AS metadata,
       documents.updated,
       coalesce(latest.notices, '{}') AS notices,
       latest.figures
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
GRANT SELECT (notices, figures) ON builds TO kaydang_query;
