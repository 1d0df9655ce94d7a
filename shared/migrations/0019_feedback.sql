-- What readers say of answers, and the questions that KEEP_QUESTIONS keeps. The query role reads
-- neither: it adds a row by the functions below, and nothing more.

CREATE TABLE feedback (
    answer_id uuid PRIMARY KEY,                  -- an answer counts once, however often it is rated
    rated timestamptz NOT NULL DEFAULT now(),
    rating text NOT NULL CHECK (rating IN ('up', 'down')),
    comment text CHECK (char_length(comment) <= 1000),
    answered timestamptz NOT NULL,
    model text NOT NULL,
    grounded boolean NOT NULL,
    question bytea NOT NULL,                     -- a hash with link_secret; the text is not kept
    documents uuid[] NOT NULL                    -- that the answer cites
);
CREATE INDEX feedback_rated ON feedback (rated);

CREATE TABLE kept_questions (
    answer_id uuid PRIMARY KEY,
    asked timestamptz NOT NULL DEFAULT now(),
    expires timestamptz NOT NULL,
    question text NOT NULL CHECK (char_length(question) <= 5000),
    folded text NOT NULL,                        -- without case and punctuation: what groups it
    outcome text NOT NULL CHECK (outcome IN ('answered', 'refused', 'ungrounded'))
);
CREATE INDEX kept_questions_asked ON kept_questions (asked);
CREATE INDEX kept_questions_expires ON kept_questions (expires);

-- Returns whether the answer had been rated before: the last rating counts.
CREATE FUNCTION record_feedback(
    answer_id uuid, rating text, comment text, answered timestamptz, model text, grounded boolean,
    question bytea, documents uuid[]
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO feedback (answer_id, rating, comment, answered, model, grounded, question, documents)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN false;
    END IF;
    UPDATE feedback SET rating = $2, comment = $3, rated = now() WHERE answer_id = $1;
    RETURN true;
END
$$;

CREATE FUNCTION keep_question(
    answer_id uuid, question text, folded text, outcome text, days integer
) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    INSERT INTO kept_questions (answer_id, question, folded, outcome, expires)
    VALUES ($1, $2, $3, $4, now() + make_interval(days => $5))
    ON CONFLICT DO NOTHING
$$;

-- As before (migration 0010), with the two tables.
CREATE OR REPLACE FUNCTION forget_old(days integer) RETURNS bigint
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
    DELETE FROM feedback WHERE answer_id IN (
        SELECT answer_id FROM feedback WHERE rated < before LIMIT 100000
    );
    DELETE FROM kept_questions WHERE answer_id IN (
        SELECT answer_id FROM kept_questions WHERE expires < now() LIMIT 100000
    );
    RETURN forgotten;
END
$$;

REVOKE EXECUTE ON FUNCTION record_feedback, keep_question FROM PUBLIC;
GRANT EXECUTE ON FUNCTION record_feedback, keep_question TO kaydang_query;
GRANT SELECT ON feedback, kept_questions TO kaydang_worker;
