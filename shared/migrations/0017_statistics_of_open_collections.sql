-- How rare a word is must not tell what a closed collection holds: where something is closed to a
-- caller, statistics of what is open to all are used, and counts of what the caller may read.
ALTER TABLE lexeme_statistics ADD COLUMN open_share real CHECK (open_share > 0 AND open_share <= 1);

CREATE TABLE collection_statistics (
    collection text PRIMARY KEY,
    chunks bigint NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON collection_statistics TO kaydang_worker;

-- About how many chunks the caller may read; without statistics they are counted, up to *ceiling*.
CREATE FUNCTION estimate_chunks(ceiling integer) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    every_chunk CONSTANT bigint := (SELECT chunks FROM search_statistics);
BEGIN
    IF every_chunk IS NULL THEN
        RETURN count_chunks(ceiling);
    ELSIF sees_every_collection() THEN
        RETURN every_chunk;
    END IF;
    RETURN (
        SELECT coalesce(sum(chunks), 0)
        FROM collection_statistics
        WHERE sees_collections_by_default()
            <> (collection IN (SELECT collection_exceptions()))
    );
END
$$;
REVOKE EXECUTE ON FUNCTION estimate_chunks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION estimate_chunks TO kaydang_worker, kaydang_query;

-- What was open when the sample was taken may be closed now: without a sample words are counted.
CREATE FUNCTION forget_statistics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    DELETE FROM lexeme_statistics;
    DELETE FROM collection_statistics;
    DELETE FROM search_statistics;
    RETURN NULL;
END
$$;
REVOKE EXECUTE ON FUNCTION forget_statistics FROM PUBLIC;

CREATE TRIGGER access_forgets_statistics
AFTER INSERT OR UPDATE OR DELETE ON collection_access
FOR EACH STATEMENT
EXECUTE FUNCTION forget_statistics();

CREATE TRIGGER default_forgets_statistics
AFTER INSERT OR UPDATE OR DELETE ON collection_default
FOR EACH STATEMENT
EXECUTE FUNCTION forget_statistics();

DELETE FROM lexeme_statistics;
DELETE FROM search_statistics;

-- How far a comparison of a bucket with the index has come: the next run goes on from there.
CREATE TABLE reconciliations (
    bucket text PRIMARY KEY,
    position text NOT NULL,                      -- a name; all before it are compared
    updated timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON reconciliations TO kaydang_worker;
