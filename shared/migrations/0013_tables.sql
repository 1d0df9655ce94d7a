-- The tables of documents as typed columns, so that sums and counts are computed and not guessed.

CREATE TABLE tables (
    build_id bigint NOT NULL REFERENCES builds ON DELETE CASCADE,
    number integer NOT NULL,                     -- among the document's tables, from 0
    title text NOT NULL,
    page integer,                                -- page, slide or sheet that it begins on
    columns jsonb NOT NULL,                      -- shared/tables.py, Column
    row_count integer NOT NULL,
    PRIMARY KEY (build_id, number)
);

CREATE TABLE table_rows (
    build_id bigint NOT NULL,
    table_number integer NOT NULL,
    number integer NOT NULL,                     -- from 1
    char_start integer NOT NULL,                 -- where it stands in the extracted text
    char_end integer NOT NULL,
    page integer,
    is_total boolean NOT NULL,                   -- it adds up others
    cells text[] NOT NULL,                       -- by column, as the document shows them
    numbers numeric[] NOT NULL,                  -- what they mean, NULL in other columns
    dates date[] NOT NULL,
    PRIMARY KEY (build_id, table_number, number),
    FOREIGN KEY (build_id, table_number) REFERENCES tables ON DELETE CASCADE
);

CREATE VIEW live_tables WITH (security_invoker = true) AS
SELECT documents.id AS document_id,
       documents.bucket,
       documents.name,
       documents.active_generation AS generation,
       tables.build_id,
       tables.number,
       tables.title,
       tables.page,
       tables.columns,
       tables.row_count
FROM documents
JOIN tables ON tables.build_id = documents.active_build;

CREATE VIEW live_table_rows WITH (security_invoker = true) AS
SELECT documents.id AS document_id,
       table_rows.build_id,
       table_rows.table_number,
       table_rows.number,
       table_rows.char_start,
       table_rows.char_end,
       table_rows.page,
       table_rows.is_total,
       table_rows.cells,
       table_rows.numbers,
       table_rows.dates
FROM documents
JOIN table_rows ON table_rows.build_id = documents.active_build;

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['tables', 'table_rows']
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
        EXECUTE format(
            $policy$
            CREATE POLICY readers ON %1$I FOR SELECT TO kaydang_query USING (
                (SELECT sees_every_collection())
                OR EXISTS (SELECT FROM documents WHERE documents.active_build = %1$I.build_id)
            )
            $policy$,
            protected
        );
    END LOOP;
END $$;

GRANT SELECT, INSERT, DELETE ON tables, table_rows TO kaydang_worker;
GRANT SELECT ON tables, table_rows TO kaydang_query;
GRANT SELECT ON live_tables, live_table_rows TO kaydang_query, kaydang_worker;
