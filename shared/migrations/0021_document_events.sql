-- What happened to documents, until it is published to DOCUMENT_EVENTS_TOPIC: written in the
-- transaction that makes a document ready, failed or gone, deleted when Pub/Sub has it. A row says
-- what was true at that moment; the document may be another, or forgotten, when it is published.
CREATE TABLE document_events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- Taken under the document's lock: of two events of a document the later has the higher number.
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    occurred timestamptz NOT NULL DEFAULT clock_timestamp(),
    state text NOT NULL CHECK (state IN ('ready', 'failed', 'gone')),
    document_id uuid NOT NULL,
    bucket text NOT NULL,
    name text NOT NULL,
    collection text NOT NULL,
    generation bigint NOT NULL,
    answering_generation bigint,
    content_type text NOT NULL,
    size bigint NOT NULL,
    chunks integer NOT NULL,
    pages integer,
    pages_without_text integer NOT NULL,
    reason_code text,
    reason text,
    lease_until timestamptz,                     -- of the publisher that has it
    CHECK ((state = 'failed') = (reason_code IS NOT NULL))
);
CREATE INDEX document_events_sequence ON document_events (sequence);

GRANT SELECT, INSERT, UPDATE, DELETE ON document_events TO kaydang_worker;
