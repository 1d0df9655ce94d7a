-- Who may read a single document: metadata "readers" of its object names people, groups and domains,
-- separated by commas. A document that names readers is closed. It is read by them, and by those to
-- whom its collection, or every collection, was granted.

-- Principals as grants name them; NULL where the metadata has no key "readers". What cannot be read
-- as one stays a text that no caller has, so that a mistake closes.
CREATE FUNCTION readers_of(metadata jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_exists(metadata, 'readers') THEN ARRAY(
    SELECT CASE
               WHEN entry ~* '^(user|serviceaccount|email):' THEN
                   'email:' || lower(regexp_replace(entry, '^[^:]*:', ''))
               WHEN entry ~* '^domain:' THEN 'domain:' || lower(substr(entry, 8))
               WHEN entry ~* '^group:' THEN 'groups:' || substr(entry, 7)
               WHEN entry ~ ':' THEN entry
               WHEN entry ~ '^@' THEN 'domain:' || lower(substr(entry, 2))
               WHEN entry ~ '@' THEN 'email:' || lower(entry)
               WHEN entry ~ '\.' THEN 'domain:' || lower(entry)
               ELSE entry
           END
    FROM regexp_split_to_table(coalesce(metadata ->> 'readers', ''), '[,;[:space:]]+') AS entry
    WHERE entry <> ''
) END;

-- Of the generation that answers, and of the newest, as with collections (migration 0004).
ALTER TABLE documents
    ADD COLUMN readers text[] GENERATED ALWAYS AS (readers_of(metadata)) STORED,
    ADD COLUMN latest_readers text[];
UPDATE documents
SET latest_readers = readers_of(builds.metadata)
FROM builds
WHERE builds.document_id = documents.id
    AND builds.generation = documents.seen_generation
    AND builds.epoch = documents.epoch
    AND jsonb_exists(builds.metadata, 'readers');
CREATE INDEX documents_with_readers ON documents (id)
    WHERE readers IS NOT NULL OR latest_readers IS NOT NULL;

CREATE FUNCTION note_latest_readers() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.documents
    SET latest_readers = public.readers_of(NEW.metadata)
    WHERE id = NEW.document_id
        AND NEW.generation >= seen_generation
        AND latest_readers IS DISTINCT FROM public.readers_of(NEW.metadata);
    RETURN NULL;
END
$$;
CREATE TRIGGER builds_note_latest_readers
AFTER INSERT OR UPDATE OF metadata, generation ON builds
FOR EACH ROW
EXECUTE FUNCTION note_latest_readers();

-- Kept answers, and statistics of what was open, from before a document was closed.
CREATE CONSTRAINT TRIGGER readers_advance_index_version
AFTER UPDATE ON documents
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW
WHEN (OLD.latest_readers IS DISTINCT FROM NEW.latest_readers)
EXECUTE FUNCTION advance_index_version();
CREATE TRIGGER readers_forget_statistics
AFTER UPDATE ON documents
FOR EACH ROW
WHEN (
    OLD.active_build IS NOT NULL
    AND OLD.readers IS NULL AND OLD.latest_readers IS NULL
    AND (NEW.readers IS NOT NULL OR NEW.latest_readers IS NOT NULL)
)
EXECUTE FUNCTION forget_statistics();

CREATE FUNCTION caller_principals() RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN ARRAY(
    SELECT jsonb_array_elements_text(
        coalesce(nullif(current_setting('kaydang.principals', true), ''), '[]')::jsonb
    )
);

-- The collections granted to the caller by name; '*' stands for all.
CREATE FUNCTION granted_collections() RETURNS SETOF text
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT public.caller_grants();
END
$$;

CREATE OR REPLACE FUNCTION sees_every_collection() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM public.documents
        WHERE documents.readers IS NOT NULL OR documents.latest_readers IS NOT NULL
    )
    THEN
        RETURN EXISTS (SELECT FROM public.caller_grants() AS granted WHERE granted = '*');
    END IF;
    IF EXISTS (SELECT FROM public.collection_default WHERE NOT closed)
        AND NOT EXISTS (SELECT FROM public.collection_access WHERE closed)
    THEN
        RETURN true;
    END IF;
    RETURN public.sees_collections_by_default()
        AND NOT EXISTS (SELECT FROM public.collection_exceptions());
END
$$;

-- Where documents name readers, two callers see the same only if they are the same.
CREATE OR REPLACE FUNCTION caller_rights() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN encode(
        sha256(
            jsonb_build_array(
                public.sees_collections_by_default(),
                (SELECT jsonb_agg(collection ORDER BY collection COLLATE "C")
                 FROM public.collection_exceptions() AS collection),
                CASE WHEN EXISTS (
                    SELECT FROM public.documents
                    WHERE documents.readers IS NOT NULL OR documents.latest_readers IS NOT NULL
                ) THEN jsonb_build_array(
                    (SELECT jsonb_agg(principal ORDER BY principal COLLATE "C")
                     FROM unnest(public.caller_principals()) AS principal),
                    (SELECT jsonb_agg(collection ORDER BY collection COLLATE "C")
                     FROM public.caller_grants() AS collection)
                ) END
            )::text::bytea
        ),
        'hex'
    );
END
$$;

DROP POLICY readers ON documents;
CREATE POLICY readers ON documents FOR SELECT TO kaydang_query USING (
    (SELECT sees_every_collection())
    OR (
        CASE
            WHEN readers IS NULL THEN
                (SELECT sees_collections_by_default())
                    <> (collection IN (SELECT collection_exceptions()))
            ELSE
                readers && (SELECT caller_principals())
                OR (SELECT '*' IN (SELECT granted_collections()))
                OR collection IN (SELECT granted_collections())
        END
        AND CASE
            WHEN latest_readers IS NULL THEN
                (SELECT sees_collections_by_default()) <> (
                    coalesce(latest_collection, collection) IN (SELECT collection_exceptions())
                )
            ELSE
                latest_readers && (SELECT caller_principals())
                OR (SELECT '*' IN (SELECT granted_collections()))
                OR coalesce(latest_collection, collection) IN (SELECT granted_collections())
        END
    )
);

CREATE OR REPLACE VIEW readable_documents AS
SELECT id, active_build, folded_name
FROM documents
WHERE (SELECT sees_every_collection())
    OR (
        CASE
            WHEN readers IS NULL THEN
                (SELECT sees_collections_by_default())
                    <> (collection IN (SELECT collection_exceptions()))
            ELSE
                readers && (SELECT caller_principals())
                OR (SELECT '*' IN (SELECT granted_collections()))
                OR collection IN (SELECT granted_collections())
        END
        AND CASE
            WHEN latest_readers IS NULL THEN
                (SELECT sees_collections_by_default()) <> (
                    coalesce(latest_collection, collection) IN (SELECT collection_exceptions())
                )
            ELSE
                latest_readers && (SELECT caller_principals())
                OR (SELECT '*' IN (SELECT granted_collections()))
                OR coalesce(latest_collection, collection) IN (SELECT granted_collections())
        END
    );

REVOKE EXECUTE ON FUNCTION granted_collections, note_latest_readers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION granted_collections TO kaydang_worker, kaydang_query;
GRANT SELECT (readers, latest_readers) ON documents TO kaydang_query;
