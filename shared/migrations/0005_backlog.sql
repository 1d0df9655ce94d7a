-- What an operator watches: counts and ages over all collections. Nothing of a document is in them,
-- so they may be read by the role that row-level security keeps from the rows.

CREATE FUNCTION backlog() RETURNS TABLE (
    documents jsonb,                             -- how many in each state
    batches_waiting bigint,
    oldest_batch_seconds double precision,       -- since its document was staged or queued
    builds_waiting bigint,                       -- not parsed yet
    oldest_build_seconds double precision,
    dead_letters bigint                          -- not replayed
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT (
        SELECT coalesce(jsonb_object_agg(counted.state, counted.documents), '{}')
        FROM (
            SELECT CASE
                       WHEN documents.dead_generation >= documents.seen_generation THEN 'deleted'
                       WHEN latest.state IS NULL THEN 'queued'
                       WHEN latest.state IN ('parsing', 'embedding') THEN 'indexing'
                       ELSE latest.state
                   END AS state,
                   count(*) AS documents
            FROM documents
            LEFT JOIN builds AS latest ON latest.document_id = documents.id
                AND latest.generation = documents.seen_generation
                AND latest.epoch = documents.epoch
            GROUP BY 1
        ) AS counted
    ),
    waiting_batches.number,
    coalesce(extract(epoch FROM now() - waiting_batches.oldest), 0),
    waiting_builds.number,
    coalesce(extract(epoch FROM now() - waiting_builds.oldest), 0),
    (SELECT count(*) FROM dead_letters WHERE replayed IS NULL)
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
    ) AS waiting_builds
$$;

-- An operator's command compares it with the files of its release.
GRANT SELECT ON migrations TO kaydang_worker;

REVOKE EXECUTE ON FUNCTION backlog FROM PUBLIC;
GRANT EXECUTE ON FUNCTION backlog TO kaydang_worker, kaydang_query;
