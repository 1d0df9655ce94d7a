-- What the query function keeps: rate limits that hold across instances, the tokens used a day,
-- answers to give again. Each is used only where its setting asks for it.

-- The generic cell rate algorithm (https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm):
-- one row a subject, one statement a request. Losing it in a crash only forgives requests.
CREATE UNLOGGED TABLE rate_limits (
    subject bytea PRIMARY KEY,                   -- a hash of a key's digest or of an address
    full_at timestamptz NOT NULL                 -- when the subject has its whole burst again
);
CREATE INDEX rate_limits_full_at ON rate_limits (full_at);

CREATE TABLE token_usage (
    day date PRIMARY KEY,                        -- UTC
    tokens bigint NOT NULL,
    calls bigint NOT NULL
);

-- Counts the commits that change what any question can be answered with.
CREATE TABLE index_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version bigint NOT NULL,
    changed_by xid8 NOT NULL
);
INSERT INTO index_state (version, changed_by) VALUES (1, pg_current_xact_id());

-- Runs with its owner's rights: the workers cause it and may not otherwise write the table. Once a
-- transaction is enough.
CREATE FUNCTION advance_index_version() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE index_state
    SET version = version + 1,
        changed_by = pg_current_xact_id()
    WHERE changed_by <> pg_current_xact_id();
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION advance_index_version() FROM PUBLIC;

-- Deferred: the one row is locked for the moment of the commit only, as the last lock taken.
CREATE CONSTRAINT TRIGGER documents_advance_index_version
AFTER UPDATE ON documents
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW
WHEN ((OLD.active_build, OLD.collection, OLD.content_type, OLD.metadata, OLD.object_updated)
    IS DISTINCT FROM
    (NEW.active_build, NEW.collection, NEW.content_type, NEW.metadata, NEW.object_updated))
EXECUTE FUNCTION advance_index_version();

CREATE CONSTRAINT TRIGGER documents_removed_advance_index_version
AFTER DELETE ON documents
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW
WHEN (OLD.active_build IS NOT NULL)
EXECUTE FUNCTION advance_index_version();

CREATE CONSTRAINT TRIGGER active_model_advances_index_version
AFTER INSERT OR UPDATE ON active_model
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW
EXECUTE FUNCTION advance_index_version();

CREATE UNLOGGED TABLE cached_answers (
    key bytea PRIMARY KEY,                       -- a hash of question, filter and settings
    version bigint NOT NULL,                     -- index_state.version before the search
    answer jsonb NOT NULL,
    created timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX cached_answers_created ON cached_answers (created);

GRANT SELECT ON index_state TO kaydang_query;
GRANT SELECT, INSERT, UPDATE ON token_usage TO kaydang_query;
GRANT SELECT, INSERT, UPDATE, DELETE ON rate_limits, cached_answers TO kaydang_query;
