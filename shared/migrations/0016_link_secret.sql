-- What links to originals are signed with: random, and the same for every instance. To make all
-- links invalid: UPDATE link_secret SET secret = DEFAULT.
CREATE TABLE link_secret (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    secret bytea NOT NULL DEFAULT sha256(
        convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')
    )
);
INSERT INTO link_secret DEFAULT VALUES;
GRANT SELECT ON link_secret TO kaydang_query;
