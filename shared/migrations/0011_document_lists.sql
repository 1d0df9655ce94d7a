-- Lists of documents in the order of any column, and found by any part of their names.

-- The form in which names are searched.
CREATE FUNCTION folded(name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN lower(normalize(name, NFKC));

CREATE FUNCTION name_trigrams(folded_name text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT coalesce(array_agg(DISTINCT substr(folded_name, start, 3)), '{}')
    FROM generate_series(1, char_length(folded_name) - 2) AS start
);

-- What LIKE asks for names that hold each of *words*.
CREATE FUNCTION name_patterns(words text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT array_agg('%' || regexp_replace(folded(word), '([\\%_])', '\\\1', 'g') || '%')
    FROM unnest(words) AS word
);

-- State and size of the newest generation stand in the row, so that an index has their order; the
-- triggers below keep them. Every writer of builds holds the lock of the document.
ALTER TABLE documents
    ADD COLUMN folded_name text GENERATED ALWAYS AS (folded(name)) STORED,
    ADD COLUMN state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'indexing', 'ready', 'failed', 'deleted')),
    ADD COLUMN latest_size bigint NOT NULL DEFAULT 0;

CREATE FUNCTION state_of_document(seen_generation bigint, dead_generation bigint, build text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN dead_generation >= seen_generation THEN 'deleted'
    WHEN build IS NULL THEN 'queued'
    WHEN build IN ('parsing', 'embedding') THEN 'indexing'
    ELSE build
END;

UPDATE documents
SET state = state_of_document(listed.seen_generation, listed.dead_generation, latest.state),
    latest_size = coalesce(latest.size, listed.size)
FROM documents AS listed
LEFT JOIN builds AS latest ON latest.document_id = listed.id
    AND latest.generation = listed.seen_generation
    AND latest.epoch = listed.epoch
WHERE listed.id = documents.id;

CREATE FUNCTION note_generations() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    latest record;
BEGIN
    SELECT builds.state, builds.size INTO latest
    FROM public.builds
    WHERE builds.document_id = NEW.id
        AND builds.generation = NEW.seen_generation
        AND builds.epoch = NEW.epoch;
    NEW.state := public.state_of_document(NEW.seen_generation, NEW.dead_generation, latest.state);
    NEW.latest_size := coalesce(latest.size, NEW.size);
    RETURN NEW;
END
$$;

CREATE TRIGGER documents_note_generations
BEFORE INSERT OR UPDATE OF seen_generation, dead_generation, epoch ON documents
FOR EACH ROW
EXECUTE FUNCTION note_generations();

CREATE FUNCTION note_state_of_build() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed record := coalesce(NEW, OLD);
BEGIN
    UPDATE public.documents
    SET state = public.state_of_document(seen_generation, dead_generation, NEW.state),
        latest_size = coalesce(NEW.size, size)
    WHERE id = changed.document_id
        AND seen_generation = changed.generation
        AND epoch = changed.epoch
        AND (state, latest_size) IS DISTINCT FROM (
            public.state_of_document(seen_generation, dead_generation, NEW.state),
            coalesce(NEW.size, size)
        );
    RETURN NULL;
END
$$;

CREATE TRIGGER builds_note_state
AFTER INSERT OR DELETE OR UPDATE OF state, size, generation, epoch ON builds
FOR EACH ROW
EXECUTE FUNCTION note_state_of_build();

-- Under row-level security these serve a reader too: their columns are compared as they are.
CREATE INDEX documents_updated ON documents (updated, id);
CREATE INDEX documents_state ON documents (state, name COLLATE "C", id);
CREATE INDEX documents_latest_size ON documents (latest_size, id);
CREATE INDEX documents_latest_collection ON documents (latest_collection);
CREATE INDEX documents_name_trigrams ON documents USING gin (name_trigrams(folded_name))
    WITH (gin_pending_list_limit = 256);

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

-- What a list is chosen and ordered by; the rest of document_status is read for one page alone.
CREATE VIEW listed_documents WITH (security_invoker = true) AS
SELECT documents.id,
       documents.name,
       documents.folded_name,
       coalesce(documents.latest_collection, documents.collection) AS collection,
       documents.collection AS answering_collection,
       documents.latest_collection,
       coalesce(latest.content_type, documents.content_type) AS content_type,
       coalesce(latest.metadata, documents.metadata) AS metadata,
       coalesce(nullif(latest.language, ''), documents.language) AS language,
       documents.state,
       documents.latest_size AS size,
       documents.updated
FROM documents
LEFT JOIN builds AS latest ON latest.document_id = documents.id
    AND latest.generation = documents.seen_generation
    AND latest.epoch = documents.epoch;

CREATE OR REPLACE VIEW readable_documents AS
SELECT id, active_build, folded_name
FROM documents
WHERE (SELECT sees_every_collection())
    OR (
        (SELECT sees_collections_by_default()) <> (collection IN (SELECT collection_exceptions()))
        AND (
            latest_collection IS NULL
            OR (SELECT sees_collections_by_default())
                <> (latest_collection IN (SELECT collection_exceptions()))
        )
    );

-- As chunks_matching (migration 0004): the index cannot serve a reader's own statement.
CREATE FUNCTION readable_documents_named(words text[], ceiling integer) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    patterns CONSTANT text[] := name_patterns(words);
    trigrams CONSTANT text[] := ARRAY(
        SELECT DISTINCT unnest(name_trigrams(folded(word))) FROM unnest(words) AS word
    );
BEGIN
    RETURN QUERY
    SELECT readable_documents.id
    FROM readable_documents
    WHERE name_trigrams(folded_name) @> trigrams
        AND folded_name LIKE ALL (patterns)
    LIMIT ceiling;
END
$$;

-- The first *ceiling* documents that the caller may read and whose names hold each of *words*.
CREATE FUNCTION documents_named(words text[], ceiling integer) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    patterns CONSTANT text[] := name_patterns(words);
    trigrams CONSTANT text[] := ARRAY(
        SELECT DISTINCT unnest(name_trigrams(folded(word))) FROM unnest(words) AS word
    );
BEGIN
    IF pg_has_role(current_user, 'kaydang_worker', 'USAGE') THEN
        RETURN QUERY
        SELECT documents.id
        FROM documents
        WHERE name_trigrams(folded_name) @> trigrams
            AND folded_name LIKE ALL (patterns)
        LIMIT ceiling;
    ELSE
        RETURN QUERY SELECT * FROM readable_documents_named(words, ceiling);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION count_documents_by_state() RETURNS TABLE (state text, documents bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT documents.state, count(*)
    FROM documents
    GROUP BY 1
$$;

REVOKE EXECUTE ON FUNCTION readable_documents_named, documents_named, note_generations,
    note_state_of_build FROM PUBLIC;
GRANT EXECUTE ON FUNCTION readable_documents_named TO kaydang_query;
GRANT EXECUTE ON FUNCTION documents_named TO kaydang_worker, kaydang_query;
GRANT SELECT (folded_name, state, latest_size) ON documents TO kaydang_query;
GRANT SELECT ON listed_documents TO kaydang_worker, kaydang_query;
