-- Who may read which collection. Collections are open until one is closed; a closed one is read by
-- those to whom it was granted. Row-level security holds for the query role: what the transaction's
-- setting kaydang.principals names is the caller, and without the setting the caller is nobody, who
-- reads what is open. The workers and the owner see every row.

-- Whether collections without a row of their own are closed.
CREATE TABLE collection_default (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    closed boolean NOT NULL
);
INSERT INTO collection_default (closed) VALUES (false);

CREATE TABLE collection_access (
    collection text PRIMARY KEY,
    closed boolean NOT NULL,
    changed timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE collection_grants (
    principal text NOT NULL,                     -- key:NAME, email:ADDRESS, ... (docs/operations.md)
    collection text NOT NULL,                    -- '*': every collection, also those to come
    granted timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, collection)
);

GRANT SELECT, INSERT, UPDATE, DELETE
    ON collection_default, collection_access, collection_grants TO kaydang_worker;

-- Answers kept from before a change of access are of no use after it.
CREATE CONSTRAINT TRIGGER default_advances_index_version
AFTER INSERT OR UPDATE OR DELETE ON collection_default
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW
EXECUTE FUNCTION advance_index_version();

CREATE CONSTRAINT TRIGGER access_advances_index_version
AFTER INSERT OR UPDATE OR DELETE ON collection_access
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW
EXECUTE FUNCTION advance_index_version();

CREATE CONSTRAINT TRIGGER grants_advance_index_version
AFTER INSERT OR UPDATE OR DELETE ON collection_grants
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW
EXECUTE FUNCTION advance_index_version();

-- The functions below run with their owner's rights: readers may not see the grants of others.
-- An error in the setting (it is a JSON array) is an error of the statement: nothing is read.
CREATE FUNCTION caller_grants() RETURNS SETOF text
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT collection_grants.collection
    FROM jsonb_array_elements_text(
        coalesce(nullif(current_setting('kaydang.principals', true), ''), '[]')::jsonb
    ) AS caller (principal)
    JOIN public.collection_grants ON collection_grants.principal = caller.principal;
END
$$;

CREATE FUNCTION sees_collections_by_default() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce((SELECT NOT closed FROM public.collection_default), false)
        OR EXISTS (SELECT FROM public.caller_grants() AS collection WHERE collection = '*');
END
$$;

-- The collections for which the caller's default does not hold.
CREATE FUNCTION collection_exceptions() RETURNS SETOF text
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM public.caller_grants() AS granted WHERE granted = '*') THEN
        RETURN;
    ELSIF public.sees_collections_by_default() THEN
        RETURN QUERY
        SELECT collection FROM public.collection_access WHERE closed
        EXCEPT
        SELECT public.caller_grants();
    ELSE
        RETURN QUERY
        SELECT collection FROM public.collection_access WHERE NOT closed
        UNION
        SELECT public.caller_grants();
    END IF;
END
$$;

CREATE FUNCTION sees_every_collection() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN public.sees_collections_by_default()
        AND NOT EXISTS (SELECT FROM public.collection_exceptions());
END
$$;

-- The same for all callers who see the same collections; part of the key of a kept answer.
CREATE FUNCTION caller_rights() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN encode(
        sha256(
            jsonb_build_array(
                public.sees_collections_by_default(),
                (SELECT jsonb_agg(collection ORDER BY collection COLLATE "C")
                 FROM public.collection_exceptions() AS collection)
            )::text::bytea
        ),
        'hex'
    );
END
$$;

REVOKE EXECUTE ON FUNCTION caller_grants, sees_collections_by_default, collection_exceptions,
    sees_every_collection, caller_rights FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sees_collections_by_default, collection_exceptions,
    sees_every_collection, caller_rights TO kaydang_worker, kaydang_query;

-- A kept answer holds texts: it is seen by those alone who see what it was made of.
DELETE FROM cached_answers;
ALTER TABLE cached_answers ADD COLUMN rights text;
CREATE POLICY readers ON cached_answers TO kaydang_query USING (rights = (SELECT caller_rights()));

CREATE FUNCTION forget_answers(before_version bigint, older_than interval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM public.cached_answers
    WHERE version < before_version OR created < now() - older_than;
END
$$;
REVOKE EXECUTE ON FUNCTION forget_answers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_answers TO kaydang_query;

-- The collection of the newest generation, where it is another than that of the one that answers:
-- a document is read by those who may read both, so that a move does not show it too early.
ALTER TABLE documents ADD COLUMN latest_collection text;

UPDATE documents
SET latest_collection = builds.collection
FROM builds
WHERE builds.document_id = documents.id
    AND builds.generation = documents.seen_generation
    AND builds.epoch = documents.epoch
    AND builds.collection <> documents.collection;

CREATE FUNCTION note_latest_collection() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.documents
    SET latest_collection = NEW.collection
    WHERE id = NEW.document_id
        AND NEW.generation >= seen_generation
        AND NEW.collection <> coalesce(latest_collection, collection);
    RETURN NULL;
END
$$;

CREATE TRIGGER builds_note_latest_collection
AFTER INSERT OR UPDATE OF collection ON builds
FOR EACH ROW
EXECUTE FUNCTION note_latest_collection();

-- Under row-level security an index serves comparisons of plain columns only: the planner may let
-- no other function look at a row before the policy has.
ALTER TABLE documents
    ADD COLUMN closed_name text GENERATED ALWAYS AS (closed_name(name)) STORED,
    ADD COLUMN closed_stem text
        GENERATED ALWAYS AS (closed_name(regexp_replace(name, '\.[^./]*$', ''))) STORED;
DROP INDEX documents_closed_name, documents_closed_stem;
CREATE INDEX documents_closed_name ON documents (closed_name);
CREATE INDEX documents_closed_stem ON documents (closed_stem);

CREATE OR REPLACE VIEW live_documents AS
SELECT documents.id AS document_id,
       documents.bucket,
       documents.name,
       documents.collection,
       documents.content_type,
       documents.metadata,
       documents.object_updated,
       documents.language,
       documents.active_build AS build_id,
       documents.closed_name,
       documents.closed_stem,
       builds.chunk_count
FROM documents
JOIN builds ON builds.id = documents.active_build;

-- Forced: the policies hold for the owner too, who therefore has one.
DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY[
        'documents', 'builds', 'batches', 'chunks', 'embeddings', 'texts', 'cached_answers'
    ]
    LOOP
        EXECUTE format(
            'ALTER TABLE %1$I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', protected
        );
        EXECUTE format('CREATE POLICY workers ON %I TO kaydang_worker USING (true)', protected);
        EXECUTE format(
            'CREATE POLICY owner ON %I TO %I USING (true)',
            protected,
            (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = protected::regclass)
        );
    END LOOP;
END $$;

CREATE POLICY readers ON documents FOR SELECT TO kaydang_query USING (
    (SELECT sees_every_collection())
    OR (
        (SELECT sees_collections_by_default()) <> (collection IN (SELECT collection_exceptions()))
        AND (
            latest_collection IS NULL
            OR (SELECT sees_collections_by_default())
                <> (latest_collection IN (SELECT collection_exceptions()))
        )
    )
);
CREATE POLICY readers ON builds FOR SELECT TO kaydang_query USING (
    (SELECT sees_every_collection())
    OR EXISTS (SELECT FROM documents WHERE documents.id = builds.document_id)
);
CREATE POLICY readers ON batches FOR SELECT TO kaydang_query USING (
    (SELECT sees_every_collection())
    OR EXISTS (SELECT FROM builds WHERE builds.id = batches.build_id)
);
CREATE POLICY readers ON chunks FOR SELECT TO kaydang_query USING (
    (SELECT sees_every_collection())
    OR EXISTS (SELECT FROM documents WHERE documents.active_build = chunks.build_id)
);
CREATE POLICY readers ON embeddings FOR SELECT TO kaydang_query USING (
    (SELECT sees_every_collection())
    OR EXISTS (SELECT FROM documents WHERE documents.active_build = embeddings.build_id)
);
CREATE POLICY readers ON texts FOR SELECT TO kaydang_query USING (
    (SELECT sees_every_collection())
    OR EXISTS (SELECT FROM documents WHERE documents.active_build = texts.build_id)
);

-- The columns that the views show, and no others.
GRANT SELECT (id, bucket, name, collection, latest_collection, content_type, size, metadata,
    object_updated, title, language, updated, seen_generation, dead_generation, epoch,
    active_build, active_generation, closed_name, closed_stem) ON documents TO kaydang_query;
GRANT SELECT (id, document_id, generation, epoch, state, collection, content_type, size, metadata,
    title, language, chunk_count, pages, pages_without_text, attempts, reason_code, reason)
    ON builds TO kaydang_query;
GRANT SELECT (build_id, size, done, attempts) ON batches TO kaydang_query;
GRANT SELECT (build_id, ordinal, text, heading, header, page, char_start, char_end, source, search,
    weights) ON chunks TO kaydang_query;
GRANT SELECT (model_id, build_id, ordinal, embedding) ON embeddings TO kaydang_query;
GRANT SELECT (build_id, segment, char_start, text) ON texts TO kaydang_query;
GRANT SELECT ON models, active_model TO kaydang_query;

ALTER VIEW live_chunks SET (security_invoker = true);
ALTER VIEW live_embeddings SET (security_invoker = true);
ALTER VIEW live_texts SET (security_invoker = true);
ALTER VIEW live_documents SET (security_invoker = true);
ALTER VIEW live_lexemes SET (security_invoker = true);
ALTER VIEW live_languages SET (security_invoker = true);
ALTER VIEW document_status SET (security_invoker = true);
ALTER VIEW serving_model SET (security_invoker = true);

-- The GIN index cannot serve a reader, for the same reason as above: @@ would look before the
-- policy. So the look-up stands in functions with their owner's rights, which no condition of a
-- reader's statement gets into; this view is their policy. Nobody else may read it.
CREATE VIEW readable_documents AS
SELECT id, active_build
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

CREATE FUNCTION readable_chunks_matching(
    candidates tsquery, question sparsevec, required tsquery
) RETURNS TABLE (build_id bigint, ordinal integer, distance double precision, exact boolean)
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT chunks.build_id,
           chunks.ordinal,
           chunks.weights <#> question,
           chunks.search @@ required
    FROM chunks
    JOIN readable_documents ON readable_documents.active_build = chunks.build_id
    WHERE chunks.search @@ candidates;
END
$$;

-- The chunks that match *candidates* and answer now, with the negative BM25 of *question* and
-- whether they match *required*: of those documents that the caller may read.
CREATE FUNCTION chunks_matching(candidates tsquery, question sparsevec, required tsquery)
RETURNS TABLE (build_id bigint, ordinal integer, distance double precision, exact boolean)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF pg_has_role(current_user, 'kaydang_worker', 'USAGE') THEN
        RETURN QUERY
        SELECT chunks.build_id,
               chunks.ordinal,
               chunks.weights <#> question,
               chunks.search @@ required
        FROM chunks
        JOIN documents ON documents.active_build = chunks.build_id
        WHERE chunks.search @@ candidates;
    ELSE
        RETURN QUERY
        SELECT * FROM readable_chunks_matching(candidates, question, required);
    END IF;
END
$$;

-- Whether the caller would see a document of that name in *collection*, and sees the one that has
-- the name already: he may neither write where he cannot read nor overwrite what he does not know.
CREATE FUNCTION caller_may_write(bucket text, name text, collection text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RETURN coalesce(
        sees_collections_by_default()
            <> (caller_may_write.collection IN (SELECT collection_exceptions()))
        AND NOT EXISTS (
            SELECT
            FROM documents
            WHERE documents.bucket = caller_may_write.bucket
                AND documents.name = caller_may_write.name
                AND NOT EXISTS (
                    SELECT FROM readable_documents WHERE readable_documents.id = documents.id
                )
        ),
        false
    );
END
$$;

-- How many chunks hold *lexeme*, at most *ceiling*, among what the caller may read: a word of a
-- closed collection is as unknown as one that nobody wrote.
CREATE OR REPLACE FUNCTION count_chunks_with(lexeme text, ceiling integer) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    wanted CONSTANT tsquery :=
        ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery;
BEGIN
    IF sees_every_collection() THEN
        RETURN (
            SELECT count(*)
            FROM (SELECT FROM chunks WHERE chunks.search @@ wanted LIMIT ceiling) AS holders
        );
    END IF;
    RETURN (
        SELECT count(*)
        FROM (
            SELECT
            FROM chunks
            JOIN readable_documents ON readable_documents.active_build = chunks.build_id
            WHERE chunks.search @@ wanted
            LIMIT ceiling
        ) AS holders
    );
END
$$;

CREATE OR REPLACE FUNCTION count_chunks(ceiling integer) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF sees_every_collection() THEN
        RETURN (SELECT count(*) FROM (SELECT FROM chunks LIMIT ceiling) AS some_chunks);
    END IF;
    RETURN (
        SELECT least(coalesce(sum(builds.chunk_count), 0), ceiling)
        FROM readable_documents
        JOIN builds ON builds.id = readable_documents.active_build
    );
END
$$;

REVOKE EXECUTE ON FUNCTION readable_chunks_matching, chunks_matching, caller_may_write,
    note_latest_collection FROM PUBLIC;
GRANT EXECUTE ON FUNCTION readable_chunks_matching, chunks_matching, caller_may_write
    TO kaydang_query;
GRANT EXECUTE ON FUNCTION chunks_matching TO kaydang_worker;
