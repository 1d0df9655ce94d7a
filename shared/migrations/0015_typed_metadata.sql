-- Metadata is text; filters compare it as what it says. What does not say a number or a time is none.

CREATE FUNCTION metadata_number(value text) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN value ~ '^ *[-+]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][-+]?[0-9]{1,2})? *$'
    THEN value::numeric
END;

-- A date, or a date and time with its offset (RFC 3339); a date is its midnight in UTC.
CREATE FUNCTION metadata_time(value text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN value ~ (
        '^ *[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])'
        '([Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?'
        '([Zz]|[-+](0[0-9]|1[0-5]):[0-5][0-9]))? *$'
    )
    THEN CASE
        -- The last day of the month: no cast may fail.
        WHEN substr(trim(value), 9, 2)::integer <= extract(
            day FROM make_date(
                substr(trim(value), 1, 4)::integer, substr(trim(value), 6, 2)::integer, 1
            ) + interval '1 month' - interval '1 day'
        )
        THEN CASE
            WHEN length(trim(value)) = 10 THEN (trim(value) || 'T00:00:00Z')::timestamptz
            ELSE trim(value)::timestamptz
        END
    END
END;
