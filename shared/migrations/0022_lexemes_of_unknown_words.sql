-- What a word that stands in no document may stand for: lexemes of chunks that match *wanted*, of
-- *ceiling* of them at most, that are listed in *exact* or begin with one of *beginnings*; with how
-- many of those chunks have each, and one of them. Of documents that the caller may read and that
-- answer now: a word of a closed collection is near to nothing.
CREATE FUNCTION lexemes_matching(
    wanted tsquery, exact text[], beginnings text[], ceiling integer
) RETURNS TABLE (lexeme text, holding bigint, build_id bigint, ordinal integer)
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 20
SET search_path = pg_catalog, public, pg_temp
-- It takes hundreds of words for more than there are, and would read every chunk.
SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY
    WITH matching AS MATERIALIZED (
        SELECT chunks.build_id, chunks.ordinal
        FROM chunks
        WHERE chunks.search @@ wanted
    ),
    readable AS MATERIALIZED (
        SELECT matching.build_id, matching.ordinal
        FROM matching
        JOIN readable_documents ON readable_documents.active_build = matching.build_id
        LIMIT ceiling
    )
    SELECT found.lexeme,
           count(*),
           (array_agg(readable.build_id))[1],
           (array_agg(readable.ordinal))[1]
    FROM readable
    JOIN chunks ON chunks.build_id = readable.build_id AND chunks.ordinal = readable.ordinal
    CROSS JOIN LATERAL unnest(chunks.search) AS found
    WHERE found.lexeme IN (SELECT unnest(exact))
        OR EXISTS (
            SELECT FROM unnest(beginnings) AS beginning WHERE starts_with(found.lexeme, beginning)
        )
    GROUP BY found.lexeme;
END
$$;

REVOKE EXECUTE ON FUNCTION lexemes_matching FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lexemes_matching TO kaydang_worker, kaydang_query;
