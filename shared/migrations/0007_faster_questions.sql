-- A question reads the same as before, with less work around it.

-- Asked of once for each table that a statement reads: where nothing is closed to anyone, one look.
CREATE OR REPLACE FUNCTION sees_every_collection() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM public.collection_default WHERE NOT closed)
        AND NOT EXISTS (SELECT FROM public.collection_access WHERE closed)
    THEN
        RETURN true;
    END IF;
    RETURN public.sees_collections_by_default()
        AND NOT EXISTS (SELECT FROM public.collection_exceptions());
END
$$;

-- The *ceiling* best of chunks_matching (migration 0004), with *bonus* for those that match
-- *required*. Nearly all chunks that match answer: twice as many as are wanted are ranked first and
-- looked up then, and only where too few of those answer is every one looked up.
CREATE FUNCTION best_chunks_matching(
    candidates tsquery,
    question sparsevec,
    required tsquery,
    bonus double precision,
    ceiling integer
) RETURNS TABLE (build_id bigint, ordinal integer, distance double precision)
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT sees_every_collection() THEN
        RETURN QUERY
        SELECT matching.build_id,
               matching.ordinal,
               matching.distance - CASE WHEN matching.exact THEN bonus ELSE 0 END AS distance
        FROM readable_chunks_matching(candidates, question, required) AS matching
        ORDER BY distance
        LIMIT ceiling;
        RETURN;
    END IF;
    RETURN QUERY
    WITH ranked AS MATERIALIZED (
        SELECT chunks.build_id,
               chunks.ordinal,
               (chunks.weights <#> question)
                   - CASE WHEN chunks.search @@ required THEN bonus ELSE 0 END AS distance
        FROM chunks
        WHERE chunks.search @@ candidates
        ORDER BY 3
        LIMIT 2 * ceiling
    ),
    answering AS MATERIALIZED (
        SELECT ranked.build_id, ranked.ordinal, ranked.distance
        FROM ranked
        JOIN documents ON documents.active_build = ranked.build_id
        ORDER BY ranked.distance
        LIMIT ceiling
    ),
    enough AS MATERIALIZED (
        SELECT (SELECT count(*) FROM answering) = ceiling
            OR (SELECT count(*) FROM ranked) < 2 * ceiling AS enough
    )
    SELECT answering.build_id, answering.ordinal, answering.distance
    FROM answering
    WHERE (SELECT enough.enough FROM enough)
    UNION ALL
    (
        SELECT chunks.build_id,
               chunks.ordinal,
               (chunks.weights <#> question)
                   - CASE WHEN chunks.search @@ required THEN bonus ELSE 0 END
        FROM chunks
        JOIN documents ON documents.active_build = chunks.build_id
        WHERE chunks.search @@ candidates
            AND NOT (SELECT enough.enough FROM enough)
        ORDER BY 3
        LIMIT ceiling
    );
END
$$;

REVOKE EXECUTE ON FUNCTION best_chunks_matching FROM PUBLIC;
GRANT EXECUTE ON FUNCTION best_chunks_matching TO kaydang_worker, kaydang_query;
