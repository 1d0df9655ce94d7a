-- What a million documents cost: a list in the order of its index, counts that are kept, and an end
-- for what nobody reads any more.

-- Storage lists names by their bytes, and so does every page of documents.
CREATE INDEX documents_name_bytes ON documents (name COLLATE "C");
-- Few of many: without it a list of them looks at every document.
CREATE INDEX builds_failed ON builds (document_id) WHERE state = 'failed';

-- Counted anew by each sweep where counting takes longer than an answer may.
CREATE TABLE document_counts (
    state text PRIMARY KEY,
    documents bigint NOT NULL
);

CREATE FUNCTION has_many_documents() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
RETURN (SELECT reltuples > 50000 FROM pg_class WHERE oid = 'public.documents'::regclass)
    AND EXISTS (SELECT FROM document_counts);

CREATE FUNCTION count_documents_by_state() RETURNS TABLE (state text, documents bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE
               WHEN documents.dead_generation >= documents.seen_generation THEN 'deleted'
               WHEN latest.state IS NULL THEN 'queued'
               WHEN latest.state IN ('parsing', 'embedding') THEN 'indexing'
               ELSE latest.state
           END,
           count(*)
    FROM documents
    LEFT JOIN builds AS latest ON latest.document_id = documents.id
        AND latest.generation = documents.seen_generation
        AND latest.epoch = documents.epoch
    GROUP BY 1
$$;

CREATE FUNCTION refresh_document_counts() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF (SELECT reltuples <= 50000 FROM pg_class WHERE oid = 'public.documents'::regclass) THEN
        RETURN;
    END IF;
    CREATE TEMPORARY TABLE counted ON COMMIT DROP AS SELECT * FROM count_documents_by_state();
    DELETE FROM document_counts WHERE state NOT IN (SELECT counted.state FROM counted);
    INSERT INTO document_counts
    SELECT counted.state, counted.documents FROM counted
    ON CONFLICT (state) DO UPDATE SET documents = excluded.documents;
END
$$;

CREATE OR REPLACE FUNCTION backlog() RETURNS TABLE (
    documents jsonb,                             -- how many in each state
    batches_waiting bigint,
    oldest_batch_seconds double precision,       -- since its document was staged or queued
    builds_waiting bigint,                       -- not parsed yet
    oldest_build_seconds double precision,
    dead_letters bigint                          -- not replayed
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    by_state jsonb;
BEGIN
    IF has_many_documents() THEN
        SELECT coalesce(jsonb_object_agg(kept.state, kept.documents), '{}') INTO by_state
        FROM document_counts AS kept;
    ELSE
        SELECT coalesce(jsonb_object_agg(counted.state, counted.documents), '{}') INTO by_state
        FROM count_documents_by_state() AS counted;
    END IF;
    RETURN QUERY
    SELECT by_state,
           waiting_batches.number,
           coalesce(extract(epoch FROM now() - waiting_batches.oldest), 0)::double precision,
           waiting_builds.number,
           coalesce(extract(epoch FROM now() - waiting_builds.oldest), 0)::double precision,
           (SELECT count(*) FROM dead_letters AS letters WHERE letters.replayed IS NULL)
    FROM (
        SELECT count(*) AS number, min(builds.created) AS oldest
        FROM batches
        JOIN builds ON builds.id = batches.build_id
        WHERE NOT batches.done
    ) AS waiting_batches
    CROSS JOIN (
        SELECT count(*) AS number, min(created) AS oldest
        FROM builds
        WHERE state IN ('queued', 'parsing')
    ) AS waiting_builds;
END
$$;

-- Deletes what has been of no use for so many days, a part of it at a time: dead letters, the rows
-- of deleted documents (no message about them is under way any more: Pub/Sub keeps one for 31 days
-- at most), rate limits, kept answers and the use of tokens.
CREATE FUNCTION forget_old(days integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    before CONSTANT timestamptz := now() - make_interval(days => greatest(days, 32));
    forgotten bigint := 0;
    counted bigint;
BEGIN
    DELETE FROM dead_letters WHERE id IN (
        SELECT id FROM dead_letters WHERE received < before LIMIT 10000
    );
    GET DIAGNOSTICS counted = ROW_COUNT;
    forgotten := forgotten + counted;
    DELETE FROM documents WHERE id IN (
        SELECT documents.id
        FROM documents
        WHERE dead_generation >= seen_generation
            AND active_build IS NULL
            AND updated < before
            AND NOT EXISTS (SELECT FROM builds WHERE builds.document_id = documents.id)
        LIMIT 10000
        FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS counted = ROW_COUNT;
    forgotten := forgotten + counted;
    DELETE FROM rate_limits WHERE full_at < now() - interval '1 day';
    DELETE FROM cached_answers WHERE created < before;
    DELETE FROM token_usage WHERE day < current_date - 400;
    RETURN forgotten;
END
$$;

REVOKE EXECUTE ON FUNCTION has_many_documents, count_documents_by_state, refresh_document_counts,
    forget_old FROM PUBLIC;
GRANT EXECUTE ON FUNCTION refresh_document_counts, forget_old TO kaydang_worker;
