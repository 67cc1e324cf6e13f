-- Shadows in the schema @, made by mallory with search_path = pg_catalog. app.make leaves out what cannot be made: for a
-- pseudo-type, or because it is there. See shadowed_server.rs for the tables words and plain.

-- Operators: those of Postgres, and between types for which it has none, where a shadow would fit better than a cast.
SELECT count(app.make(format(
    'CREATE FUNCTION @.shadow_%s(%s) RETURNS %s LANGUAGE plpgsql AS %L;
     CREATE OPERATOR @.%5$s (FUNCTION = @.shadow_%1$s%6$s%7$s)',
    oid, concat_ws(', ', l, r), oprresult::regtype,
    format('BEGIN PERFORM app.noted(%L); RETURN NULL; END', 'operator ' || oprname),
    oprname, ', LEFTARG = ' || l, ', RIGHTARG = ' || r)))
FROM pg_operator, nullif(oprleft, 0) AS nl, nullif(oprright, 0) AS nr,
    CAST(nl::regtype AS text) AS l, CAST(nr::regtype AS text) AS r
WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprresult <> 0;

SELECT count(app.make(format(
    'CREATE FUNCTION @.shadow_cross_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L;
     CREATE OPERATOR @.%s (FUNCTION = @.shadow_cross_%1$s, LEFTARG = %2$s, RIGHTARG = %3$s)',
    o.number, l.type, r.type, o.result,
    format('BEGIN PERFORM app.noted(%L); RETURN NULL; END', 'operator ' || o.name), o.name)))
FROM plain AS l, plain AS r, (VALUES
    (1, '=', 'bool'), (2, '<>', 'bool'), (3, '<', 'bool'), (4, '>', 'bool'), (5, '<=', 'bool'), (6, '>=', 'bool'),
    (7, '~~', 'bool'), (8, '@>', 'bool'), (9, '||', 'text'), (10, '+', 'int8'), (11, '-', 'int8'), (12, '->', 'jsonb'),
    (13, '->>', 'text')) AS o(number, name, result);

-- Functions as they are.
SELECT count(app.make(format(
    'CREATE FUNCTION @.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', proname,
    replace(replace(pg_get_function_arguments(oid), 'VARIADIC "any"', 'VARIADIC anyarray'), '"any"', 'anyelement'),
    pg_get_function_result(oid),
    format('BEGIN PERFORM app.noted(%L); RETURN %s; END', 'function ' || proname,
        CASE WHEN NOT (proretset OR prorettype = 'void'::regtype OR COALESCE(proargmodes && '{o,b,t}', false))
             THEN 'NULL' END))))
FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind IN ('f', 'w')
  AND proname IN (SELECT word FROM words);

-- Functions of one argument, for types for which Postgres has none.
SELECT count(app.make(format(
    'CREATE FUNCTION @.%I(%s) RETURNS text LANGUAGE plpgsql AS %L', name, type,
    format('BEGIN PERFORM app.noted(%L); RETURN NULL; END', 'function ' || name))))
FROM (
    SELECT DISTINCT proname AS name FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND pronargs = 1
      AND proname IN (SELECT word FROM words)
) AS names, plain;

-- Aggregates.
SELECT count(app.make(format(
    'CREATE FUNCTION @.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L;
     CREATE AGGREGATE @.%I(%s) (SFUNC = @.%1$I, STYPE = %3$s)',
    'shadow_' || proname, concat_ws(', ', result, nullif(arguments, '')), result,
    format('BEGIN PERFORM app.noted(%L); RETURN $1; END', 'aggregate ' || proname),
    proname, COALESCE(nullif(arguments, ''), '*'))))
FROM pg_proc JOIN pg_aggregate ON aggfnoid = pg_proc.oid, pg_get_function_result(pg_proc.oid) AS result,
    replace(pg_get_function_arguments(pg_proc.oid), '"any"', 'anyelement') AS arguments
WHERE pronamespace = 'pg_catalog'::regnamespace AND aggkind = 'n'
  AND proname IN (SELECT word FROM words);

-- A type that much can be made into without saying so, and back.
CREATE TYPE @.lure AS ENUM ('a');
SELECT count(app.make(format(
    'CREATE FUNCTION @.to_lure(%s) RETURNS @.lure LANGUAGE plpgsql AS %L;
     CREATE CAST (%1$s AS @.lure) WITH FUNCTION @.to_lure(%1$s) AS IMPLICIT;
     CREATE FUNCTION @.from_lure_%1$s(@.lure) RETURNS %1$s LANGUAGE plpgsql AS %L;
     CREATE CAST (@.lure AS %1$s) WITH FUNCTION @.from_lure_%1$s(@.lure)',
    type, format('BEGIN PERFORM app.noted(%L); RETURN %L; END', 'cast from ' || type, 'a'),
    format('BEGIN PERFORM app.noted(%L); RETURN NULL; END', 'cast to ' || type))))
FROM plain;
